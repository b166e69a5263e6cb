"""What other weights nearby would do to accuracy and loss, by kind and size of perturbation. No torch."""

from __future__ import annotations

import numpy as np

from sinewy.analysis.evidence import Array, Evidence, Finding, means
from sinewy.outcomes import CLEAN


def findings(evidence: Evidence) -> list[Finding]:
    """Return accuracy, its drop, and the rise of the loss (Timpl et al. 2022, section 3), of each model.

    Intervals are over draws of noise and examples; every model met the same draws.
    """
    found = []
    for kind, about in evidence.about.items():
        severities = sorted(s for k, s in evidence.outcomes[evidence.reference] if k == kind)
        for measure, better in (("accuracy", "higher"), ("accuracy drop", "lower"), ("loss rise", "lower")):
            columns = {method: _values(evidence, method, kind, severities, measure) for method in evidence.methods}
            for method, (own, difference) in means(columns, evidence.reference).items():
                series = about["noise"] if about["sigma"] else ""
                found.append(Finding(method, kind, measure, own, difference, about["sigma"], better, series))
    return found


def _values(evidence: Evidence, method: str, kind: str, severities: list[int], measure: str) -> Array:
    """Return one value per draw and example."""
    own = [evidence.outcomes[method][kind, severity] for severity in severities]
    clean = evidence.outcomes[method][CLEAN]
    if measure == "loss rise":
        return np.stack([outcomes.loss.astype(np.float64) - clean.loss for outcomes in own])
    correct = np.stack([outcomes.correct.astype(np.float64) for outcomes in own])
    return correct if measure == "accuracy" else clean.correct - correct
