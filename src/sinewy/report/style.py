"""How methods are told apart: a colour-blind-safe colour, a dash and a marker, never colour alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

INK = "#1b1b1b"
GRID = "#e3e3e3"
FAINT = "#6b6b6b"

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe & Ito (2008), without black, which is the reference's, and yellow, which is lost on white."""

DASHES = {"solid": "", "dash": "7 4", "dot": "2 3", "dashdot": "7 3 2 3", "longdash": "12 4"}
"""Plotly's name of each dash, and the same as an SVG dash array for the legend."""

MARKERS = {
    "circle": "M11 7a4 4 0 1 1 8 0a4 4 0 1 1 -8 0z",
    "square": "M11.5 3.5h7v7h-7z",
    "diamond": "M15 2l5 5l-5 5l-5 -5z",
    "triangle-up": "M15 2l5 9h-10z",
    "triangle-down": "M15 12l5 -9h-10z",
    "cross": "M13.5 2h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5z",
    "star": "M15 1l1.6 4.2l4.4 .2l-3.5 2.7l1.2 4.3l-3.7 -2.4l-3.7 2.4l1.2 -4.3l-3.5 -2.7l4.4 -.2z",
}
"""Plotly's name of each marker, and its outline in a 30 x 14 box for the legend."""

GAINS = [[0.0, "#b04a00"], [0.25, "#eda56f"], [0.5, "#f7f7f7"], [0.75, "#78b1d8"], [1.0, "#005a8f"]]
"""From loss (orange) over nothing (near white) to gain (blue)."""

_SHARE = re.compile(r"[\s,@(]*\d+(?:[.,]\d+)?\s*%\)?(?=$|, seed \d+$)")


@dataclass(frozen=True)
class Style:
    """How one method is drawn; `group` is the name its traces go by in the page's scripts."""

    group: str
    colour: str
    dash: str
    symbol: str
    width: float = 2.0

    @property
    def line(self) -> dict[str, Any]:
        """The line, as Plotly wants it."""
        return {"color": self.colour, "dash": self.dash, "width": self.width}

    @property
    def marker(self) -> dict[str, Any]:
        """The marker, as Plotly wants it."""
        return {"color": self.colour, "symbol": self.symbol, "size": 8}


def family(method: str) -> str:
    """Return the name of `method` without its sparsity: "RigL" for "RigL 90 %"; ", seed 0" after it stays."""
    return _SHARE.sub("", method) or method


def styles(methods: Sequence[str], reference: str) -> dict[str, Style]:
    """Return a style per method: the reference is black; methods that differ only in sparsity share colour, marker."""
    drawn = {reference: Style("m0", INK, "solid", "circle", 2.6)}
    families = {name: i for i, name in enumerate(dict.fromkeys(family(m) for m in methods if m != reference))}
    members = {name: count() for name in families}
    dashes, markers = tuple(DASHES), tuple(MARKERS)[1:]
    for number, method in enumerate((m for m in methods if m != reference), start=1):
        index = families[family(method)]
        dash = dashes[(index + 1 + next(members[family(method)])) % len(dashes)]
        drawn[method] = Style(f"m{number}", PALETTE[index % len(PALETTE)], dash, markers[index % len(markers)])
    return drawn
