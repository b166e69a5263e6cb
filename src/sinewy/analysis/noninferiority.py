"""Is one model's accuracy loss against another below a margin? One-sided paired tests, their bounds, their sample size.

Counts, not examples, are all these tests need: of n examples that both models answered, `b` only the parent got right,
`c` only the pruned model. The loss is (b - c) / n; margins are shares of examples (0.005 is half a point).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import special

from sinewy.analysis.exact_noninferiority import constrained_rate, exact_p_value
from sinewy.errors import unknown_name

PValue = Callable[[int, int, int, float, float], float]
"""(b, c, n, margin, alpha) to a p-value of the hypothesis "the loss is at least the margin"."""

POWER = 0.8
"""With what chance `examples_needed` examples settle the question, if the rates seen are the true ones."""


def score_p_value(b: int, c: int, n: int, margin: float, alpha: float) -> float:
    """Return the p-value of Tango's score test (1998, Statistics in Medicine 17): asymptotic, no guarantee at small n.

    The variance is that of the most likely rates under the hypothesis.
    """
    del alpha
    rate = float(constrained_rate(np.array(float(b)), np.array(float(c)), n, margin))
    return _normal_p_value(b - c - n * margin, n * (2 * rate + margin - margin**2))


def wald_p_value(b: int, c: int, n: int, margin: float, alpha: float) -> float:
    """Return the p-value of Wald's test: asymptotic, and wrong where few examples are discordant."""
    del alpha
    return _normal_p_value(b - c - n * margin, b + c - (b - c) ** 2 / n)


def _normal_p_value(excess: float, variance: float) -> float:
    if variance <= 0:
        return 0.0 if excess < 0 else 1.0
    return float(special.ndtr(excess / math.sqrt(variance)))


TESTS: dict[str, PValue] = {"exact": exact_p_value, "score": score_p_value, "wald": wald_p_value}
"""Tests by name. "exact" holds its level at any n; "score" and "wald" only in the limit of large counts."""


def p_value(test: str, b: int, c: int, n: int, margin: float, alpha: float) -> float:
    """Return the p-value of the test of that name; raises InputError for an unknown one."""
    if test not in TESTS:
        raise unknown_name("test", test, TESTS)
    return TESTS[test](int(b), int(c), int(n), float(margin), float(alpha))


def upper_bound(test: str, b: int, c: int, n: int, margin: float, alpha: float) -> float:
    """Return the smallest loss that the test of that name excludes at level `alpha`, in [0, 1].

    It is at most `margin` exactly where the test passes, and found to 4 % of the standard error, erring upwards: the
    search starts from the bound of the score test, which is close and quick.
    """

    def excluded(loss: float, by: str = test) -> bool:
        return p_value(by, b, c, n, loss, alpha) <= alpha

    step = 0.04 * math.sqrt(max(b + c, 1)) / n
    low, high = max(0.0, (b - c) / n), 1.0
    while high - low > step / 4:
        middle = (low + high) / 2
        low, high = (low, middle) if excluded(middle, "score") else (middle, high)
    bound = high
    while bound < 1 and not excluded(bound):
        bound = min(1.0, bound + step)
    while bound > 0 and excluded(max(0.0, bound - step)):
        bound = max(0.0, bound - step)
    return min(bound, margin) if excluded(margin) else max(bound, math.nextafter(margin, 1))


def examples_needed(b: int, c: int, n: int, margin: float, alpha: float) -> int | None:
    """Return how many examples would show, with a chance of 80 %, that the loss is below `margin`.

    Supposes that the rates seen are the true ones; None if the loss seen is not below the margin, when more examples
    would rather show the opposite. Where no two answers differed, the exact test alone counts: (1 - margin)^n = alpha.
    """
    loss = (b - c) / n
    if loss >= margin:
        return None
    if b + c == 0:
        return max(n + 1, math.ceil(math.log(0.97 * alpha) / math.log1p(-margin))) if margin > 0 else None
    variance = (b + c) / n - loss**2
    spread = float(special.ndtri(1 - alpha) + special.ndtri(POWER))
    return max(n + 1, math.ceil(variance * (spread / (margin - loss)) ** 2))
