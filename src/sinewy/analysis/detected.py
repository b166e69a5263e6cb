"""How well detectors tell anomalies from normal inputs, by detector and group size, against the reference. No torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.evidence import Array, Evidence, Finding, known
from sinewy.metrics.detection import average_precision, false_positive_rate, placements

NORMAL = "normal"
"""The kind whose scores are those of the unshifted test set."""

OTHERS: dict[str, tuple[Callable[[Array, Array], float], str]] = {
    "AUPR-out": (average_precision, "higher"),
    "AUPR-in": (partial(average_precision, positive="normal"), "higher"),
    "FPR95": (false_positive_rate, "lower"),
}
"""The other measures, without intervals: how computed, and which way is better. FPR95: positive is the anomaly."""


def findings(evidence: Evidence) -> list[Finding]:
    """Return AUROC with DeLong's interval and paired difference, AUPR both ways and FPR95.

    The condition reads "kind, detector, groups of B"; scores are named "detector/B".
    """
    found = []
    kinds = [kind for kind in evidence.scores[evidence.reference] if kind != NORMAL]
    for kind in kinds:
        for detector, size in sorted(_parts(name) for name in evidence.scores[evidence.reference][kind]):
            name = f"{detector}/{size}"
            condition = f"{kind}, {detector}, groups of {size}"
            pairs = {m: (evidence.scores[m][NORMAL][name], evidence.scores[m][kind][name]) for m in evidence.methods}
            base = placements(*pairs[evidence.reference])
            for method, (normal, odd) in pairs.items():
                own = placements(normal, odd)
                apart = _auroc(own[0] - base[0], own[1] - base[1], -1) if evidence.others(method) else None
                found.append(Finding(method, condition, "AUROC", _auroc(*own, 0), apart, size))
                for measure, (compute, better) in OTHERS.items():
                    value = known(compute(normal, odd), len(odd))
                    found.append(Finding(method, condition, measure, value, None, size, better))
    return found


def _parts(name: str) -> tuple[str, int]:
    detector, _, size = name.rpartition("/")
    return detector, int(size)


def _auroc(
    normal: NDArray[np.floating[Any]], anomalous: NDArray[np.floating[Any]], least: float, level: float = 0.95
) -> Estimate:
    """Return the mean placement with its normal interval (DeLong et al. 1988); of differences, that of a difference.

    Scores that tell all apart have no variance to make an interval of, however few there are: Newcombe's is used.
    """
    value = float(anomalous.mean())
    variance = sum(part.var(ddof=1) / len(part) if len(part) > 1 else np.inf for part in (normal, anomalous))
    reach = float(norm.ppf((1 + level) / 2) * np.sqrt(variance))
    n = len(normal) + len(anomalous)
    if least == 0 and variance == 0 and value in (0.0, 1.0):
        bound = _perfect(len(normal), len(anomalous), level)
        return Estimate(value, *((bound, 1.0) if value else (0.0, 1 - bound)), n, 1, level)
    return Estimate(value, max(value - reach, least), min(value + reach, 1.0), n, 1, level)


def _perfect(normal: int, anomalous: int, level: float) -> float:
    """Return the lower bound of an AUROC that is 1 in a sample of these sizes (Newcombe 2006, method 5)."""
    size, quantile = (normal + anomalous) / 2 - 1, float(norm.ppf((1 + level) / 2)) ** 2

    def excess(area: float) -> float:
        spread = 1 + size * ((1 - area) / (2 - area) + area / (1 + area))
        return normal * anomalous * (1 - area) - quantile * area * spread

    return float(brentq(excess, 0.0, 1.0))
