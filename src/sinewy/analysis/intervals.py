"""The interval of one mean, or of one paired difference: percentile or BCa, stratified, in milliseconds.

Differences of two verdicts are -1, 0 or 1. A resample of n of them is known by how often each occurs, and these counts
are multinomial: drawing them is the bootstrap itself, not an approximation of it, and costs three binomial numbers
instead of n. The same holds for any values of which few are distinct, and for the verdicts of several seeds, of which
few patterns occur. All other values are gathered one by one, in blocks.

Measured by simulation, 95 % intervals of a paired difference cover it in 92 to 96 % of studies of 50 to 500 examples,
by either method. No bootstrap covers what hardly varies: of 20 examples at an accuracy of 90 % it is 88 % of studies,
of 50 at 98 %, 63 %, where `sinewy.analysis.proportions.clopper_pearson` keeps 98 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from sinewy.analysis.bootstrap import percentile_interval, seed_means
from sinewy.analysis.estimate import Estimate
from sinewy.errors import InputError, unknown_name
from sinewy.seeds import derive

Array = NDArray[np.float64]

METHODS = ("percentile", "bca")

MOST_PATTERNS = 128
"""Up to so many distinct values (or patterns over seeds) their counts are drawn instead of the examples."""

BLOCK = 1 << 21
"""Examples drawn at once."""


@dataclass(frozen=True)
class Spreads:
    """One mean with what the choice of examples and the choice of seeds each do to it, kept apart.

    `examples` holds the seeds fixed and covers other test sets; `seeds` holds the test set fixed and covers other runs
    of the training: Student's interval over the seeds' means, None with one seed. `deviation` is the standard deviation
    over seeds, with seeds - 1 in the denominator, NaN with one.
    """

    examples: Estimate
    seeds: Estimate | None
    deviation: float


def mean_interval(
    values: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    method: str = "percentile",
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Return the mean of `values`, (n,) or (seeds, n), with its bootstrap interval over examples and seeds.

    `strata` (n,) names the group of each example, such as its class: each is resampled by itself, so that every
    resample holds as many of it. `method` "bca" corrects the percentile interval for bias and skewness (Efron 1987,
    JASA 82), with the acceleration of the jackknife, which for a mean has a closed form; it takes one seed. Several
    seeds are resampled as in `paired_bootstrap`. Raises InputError for shapes or settings that do not fit.
    """
    table, groups = _checked(values, strata)
    _check_settings(method, resamples, level)
    if method == "bca" and len(table) > 1:
        raise InputError(f"BCa intervals are over the examples of one seed, got {len(table)}; use method='percentile'.")
    draws = _means(table, groups, resamples, seed)
    point = float(table.mean())
    low, high = (
        percentile_interval(draws, level) if method == "percentile" else _bca(draws, point, table, groups, level)
    )
    return Estimate(point, low, high, table.shape[1], len(table), level)


def paired_interval(first: ArrayLike, second: ArrayLike, **options: Any) -> Estimate:
    """Return the mean of `first` - `second` with its interval; both are (n,) or (seeds, n), of the same examples.

    Verdicts or any values per example; `options` are those of `mean_interval`. Positive means `first` is larger.
    """
    one, other = np.asarray(first), np.asarray(second)
    if one.shape != other.shape:
        raise InputError(f"paired values must have one shape, got {one.shape} and {other.shape}.")
    return mean_interval(one.astype(np.float64) - other, **options)


def bootstrap_means(
    values: ArrayLike, *, strata: ArrayLike | None = None, resamples: int = 10_000, seed: int = 0
) -> Array:
    """Return the means of `resamples` resamples of `values`, (n,) or (seeds, n): shape (resamples,)."""
    table, groups = _checked(values, strata)
    _check_settings(METHODS[0], resamples, 0.95)
    return _means(table, groups, resamples, seed)


def spreads(values: ArrayLike, *, level: float = 0.95, **options: Any) -> Spreads:
    """Return the mean of `values`, (seeds, n), with its spread over examples and that over seeds, apart.

    `options` are those of `mean_interval`, for the examples.
    """
    table, _ = _checked(values, options.get("strata"))
    return apart(mean_interval(table.mean(axis=0), level=level, **options), table.mean(axis=1))


def apart(examples: Estimate, own: Array) -> Spreads:
    """Return a mean with its interval over `examples`, beside the spread of the seeds' `own` means, (seeds,)."""
    from scipy.stats import t

    if len(own) == 1:
        return Spreads(examples, None, float("nan"))
    deviation, mean, level = float(own.std(ddof=1)), float(own.mean()), examples.level
    reach = float(t.ppf((1 + level) / 2, len(own) - 1)) * deviation / math.sqrt(len(own))
    return Spreads(examples, Estimate(mean, mean - reach, mean + reach, examples.n, len(own), level), deviation)


def acceleration(values: ArrayLike, strata: ArrayLike | None = None) -> float:
    """Return the acceleration of a mean: sum d^3 / (6 (sum d^2)^1.5), d the deviations from the mean of the stratum.

    It is what the jackknife gives (Efron 1987, section 7; several strata: Davison and Hinkley 1997, equation 5.29),
    since leaving one example out moves the mean by its deviation over n - 1. 0 where nothing varies.
    """
    table, groups = _checked(values, strata)
    deviation = table[0] - _stratum_means(table[0], groups)
    square = float((deviation**2).sum())
    return float((deviation**3).sum()) / (6 * square**1.5) if square > 0 else 0.0


def _stratum_means(values: Array, groups: NDArray[np.intp]) -> Array:
    return np.asarray((np.bincount(groups, weights=values) / np.bincount(groups))[groups])


def _bca(draws: Array, point: float, table: Array, groups: NDArray[np.intp], level: float) -> tuple[float, float]:
    near = np.isclose(draws, point, rtol=0, atol=1e-9 * max(1.0, float(np.abs(table).max())))
    below = float(((draws < point) & ~near).sum() + near.sum() / 2) / len(draws)
    bias = special.ndtri(np.clip(below, 0.5 / len(draws), 1 - 0.5 / len(draws)))
    tails = bias + special.ndtri([(1 - level) / 2, (1 + level) / 2])
    share = special.ndtr(bias + tails / (1 - acceleration(table[0], groups) * tails))
    low, high = np.quantile(draws, np.clip(share, 0, 1), method="inverted_cdf")
    return float(low), float(high)


def _means(table: Array, groups: NDArray[np.intp], resamples: int, seed: int) -> Array:
    generator = np.random.default_rng(derive(seed, "bootstrap", "intervals"))
    patterns, which = _patterns(table)
    total = np.zeros((resamples, len(table)))
    for group in range(int(groups.max()) + 1):
        inside = groups == group
        if patterns is not None:
            total += _counted(generator, patterns, which[inside], resamples)
        else:
            total += _gathered(generator, table[:, inside], resamples)
    resampled: Array = total.T / table.shape[1]
    return seed_means(resampled, seed=seed)


def _patterns(table: Array) -> tuple[Array | None, NDArray[np.intp]]:
    """Return the distinct columns, (patterns, seeds), and the pattern of each example; None if there are too many."""
    nothing = None, np.empty(0, np.intp)
    if len(np.unique(table[0, : 4 * MOST_PATTERNS])) > MOST_PATTERNS:
        return nothing
    if len(table) == 1:
        distinct, which = np.unique(table[0], return_inverse=True)
        patterns = distinct[:, None]
    else:
        patterns, which = np.unique(table.T, axis=0, return_inverse=True)
    return (patterns, which.ravel()) if len(patterns) <= MOST_PATTERNS else nothing


def _counted(generator: np.random.Generator, patterns: Array, which: NDArray[np.intp], resamples: int) -> Array:
    """Return the resampled sums of one stratum, (resamples, seeds), by how often each pattern is drawn."""
    counts = np.bincount(which, minlength=len(patterns))
    present = counts.nonzero()[0]
    drawn = generator.multinomial(len(which), counts[present] / len(which), size=resamples)
    return np.asarray(drawn @ patterns[present])


def _gathered(generator: np.random.Generator, table: Array, resamples: int) -> Array:
    """Return the resampled sums of one stratum, (resamples, seeds), from drawn examples."""
    seeds, n = table.shape
    centre = table.mean(axis=1)
    deviations = (table - centre[:, None]).astype(np.float32)
    kind = np.uint16 if n < 1 << 16 else np.uint32
    sums = np.empty((resamples, seeds))
    rows = max(1, BLOCK // n)
    for start in range(0, resamples, rows):
        stop = min(start + rows, resamples)
        drawn = generator.integers(0, n, size=(stop - start, n), dtype=kind)
        for index, values in enumerate(deviations):
            sums[start:stop, index] = values.take(drawn).sum(axis=1)
    return np.asarray(sums + n * centre)


def _checked(values: ArrayLike, strata: ArrayLike | None) -> tuple[Array, NDArray[np.intp]]:
    table = np.atleast_2d(np.asarray(values, np.float64))
    if table.ndim != 2 or 0 in table.shape:
        raise InputError(f"values must be (n,) or (seeds, n), none of them 0, got {np.shape(values)}.")
    if not np.isfinite(table).all():
        raise InputError("an interval needs finite values, but some are NaN or infinite; leave those examples out.")
    if strata is None:
        return table, np.zeros(table.shape[1], np.intp)
    groups = np.asarray(strata)
    if groups.shape != table.shape[1:]:
        raise InputError(f"strata must name the group of each of {table.shape[1]} examples, got shape {groups.shape}.")
    return table, np.unique(groups, return_inverse=True)[1].ravel()


def _check_settings(method: str, resamples: int, level: float) -> None:
    if method not in METHODS:
        raise unknown_name("method of intervals", method, METHODS)
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, got {resamples}.")
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, got {level}; 0.95 is usual.")
