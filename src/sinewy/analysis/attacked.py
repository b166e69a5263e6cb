"""What attacks cost: robust accuracy by attack and radius, and its difference to the reference's. No torch."""

from __future__ import annotations

from sinewy.analysis.evidence import Evidence, Finding, means
from sinewy.outcomes import CLEAN


def findings(evidence: Evidence) -> list[Finding]:
    """Return the accuracy of each model on its own adversarial images, at each radius, clean as radius 0.

    Models are attacked each by itself, from the same clean images; pairs are by image.
    """
    found = []
    for kind, about in evidence.about.items():
        conditions = [(CLEAN, 0.0), *(((kind, i), eps) for i, eps in enumerate(about["eps"], start=1))]
        for condition, eps in conditions:
            correct = {m: evidence.outcomes[m][condition].correct[None].astype(float) for m in evidence.methods}
            for method, (own, difference) in means(correct, evidence.reference).items():
                found.append(Finding(method, f"{kind}, eps {eps:.4g}", "accuracy", own, difference, eps, series=kind))
    return found
