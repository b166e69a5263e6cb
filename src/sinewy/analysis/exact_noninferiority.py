"""An exact test that a paired loss is below a margin: valid at every sample size, whatever the rate of discordance.

Two models answer the same n examples. With b examples that only the first gets right (loss +1) and c that only the
second does (loss -1), (b, c, rest) is trinomial with probabilities (p_b, p_c, 1 - p_b - p_c). The hypothesis to be
rejected is p_b - p_c >= margin; p_c is a nuisance, and the p-value is maximised over it:

    p = max over q in C(c) of P(outcomes at least as extreme as (b, c); p_b = q + margin, p_c = q) + gamma,

where C(c) is the Clopper-Pearson interval of p_c at confidence 1 - gamma (Berger and Boos 1994, JASA 89) and outcomes
are ordered by the signed likelihood ratio of the hypothesis p_b - p_c = margin. For a fixed c that order rises with b
(shown in `signed_ratio`), so a larger p_b makes extreme outcomes rarer, and the boundary of the hypothesis is its worst
case.

The maximum is not left to a grid. In x = sqrt(q) the probability of any set of outcomes has a second derivative of at
most n (8 + 16 q / p_0), p_0 = 1 - 2 q - margin: half the mean of the absolute value of likelihood''/likelihood, whose
own mean is 0. In y = sqrt(p_0 / 2), which is better where p_0 is small, it is at most n (8 + 8 y^2 / q). Between two
points h apart the probability exceeds the larger of their two by at most h^2/8 times that, and what the grid allows for
is added to the p-value.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

CONFIDENCE_SHARE = 1 / 50
"""The part of alpha that pays for restricting the nuisance to its confidence interval."""

GRID_SHARE = 1 / 100
"""The part of alpha that pays for the distance between points of the grid; half of it for the ends."""

TAILS = 7.5
"""How many standard deviations of c are summed; what lies beyond counts as extreme."""

_TIE = 1e-9


@lru_cache(maxsize=1 << 16)
def exact_p_value(b: int, c: int, n: int, margin: float, alpha: float) -> float:
    """Return a p-value of the hypothesis that the mean paired loss is at least `margin`, valid at any `n`.

    `b` of `n` examples only the parent gets right, `c` only the pruned model. `alpha` does not change what is tested,
    only how finely: the p-value is never below 0.03 alpha.
    """
    if b - c >= n * margin:  # the estimate does not even point there; 1 is always valid
        return 1.0
    gamma, slack = CONFIDENCE_SHARE * alpha, GRID_SHARE * alpha
    points, allowance = _nuisances(c, n, margin, gamma, slack)
    if not len(points):
        return gamma
    extreme = _extreme_counts(b, c, n, margin, points)
    return float(min(1.0, _probability(extreme, n, points, margin).max() + gamma + allowance))


def signed_ratio(b: Array, c: Array, n: int, margin: float) -> Array:
    """Return the log-likelihood ratio of b - c = n margin against the best fit, negative where b - c < n margin.

    It rises with b at fixed c: where b - c < n margin the constrained fit has p_b = b / (mu - l), p_0 = rest / mu with
    l > 0, so that p_b/p_0 there is above b/rest, and d(ratio)/db = log(b/rest) - log(p_b/p_0) < 0.
    """
    rest = n - b - c
    q = constrained_rate(b, c, n, margin)
    ratio = special.rel_entr(b / n, q + margin) + special.rel_entr(c / n, q)
    ratio += special.rel_entr(rest / n, np.maximum(1 - 2 * q - margin, 0))
    return np.asarray(np.sign(b - c - n * margin) * n * np.maximum(ratio, 0))


def constrained_rate(b: Array, c: Array, n: int, margin: float) -> Array:
    """Return the most likely p_c if p_b - p_c = margin (Tango 1998, Statistics in Medicine 17, eq. 8)."""
    linear = (b + c) * (1 - margin) - 2 * c * margin - 2 * (n - b - c) * margin
    root = np.sqrt(linear**2 + 8 * n * c * margin * (1 - margin))
    return np.asarray(np.clip((linear + root) / (4 * n), 0, (1 - margin) / 2))


def clopper_pearson(count: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the exact two-sided interval of a proportion (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = float(special.betaincinv(count, n - count + 1, tail)) if count else 0.0
    high = float(special.betaincinv(count + 1, n - count, 1 - tail)) if count < n else 1.0
    return low, high


def _nuisances(c: int, n: int, margin: float, gamma: float, slack: float) -> tuple[Array, float]:
    """Return the values of q to look at, and what their distance can hide; none if the interval excludes all."""
    low, high = clopper_pearson(c, n, 1 - gamma)
    end = slack / (8 * n)  # closer to a border than this, no probability changes by more than slack / 4
    top = (1 - margin) / 2
    if low > top:
        return np.empty(0), 0.0
    high = min(high, top - end)
    low = min(max(low, end), high)
    half, parts = top / 2, []
    if low < half:
        parts.append(
            _even(low, min(high, half), n * (8 + 16 * min(high, half) / (2 * (top - min(high, half)))), slack) ** 2
        )
    if high > half:
        parts.append(top - _even(top - high, top - max(low, half), n * (8 + 8), slack) ** 2)
    return np.sort(np.concatenate(parts)), slack


def _even(low: float, high: float, curvature: float, slack: float) -> Array:
    """Return points of even distance from sqrt(low) to sqrt(high), near enough to hide at most slack / 2."""
    step = math.sqrt(8 * (slack / 2) / curvature)
    return np.linspace(
        math.sqrt(low), math.sqrt(high), max(2, math.ceil((math.sqrt(high) - math.sqrt(low)) / step) + 1)
    )


def _extreme_counts(b: int, c: int, n: int, margin: float, points: Array) -> tuple[Array, Array]:
    """Return the counts c' that matter, and for each the largest b' as extreme as (b, c), -1 where there is none."""
    low, high = points[0], points[-1]
    first = max(0, math.floor(n * low - TAILS * math.sqrt(n * low * (1 - low)) - 1))
    last = min(n, math.ceil(n * high + TAILS * math.sqrt(n * high * (1 - high)) + TAILS**2))
    others = np.arange(first, last + 1, dtype=np.float64)
    seen = float(signed_ratio(np.array(float(b)), np.array(float(c)), n, margin)) + _TIE
    inside = np.full(len(others), -1.0)
    outside = np.minimum(n - others, np.ceil(others + n * margin)) + 1  # there the ratio is positive, or impossible
    while (outside - inside > 1).any():
        middle = np.floor((inside + outside) / 2)
        extreme = signed_ratio(np.maximum(middle, 0), others, n, margin) <= seen
        extreme &= middle >= 0
        inside, outside = np.where(extreme, middle, inside), np.where(extreme, outside, middle)
    return others, inside


def _probability(extreme: tuple[Array, Array], n: int, points: Array, margin: float) -> Array:
    """Return the probability of the extreme outcomes at each q of `points`; counts left out are taken for extreme."""
    others, largest = extreme
    q = points[:, None]
    logs = special.gammaln(n + 1) - special.gammaln(others + 1) - special.gammaln(n - others + 1)
    mass = np.exp(logs + special.xlogy(others, q) + special.xlog1py(n - others, -q))
    rate = np.minimum((q + margin) / (1 - q), 1)
    some = largest >= 0
    below = special.betainc(np.maximum(n - others - largest, 0)[some], largest[some] + 1, 1 - rate)
    certain = (largest >= n - others)[some]
    held = np.where(certain, 1.0, below)
    return np.asarray((mass[:, some] * held).sum(axis=1) + np.maximum(1 - mass.sum(axis=1), 0))
