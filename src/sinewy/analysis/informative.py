"""How sure each model is when it sees only the pixels that inform another one. No torch."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.evidence import Array, Evidence, Finding, means
from sinewy.analysis.maps import Map

ORDER = "order"
"""The score that holds a model's own order of pixels, (N, pixels), the most important last."""

TITLE = "Confidence on the pixels that inform another network"
READING = (
    "Rows: the network whose most informative pixels are kept, {kept:.0%} of each image, all others masked. Columns: "
    "the network that looks at them; the number is its mean confidence in the true class, ↑ higher is better. Two "
    "networks that are sure on each other's pixels rest on the same; one that was trained separately says how sure "
    "they would be without kinship. {examples:,} images, {form} form of BackSelect in steps of {step} pixels."
)


def digest(order: NDArray[np.generic]) -> str:
    """Return the name that confidences on an order of pixels are kept under, whatever its model is called."""
    return hashlib.sha256(np.ascontiguousarray(order, np.int64).tobytes()).hexdigest()[:12]


def findings(evidence: Evidence) -> list[Finding]:
    """Return the mean confidence in the true class of every model on the pixels of each, with paired differences.

    The condition names the kind of image and whose pixels are kept. The difference is to the reference's on the same
    pixels; intervals are over images.
    """
    found = []
    for kind in evidence.about:
        for informed in evidence.methods:
            columns = _columns(evidence, kind, informed)
            if evidence.reference not in columns:
                continue
            for method, (own, difference) in means(columns, evidence.reference).items():
                found.append(Finding(method, f"{kind}: {informed}", "confidence", own, difference))
    return found


def maps(evidence: Evidence) -> list[Map]:
    """Return the mean confidences as a matrix per kind of image, Figures 3 and 14 of Liebenwein et al. 2021."""
    found = []
    for kind, about in evidence.about.items():
        values = np.full((len(evidence.methods),) * 2, np.nan)
        for row, informed in enumerate(evidence.methods):
            columns = _columns(evidence, kind, informed)
            for column, method in enumerate(evidence.methods):
                values[row, column] = columns[method].mean() if method in columns else np.nan
        reading = READING.format(**{name: about[name] for name in ("kept", "examples", "form", "step")})
        names = evidence.methods
        drawn = Map(
            TITLE,
            values,
            reading,
            "confidence",
            part=kind,
            rows=names,
            columns=names,
            down="pixels of",
            across="seen by",
            better="higher",
            limits=(0.0, 1.0),
        )
        found.append(drawn)
    return found


def _columns(evidence: Evidence, kind: str, informed: str) -> dict[str, Array]:
    """Return the confidences, (1, N), of the models that were shown the pixels of `informed`."""
    own = {method: evidence.scores.get(method, {}).get(kind, {}) for method in evidence.methods}
    if ORDER not in own[informed]:
        return {}
    key = digest(own[informed][ORDER])
    scores = {method: score.get(key) for method, score in own.items()}
    return {method: np.asarray(values, np.float64)[None] for method, values in scores.items() if values is not None}
