"""Maps and pictures of a figure, drawn."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from numpy.typing import NDArray

from sinewy.errors import InputError
from sinewy.report.static.axes import Array, Axis, Panel
from sinewy.report.static.shades import Shades
from sinewy.report.static.text import FONT_SIZE, PX, contrasting, plain
from sinewy.report.style import INK

Trace = Mapping[str, Any]

RASTER_ABOVE = 1000
"""A map of more cells than this is an image inside a vector file: drawn cell by cell it would take megabytes."""

PICTURE = "data:image/png;base64,"


def heatmap(panel: Panel, trace: Trace, shades: Shades) -> list[Artist]:
    """Draw a map of cells with their texts; a cell without a value stays empty."""
    table = np.array([[np.nan if v is None else float(v) for v in row] for row in trace["z"]], dtype=float)
    if trace.get("transpose"):
        table = table.T
    xs, ys = _edges(panel.x, trace, "x", table.shape[1]), _edges(panel.y, trace, "y", table.shape[0])
    mesh = panel.axes.pcolormesh(
        xs,
        ys,
        np.ma.masked_invalid(table),
        cmap=shades.colours,
        norm=shades.range,
        edgecolors="#ffffff" if trace.get("xgap") else "none",
        linewidth=0.5 if trace.get("xgap") else 0.0,
        alpha=trace.get("opacity"),
        rasterized=table.size > RASTER_ABOVE,
        zorder=2,
    )
    panel.x.reach(xs)
    panel.y.reach(ys)
    return [mesh, *_cell_texts(panel, trace, table, xs, ys, shades)]


def image(panel: Panel, trace: Trace) -> list[Artist]:
    """Draw a PNG picture that the figure carries, each pixel as a square."""
    from PIL import Image

    source = str(trace.get("source") or "")
    try:
        if not source.startswith(PICTURE):
            raise ValueError("not a PNG picture")
        with Image.open(
            io.BytesIO(base64.b64decode(source.removeprefix(PICTURE), validate=True)), formats=["PNG"]
        ) as png:
            pixels = np.asarray(png.convert("RGB"))
    except (ValueError, OSError, binascii.Error) as error:
        raise InputError(f"a static figure can draw pictures that are PNG data: URIs only ({error}).") from error
    height, width = pixels.shape[:2]
    left, top = float(trace.get("x0") or 0) - 0.5, float(trace.get("y0") or 0) - 0.5
    extent = (left, left + width, top + height, top)
    drawn = panel.axes.imshow(
        pixels, extent=extent, aspect=panel.axes.get_aspect(), interpolation="nearest", zorder=1.5
    )
    panel.x.reach(extent[:2])
    panel.y.reach(extent[2:])
    return [drawn]


def _edges(axis: Axis, trace: Trace, name: str, count: int) -> Array:
    """Return the edges of the cells: half way between their centres."""
    given, start, step = trace.get(name), float(trace.get(f"{name}0") or 0), float(trace.get(f"d{name}") or 1)
    if given is None:
        return np.asarray(start + step * (np.arange(count + 1) - 0.5), dtype=np.float64)
    centres = axis.place(given)
    if len(centres) == count + 1:
        return centres
    if count == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    middles = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middles[0]], middles, [2 * centres[-1] - middles[-1]]])


def _cell_texts(panel: Panel, trace: Trace, table: NDArray[Any], xs: Array, ys: Array, shades: Shades) -> list[Artist]:
    template = str(trace.get("texttemplate") or "")
    if not template:
        return []
    size = float((trace.get("textfont") or {}).get("size") or 0) * PX or FONT_SIZE
    texts = trace.get("text")
    drawn: list[Artist] = []
    for row, column in np.ndindex(*table.shape):
        value = float(table[row, column])
        label = _filled(template, "" if texts is None else texts[row][column], value)
        if label.strip():
            tint = contrasting(shades.at(value)) if np.isfinite(value) else INK
            where = (xs[column] + xs[column + 1]) / 2, (ys[row] + ys[row + 1]) / 2
            look: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size, "color": tint, "zorder": 5}
            drawn.append(panel.axes.text(*where, plain(label)[0], parse_math=False, clip_on=True, **look))
    return drawn


def _filled(template: str, text: object, value: float) -> str:
    def read(found: re.Match[str]) -> str:
        name, _, form = found[1].partition(":")
        if name == "text":
            return str("" if text is None else text)
        return format(value, form or "g").replace("-", "−") if np.isfinite(value) else ""

    return re.sub(r"%\{([^}]*)\}", read, template)
