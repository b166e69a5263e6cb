"""Auto-PGD: gradient ascent with momentum that finds its own step size (Croce and Hein 2020, algorithm 1).

F. Croce and M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020. Where paper and published code differ: a loss that rises in exactly 75 % of a window counts as too
few, as in the code; the first window counts its own steps only, as in the paper (the code counts one rise too many).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor

from sinewy.attacks.checked import check_count
from sinewy.attacks.examples import Examples, Fallen, Result, in_turn
from sinewy.attacks.losses import cross_entropy, difference_of_logits_ratio
from sinewy.attacks.projections import BALLS, Ball
from sinewy.attacks.victim import Loss, Victim
from sinewy.errors import InputError

MOMENTUM = 0.75
"""Share of the new step in a move; the rest repeats the last move."""

RISING = 0.75
"""A step size is kept while the loss rises in more than this share of the steps between two checks."""


@dataclass
class Walk:
    """Where the attack on every image of a batch stands; all but `ball` and `examples` are tensors of N rows."""

    examples: Examples
    aims: Tensor | None
    ball: Ball
    images: Tensor
    previous: Tensor
    value: Tensor
    gradient: Tensor
    best: Tensor
    best_value: Tensor
    best_gradient: Tensor
    checked_value: Tensor
    step: Tensor
    halved: Tensor
    rises: Tensor

    def keep(self, places: Tensor) -> None:
        """Go on with some of the images."""
        for field in fields(self):
            state = getattr(self, field.name)
            if state is not None:
                setattr(self, field.name, state[places] if isinstance(state, Tensor) else state.take(places))

    def move(self, momentum: float) -> None:
        """Step along the gradient, project, and mix in the last move."""
        stepped = self.ball.project(self.images + _wide(self.step) * self.ball.direction(self.gradient))
        if momentum < 1:
            stepped = self.images + momentum * (stepped - self.images) + (1 - momentum) * (self.images - self.previous)
            stepped = self.ball.project(stepped)
        self.previous, self.images = self.images, stepped

    def arrive(self, value: Tensor, gradient: Tensor) -> None:
        """Take note of the loss and the gradient at the new place."""
        self.rises += value > self.value
        self.value, self.gradient = value, gradient
        better = value > self.best_value
        self.best_value = torch.where(better, value, self.best_value)
        self.best = torch.where(_wide(better), self.images, self.best)
        self.best_gradient = torch.where(_wide(better), gradient, self.best_gradient)

    def check(self, window: int) -> None:
        """Halve the step size, and go back to the best place, where the last `window` steps were of little use."""
        stuck = (self.rises <= RISING * window) | (~self.halved & (self.best_value <= self.checked_value))
        self.step = torch.where(stuck, self.step / 2, self.step)
        self.images = torch.where(_wide(stuck), self.best, self.images)
        self.gradient = torch.where(_wide(stuck), self.best_gradient, self.gradient)
        self.value = torch.where(stuck, self.best_value, self.value)
        self.halved, self.checked_value = stuck, self.best_value
        self.rises = torch.zeros_like(self.rises)


@dataclass(frozen=True, kw_only=True)
class APGD:
    """Auto-PGD on one loss; with `aims` above 0 once for each of the most likely wrong classes, aimed at that class."""

    norm: str
    stop_when_fooled: bool
    loss: Loss
    steps: int
    restarts: int
    aims: int = 0

    def __call__(self, victim: Victim, examples: Examples, eps: float) -> Result:
        """Return for every image the last place that fooled the model, else the one of the largest loss."""
        if self.aims and examples.targets is not None:
            raise InputError("apgd-t chooses its own targets; use apgd-ce or apgd-dlr with targets.")
        ranks: list[int | None] = [*range(self.aims)] or [None]
        if self.aims:
            ranks = ranks[: victim.logits(examples.images[:1]).shape[1] - 1]
        tries = [partial(self._climb, victim, eps, rank, number) for rank in ranks for number in range(self.restarts)]
        return in_turn(tries, examples)

    def _climb(self, victim: Victim, eps: float, rank: int | None, number: int, examples: Examples) -> Result:
        aims = examples.targets if rank is None else wrong_class(victim.logits(examples.images), examples.labels, rank)
        ball = BALLS[self.norm](examples.images, eps)
        images = ball.edge(examples.stream("start", rank or 0, number), examples.numbers)
        logits, value, gradient = victim.gradient(images, self.loss, examples.labels, aims)
        walk = set_out(examples, aims, ball, images, value, gradient)
        fallen, windows = Fallen(examples), dict(checkpoints(self.steps))
        for step in range(self.steps + 1):
            fooled = walk.examples.fooled(logits)
            fallen.record(walk.images, fooled)
            if self.stop_when_fooled and fooled.any():
                walk.keep(fallen.leave(fooled))
            if step == self.steps or len(walk.images) == 0:
                break
            if step in windows:
                walk.check(windows[step])
            walk.move(MOMENTUM if step else 1.0)
            logits = self._look(victim, walk, last=step + 1 == self.steps)
        return fallen.close(walk.best)

    def _look(self, victim: Victim, walk: Walk, *, last: bool) -> Tensor:
        """Return the logits at the walk's new place, and let it take note; the last place needs no gradient."""
        labels = walk.examples.labels
        if last:
            logits = victim.logits(walk.images)
            walk.arrive(self.loss(logits, labels, walk.aims), walk.gradient)
        else:
            logits, value, gradient = victim.gradient(walk.images, self.loss, labels, walk.aims)
            walk.arrive(value, gradient)
        return logits


def apgd_ce(*, norm: str, stop_when_fooled: bool, steps: int = 100, restarts: int = 1) -> APGD:
    """Return Auto-PGD on the cross-entropy; 100 steps as in the paper, from a random start at distance eps."""
    return _apgd(norm, stop_when_fooled, cross_entropy, steps, restarts)


def apgd_dlr(*, norm: str, stop_when_fooled: bool, steps: int = 100, restarts: int = 1) -> APGD:
    """Return Auto-PGD on the difference of logits ratio; needs 3 classes, with targets 4."""
    return _apgd(norm, stop_when_fooled, difference_of_logits_ratio, steps, restarts)


def apgd_t(*, norm: str, stop_when_fooled: bool, steps: int = 100, restarts: int = 1, classes: int = 9) -> APGD:
    """Return Auto-PGD on the targeted ratio, aimed in turn at each of the `classes` most likely wrong classes.

    Success is any wrong class. Needs 4 classes; with fewer than `classes` wrong ones it aims at them all.
    """
    check_count("classes", classes)
    return _apgd(norm, stop_when_fooled, difference_of_logits_ratio, steps, restarts, aims=classes)


def _apgd(norm: str, stop_when_fooled: bool, loss: Loss, steps: int, restarts: int, aims: int = 0) -> APGD:
    check_count("steps", steps)
    check_count("restarts", restarts)
    return APGD(norm=norm, stop_when_fooled=stop_when_fooled, loss=loss, steps=steps, restarts=restarts, aims=aims)


def set_out(
    examples: Examples, aims: Tensor | None, ball: Ball, images: Tensor, value: Tensor, gradient: Tensor
) -> Walk:
    """Return the walk at its start, with a step size of 2 eps."""
    return Walk(
        examples=examples,
        aims=aims,
        ball=ball,
        images=images,
        previous=images,
        value=value,
        gradient=gradient,
        best=images,
        best_value=value,
        best_gradient=gradient,
        checked_value=value,
        step=torch.full_like(value, 2 * ball.eps, dtype=images.dtype),
        halved=torch.zeros_like(value, dtype=torch.bool),
        rises=torch.zeros_like(value, dtype=torch.int64),
    )


def checkpoints(steps: int) -> Iterator[tuple[int, int]]:
    """Yield (number of steps taken, steps since the last check) for every check of the step size before the last step.

    The first window is 22 % of all steps, each next one 3 % shorter, none below 6 %; rounded down, at least 1.
    """
    window, taken = max(int(0.22 * steps), 1), 0
    while taken + window < steps:
        taken += window
        yield taken, window
        window = max(window - max(int(0.03 * steps), 1), int(0.06 * steps), 1)


def wrong_class(logits: Tensor, labels: Tensor, rank: int) -> Tensor:
    """Return the class (N,) with the `rank`-th largest logit, from 0, among those that are not the label."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(rank + 1, dim=1).indices[:, rank]


def _wide(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
