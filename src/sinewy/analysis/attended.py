"""How large the regions are that models look at, and some of them as pictures. No torch."""

from __future__ import annotations

import numpy as np

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.evidence import Array, Evidence, Finding
from sinewy.analysis.intervals import mean_interval, paired_interval
from sinewy.analysis.maps import Map, picture, shrunk

KIND = "grad-cam"
TITLE = "Where the networks look"
UNIT = "share of the maximum"
READING = (
    "Grad-CAM maps over the images: the brighter, the more a region speaks for {of}, relative to the network's own "
    "maximum on that image. The size of the region is the share of pixels above {above:.0%} of that maximum. A few "
    "examples say nothing of all: the sizes are compared in the findings."
)


def findings(evidence: Evidence) -> list[Finding]:
    """Return the mean size of the region, with paired differences, and the share of images that have none.

    An image where nothing speaks for the class has no region; it is left out, for a difference in both models.
    """
    if KIND not in evidence.about:
        return []
    above = evidence.about[KIND]["above"]
    sizes = {m: evidence.scores[m][KIND]["size"] for m in evidence.methods if KIND in evidence.scores.get(m, {})}
    base = sizes.get(evidence.reference)
    found = []
    for method, own in sizes.items():
        other = base if base is not None and evidence.others(method) else None
        if not np.isnan(own).all():
            condition = f"share above {above:.0%} of the maximum"
            found.append(Finding(method, condition, "size of the region", *_estimates(own, other), better=""))
        if any(np.isnan(values).any() for values in sizes.values()):
            nothing = _estimates(np.isnan(own).astype(float), None if other is None else np.isnan(other).astype(float))
            found.append(Finding(method, "all", "share without a region", *nothing, better=""))
    return found


def maps(evidence: Evidence) -> list[Map]:
    """Return the maps of the examples that were kept, beside the images themselves (Wu et al. 2025, Figure 19)."""
    if KIND not in evidence.about:
        return []
    about, found = evidence.about[KIND], []
    reading = READING.format(of=about["of"], above=about["above"])
    scores = {m: evidence.scores[m][KIND] for m in evidence.methods if KIND in evidence.scores.get(m, {})}
    if not scores:
        return []
    images = next(iter(scores.values()))["image"]
    for row, (pixels, number, label) in enumerate(zip(images, about["shown"], about["labels"], strict=True)):
        part = f"image {number}: {label}"
        panels = {"image": np.full((1, 1), np.nan)}
        panels |= {method: shrunk(_relative(score["map"][row])) for method, score in scores.items()}
        for method, values in panels.items():
            found.append(Map(TITLE, values, reading, UNIT, method, part, limits=(0.0, 1.0), image=picture(pixels)))
    return found


def _estimates(own: Array, other: Array | None) -> tuple[Estimate, Estimate | None]:
    """Return the mean and the paired difference over the images where there is something to be averaged."""
    both = np.isfinite(own) if other is None else np.isfinite(own) & np.isfinite(other)
    known = mean_interval(own[np.isfinite(own)])
    return known, None if other is None or not both.any() else paired_interval(own[both], other[both])


def _relative(values: Array) -> Array:
    most = values.max()
    return np.asarray(values / most if most > 0 else np.full(values.shape, np.nan), np.float64)
