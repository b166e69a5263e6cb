"""Lines, markers, error bars, areas and texts of a figure, drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist

from sinewy.errors import InputError
from sinewy.report.static.axes import Array, Panel
from sinewy.report.static.shades import Shades
from sinewy.report.static.text import FONT_SIZE, PX, colour, dash, marker, plain
from sinewy.report.style import INK

Trace = Mapping[str, Any]

STEPS = {None: "default", "linear": "default", "hv": "steps-post", "vh": "steps-pre", "hvh": "steps-mid"}
"""Plotly's shapes of a line, and Matplotlib's."""


def scatter(panel: Panel, trace: Trace, before: tuple[Array, Array] | None) -> tuple[list[Artist], tuple[Array, Array]]:
    """Draw lines, markers, error bars, areas and texts; return what was drawn, and where its points are.

    `before` are the points of the trace before it in the panel, which an area may reach to.
    """
    xs, ys = points(panel, trace)
    mode = str(trace.get("mode") or ("lines+markers" if len(xs) < 20 else "lines"))
    opacity = float(trace.get("opacity") or 1.0)
    line, mark = trace.get("line") or {}, trace.get("marker") or {}
    own = line.get("color") or (mark.get("color") if isinstance(mark.get("color"), str) else None) or INK
    drawn: list[Artist] = []
    if trace.get("fill", "none") != "none":
        drawn += _area(panel, trace, xs, ys, before, own, opacity)
    if "lines" in mode and float(line.get("width", 2)) > 0:
        kept = ~(np.isnan(xs) | np.isnan(ys)) if trace.get("connectgaps") else slice(None)
        look: dict[str, Any] = {
            "color": colour(own, opacity),
            "linewidth": float(line.get("width", 2)) * PX,
            "zorder": 3,
        }
        look |= {"linestyle": dash(line.get("dash")), "drawstyle": _drawstyle(line.get("shape"))}
        drawn += panel.axes.plot(xs[kept], ys[kept], **look)
    drawn += error_bars_of(panel, trace, xs, ys, colour(own, opacity))
    if "markers" in mode:
        drawn += _markers(panel, mark, xs, ys, own, opacity)
    if "text" in mode:
        drawn += labels_of(panel, trace, xs, ys)
    panel.x.reach(xs, padded="markers" in mode or "text" in mode)
    panel.y.reach(ys, padded=True)
    return drawn, (xs, ys)


def points(panel: Panel, trace: Trace) -> tuple[Array, Array]:
    """Return where the points of a trace stand; without x (or y) they are counted from 0."""
    xs, ys = trace.get("x"), trace.get("y")
    return (
        panel.x.place(range(len(ys if ys is not None else ())) if xs is None else xs),
        panel.y.place(range(len(xs if xs is not None else ())) if ys is None else ys),
    )


def error_bars_of(panel: Panel, trace: Trace, xs: Array, ys: Array, tint: Any) -> list[Artist]:
    """Draw the error bars of a trace at its points."""
    drawn: list[Artist] = []
    for name in ("x", "y"):
        error = trace.get(f"error_{name}") or {}
        if error.get("array") is None or error.get("visible") is False or not len(xs):
            continue
        up = _lengths(error["array"])
        down = up if error.get("symmetric", "arrayminus" not in error) else _lengths(error.get("arrayminus"))
        look: dict[str, Any] = {f"{name}err": [down, up]}
        look |= {"ecolor": colour(error["color"]) if error.get("color") else tint}
        look |= {"elinewidth": float(error.get("thickness", 2)) * PX, "capsize": float(error.get("width", 4)) * PX}
        held = panel.axes.errorbar(xs, ys, fmt="none", zorder=3.5, **look)
        drawn += [*held.lines[1], *held.lines[2]]
        axis, middle = (panel.x, xs) if name == "x" else (panel.y, ys)
        axis.reach(np.concatenate([middle - down, middle + up]), padded=True)
    return drawn


def labels_of(panel: Panel, trace: Trace, xs: Array, ys: Array) -> list[Artist]:
    """Write the texts of a trace beside its points."""
    vertical, _, horizontal = str(trace.get("textposition") or "middle center").partition(" ")
    texts = each(trace.get("text") or "", len(xs))
    shift = {"left": (-4, "right"), "right": (4, "left")}.get(horizontal, (0, "center"))
    lift = {"top": (4, "bottom"), "bottom": (-4, "top")}.get(vertical, (0, "center"))
    size = float((trace.get("textfont") or {}).get("size") or 0) * PX or FONT_SIZE
    tint = (trace.get("textfont") or {}).get("color") or INK
    return [
        panel.axes.annotate(
            plain(text)[0],
            (x, y),
            (shift[0], lift[0]),
            textcoords="offset points",
            ha=shift[1],
            va=lift[1],
            fontsize=size,
            color=colour(tint),
            zorder=5,
            parse_math=False,
        )
        for text, x, y in zip(texts, xs, ys, strict=True)
        if text and np.isfinite(x) and np.isfinite(y)
    ]


def each(value: Any, count: int) -> list[Any]:
    """Return one value per point of what may be one value for all."""
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value] * count
    return list(value)


def _area(
    panel: Panel,
    trace: Trace,
    xs: Array,
    ys: Array,
    before: tuple[Array, Array] | None,
    own: str,
    opacity: float,
) -> list[Artist]:
    tint = colour(trace["fillcolor"], opacity) if trace.get("fillcolor") else colour(own, 0.5 * opacity)
    fill = trace["fill"]
    xs, ys = _stepped(xs, ys, (trace.get("line") or {}).get("shape"))
    if fill in ("tonexty", "tonextx") and before is not None:
        xs, ys = np.concatenate([xs, before[0][::-1]]), np.concatenate([ys, before[1][::-1]])
    elif fill in ("tozeroy", "tonexty"):
        xs, ys = np.concatenate([xs, xs[-1:], xs[:1]]), np.concatenate([ys, [0.0, 0.0]])
        panel.y.reach([0.0])
    elif fill in ("tozerox", "tonextx"):
        xs, ys = np.concatenate([xs, [0.0, 0.0]]), np.concatenate([ys, ys[-1:], ys[:1]])
    return list(panel.axes.fill(xs, ys, color=tint, linewidth=0, zorder=1.5))


def _markers(panel: Panel, mark: Mapping[str, Any], xs: Array, ys: Array, own: str, opacity: float) -> list[Artist]:
    """Draw the markers, those that look the same at once."""
    count = len(xs)
    symbols, sizes = each(mark.get("symbol") or "circle", count), each(mark.get("size") or 6, count)
    tints = _tints(mark, own, count)
    opacity = opacity * float(mark.get("opacity") or 1.0)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for index, alike in enumerate(zip(symbols, sizes, tints, strict=True)):
        groups.setdefault(alike, []).append(index)
    edge = mark.get("line") or {}
    drawn: list[Artist] = []
    for (symbol, size, tint), chosen in groups.items():
        look = marker(symbol, float(size), colour(tint, opacity))
        if edge.get("width") and edge.get("color"):
            look |= {"markeredgecolor": colour(edge["color"]), "markeredgewidth": float(edge["width"]) * PX}
        drawn += panel.axes.plot(xs[chosen], ys[chosen], linestyle="none", zorder=4, **look)
    return drawn


def _tints(mark: Mapping[str, Any], own: str, count: int) -> list[Any]:
    given = mark.get("color")
    if given is None or isinstance(given, str):
        return [given or own] * count
    if all(isinstance(value, str) for value in given):
        return list(given)
    shades = Shades([[list(given)]], mark, "c")
    return [shades.at(float(value)) for value in given]


def _lengths(values: Any) -> Array:
    lengths = np.array([np.nan if v is None else float(v) for v in values], dtype=float)
    return np.asarray(np.maximum(np.nan_to_num(lengths, nan=0.0, posinf=0.0, neginf=0.0), 0.0))


def _stepped(xs: Array, ys: Array, shape: str | None) -> tuple[Array, Array]:
    """Return the corners of a line that goes in steps; those of any other line are its points."""
    if shape == "hv":
        return np.repeat(xs, 2)[1:], np.repeat(ys, 2)[:-1]
    if shape == "vh":
        return np.repeat(xs, 2)[:-1], np.repeat(ys, 2)[1:]
    if shape == "hvh":
        middles = (xs[1:] + xs[:-1]) / 2
        return np.concatenate([xs[:1], np.repeat(middles, 2), xs[-1:]]), np.repeat(ys, 2)
    return xs, ys


def _drawstyle(shape: str | None) -> str:
    if shape not in STEPS:
        raise InputError(f"a static figure cannot draw a line of shape '{shape}'; it knows linear, hv, vh and hvh.")
    return STEPS[shape]
