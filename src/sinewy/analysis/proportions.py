"""Exact statements about counts, for when they are small: an accuracy's interval, and whether two models differ."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from sinewy.analysis.estimate import Estimate
from sinewy.errors import InputError


class Discordance(NamedTuple):
    """How two models differ on `n` examples: `first` only the first got right, `second` only the second."""

    first: int
    second: int
    n: int


def clopper_pearson(successes: int, n: int, *, level: float = 0.95) -> Estimate:
    """Return the share `successes` / `n` with the interval of Clopper and Pearson (1934, Biometrika 26).

    It covers the truth with probability at least `level` at every n and every share, and is wider than it need be for
    that. Raises InputError for counts that do not fit.
    """
    if not 0 <= successes <= n or n < 1:
        raise InputError(f"{successes} successes of {n} are impossible; 0 <= successes <= n and n >= 1 are needed.")
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1, got {level}; 0.95 is usual.")
    tail = (1 - level) / 2
    low = special.betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return Estimate(successes / n, float(low), float(high), n, 1, level)


def discordance(first_correct: ArrayLike, second_correct: ArrayLike) -> Discordance:
    """Return on how many examples only one of two models was right; both are booleans (n,) of the same examples."""
    first, second = np.asarray(first_correct, bool), np.asarray(second_correct, bool)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise InputError(f"paired verdicts must both be (n,), n at least 1, got {first.shape} and {second.shape}.")
    return Discordance(int((first & ~second).sum()), int((second & ~first).sum()), len(first))


def mcnemar(first: int, second: int, *, mid: bool = False) -> float:
    """Return the two-sided p-value of the exact McNemar test that two models are equally often right.

    `first` and `second` are the discordant counts (see `discordance`): if neither model is better, each discordant
    example goes either way like a fair coin. `mid` counts half of the probability of what was seen, which is less
    conservative, and no longer exact (Fagerland, Lydersen and Laake 2013). 1 where no example is discordant.
    """
    if min(first, second) < 0:
        raise InputError(f"discordant counts must be at least 0, got {first} and {second}.")
    n, smaller = first + second, min(first, second)
    if n == 0:
        return 1.0
    tail = float(special.bdtr(smaller, n, 0.5))
    if mid:
        tail -= 0.5 * float(np.exp(special.gammaln(n + 1) - special.gammaln(smaller + 1)
                                   - special.gammaln(n - smaller + 1) - n * np.log(2)))  # fmt: skip
    return min(1.0, 2 * tail)
