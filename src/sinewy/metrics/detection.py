"""How well a score tells anomalous inputs from normal ones. Numpy only; larger scores mean more anomalous.

Two things are called by one name elsewhere: which of the two is the positive class in AUPR and in the false positive
rate (`positive`), and the area under the precision-recall curve, which here is the average precision, a sum over steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import InputError, unknown_name

Scores = NDArray[np.floating[Any]]

POSITIVES = ("anomalous", "normal")


def auroc(normal: Scores, anomalous: Scores) -> float:
    """Return P(anomalous > normal) + P(equal) / 2, in [0, 1]: 0.5 is chance, 1 perfect.

    `normal` (N,) and `anomalous` (M,) are scores. Exact, by ranks. Raises InputError for no scores or NaN.
    """
    return float(placements(normal, anomalous)[1].mean())


def placements(normal: Scores, anomalous: Scores) -> tuple[Scores, Scores]:
    """Return each normal score's share of anomalous ones above it (N,), and each anomalous one's of normal ones below.

    Equal scores count half. Both means are the AUROC, and their variances give its own (DeLong et al. 1988).
    """
    _check(normal, anomalous)
    return 1 - _share_below(normal, anomalous), _share_below(anomalous, normal)


def average_precision(normal: Scores, anomalous: Scores, *, positive: str = "anomalous") -> float:
    """Return the average precision, sum over thresholds of (recall - last recall) * precision, in [0, 1].

    With `positive` "normal" the scores are turned round ("AUPR-in"; "anomalous" is "AUPR-out"). Chance is the share of
    the positive class.
    """
    sought, others = _as_positive(normal, anomalous, positive)
    thresholds = np.unique(sought)[::-1]
    hits, alarms = _at_least(sought, thresholds), _at_least(others, thresholds)
    return float((np.diff(hits, prepend=0) / len(sought) * hits / (hits + alarms)).sum())


def false_positive_rate(
    normal: Scores, anomalous: Scores, *, recall: float = 0.95, positive: str = "anomalous"
) -> float:
    """Return the share of the other class that is taken for `positive` where at least `recall` of it is found.

    The threshold is the strictest that finds so many. "anomalous" is the convention of OpenOOD and pytorch-ood, the
    share of normal inputs flagged; "normal" that of ODIN and of Hendrycks, the share of anomalies let through.
    """
    if not 0 < recall <= 1:
        raise InputError(f"recall={recall} must be above 0 and at most 1; 0.95 is usual.")
    sought, others = _as_positive(normal, anomalous, positive)
    needed = int(np.ceil(recall * len(sought) - 1e-9))
    threshold = np.sort(sought)[len(sought) - needed]
    return float((others >= threshold).mean())


def _as_positive(normal: Scores, anomalous: Scores, positive: str) -> tuple[Scores, Scores]:
    if positive not in POSITIVES:
        raise unknown_name("positive class", positive, POSITIVES)
    _check(normal, anomalous)
    return (anomalous, normal) if positive == "anomalous" else (-normal, -anomalous)


def _share_below(values: Scores, others: Scores) -> Scores:
    ordered = np.sort(others)
    below, to_equal = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((below + to_equal) / (2 * len(others)))


def _at_least(scores: Scores, thresholds: Scores) -> NDArray[np.intp]:
    return np.asarray(len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left"))


def _check(normal: Scores, anomalous: Scores) -> None:
    for name, scores in (("normal", normal), ("anomalous", anomalous)):
        if scores.ndim != 1 or len(scores) == 0:
            raise InputError(f"{name} scores must be (N,) with N at least 1, got shape {scores.shape}.")
        if np.isnan(scores).any():
            raise InputError(f"{int(np.isnan(scores).sum())} of {len(scores)} {name} scores are NaN.")
