"""How the fraction of weights moved per update changes over training."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[float], float]
"""Maps progress (0 at the start, 1 at the last update) to a factor in [0, 1] of the initial fraction."""

DROP_SCHEDULES: dict[str, str] = {
    "constant": "sinewy.schedules:constant",
    "cosine": "sinewy.schedules:cosine",
    "linear": "sinewy.schedules:linear",
    "cubic": "sinewy.schedules:cubic",
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
    return float((1 - progress) ** 3)
