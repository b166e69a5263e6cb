"""The Lipschitz estimates of the models, as powers of ten. No torch."""

from __future__ import annotations

import math

import numpy as np

from sinewy.analysis.evidence import Evidence, Finding, known

MEASURES = {"upper": "AutoLip (upper)", "seqlip": "SeqLip (upper)", "lower": "lower bound"}


def findings(evidence: Evidence) -> list[Finding]:
    """Return log10 of each bound that was found; the lower one is the largest over the examples it was looked for at.

    Bounds computed from weights have no interval. Smaller means inputs are stretched less.
    """
    found = []
    for kind, measure in MEASURES.items():
        values = {m: evidence.scores[m].get(kind, {}).get("stretch") for m in evidence.methods}
        base = values[evidence.reference]
        for method, own in values.items():
            if own is None:
                continue
            estimate = known(_log(own), len(own))
            compared = base is not None and evidence.others(method)
            difference = known(_log(own) - _log(base), len(own)) if compared and base is not None else None
            found.append(Finding(method, "log10", measure, estimate, difference, better="lower"))
    return found


def _log(values: np.ndarray) -> float:
    return math.log10(max(float(values.max()), 1e-300))
