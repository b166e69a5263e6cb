"""How the share of weights moved per update, and the sparsity, change over training."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""Maps progress (0 at the start, 1 at the last update) to a factor in [0, 1] of the initial fraction."""

SparsitySchedule = Callable[[float, float, float], float]
"""Maps (progress, initial, final) to a sparsity: the initial one at progress 0, the final one at 1."""

DROP_SCHEDULES: dict[str, str] = {
    "constant": "sinewy.schedules:constant",
    "cosine": "sinewy.schedules:cosine",
    "linear": "sinewy.schedules:linear",
    "cubic": "sinewy.schedules:cubic",
    "polynomial": "sinewy.schedules:polynomial",
    "exponential": "sinewy.schedules:exponential",
    "wsd": "sinewy.schedules:wsd",
}

SPARSITY_SCHEDULES: dict[str, str] = {
    "cubic": "sinewy.schedules:cubic_sparsity",
    "linear": "sinewy.schedules:linear_sparsity",
    "exponential": "sinewy.schedules:exponential_sparsity",
}


def constant(progress: float) -> float:
    """Return 1: the same fraction at every update."""
    del progress
    return 1.0


def cosine(progress: float) -> float:
    """Return (1 + cos(pi * progress)) / 2 (Evci et al. 2020, section 3).

    Progress is step / last step, as in the RigL code, not counted from the first update.
    """
    return (1 + math.cos(math.pi * progress)) / 2


def linear(progress: float) -> float:
    """Return 1 - progress."""
    return 1 - progress


def cubic(progress: float) -> float:
    """Return (1 - progress)^3 (Zhu and Gupta 2017)."""
    return polynomial(progress, 3)


def polynomial(progress: float, power: float = 0.01) -> float:
    """Return (1 - progress)^power.

    With 0.01, of Wu et al. 2025 (Table 4), it is nearly constant (0.993 at half time) and falls at the very end. RigL's
    code calls the same curve "exponential".
    """
    return float((1 - progress) ** power)


def exponential(progress: float) -> float:
    """Return 0.01^progress: the same relative decay per update, down to 1 %."""
    return float(0.01**progress)


def wsd(progress: float) -> float:
    """Return 1 up to 90 % of training, then linearly down to 0.1 (warmup-stable-decay).

    The first part of the learning-rate schedule of that name, the warm-up, has no counterpart for a drop fraction.
    """
    return min(1.0, 1 - 0.9 * (progress - 0.9) / 0.1)


def cubic_sparsity(progress: float, initial: float, final: float) -> float:
    """Return final + (initial - final) (1 - progress)^3 (Zhu and Gupta 2017, equation 1)."""
    return final + (initial - final) * cubic(progress)


def linear_sparsity(progress: float, initial: float, final: float) -> float:
    """Return the sparsity on a straight line from initial to final."""
    return final + (initial - final) * linear(progress)


def exponential_sparsity(progress: float, initial: float, final: float) -> float:
    """Return 1 - density, where the density falls by the same factor per update (as in Tanaka et al. 2020)."""
    return 1 - (1 - initial) * float(((1 - final) / (1 - initial)) ** progress)
