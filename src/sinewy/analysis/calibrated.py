"""How honest the models' confidence is, as trained and after temperature scaling, against the reference. No torch."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.evidence import Array, Evidence, Finding, known, means, statistics
from sinewy.analysis.proportions import clopper_pearson
from sinewy.metrics.calibration import assign, gaps, maximum_calibration_error, reliability
from sinewy.outcomes import CLEAN, Condition, Outcomes

SCALED: Condition = ("temperature", 1)

RELIABILITY = "accuracy by confidence"
"""The measure of the reliability curve; an honest model's lies on the diagonal."""


def findings(evidence: Evidence) -> list[Finding]:
    """Return ECE in bins of equal width and of equal mass, MCE, NLL and Brier score; lower is better for all.

    Beside them stands the reliability curve, as one series: the accuracy in each bin of equal width that is not empty,
    at the bin's middle, with its exact interval. ECE's resampled values are moved back by their bias, for chance alone
    makes gaps between confidence and accuracy.
    """
    found = []
    conditions = [("as trained", CLEAN)]
    if all(SCALED in by_condition for by_condition in evidence.outcomes.values()):
        conditions.append(("temperature-scaled", SCALED))
        temperatures = evidence.about[SCALED[0]]["temperature"]
        found = [
            Finding(m, "temperature-scaled", "temperature", known(temperatures[m], 0), better="")
            for m in evidence.methods
        ]
    for name, condition in conditions:
        for measure, column in (("NLL", "loss"), ("Brier", "brier")):
            columns = {
                m: getattr(evidence.outcomes[m][condition], column)[None].astype(np.float64) for m in evidence.methods
            }
            for method, (own, difference) in means(columns, evidence.reference).items():
                found.append(Finding(method, name, measure, own, difference, better="lower"))
        for binning in ("width", "mass"):
            found += _calibration_errors(evidence, name, condition, binning)
        for method in evidence.methods:
            outcomes = evidence.outcomes[method][condition]
            worst = known(maximum_calibration_error(outcomes.confidence, outcomes.correct), len(outcomes))
            found.append(Finding(method, name, "MCE", worst, better="lower"))
            found += _reliability(method, name, outcomes)
    return found


def _reliability(method: str, name: str, outcomes: Outcomes) -> list[Finding]:
    return [
        Finding(
            method,
            f"{name}, confidence ({part.low:.2f}, {part.high:.2f}]",
            RELIABILITY,
            clopper_pearson(round(part.accuracy * part.count), part.count),
            x=(part.low + part.high) / 2,
            better="",
            series=name,
        )
        for part in reliability(outcomes.confidence, outcomes.correct)
    ]


def _calibration_errors(evidence: Evidence, name: str, condition: Condition, binning: str) -> list[Finding]:
    parts = []
    for method in evidence.methods:
        own = evidence.outcomes[method][condition]
        index, edges = assign(own.confidence, binning=binning)
        parts.append(gaps(own.confidence, own.correct, index, len(edges) - 1))
    starts = np.cumsum([0, *(part.shape[1] for part in parts[:-1])])
    table = np.asarray(np.concatenate(parts, axis=1)[None], np.float64)
    found = statistics(table, evidence.methods, evidence.reference, partial(_sums, starts=starts), centred=True)
    measure = f"ECE, equal {binning}"
    return [Finding(m, name, measure, own, apart, better="lower") for m, (own, apart) in found.items()]


def _sums(gap: Array, starts: NDArray[np.intp]) -> Array:
    return np.asarray(np.add.reduceat(np.abs(gap), starts, axis=-1))
