"""Attacks that step along the gradient with a fixed step size: FGSM, FFGSM, BIM and PGD, one loop for all."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from sinewy.attacks.checked import check_count, check_flags, check_step_size, resolve_loss
from sinewy.attacks.examples import Examples, Fallen, Result, in_turn
from sinewy.attacks.projections import BALLS
from sinewy.attacks.victim import Loss, Victim
from sinewy.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Ascent:
    """Take `steps` steps of a fixed size along the gradient, and project after each; best of `restarts` tries.

    The step size is `step_size` in image units, or `relative` times eps where it is None.
    """

    norm: str
    stop_when_fooled: bool
    loss: Loss
    steps: int
    step_size: float | None
    relative: float
    random_start: bool
    restarts: int

    def __call__(self, victim: Victim, examples: Examples, eps: float) -> Result:
        """Return the images after the last step, or the first that fooled the model if the attack stops there."""
        tries = [partial(self._climb, victim, eps, number) for number in range(self.restarts)]
        return in_turn(tries, examples)

    def _climb(self, victim: Victim, eps: float, number: int, examples: Examples) -> Result:
        fallen, ball = Fallen(examples), BALLS[self.norm](examples.images, eps)
        size = self.relative * eps if self.step_size is None else self.step_size
        images = examples.images
        if self.random_start:
            images = ball.inside(examples.stream("start", number), examples.numbers)
        for _ in range(self.steps):
            logits, _, gradient = victim.gradient(images, self.loss, examples.labels, examples.targets)
            fooled = examples.fooled(logits)
            if self.stop_when_fooled and fooled.any():
                fallen.record(images, fooled)
                rest = fallen.leave(fooled)
                if len(rest) == 0:
                    return fallen.close(images[rest])
                examples, ball = examples.take(rest), ball.take(rest)
                images, gradient = images[rest], gradient[rest]
            images = ball.project(torch.add(images, ball.direction(gradient), alpha=size))
        fallen.record(images, examples.fooled(victim.logits(images)))
        return fallen.close(images)


def fgsm(*, norm: str, stop_when_fooled: bool, loss: str | Loss = "ce") -> Ascent:
    """Return the fast gradient sign method: one step of eps from the clean image (Goodfellow et al. 2015).

    In L2 the step is eps times the gradient over its length, the fast gradient method. Source of "FGSM" in Ayle et al.
    2022, whose eps = 8 is on the scale of 0 to 255: give 8 / 255.
    """
    return _ascent(norm, stop_when_fooled, loss, relative=1.0)


def ffgsm(
    *, norm: str, stop_when_fooled: bool, loss: str | Loss = "ce", step_size: float | None = None, restarts: int = 1
) -> Ascent:
    """Return fast FGSM: one step from a random start, 1.25 eps long unless said otherwise (Wong et al. 2020)."""
    return _ascent(
        norm, stop_when_fooled, loss, step_size=step_size, relative=1.25, random_start=True, restarts=restarts
    )


def bim(
    *, norm: str, stop_when_fooled: bool, loss: str | Loss = "ce", steps: int = 10, step_size: float | None = None
) -> Ascent:
    """Return the basic iterative method: PGD from the clean image (Kurakin et al. 2017); step size as `pgd`."""
    check_count("steps", steps)
    return _ascent(norm, stop_when_fooled, loss, steps=steps, step_size=step_size, relative=2.5 / steps)


def pgd(
    *,
    norm: str,
    stop_when_fooled: bool,
    loss: str | Loss = "ce",
    steps: int = 10,
    step_size: float | None = None,
    restarts: int = 1,
    random_start: bool = True,
) -> Ascent:
    """Return projected gradient descent from a start drawn uniformly within eps (Madry et al. 2018).

    The step size is 2.5 eps / steps unless said otherwise, Madry's rule: at eps = 8/255 and 10 steps the customary
    2/255, and it grows with eps. In L2 the start is uniform in the ball (as in Foolbox; Torchattacks draws the radius
    uniformly).
    """
    check_count("steps", steps)
    if not random_start and restarts != 1:
        raise InputError(f"restarts={restarts} without a random start all do the same; set random_start=True.")
    return _ascent(
        norm,
        stop_when_fooled,
        loss,
        steps=steps,
        step_size=step_size,
        relative=2.5 / steps,
        random_start=random_start,
        restarts=restarts,
    )


def _ascent(
    norm: str,
    stop_when_fooled: bool,
    loss: str | Loss,
    *,
    relative: float,
    steps: int = 1,
    step_size: float | None = None,
    random_start: bool = False,
    restarts: int = 1,
) -> Ascent:
    check_count("restarts", restarts)
    check_step_size(step_size)
    check_flags(random_start=random_start)
    return Ascent(
        norm=norm,
        stop_when_fooled=stop_when_fooled,
        loss=resolve_loss(loss),
        steps=steps,
        step_size=step_size,
        relative=relative,
        random_start=random_start,
        restarts=restarts,
    )
