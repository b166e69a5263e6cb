"""Curves of several models over one quantity, on the same examples: each point with its interval and its difference.

For radius-accuracy curves, likeness under noise, sizes of highlighted regions: whatever is one value per example.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.intervals import mean_interval, paired_interval
from sinewy.analysis.multiplicity import holm
from sinewy.analysis.proportions import discordance, mcnemar
from sinewy.errors import InputError, unknown_name

BETTER = ("higher", "lower", "")


@dataclass(frozen=True)
class CurvePoint:
    """One point of one model's curve; `better` says which direction is: "higher", "lower" or "" (neither).

    `difference` is to the reference, whose own points have none. `p` is adjusted over all points and models (Holm); 1
    for the reference.
    """

    method: str
    x: float
    value: Estimate
    difference: Estimate | None
    p: float
    better: str

    def as_dict(self) -> dict[str, Any]:
        """Return the point as JSON-able values."""
        difference = None if self.difference is None else self.difference.as_dict()
        facts = {"method": self.method, "x": self.x, "p": self.p, "better": self.better}
        return {**facts, "value": self.value.as_dict(), "difference": difference}


def paired_curves(
    values: Mapping[str, NDArray[Any]],
    x: Sequence[float],
    *,
    reference: str,
    better: str = "higher",
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[CurvePoint]:
    """Return the points of all curves, reference first: `values` are (points, n) by model, of the same examples.

    Verdicts (booleans) are tested by the exact McNemar test, other values by their mean paired difference over its
    bootstrap standard error, as normal. Raises InputError for shapes that do not fit.
    """
    if reference not in values:
        raise unknown_name("reference", reference, values)
    if better not in BETTER:
        raise unknown_name("direction", better, BETTER)
    base = np.asarray(values[reference])
    for name, own in values.items():
        if np.ndim(own) != 2 or np.shape(own) != base.shape or len(own) != len(x) or 0 in np.shape(own):
            raise InputError(f"{name} needs values ({len(x)}, n) as {reference} has, got {np.shape(own)}.")
    options: dict[str, Any] = {"resamples": resamples, "level": level, "seed": seed}
    methods = [reference, *(name for name in values if name != reference)]
    cells = [(name, index) for name in methods[1:] for index in range(len(x))]
    apart = {(name, i): paired_interval(values[name][i], base[i], **options) for name, i in cells}
    raw = [_p_value(np.asarray(values[name][i]), base[i], apart[name, i]) for name, i in cells]
    adjusted = dict(zip(cells, holm(raw).tolist(), strict=True))
    return [
        CurvePoint(
            name,
            float(x[i]),
            mean_interval(values[name][i], **options),
            apart.get((name, i)),
            adjusted.get((name, i), 1.0),
            better,
        )
        for name in methods
        for i in range(len(x))
    ]


def _p_value(own: NDArray[Any], base: NDArray[Any], apart: Estimate) -> float:
    if own.dtype == base.dtype == np.bool_:
        first, second, _ = discordance(own, base)
        return mcnemar(first, second)
    error = (apart.high - apart.low) / 2 / float(special.ndtri((1 + apart.level) / 2))
    if error == 0:
        return 1.0 if apart.value == 0 else 0.0
    return float(2 * special.ndtr(-abs(apart.value) / error))
