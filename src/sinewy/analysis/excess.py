"""Excess error: what a change of the inputs costs a network, and how much more of it sparsity makes it pay.

Liebenwein et al. 2021, Definition 2, with the test error as the loss: e(theta, D') is the error on D' less that on D.
Of a pruned and its parent network the difference of excess errors is 0 if the curve of accuracy over the prune ratio on
D tells that on D' as well; the paper draws the line through the origin that fits it (appendix D.5). Errors and prune
ratios are shares; lower is better, for excess error, its difference and the slope alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sinewy.analysis.bootstrap import example_means, percentile_interval, seed_means
from sinewy.analysis.estimate import Estimate
from sinewy.analysis.intervals import mean_interval
from sinewy.errors import InputError
from sinewy.seeds import derive

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ExcessCurve:
    """The difference of excess errors at each prune ratio, and the line through the origin that fits it.

    `ratios` are means over networks. The slope is the rise of the difference per unit of prune ratio; the band holds
    the lines of `level` of the resamples, so its edges at a ratio are `line` there.
    """

    ratios: tuple[float, ...]
    differences: tuple[Estimate, ...]
    slope: Estimate

    def line(self, ratio: float) -> Estimate:
        """Return the fitted difference at a prune ratio, with the band of the line."""
        own = self.slope
        return Estimate(own.value * ratio, own.low * ratio, own.high * ratio, own.n, own.seeds, own.level)

    def as_dict(self) -> dict[str, Any]:
        """Return the curve as JSON-able values."""
        pairs = zip(self.ratios, self.differences, strict=True)
        points = [{"ratio": r, **d.as_dict(), "line": self.line(r).as_dict()} for r, d in pairs]
        return {"slope": self.slope.as_dict(), "better": "lower", "points": points}


def excess_error(clean_correct: ArrayLike, shifted_correct: ArrayLike, **options: Any) -> Estimate:
    """Return the error on the shifted examples less that on the clean ones, in [-1, 1]; lower is better.

    Verdicts are (n,) on D, and (shifts, n) of the same examples on D', over whose shifts the mean is taken; `options`
    are those of `mean_interval`.
    """
    clean, shifted = np.asarray(clean_correct, bool), np.asarray(shifted_correct, bool)
    if clean.ndim != 1 or shifted.ndim != 2 or shifted.shape[1:] != clean.shape or 0 in shifted.shape:
        raise InputError(
            f"clean verdicts must be (n,) and shifted ones (shifts, n) of the same examples, got {clean.shape} and"
            f" {shifted.shape}."
        )
    return mean_interval(clean - shifted.mean(axis=0), **options)


def excess_curve(
    parent_clean: ArrayLike,
    parent_shifted: ArrayLike,
    pruned_clean: ArrayLike,
    pruned_shifted: ArrayLike,
    ratios: ArrayLike,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> ExcessCurve:
    """Return the difference of excess errors, pruned less parent, over the prune ratio.

    Verdicts of the same n examples: `parent_clean` (nets, n), `parent_shifted` (nets, shifts, n), `pruned_clean` (nets,
    ratios, n), `pruned_shifted` (nets, ratios, shifts, n); each pruned network goes with the parent it was made of.
    `ratios` are (ratios,), or (nets, ratios) where networks reached different ones. The line is the least-squares fit
    through the origin to the points of all networks. Intervals and band resample examples, and networks where there are
    several: what another test set and other trainings would give. That of the paper is `line_of_points`. Raises
    InputError for shapes that do not fit.
    """
    excess = _excess_by_example(*map(_verdicts, (parent_clean, parent_shifted, pruned_clean, pruned_shifted)))
    nets, n, points = excess.shape
    x = _ratios(ratios, nets, points)
    # per network: the points, and the two sums that make the slope
    sums = np.concatenate([excess, (excess * x[:, None]).sum(axis=2, keepdims=True)], axis=2)
    means = example_means(list(sums), resamples=resamples, seed=seed)
    squares = np.broadcast_to((x**2).sum(axis=1)[:, None, None], (nets, resamples, 1))
    draws = seed_means(np.concatenate([means, squares], axis=2), seed=seed)
    centre = excess.mean(axis=(0, 1))
    differences = tuple(
        Estimate(float(value), *percentile_interval(column, level), n, nets, level)
        for value, column in zip(centre, draws[:, :points].T, strict=True)
    )
    point = float((excess.mean(axis=1) * x).sum() / (x**2).sum())
    slope = Estimate(point, *percentile_interval(draws[:, points] / draws[:, -1], level), n, nets, level)
    return ExcessCurve(tuple(map(float, x.mean(axis=0))), differences, slope)


def slope_through_origin(x: ArrayLike, y: ArrayLike) -> float:
    """Return the slope sum(x y) / sum(x^2) of the least-squares line through the origin."""
    first, second = _points(x, y)
    return float((first * second).sum() / (first**2).sum())


def line_of_points(
    x: ArrayLike, y: ArrayLike, *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Return the slope of the line through the origin, with the interval that the paper draws as a band.

    `x` (points,) are prune ratios, `y` differences of excess error, of all networks together. The points are resampled
    as if each were independent, although those of one network share its parent and test set: the band tells how well a
    line fits, not what another test set or training would give.
    """
    first, second = _points(x, y)
    generator = np.random.default_rng(derive(seed, "bootstrap", "points"))
    count = len(first)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=resamples)
    top, bottom = weights @ (first * second), weights @ first**2
    slopes = top[bottom > 0] / bottom[bottom > 0]
    return Estimate(
        float((first * second).sum() / (first**2).sum()), *percentile_interval(slopes, level), count, 1, level
    )


def _points(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    first, second = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if first.shape != second.shape or first.ndim != 1 or not first.any():
        raise InputError(
            f"a line needs as many x as y, (points,), and an x that is not 0, got {first.shape} and {second.shape}."
        )
    return first, second


def _verdicts(correct: ArrayLike) -> Array:
    return np.asarray(correct, bool).astype(np.float64)


def _excess_by_example(clean: Array, shifted: Array, pruned_clean: Array, pruned_shifted: Array) -> Array:
    """Return each example's contribution to the difference of excess errors, (nets, n, ratios)."""
    shapes: Sequence[tuple[int, ...]] = (clean.shape, shifted.shape, pruned_clean.shape, pruned_shifted.shape)
    if [len(shape) for shape in shapes] != [2, 3, 3, 4] or 0 in pruned_shifted.shape:
        raise InputError(
            "verdicts must be (nets, n), (nets, shifts, n), (nets, ratios, n) and (nets, ratios, shifts, n), got "
            f"{', '.join(map(str, shapes))}."
        )
    nets, ratios, shifts, n = pruned_shifted.shape
    if (clean.shape, shifted.shape, pruned_clean.shape) != ((nets, n), (nets, shifts, n), (nets, ratios, n)):
        raise InputError(f"the verdicts are not of the same nets, ratios, shifts and examples: {shapes}.")
    parent = clean - shifted.mean(axis=1)
    pruned = pruned_clean - pruned_shifted.mean(axis=2)
    return np.asarray((pruned - parent[:, None]).transpose(0, 2, 1))


def _ratios(ratios: ArrayLike, nets: int, points: int) -> Array:
    x = np.asarray(ratios, np.float64)
    if x.shape not in {(points,), (nets, points)}:
        raise InputError(f"ratios must be ({points},) or ({nets}, {points}), got {x.shape}.")
    if not ((x >= 0) & (x <= 1)).all() or not x.any():
        raise InputError(f"prune ratios must lie in [0, 1] and not all be 0, got {x.ravel().tolist()}.")
    return np.broadcast_to(x, (nets, points))
