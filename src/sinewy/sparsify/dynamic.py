"""Dynamic sparse training: every so often the least salient weights are dropped and others grown, to a budget."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from sinewy.allocation import check_sparsity
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.layers import Pattern
from sinewy.schedules import DROP_SCHEDULES, SPARSITY_SCHEDULES, Schedule, SparsitySchedule, polynomial
from sinewy.select import count, joint_masks, largest_mask, positions, random_free
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.saliency import GRADIENT_FREE, GROWTHS, SALIENCIES, Saliency
from sinewy.sparsify.timing import Moment, Timing, check_moment, in_steps, share_of

Start = Literal["zero", "normal", "uniform"]
Regrow = bool | Literal["reset"]


class DynamicSparsifier(Sparsifier):
    """Drop by `drop` saliency, grow by `grow`, every `every` steps, to the number of weights that a schedule sets.

    At an update on a tensor with n kept weights, floor(n * fraction) of the lowest saliency are dropped, and then the
    highest growth scores among all that did not survive are grown, up to the tensor's budget. `fraction` in [0, 1] goes
    to `fraction_end` along `schedule` (a name of `sinewy.schedules.DROP_SCHEDULES`; by default cosine where the length
    of training is known, else constant; `power` is that of "polynomial"). The budget is `sparsity`, or moves from
    `initial` sparsity to it along `sparsity_schedule` until `sparsity_stop` of training (default `stop`), shared anew
    among tensors by the allocation. Updates fall on `begin` (default `every`), `begin + every`, ... up to and including
    the last, which is `until`, or `stop` (0.75) of training. `every`, `begin`, `until` are optimizer steps, epochs
    ("5ep") or shares of training in (0, 1).

    The choices on which published codes differ are options; the defaults are those of the RigL reference:
    `replace_step` (True: the update takes the place of the optimizer step; False: it follows the step, with the
    gradient of the same batch, as in ITOP and GraNet), `regrow` (True: a weight dropped now may grow now, and then
    keeps its value and optimizer state; "reset": it may, from 0; False: it may not), `start` (new weights are "zero";
    or "normal" with the layer's standard deviation, or "uniform" within its mean magnitude, RigL's grow_init options),
    `drop_noise` (standard deviation of noise added to the drop score; RigL's code: 1e-5), `reset_state` (True: the
    optimizer forgets everything at each update, as where the code makes a new one).
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        drop: str | Saliency = "magnitude",
        grow: str | Saliency = "random",
        every: Moment = 100,
        fraction: float = 0.3,
        fraction_end: float = 0.0,
        schedule: str | None = None,
        power: float = 0.01,
        begin: Moment | None = None,
        until: Moment | None = None,
        stop: float = 0.75,
        initial: float | None = None,
        sparsity_schedule: str = "cubic",
        sparsity_stop: float | None = None,
        replace_step: bool = True,
        regrow: Regrow = True,
        start: Start = "zero",
        drop_noise: float = 0.0,
        reset_state: bool = False,
        allocation: str = "erk",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        weights: str | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            sparsity,
            allocation=allocation,
            include=include,
            exclude=exclude,
            dense=dense,
            weights=weights,
            seed=seed,
        )
        for name, moment in (("every", every), ("begin", begin), ("until", until)):
            if moment is not None:
                check_moment(name, moment)
        require("fraction", fraction, 0 <= fraction <= 1, "in [0, 1]")
        require("fraction_end", fraction_end, 0 <= fraction_end <= 1, "in [0, 1]")
        require("power", power, power > 0, "above 0")
        require("stop", stop, 0 < stop <= 1, "a share of training in (0, 1]")
        require("sparsity_stop", sparsity_stop, sparsity_stop is None or 0 < sparsity_stop <= 1, "in (0, 1]")
        require("start", start, start in ("zero", "normal", "uniform"), "'zero', 'normal' or 'uniform'")
        require("regrow", regrow, regrow in (True, False, "reset"), "True, False or 'reset'")
        if initial is not None:
            check_sparsity(initial)
            grows = initial > sparsity and allocation == "global"
            require(
                "initial", initial, not grows, "at most the sparsity with allocation 'global', which ranks kept weights"
            )
        self.drop, self.grow, self.every, self.begin, self.until, self.stop = drop, grow, every, begin, until, stop
        self.fraction, self.fraction_end, self.schedule, self.power = fraction, fraction_end, schedule, power
        self.initial, self.sparsity_schedule, self.sparsity_stop = initial, sparsity_schedule, sparsity_stop
        self.replace_step, self.regrow, self.start = replace_step, regrow, start
        self.drop_noise, self.reset_state = drop_noise, reset_state
        self._saliency: Saliency = drop if callable(drop) else resolve("drop saliency", drop, SALIENCIES)
        self._growth: Saliency = grow if callable(grow) else resolve("growth", grow, GROWTHS)
        self._sparsity: SparsitySchedule = resolve("sparsity schedule", sparsity_schedule, SPARSITY_SCHEDULES)
        self._factor = self._schedule(schedule or "constant")
        self.dense_gradient = grow not in GRADIENT_FREE
        self.needs_gradient = self.dense_gradient or drop not in GRADIENT_FREE
        self._timing = self._decay = Timing(1, 1, None)
        self._budgets: dict[str, int] = {}

    def prepare(self) -> None:
        """Settle updates, drop schedule and sparsity schedule from the length of training."""
        every = in_steps("every", self.every, self.length)
        begin = every if self.begin is None else in_steps("begin", self.begin, self.length)
        steps, end = self.length.steps, None
        if self.until is not None:
            end = in_steps("until", self.until, self.length)
        elif steps is not None:
            end = share_of(self.stop, steps)
        self._timing = self._decay = Timing(begin, every, end)
        if self.sparsity_stop is not None and steps is not None:
            self._decay = Timing(begin, every, min(share_of(self.sparsity_stop, steps), end or steps))
        if end is None:
            self._refuse_or_warn()
        elif self.schedule is None:
            self._factor = self._schedule("cosine")
        if self.initial is not None and self._decay.last is None:
            raise InputError(
                f"no update falls between step {begin} and {self._decay.end} of training, so the sparsity cannot go"
                f" from {self.initial:g} to {self.target:g}; lower every={self.every!r} or begin."
            )

    def is_update(self, step: int) -> bool:
        """Return whether `step` is one of begin, begin + every, ..., last."""
        return self._timing.is_update(step)

    def drop_fraction(self, step: int) -> float:
        """Return the fraction of a tensor's kept weights that an update at `step` drops."""
        end = self._timing.end
        factor = self._factor(0.0 if end is None else min(step / max(end, 1), 1.0))
        return self.fraction_end + (self.fraction - self.fraction_end) * factor

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity that the schedule sets after `step`; it changes at updates only."""
        if self.initial is None:
            return self.target
        progress = self._decay.progress(step)
        return self.target if progress == 1 else self._sparsity(progress, self.initial, self.target)

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the new masks: every tensor's drop and growth within its budget."""
        self._budgets = self.budgets()
        return super().move(gradients)

    def budgets(self) -> dict[str, int]:
        """Return how many weights each movable tensor shall have after this update."""
        layers = self.movable
        sparsity = self.sparsity_at(self.step)
        if self.initial is None:
            return {name: layer.kept for name, layer in layers.items()}
        if self.allocation != "global":
            return self.quota(self.parameters, sparsity)
        survivors = self.strongest(sparsity)
        return {name: count(mask) for name, mask in survivors.items()}

    def strongest(self, sparsity: float) -> dict[str, Tensor]:
        """Return the masks of the kept weights of largest magnitude over all movable tensors, at `sparsity`."""
        layers = self.movable
        total = sum(layer.mask.numel() for layer in self._layers.values())
        fixed = total - sum(layer.mask.numel() for layer in layers.values())
        kept = [layer.mask for layer in layers.values()]
        number = min(round((1 - sparsity) * total) - fixed, sum(map(count, kept)))
        chosen = joint_masks([layer.weight for layer in layers.values()], number, among=kept, magnitude=True)
        return dict(zip(layers, chosen, strict=True))

    def update(self, layer: SparseLayer, gradient: Tensor | None) -> Tensor:
        """Return the mask after one drop and one growth; its count is the tensor's budget."""
        before = layer.kept
        budget = self._budgets.get(layer.name, before)
        if before == budget == layer.mask.numel():
            return layer.mask  # a full tensor has nowhere to move
        if self.rests(layer, gradient):
            if budget <= before:
                return layer.mask if budget == before else largest_mask(layer.weight.abs(), budget, among=layer.mask)
            gradient = torch.zeros_like(layer.weight)
        return self.refill(layer, gradient, self.survivors(layer, gradient, budget))

    def rests(self, layer: SparseLayer, gradient: Tensor | None) -> bool:
        """Return whether nothing should grow in a tensor: it is frozen, or took no part in a batch that is asked."""
        return not layer.parameter.requires_grad or (gradient is None and self.needs_gradient)

    def refill(self, layer: SparseLayer, gradient: Tensor | None, kept: Tensor) -> Tensor:
        """Return `kept` with as many weights grown as the tensor's budget allows."""
        number = self._budgets.get(layer.name, layer.kept) - count(kept)
        lacking = 0 if self.regrow else number - (layer.mask.numel() - layer.kept)
        if lacking > 0:  # no place is free for these: the strongest of what was to go stay
            kept = kept | largest_mask(layer.weight.abs(), lacking, among=layer.mask & ~kept)
            number -= lacking
        if number == 0:
            return kept
        grown = self.growth(layer, gradient, kept, number)
        if self.regrow == "reset":
            layer.restart = grown & layer.mask
        return kept | grown

    def free(self, layer: SparseLayer, kept: Tensor) -> Tensor:
        """Return where a weight may grow: all but `kept`, and but what was dropped just now if `regrow` is False."""
        return ~kept if self.regrow else ~(kept | layer.mask)

    def survivors(self, layer: SparseLayer, gradient: Tensor | None, budget: int) -> Tensor:
        """Return the mask of the kept weights that this update does not drop, at most `budget` of them."""
        before = layer.kept
        number = min(before - int(before * self.drop_fraction(self.step)), budget)
        if not self.regrow:  # what grows must find a place that was free before
            number = max(number, budget - (layer.mask.numel() - before))
        if number == before:
            return layer.mask
        return largest_mask(self._noisy(layer, self._saliency(layer, gradient)), number, among=layer.mask)

    def growth(self, layer: SparseLayer, gradient: Tensor | None, kept: Tensor, number: int) -> Tensor:
        """Return a mask of the `number` weights that grow beside `kept`."""
        free = self.free(layer, kept)
        if self.grow != "random":
            return largest_mask(self._growth(layer, gradient), number, among=free)
        grown = torch.zeros_like(free, memory_format=torch.contiguous_format)
        grown.view(-1)[random_free(~free.reshape(-1), number, layer.generator("grow", self.step))] = True
        return grown

    def start_weights(self, layer: SparseLayer, where: Tensor, grown: Tensor) -> Tensor:
        """Return the start values of grown weights, as the option `start` says; dropped ones are 0."""
        zeros = super().start_weights(layer, where, grown)
        if self.start == "zero":
            return zeros
        kept, generator = layer.weight[layer.mask], layer.generator("start", self.step)
        if not len(kept):
            return zeros
        if self.start == "normal":
            values = torch.randn(len(grown), generator=generator) * kept.std(correction=0).item()
        else:
            values = (2 * torch.rand(len(grown), generator=generator) - 1) * kept.abs().mean().item()
        return torch.where(grown, values.to(zeros), zeros)

    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        super()._move(optimizer, gradients)
        if self.reset_state:
            optimizer_state.forget(optimizer)

    def _schedule(self, name: str) -> Schedule:
        found: Schedule = resolve("schedule", name, DROP_SCHEDULES)
        return partial(polynomial, power=self.power) if found is polynomial else found

    def _noisy(self, layer: SparseLayer, scores: Tensor) -> Tensor:
        if not self.drop_noise:
            return scores
        active = positions(layer.mask)
        noise = torch.randn(len(active), generator=layer.generator("drop noise", self.step))
        noisy = scores.flatten().clone()
        noisy[active] += self.drop_noise * noise.to(scores)
        return noisy.view(scores.shape)

    def _refuse_or_warn(self) -> None:
        """Say what it means that the length of training is not known."""
        if self.schedule not in (None, "constant") or self.initial is not None:
            what = f"schedule '{self.schedule}'" if self.initial is None else "a sparsity that changes"
            raise InputError(f"{what} needs the length of training: attach(model, optimizer, steps=...).")
        warnings.warn(
            f"{type(self).__name__} does not know the length of training: it moves {self.fraction:g} of the weights"
            f" every {self.every} steps, forever. Pass attach(..., steps=N) for a cosine that ends at {self.stop:g} of"
            " training.",
            stacklevel=4,
        )


def require(name: str, value: object, holds: bool, meaning: str) -> None:
    """Raise InputError unless the option's value holds."""
    if not holds:
        raise InputError(f"{name} must be {meaning}; got {value!r}.")
