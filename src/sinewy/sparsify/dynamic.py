"""Dynamic sparse training: every so often the least salient weights are dropped and as many grown elsewhere."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.layers import Pattern
from sinewy.schedules import DROP_SCHEDULES, Schedule
from sinewy.select import count, largest_mask, positions, random_free
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.saliency import GROWTHS, SALIENCIES, Saliency

Start = Literal["zero", "normal", "uniform"]


class DynamicSparsifier(Sparsifier):
    """Drop by `drop` saliency, grow by `grow`, every `every` optimizer steps, at constant count per tensor.

    At an update on a tensor with n kept weights, floor(n * fraction) of the lowest saliency are dropped and as many of
    the highest growth score grown among all that did not survive. `fraction` in [0, 1] is scaled by `schedule`
    ("cosine", "constant", "linear", "cubic"; by default cosine where the length of training is known, else constant).
    Updates fall on steps `begin` (default `every`), `begin + every`, ... up to and including the last, which is
    `until`, or `stop` (0.75) of the steps given.

    The choices on which published codes differ are options; the defaults are those of the RigL reference:
    `replace_step` (True: the update takes the place of the optimizer step; False: it follows the step, with the
    gradient of the same batch, as in ITOP and GraNet), `regrow` (True: a weight dropped now may grow now, and then
    keeps its value and optimizer state), `start` (new weights are "zero"; or "normal" with the layer's standard
    deviation, or "uniform" within its mean magnitude, RigL's grow_init options), `drop_noise` (standard deviation of
    noise added to the drop score; RigL's code: 1e-5).
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        drop: str | Saliency = "magnitude",
        grow: str | Saliency = "random",
        every: int = 100,
        fraction: float = 0.3,
        schedule: str | None = None,
        begin: int | None = None,
        until: int | None = None,
        stop: float = 0.75,
        replace_step: bool = True,
        regrow: bool = True,
        start: Start = "zero",
        drop_noise: float = 0.0,
        allocation: str = "erk",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(sparsity, allocation=allocation, include=include, exclude=exclude, dense=dense, seed=seed)
        _require("every", every, every >= 1, "a number of optimizer steps, at least 1")
        _require("fraction", fraction, 0 <= fraction <= 1, "in [0, 1]")
        _require("begin", begin, begin is None or begin >= 1, "an optimizer step, at least 1")
        _require("stop", stop, 0 < stop <= 1, "a fraction of training in (0, 1]")
        _require("start", start, start in ("zero", "normal", "uniform"), "'zero', 'normal' or 'uniform'")
        self.drop, self.grow, self.every, self.fraction = drop, grow, every, fraction
        self.schedule, self.begin, self.until, self.stop = schedule, begin, until, stop
        self.replace_step, self.regrow, self.start, self.drop_noise = replace_step, regrow, start, drop_noise
        self._saliency: Saliency = drop if callable(drop) else resolve("drop saliency", drop, SALIENCIES)
        self._growth: Saliency = grow if callable(grow) else resolve("growth", grow, GROWTHS)
        self._random = grow == "random"
        self.needs_gradient = not self._random
        self._first, self._last = begin or every, until
        self._factor: Schedule = resolve("schedule", schedule or "constant", DROP_SCHEDULES)

    def prepare(self) -> None:
        """Settle the last update step and the schedule from the length of training."""
        if self.until is None and self.steps is not None:
            self._last = int(self.stop * self.steps)
        if self._last is None and self.schedule not in (None, "constant"):
            raise InputError(
                f"schedule '{self.schedule}' needs the length of training: attach(model, optimizer, steps=...)."
            )
        if self._last is None:
            warnings.warn(
                f"{type(self).__name__} does not know the length of training: it moves {self.fraction:g} of the weights"
                f" every {self.every} steps, forever. Pass attach(..., steps=N) for a cosine that ends at"
                f" {self.stop:g} of training.",
                stacklevel=3,
            )
        elif self.schedule is None:
            self._factor = resolve("schedule", "cosine", DROP_SCHEDULES)

    def is_update(self, step: int) -> bool:
        """Return whether `step` is one of begin, begin + every, ..., last."""
        due = step >= self._first and (step - self._first) % self.every == 0
        return due and (self._last is None or step <= self._last)

    def drop_fraction(self, step: int) -> float:
        """Return the fraction of a tensor's kept weights that an update at `step` drops."""
        return self.fraction * (1.0 if self._last is None else self._factor(step / max(self._last, 1)))

    def update(self, layer: SparseLayer, gradient: Tensor | None) -> Tensor:
        """Return the mask after one drop and one growth; the count does not change."""
        if gradient is None and self.needs_gradient:
            return layer.mask  # the tensor took no part in this batch
        kept_before = count(layer.mask)
        drops = int(kept_before * self.drop_fraction(self.step))
        if not self.regrow:
            drops = min(drops, layer.mask.numel() - kept_before)
        if drops == 0:
            return layer.mask
        saliency = self._noisy(layer, self._saliency(layer, gradient))
        mask = largest_mask(saliency, kept_before - drops, among=layer.mask)
        barred = mask if self.regrow else layer.mask
        return mask | self._grown(layer, gradient, barred, drops)

    def _noisy(self, layer: SparseLayer, scores: Tensor) -> Tensor:
        if not self.drop_noise:
            return scores
        active = positions(layer.mask)
        noise = torch.randn(len(active), generator=layer.generator("drop noise", self.step))
        noisy = scores.flatten().clone()
        noisy[active] += self.drop_noise * noise.to(scores)
        return noisy.view(scores.shape)

    def _grown(self, layer: SparseLayer, gradient: Tensor | None, barred: Tensor, number: int) -> Tensor:
        """Return a mask of `number` weights outside `barred`."""
        if not self._random:
            return largest_mask(self._growth(layer, gradient), number, among=~barred)
        grown = torch.zeros_like(barred, memory_format=torch.contiguous_format)
        grown.view(-1)[random_free(barred.reshape(-1), number, layer.generator("grow", self.step))] = True
        return grown

    def start_weights(self, layer: SparseLayer, where: Tensor, grown: Tensor) -> Tensor:
        """Return the start values of grown weights, as the option `start` says; dropped ones are 0."""
        zeros = super().start_weights(layer, where, grown)
        if self.start == "zero":
            return zeros
        kept, generator = layer.weight[layer.mask], layer.generator("start", self.step)
        if self.start == "normal":
            values = torch.randn(len(grown), generator=generator) * kept.std().item()
        else:
            values = (2 * torch.rand(len(grown), generator=generator) - 1) * kept.abs().mean().item()
        return torch.where(grown, values.to(zeros), zeros)


class SET(DynamicSparsifier):
    """Sparse evolutionary training: drop the smallest magnitudes of each tensor, grow at random (Mocanu et al. 2018).

    The per-tensor magnitude variant of the RigL, ITOP and wu2025 codes: `every` 100, `fraction` 0.3, cosine, until 0.75
    of training. Options as in `DynamicSparsifier`.
    """


class RigL(DynamicSparsifier):
    """Drop the smallest magnitudes of each tensor, grow where the dense gradient is largest (Evci et al. 2020).

    The gradient is that of the update's own batch, before any weight changes. Options as in `DynamicSparsifier`.
    """

    def __init__(self, sparsity: float = 0.0, *, grow: str | Saliency = "gradient", **options: Any) -> None:
        super().__init__(sparsity, grow=grow, **options)


def _require(name: str, value: object, holds: bool, meaning: str) -> None:
    if not holds:
        raise InputError(f"{name} must be {meaning}; got {value!r}.")
