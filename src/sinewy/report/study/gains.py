"""The figure of where the gains are: one map of kinds of corruption by severity per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sinewy.analysis import Estimate, Panel
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, dress
from sinewy.report.numbers import points, share
from sinewy.report.style import GAINS

PER_ROW = 4
ROW_GAP = 84
LOWEST = 88
"""Pixels that a map is high at least: a scale of colours must fit beside it."""

HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}, severity %{x}<br>relative gain %{customdata[2]}"
    "<br>difference %{customdata[3]}<br>%{customdata[4]}<extra></extra>"
)


def gain_maps(panel: Panel, high_frequency: Mapping[str, float], methods: Sequence[str] = ()) -> Figure:
    """Return the relative gain by kind and severity, kinds with the most high frequencies on top.

    One map for each of `methods`, all by default; the rows are of all.
    """
    cells = panel.gains()
    kinds = by_frequency(panel.kinds, high_frequency)
    methods = [method for method in methods or panel.methods if method != panel.reference]
    drawn = [c for c in cells if c["method"] in set(methods) and c["relative_gain"]]
    reach, cut = _scale([100 * c["relative_gain"]["value"] for c in drawn])
    plot = small_multiples([f"<b>{figure_text(method, 24)}</b>" for method in methods], len(kinds))
    for index, method in enumerate(methods):
        own = {(c["kind"], c["severity"]): c for c in cells if c["method"] == method}
        heat = _heat(method, own, kinds, panel.severities, high_frequency)
        plot.add_trace(heat, row=index // PER_ROW + 1, col=index % PER_ROW + 1)
    plot.update_layout(coloraxis=_coloraxis(reach, len(kinds)))
    order = (
        "Kinds are ordered by the share of their energy in high spatial frequencies, highest on top."
        if high_frequency
        else "Kinds are in the order they were measured."
    )
    saturated = f" Colours end at ±{reach:.0f} %; hover for the number." if cut else ""
    return Figure(
        "gains",
        "Relative gain by corruption and severity",
        f"(accuracy − accuracy of {panel.reference}) ÷ accuracy of {panel.reference}: blue is a gain, orange a loss. "
        f"A dot marks cells whose 95 % interval excludes 0; with {counted(len(cells))}, chance alone would mark up to "
        f"one in twenty. {order}{saturated}",
        plot,
        [_row(cell, high_frequency) for cell in cells],
        wide=len(methods) > 1,
    )


def counted(cells: int) -> str:
    """Return how many cells there are, in words."""
    return f"{cells:,} cell{'' if cells == 1 else 's'}"


def by_frequency(kinds: Sequence[str], high_frequency: Mapping[str, float]) -> list[str]:
    """Return `kinds` from the highest share of high frequencies to the lowest; those without one come last."""
    return sorted(kinds, key=lambda kind: -high_frequency.get(kind, -1.0))


def _scale(gains: Sequence[float]) -> tuple[float, bool]:
    """Return where the colours end, in percent, and whether gains lie beyond: an outlier must not pale the rest."""
    if not gains:
        return 1.0, False
    sizes = np.abs(gains)
    largest, usual = float(sizes.max()), float(np.quantile(sizes, 0.95))
    return (usual, True) if largest > 2 * usual > 0 else (largest or 1.0, False)


def small_multiples(titles: Sequence[str], kinds: int) -> go.Figure:
    """Return an empty figure of one panel per title, `PER_ROW` side by side, that share an axis of kinds."""
    rows, columns = -(-len(titles) // PER_ROW), min(PER_ROW, len(titles))
    height = max(19 * kinds + 12, LOWEST)
    total = rows * height + (rows - 1) * ROW_GAP + 98
    plot = make_subplots(
        rows=rows,
        cols=columns,
        subplot_titles=titles,
        shared_yaxes=True,
        horizontal_spacing=0.02,
        vertical_spacing=ROW_GAP / (total - 98) if rows > 1 else 0,
    )
    dress(plot, height=total)
    plot.update_layout(margin={"l": 10, "r": 10, "t": 50, "b": 48})
    plot.update_annotations(font={"size": 13})
    plot.update_yaxes(automargin=True, autorange="reversed", showgrid=False, ticks="", tickfont={"size": 12})
    plot.update_xaxes(type="category", showgrid=False, ticks="", title={"text": "severity", "standoff": 4})
    return plot


def bar_size(kinds: int) -> dict[str, int]:
    """Return how long the scale of colours is, title and all, in pixels, and how many numbers it has room for."""
    length = max(min(19 * kinds, 320), LOWEST)
    return {"len": length, "nticks": max(3, length // 30)}


def _coloraxis(reach: float, kinds: int) -> dict[str, Any]:
    bar = {
        "title": {"text": "gain, %"},
        "thickness": 12,
        "outlinewidth": 0,
        "lenmode": "pixels",
        **bar_size(kinds),
    }
    return {
        "colorscale": GAINS,
        "cmin": -reach,
        "cmax": reach,
        "cmid": 0,
        "colorbar": {**bar, "y": 1, "yanchor": "top"},
    }


def _heat(
    method: str,
    cells: Mapping[tuple[str, int], dict[str, Any]],
    kinds: Sequence[str],
    severities: Sequence[int],
    high_frequency: Mapping[str, float],
) -> go.Heatmap:
    table = [[cells.get((kind, severity)) for severity in severities] for kind in kinds]
    gains = [[cell["relative_gain"] if cell else None for cell in row] for row in table]
    return go.Heatmap(
        x=[str(severity) for severity in severities],
        y=[figure_text(kind.replace("_", " "), 28) for kind in kinds],
        z=[[100 * gain["value"] if gain else None for gain in row] for row in gains],
        text=[["•" if gain and gain["distinguishable"] else "" for gain in row] for row in gains],
        texttemplate="%{text}",
        textfont={"size": 13},
        customdata=[
            [_hover(method, kind, cell, high_frequency) for cell in row] for kind, row in zip(kinds, table, strict=True)
        ],
        hovertemplate=HOVER,
        hoverongaps=False,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _hover(
    method: str, kind: str, cell: Mapping[str, Any] | None, high_frequency: Mapping[str, float]
) -> tuple[str, str, str, str, str]:
    energy = f"{share(high_frequency[kind])} of its energy in high frequencies" if kind in high_frequency else ""
    named = figure_text(method), figure_text(kind)
    if cell is None:
        return (*named, "not measured", "not measured", energy)
    gain = f"{_percent(cell['relative_gain'])} %" if cell["relative_gain"] else "not defined"
    return (*named, gain, f"{_percent(cell['difference'])} points", energy)


def _percent(fields: Mapping[str, Any]) -> str:
    return points(Estimate.from_dict(fields), signed=True)


def _row(cell: Mapping[str, Any], high_frequency: Mapping[str, float]) -> dict[str, Any]:
    row = {name: cell[name] for name in ("method", "kind", "severity", "accuracy", "reference_accuracy")}
    for name in ("difference", "relative_gain"):
        fields = cell[name] or {}
        row |= {name: fields.get("value"), f"{name}_low": fields.get("low"), f"{name}_high": fields.get("high")}
    return {**row, "high_frequency": high_frequency.get(cell["kind"])}
