"""How numbers are written for people: percent with interval, FLOPs with prefix, settings on one line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sinewy.analysis import Estimate

PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z")


def points(estimate: Estimate, *, signed: bool = False) -> str:
    """Return `estimate` in percent with its interval.

    A second decimal where the interval is narrower than a point, or where a bound is close to 0: "0.0" beside "not
    distinguishable from 0" must not leave the reader guessing.
    """
    near_zero = any(0 < abs(bound) < 0.0005 for bound in (estimate.low, estimate.high))
    decimals = 2 if near_zero or estimate.high - estimate.low < 0.01 else 1
    return estimate.percent(decimals, signed=signed).replace("-", "−")


def flops(number: float | None) -> str:
    """Return a count of FLOPs with three digits and a prefix ("4.12 G"), or a dash if it is not known."""
    if number is None:
        return "–"
    power = min(int(math.log10(number) / 3), len(PREFIXES) - 1) if number >= 1 else 0
    return f"{number / 1000**power:.3g} {PREFIXES[power]}".rstrip()


def share(number: float | None) -> str:
    """Return a fraction in [0, 1] in percent with one decimal, or a dash if it is not known."""
    return "–" if number is None else f"{100 * number:.1f} %"


def times(number: float | None) -> str:
    """Return a ratio as "0.52 ×", or nothing if it is not known."""
    return "" if number is None else f"{number:.2f} ×"


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as one line of text per dotted name."""
    lines: dict[str, str] = {}
    for name, value in settings.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, Mapping):
            lines |= flat(value, f"{dotted}.")
        else:
            lines[dotted] = _one_line(value)
    return lines


def _one_line(value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(_one_line(entry) for entry in value) or "none"
    return value if isinstance(value, str) else json.dumps(value, default=str)
