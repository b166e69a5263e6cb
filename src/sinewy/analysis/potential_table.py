"""How overparameterised a network is: its prune potential, on average and at worst, over a set of shifts.

Liebenwein et al. 2021, section 5 and appendix D.6 (Tables 9 to 13): prune potentials are averaged, and their minimum
taken, over the shifts of a "train distribution" (nominal data, or those that training saw) and of a "test
distribution". Higher is better: more weights are superfluous.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinewy.analysis.bootstrap import example_means, percentile_interval, seed_means
from sinewy.analysis.estimate import Estimate
from sinewy.analysis.potential import prune_potential
from sinewy.errors import InputError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Overparameterisation:
    """Average and minimum prune potential over the shifts of one distribution, each a mean over networks, in [0, 1].

    `potentials` are those of each network and shift, (nets, shifts). Intervals are over examples, and over networks
    where there are several. `spread` and `minimum_spread` are standard deviations over networks with nets in the
    denominator, as the paper's tables print them after "±" (nets - 1 would be sqrt(3 / 2) times that for its three).
    """

    average: Estimate
    minimum: Estimate
    spread: float
    minimum_spread: float
    potentials: Array

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as JSON-able values."""
        return {
            "average": self.average.as_dict(),
            "minimum": self.minimum.as_dict(),
            "spread": self.spread,
            "minimum_spread": self.minimum_spread,
            "potentials": self.potentials.tolist(),
            "better": "higher",
        }


@dataclass(frozen=True)
class Commensurate:
    """The sparsest network whose error is within the margin of its parent's, as in the paper's Tables 4, 6 and 8.

    `sparsity` is 0, `loss` 0 and `flop_reduction` 0 if none is. All are shares.
    """

    sparsity: float
    loss: float
    flop_reduction: float


def overparameterisation(
    parent_correct: ArrayLike,
    pruned_correct: ArrayLike,
    sparsities: Sequence[float],
    *,
    margin: float = 0.005,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Overparameterisation:
    """Return the average and the minimum over shifts of the prune potential, each with its interval.

    Verdicts of the same n examples: `parent_correct` (nets, shifts, n), `pruned_correct` (nets, sparsities, shifts, n);
    `margin` is a share of examples. A potential is a maximum over noisy curves, so a resampled one leans upwards; the
    minimum over shifts leans downwards. The certificate does neither. Raises InputError for shapes that do not fit.
    """
    parent, pruned = np.asarray(parent_correct, bool), np.asarray(pruned_correct, bool)
    nets, levels, shifts, n = _sizes(parent, pruned, sparsities)
    losses = parent[:, None].astype(np.int8) - pruned
    own = prune_potential(losses.mean(axis=3).transpose(0, 2, 1), sparsities, margin)
    columns = [net.reshape(levels * shifts, n).T for net in losses]
    draws = example_means(columns, resamples=resamples, seed=seed).reshape(nets, resamples, levels, shifts)
    resampled = prune_potential(draws.transpose(0, 1, 3, 2), sparsities, margin)

    def estimate(value: Array, of_draws: Array) -> Estimate:
        low, high = percentile_interval(seed_means(of_draws, seed=seed).clip(0, max(sparsities)), level)
        return Estimate(float(value.mean()), low, high, n, nets, level)

    average, minimum = own.mean(axis=1), own.min(axis=1)
    return Overparameterisation(
        estimate(average, resampled.mean(axis=2)),
        estimate(minimum, resampled.min(axis=2)),
        float(average.std()),
        float(minimum.std()),
        own,
    )


def table(by_distribution: Mapping[str, Overparameterisation]) -> list[dict[str, Any]]:
    """Return one JSON-able row per distribution ("train", "test"), as the columns of the paper's Tables 9 to 13."""
    return [{"distribution": name, **found.as_dict()} for name, found in by_distribution.items()]


def margin_sweep(
    parent_correct: ArrayLike, pruned_correct: ArrayLike, sparsities: Sequence[float], margins: Sequence[float]
) -> Array:
    """Return the prune potential of each network and shift at each margin, (margins, nets, shifts).

    Verdicts are those of `overparameterisation`; margins are shares of examples, 0 to 0.05 in the paper.
    """
    parent, pruned = np.asarray(parent_correct, bool), np.asarray(pruned_correct, bool)
    _sizes(parent, pruned, sparsities)
    losses = (parent.mean(axis=2)[:, None] - pruned.mean(axis=3)).transpose(0, 2, 1)
    return np.stack([prune_potential(losses, sparsities, margin) for margin in margins])


def commensurate(
    losses: Sequence[float], sparsities: Sequence[float], flop_reductions: Sequence[float], *, margin: float = 0.005
) -> Commensurate:
    """Return the network of largest sparsity whose loss is at most `margin`, with its loss and its saved FLOPs."""
    if not len(losses) == len(sparsities) == len(flop_reductions):
        raise InputError(
            f"one loss and one FLOP reduction per sparsity are needed, got {len(losses)}, {len(flop_reductions)} and"
            f" {len(sparsities)}."
        )
    best = float(prune_potential(losses, sparsities, margin))
    if best == 0:
        return Commensurate(0.0, 0.0, 0.0)
    index = list(map(float, sparsities)).index(best)
    return Commensurate(best, float(losses[index]), float(flop_reductions[index]))


def _sizes(
    parent: NDArray[np.bool_], pruned: NDArray[np.bool_], sparsities: Sequence[float]
) -> tuple[int, int, int, int]:
    fits = parent.ndim == 3 and pruned.ndim == 4 and 0 not in pruned.shape
    if not fits or pruned.shape != (parent.shape[0], len(sparsities), *parent.shape[1:]):
        raise InputError(
            f"pruned verdicts {pruned.shape} must be (nets, sparsities, shifts, n) of {len(sparsities)} sparsities and"
            f" the parent's (nets, shifts, n) {parent.shape}."
        )
    nets, levels, shifts, n = pruned.shape
    return nets, levels, shifts, n
