"""What one probe measured of several models on the same examples, and what is read from it. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.bootstrap import paired_bootstrap, percentile_interval
from sinewy.analysis.estimate import Estimate
from sinewy.outcomes import CLEAN, Condition, Outcomes

Array = NDArray[np.float64]
RESAMPLES = 1000


@dataclass(frozen=True)
class Evidence:
    """The measurements of one probe; `outcomes` always hold CLEAN, by model and condition.

    `scores` are by model, kind and name, `about` by kind. `reference` is the model the others are compared with.
    """

    reference: str
    outcomes: Mapping[str, Mapping[Condition, Outcomes]]
    scores: Mapping[str, Mapping[str, Mapping[str, NDArray[Any]]]] = field(default_factory=dict)
    about: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """The models, the reference first."""
        return (self.reference, *(name for name in self.outcomes if name != self.reference))

    @property
    def label(self) -> NDArray[np.int32]:
        """The labels of the examples."""
        return self.outcomes[self.reference][CLEAN].label

    def others(self, method: str) -> bool:
        """Return whether the model is compared with the reference, and is not it."""
        return method != self.reference


@dataclass(frozen=True)
class Finding:
    """One number that a probe found of one model: `measure` under `condition`, and its difference to the reference.

    `better` is "higher", "lower" or "" (neither). Findings of one `series` differ in `x` only, and can be joined.
    """

    method: str
    condition: str
    measure: str
    estimate: Estimate
    difference: Estimate | None = None
    x: float | None = None
    better: str = "higher"
    series: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding as JSON-able values."""
        return {
            "method": self.method,
            "condition": self.condition,
            "measure": self.measure,
            "estimate": self.estimate.as_dict(),
            "difference": None if self.difference is None else self.difference.as_dict(),
            "x": self.x,
            "better": self.better,
            "series": self.series,
        }


def known(value: float, n: int) -> Estimate:
    """Return a number that has no sampling error of its own, such as a bound computed from the weights."""
    return Estimate(float(value), float(value), float(value), n, 1)


def means(
    columns: Mapping[str, Array], reference: str, *, resamples: int = RESAMPLES
) -> dict[str, tuple[Estimate, Estimate | None]]:
    """Return the mean of each model's values with its interval, and the paired difference to the reference's.

    `columns` are (draws, examples), the same draws and examples for all models; both are resampled.
    """
    table = np.stack(list(columns.values()), axis=2)
    return statistics(table, list(columns), reference, lambda resampled: resampled, resamples=resamples)


def statistics(
    table: Array,
    methods: Sequence[str],
    reference: str,
    of: Any,
    *,
    centred: bool = False,
    resamples: int = RESAMPLES,
) -> dict[str, tuple[Estimate, Estimate | None]]:
    """Return a statistic of column means for each model, and its difference to the reference, with 95 % intervals.

    `table` is (draws, examples, columns), the columns of the models one after the other; `of` turns column means
    (..., columns) into one value per model (..., models). `centred` moves the resampled values so that their mean is
    the value found, for statistics that resampling inflates, as a sum of absolute values; those are at least 0.
    """
    draws = of(paired_bootstrap(table, resamples=resamples))
    points = of(table.mean(axis=(0, 1)))
    if centred:
        draws = draws - draws.mean(axis=0) + points
    base = methods.index(reference)
    seeds, n = table.shape[:2]
    found = {}
    for index, method in enumerate(methods):
        low, high = percentile_interval(draws[:, index])
        own = Estimate(float(points[index]), max(low, 0.0) if centred else low, high, n, seeds)
        apart = draws[:, index] - draws[:, base]
        difference = Estimate(float(points[index] - points[base]), *percentile_interval(apart), n, seeds)
        found[method] = (own, difference if method != reference else None)
    return found
