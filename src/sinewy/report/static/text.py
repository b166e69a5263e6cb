"""How Plotly's words for text, colours, dashes and markers read in Matplotlib."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from matplotlib.colors import to_rgba

from sinewy.errors import InputError
from sinewy.report.style import DASHES

FONT_SIZE, PAGE_FONT_SIZE = 8.0, 13.0
PX = FONT_SIZE / PAGE_FONT_SIZE
"""Points of a drawing per pixel of the page: everything shrinks as the type does."""

RGBA = tuple[float, float, float, float]

SYMBOLS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "triangle-left": "<",
    "triangle-right": ">",
    "cross": "P",
    "x": "X",
    "star": "*",
    "pentagon": "p",
    "hexagon": "h",
    "line-ew": "_",
    "line-ns": "|",
}
"""Plotly's name of each marker, and Matplotlib's; "-open" after a name leaves it empty."""

STROKES = ("line-ew", "line-ns")
"""Markers that are drawn by their outline alone."""

HATCHES = {"": "", "/": "///", "\\": "\\\\\\", "x": "xxx", "-": "---", "|": "|||", "+": "+++", ".": "..."}
"""Plotly's patterns of bars, and Matplotlib's."""

PER_PIXEL = {"diamond": 0.86, "star": 1.35, "square": 0.9}
"""Matplotlib draws these larger, or smaller, than Plotly does at the same size."""

_TAG = re.compile(r"</?([a-zA-Z]+)[^<>]*>")
_RGB = re.compile(r"rgba?\(\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*(?:,\s*([\d.]+)\s*)?\)")


def plain(text: object) -> tuple[str, bool]:
    """Return a label without Plotly's tags, and whether all of it is bold; raises InputError for other tags."""
    source = str(text)

    def read(found: re.Match[str]) -> str:
        if found[1].lower() not in ("b", "br", "i"):
            raise InputError(f"a label has the tag {found[0]}, which a static figure cannot set.")
        return "\n" if found[1].lower() == "br" else ""

    return unescape(_TAG.sub(read, source)), bool(re.fullmatch(r"<b>[^<]*</b>", source))


def colour(value: object, opacity: float = 1.0) -> RGBA:
    """Return a colour of CSS ("#0072b2", "rgba(0,0,0,0.2)", "white") as red, green, blue and opacity."""
    text = str(value)
    found = _RGB.fullmatch(text)
    if found:
        red, green, blue = (float(found[i]) / 255 for i in (1, 2, 3))
        return red, green, blue, float(found[4] or 1) * opacity
    if text == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    try:
        red, green, blue, alpha = to_rgba(text)
    except ValueError as error:
        raise InputError(f"a static figure cannot read the colour '{text}'.") from error
    return red, green, blue, alpha * opacity


def dash(name: str | None) -> Any:
    """Return Matplotlib's line style for a dash of Plotly's, in points as long as on the page."""
    if name not in DASHES and name is not None:
        raise InputError(f"a static figure cannot draw the dash '{name}'; it knows: {', '.join(DASHES)}.")
    lengths = [float(part) * PX for part in DASHES[name or "solid"].split()]
    return (0, lengths) if lengths else "-"


def marker(symbol: object, size: float, tint: RGBA) -> dict[str, Any]:
    """Return Matplotlib's marker options for a symbol of Plotly's, `size` in pixels."""
    name = str(symbol)
    shape = name.removesuffix("-open")
    if shape not in SYMBOLS:
        raise InputError(f"a static figure cannot draw the marker '{name}'; it knows: {', '.join(SYMBOLS)}.")
    empty = name.endswith("-open")
    return {
        "marker": SYMBOLS[shape],
        "markersize": size * PX * PER_PIXEL.get(shape, 1.0),
        "markerfacecolor": "none" if empty else tint,
        "markeredgecolor": tint,
        "markeredgewidth": 1.0 if empty or shape in STROKES else 0.0,
    }


def contrasting(background: RGBA) -> str:
    """Return black or white, whichever is read more easily on `background`."""
    red, green, blue, _ = background
    return "#1b1b1b" if 0.299 * red + 0.587 * green + 0.114 * blue > 0.55 else "#ffffff"
