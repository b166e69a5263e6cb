"""How much of a network can be pruned before it breaks: the prune potential, the first break, and their interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.bootstrap import paired_bootstrap, percentile_interval
from sinewy.analysis.estimate import Estimate
from sinewy.errors import InputError

Array = NDArray[np.float64]

TIE = 1e-6
"""A loss this little above the margin is on it: resampled means are float32."""


@dataclass(frozen=True)
class Potential:
    """How far one set of inputs lets a network be pruned; losses and margin are shares of examples.

    `sparsity` is the prune potential, the largest sparsity whose loss is within the margin, 0 if none is; `low` and
    `high` bound it at confidence `level`. `first_break` is the smallest sparsity whose loss is not, None if there is
    none; a potential beyond it comes from a curve that dips and recovers. `losses` are those of each sparsity.
    """

    sparsity: float
    low: float
    high: float
    first_break: float | None
    accuracy: Estimate
    sparsities: tuple[float, ...]
    losses: tuple[Estimate, ...]
    margin: float
    level: float = 0.95

    @property
    def censored(self) -> bool:
        """Whether the largest sparsity that was tried is still within the margin: more may be possible."""
        return self.sparsity == self.sparsities[-1]

    @property
    def break_loss(self) -> Estimate | None:
        """The loss at the first break."""
        return None if self.first_break is None else self.losses[self.sparsities.index(self.first_break)]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON-able values."""
        names = ("sparsity", "low", "high", "first_break", "censored", "margin", "level")
        curve = [{"sparsity": s, **e.as_dict()} for s, e in zip(self.sparsities, self.losses, strict=True)]
        return {name: getattr(self, name) for name in names} | {"accuracy": self.accuracy.as_dict(), "losses": curve}


def prune_potential(losses: Any, sparsities: Sequence[float], margin: float) -> Array:
    """Return the largest of `sparsities` whose loss is at most `margin`, 0 if none is: `losses` (..., sparsities).

    Definition 1 of Liebenwein et al. 2021 over the networks that were made: the sparsities need not be contiguous.
    """
    within = np.asarray(losses) <= margin + TIE
    return np.asarray(np.where(within, np.asarray(sparsities, np.float64), 0.0).max(axis=-1, initial=0.0))


def first_break(losses: Any, sparsities: Sequence[float], margin: float) -> float | None:
    """Return the smallest of the ascending `sparsities` whose loss is above `margin`, None if none is."""
    broken = np.flatnonzero(np.asarray(losses) > margin + TIE)
    return float(sparsities[broken[0]]) if len(broken) else None


def potential(
    parent_correct: NDArray[np.bool_],
    pruned_correct: NDArray[np.bool_],
    sparsities: Sequence[float],
    *,
    margin: float,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Potential:
    """Return the prune potential on one group of shifts, whose accuracy is the mean over them, with its interval.

    `parent_correct` is (shifts, n), `pruned_correct` (sparsities, shifts, n), of the same examples; `sparsities` ascend
    and `margin` is a share of examples. The interval is the percentile interval of the potentials of `resamples`
    resamples of the examples: a maximum over noisy curves, so it leans upwards (the certificate does not). Raises
    InputError for shapes that do not fit.
    """
    if pruned_correct.ndim != 3 or pruned_correct.shape != (len(sparsities), *parent_correct.shape):
        raise InputError(
            f"pruned_correct {pruned_correct.shape} must be (sparsities, shifts, n) of {len(sparsities)} sparsities and"
            f" parent_correct's (shifts, n) {parent_correct.shape}."
        )
    parent = parent_correct.mean(axis=0)
    losses = parent - pruned_correct.mean(axis=1)
    draws = paired_bootstrap(np.vstack([parent, losses]).T[None], resamples=resamples, seed=seed)
    mean = losses.mean(axis=1)
    low, high = percentile_interval(prune_potential(draws[:, 1:], sparsities, margin), level)
    n = parent_correct.shape[1]
    estimates = [
        Estimate(float(value), *percentile_interval(column, level), n, 1, level)
        for value, column in zip((parent.mean(), *mean), draws.T, strict=True)
    ]
    return Potential(
        sparsity=float(prune_potential(mean, sparsities, margin)),
        low=low,
        high=high,
        first_break=first_break(mean, sparsities, margin),
        accuracy=estimates[0],
        sparsities=tuple(map(float, sparsities)),
        losses=tuple(estimates[1:]),
        margin=margin,
        level=level,
    )
