"""The figure of where accuracy was lost: one map of kinds of shift by severity per network, against the reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from sinewy.analysis import Estimate, Panel
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure
from sinewy.report.numbers import points
from sinewy.report.study.gains import PER_ROW, bar_size, by_frequency, counted, small_multiples
from sinewy.report.style import GAINS

MOST = 8
"""Networks that the figure has room for; the data has all."""

LEAST = 1.0
"""Points at which the colours end at least, so that noise does not look like a loss."""

HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}, severity %{x}<br>%{customdata[2]} points<extra></extra>"


def difference_maps(panel: Panel, high_frequency: Mapping[str, float]) -> Figure:
    """Return the difference of accuracy to the reference by kind and severity, in points, one map per network."""
    cells, kinds = panel.gains(), by_frequency(panel.kinds, high_frequency)
    methods = panel.methods[1:][:MOST]
    sizes = [abs(100 * cell["difference"]["value"]) for cell in cells]
    reach = max(float(np.quantile(sizes, 0.98)), LEAST)
    plot = small_multiples([f"<b>{figure_text(method, 24)}</b>" for method in methods], len(kinds))
    for index, method in enumerate(methods):
        own = {(c["kind"], c["severity"]): c["difference"] for c in cells if c["method"] == method}
        heat = _heat(method, own, kinds, panel.severities)
        plot.add_trace(heat, row=index // PER_ROW + 1, col=index % PER_ROW + 1)
    bar = {"title": {"text": "points"}, "thickness": 12, "outlinewidth": 0, "y": 1, "yanchor": "top"}
    bar |= {"lenmode": "pixels", **bar_size(len(kinds))}
    plot.update_layout(coloraxis={"colorscale": GAINS, "cmin": -reach, "cmax": reach, "cmid": 0, "colorbar": bar})
    order = " Kinds with most of their energy in fine detail are on top." if high_frequency else ""
    beyond = f" Colours end at ±{reach:.1f} points; hover for the number." if max(sizes) > reach else ""
    return Figure(
        "map",
        "Which shift breaks it",
        f"Accuracy minus that of {panel.reference}, in points: orange is a loss, blue a gain. A dot marks cells whose "
        f"95 % interval excludes 0; of {counted(len(cells))}, chance alone would mark up to one in twenty."
        f"{order}{beyond}",
        plot,
        [_row(cell) for cell in cells],
        wide=len(methods) > 1,
    )


def _heat(
    method: str, cells: Mapping[tuple[str, int], Mapping[str, Any]], kinds: Sequence[str], severities: Sequence[int]
) -> go.Heatmap:
    table = [[cells.get((kind, severity)) for severity in severities] for kind in kinds]
    return go.Heatmap(
        x=[str(severity) for severity in severities],
        y=[figure_text(kind.replace("_", " "), 28) for kind in kinds],
        z=[[100 * cell["value"] if cell else None for cell in row] for row in table],
        text=[["•" if cell and cell["distinguishable"] else "" for cell in row] for row in table],
        texttemplate="%{text}",
        textfont={"size": 13},
        customdata=[
            [(figure_text(method), figure_text(kind), _points(cell)) for cell in row]
            for kind, row in zip(kinds, table, strict=True)
        ],
        hovertemplate=HOVER,
        hoverongaps=False,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _points(cell: Mapping[str, Any] | None) -> str:
    return "not measured" if cell is None else points(Estimate.from_dict(cell), signed=True)


def _row(cell: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: cell[name] for name in ("method", "kind", "severity", "accuracy", "reference_accuracy")}
    found = cell["difference"]
    return row | {"difference": found["value"], "low": found["low"], "high": found["high"]}
