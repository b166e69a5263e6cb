"""What attacks cost: accuracy and Brier score by attack and radius, against the reference's. No torch."""

from __future__ import annotations

from sinewy.analysis.evidence import Evidence, Finding, means
from sinewy.outcomes import CLEAN

MEASURES = {"accuracy": ("correct", "higher"), "Brier": ("brier", "lower")}
"""What is read per image: its column in the outcomes, and which way is better."""


def findings(evidence: Evidence) -> list[Finding]:
    """Return accuracy and Brier score of each model on its own adversarial images, at each radius, clean as radius 0.

    Models are attacked each by itself, from the same clean images; pairs are by image.
    """
    found = []
    for kind, about in evidence.about.items():
        conditions = [(CLEAN, 0.0), *(((kind, i), eps) for i, eps in enumerate(about["eps"], start=1))]
        for measure, (column, better) in MEASURES.items():
            for condition, eps in conditions:
                values = {
                    m: getattr(evidence.outcomes[m][condition], column)[None].astype(float) for m in evidence.methods
                }
                for method, (own, difference) in means(values, evidence.reference).items():
                    name = f"{kind}, eps {eps:.4g}"
                    found.append(Finding(method, name, measure, own, difference, eps, better, kind))
    return found
