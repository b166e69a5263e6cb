"""Which frequencies models live on: accuracy as low or high ones are taken away. No torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.evidence import Array, Evidence, Finding, means
from sinewy.analysis.maps import Map
from sinewy.outcomes import CLEAN

FOURIER = "fourier"
SERIES = {"low": "low frequencies attenuated, by radius", "high": "high frequencies attenuated, by radius"}
READING = (
    "The error on images with a wave of one frequency added, of L2 norm {norm:g} per channel in pixels of [0, 1]: mean "
    "brightness in the middle, fast waves outside, cycles per height down and per width across. {examples:,} images. "
)


def findings(evidence: Evidence) -> list[Finding]:
    """Return the accuracy at each radius, and its mean over all radii but 0, with paired differences.

    Radius 0 takes nothing away: these are the clean outcomes of the same images.
    """
    found, overall = [], []
    for kind, series in SERIES.items():
        if kind not in evidence.about:
            continue
        radii = evidence.about[kind]["radii"]
        table = {method: _correct(evidence, method, kind, len(radii)) for method in evidence.methods}
        for index, radius in enumerate((0, *radii)):
            columns = {method: correct[index][None] for method, correct in table.items()}
            for method, (own, difference) in means(columns, evidence.reference).items():
                condition = f"{kind} frequencies, radius {radius:g}"
                found.append(Finding(method, condition, "accuracy", own, difference, float(radius), series=series))
        columns = {method: correct[1:].mean(axis=0)[None] for method, correct in table.items()}
        for method, (own, difference) in means(columns, evidence.reference).items():
            overall.append(Finding(method, f"{kind} frequencies", "mean accuracy over radii", own, difference))
    return found + overall


def maps(evidence: Evidence) -> list[Map]:
    """Return the error at every frequency (Yin et al. 2019, Figure 3), and what it is less that of the reference."""
    if FOURIER not in evidence.about:
        return []
    about: Any = evidence.about[FOURIER]
    errors = {method: evidence.scores[method][FOURIER]["error"] for method in evidence.methods}
    reading = READING.format(norm=about["norm"], examples=about["examples"])
    lower = reading + "↓ Lower is better."
    found = [_map("Error at every frequency", lower, method, error) for method, error in errors.items()]
    for method in evidence.methods[1:]:
        beside = f"{reading}Less the error of {evidence.reference}: below 0 is better, above 0 is worse."
        apart = errors[method] - errors[evidence.reference]
        found.append(_map("Error at every frequency, less the reference's", beside, method, apart, signed=True))
    return found


def _map(title: str, reading: str, method: str, values: NDArray[np.float64], *, signed: bool = False) -> Map:
    reach = len(values) // 2
    names = tuple(str(number) for number in range(-reach, reach + 1))
    return Map(
        title,
        values,
        reading,
        "error",
        method,
        rows=names,
        columns=names,
        down="cycles per height",
        across="cycles per width",
        signed=signed,
        better="lower",
    )


def _correct(evidence: Evidence, method: str, kind: str, radii: int) -> Array:
    """Return the verdicts at radius 0 and each further one, (1 + radii, N)."""
    own = evidence.outcomes[method]
    shifted = [own[kind, severity].correct for severity in range(1, radii + 1)]
    return np.stack([own[CLEAN].correct[: len(shifted[0])], *shifted]).astype(np.float64)
