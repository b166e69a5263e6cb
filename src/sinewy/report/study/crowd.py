"""Which methods a figure draws where there are too many: the best, the worst, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sinewy.analysis import Panel
from sinewy.outcomes import CLEAN

MOST = 13
"""Methods that a figure can hold apart."""

WORST = 4
"""How many of them come from the lower end."""


@dataclass(frozen=True)
class Crowd:
    """The methods that figures draw, those that they leave out, and the sentence that says so ("" if none is)."""

    shown: tuple[str, ...]
    others: tuple[str, ...] = ()
    words: str = ""


def crowd(methods: Sequence[str], panel: Panel | None = None) -> Crowd:
    """Return all `methods` if they are few; else the reference and those that gained most or least, or the first."""
    names = panel.methods if panel else tuple(methods)
    if len(names) <= MOST:
        return Crowd(tuple(methods))
    if panel is None:
        return _split(methods, set(names[:MOST]), f"the first {MOST}")
    kind = None if panel.kinds else CLEAN[0]
    gained = {method: panel.difference(method, kind).value for method in panel.methods[1:]}
    ranked = sorted(gained, key=lambda method: -gained[method])
    best = MOST - 1 - WORST
    chosen = {panel.reference, *ranked[:best], *ranked[-WORST:]}
    by = "corruption accuracy" if panel.kinds else "clean accuracy"
    return _split(methods, chosen, f"{panel.reference}, the {best} best and the {WORST} worst by {by}")


def _split(methods: Sequence[str], chosen: set[str], which: str) -> Crowd:
    shown = tuple(method for method in methods if method in chosen)
    others = tuple(method for method in methods if method not in chosen)
    return Crowd(shown, others, f"Of {len(methods)} methods the figures draw {which}; tables and CSV files have all.")
