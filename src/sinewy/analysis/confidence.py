"""How honest confidence is under several conditions at once: calibration errors and the reliability curve. No torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sinewy.analysis.evidence import Evidence, Finding, means, statistics
from sinewy.metrics.calibration import BINS, Bin, assign, gaps, reliability
from sinewy.outcomes import Condition

MEASURES = (("NLL", "loss"), ("Brier", "brier"))
"""Means over examples: how they are called, and their column of the outcomes."""


def confidence_findings(evidence: Evidence, conditions: Sequence[Condition], name: str) -> list[Finding]:
    """Return ECE, NLL and Brier score of every model over `conditions` together, with paired differences.

    Intervals are over examples, each with all its conditions. ECE is in bins of equal width; its resampled values are
    moved back by their bias, for chance alone makes gaps between confidence and accuracy.
    """
    table = np.concatenate([_gaps(evidence, method, conditions) for method in evidence.methods], axis=1)[None]
    shape = (len(evidence.methods), BINS)
    found = statistics(
        table,
        evidence.methods,
        evidence.reference,
        lambda sums: np.abs(sums.reshape(*sums.shape[:-1], *shape)).sum(-1),
        centred=True,
    )
    rows = [Finding(m, name, "ECE", own, apart, better="lower") for m, (own, apart) in found.items()]
    for measure, column in MEASURES:
        columns = {
            m: np.asarray(
                [np.mean([getattr(evidence.outcomes[m][c], column) for c in conditions], axis=0, dtype=np.float64)]
            )
            for m in evidence.methods
        }
        found = means(columns, evidence.reference)
        rows += [Finding(m, name, measure, own, apart, better="lower") for m, (own, apart) in found.items()]
    return rows


def reliability_curve(evidence: Evidence, method: str, conditions: Sequence[Condition], bins: int = BINS) -> list[Bin]:
    """Return confidence and accuracy by bins of confidence, the examples of all `conditions` together."""
    own = [evidence.outcomes[method][condition] for condition in conditions]
    return reliability(np.concatenate([o.confidence for o in own]), np.concatenate([o.correct for o in own]), bins=bins)


def _gaps(evidence: Evidence, method: str, conditions: Sequence[Condition]) -> np.ndarray:
    """Return accuracy minus confidence by example and bin, (n, bins), mean over conditions."""
    total = np.zeros((len(evidence.label), BINS))
    for condition in conditions:
        own = evidence.outcomes[method][condition]
        index, edges = assign(own.confidence)
        total = total + gaps(own.confidence, own.correct, index, len(edges) - 1)
    return total / len(conditions)
