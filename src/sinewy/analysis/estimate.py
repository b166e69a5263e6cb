"""What a number looks like when it does not travel alone: value, interval, examples, seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A value with the interval [low, high] at confidence `level`, from `n` examples and `seeds` independent runs.

    With `seeds` = 1 the interval covers the choice of examples only: it says nothing of what another seed would give.
    """

    value: float
    low: float
    high: float
    n: int
    seeds: int
    level: float = 0.95

    @property
    def distinguishable(self) -> bool:
        """Whether the interval excludes 0; meant for differences and gains."""
        return self.low > 0 or self.high < 0

    def __format__(self, spec: str) -> str:
        """Return "value [low, high]": `spec` is that of a float, its sign option holds for the value only ("+.1f")."""
        bounds = (spec or "z.3f").lstrip("+")
        return f"{self.value:{spec or 'z.3f'}} [{self.low:{bounds}}, {self.high:{bounds}}]"

    def __str__(self) -> str:
        return format(self)

    def percent(self, decimals: int = 1, *, signed: bool = False) -> str:
        """Return the estimate times 100, as "76.8 [76.1, 77.4]", or "+1.2 [0.4, 2.0]" if `signed`."""
        hundredfold = replace(self, value=100 * self.value, low=100 * self.low, high=100 * self.high)
        return format(hundredfold, f"{'+' if signed else ''}z.{decimals}f")

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """Return the fields and `distinguishable` as JSON-able values; a bound that is not finite becomes None."""
        numbers = {"value": self.value, "low": self.low, "high": self.high}
        finite = {name: number if math.isfinite(number) else None for name, number in numbers.items()}
        facts = {"n": self.n, "seeds": self.seeds, "level": self.level, "distinguishable": self.distinguishable}
        return {**finite, **facts}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Estimate:
        """Return the estimate that `as_dict` wrote; a bound that is None becomes infinite."""
        known = {name: fields[name] for name in ("value", "n", "seeds", "level")}
        low, high = fields["low"], fields["high"]
        return cls(low=-math.inf if low is None else low, high=math.inf if high is None else high, **known)
