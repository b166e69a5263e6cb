"""The figures of a limit: what each sparsity costs, which shift breaks first, who pays, confidence, and layers."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from sinewy.analysis.evidence import Evidence
from sinewy.analysis.limit_record import Level, LimitRecord
from sinewy.analysis.shown import Shown
from sinewy.outcomes import CLEAN
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, Offered, all_drawn, dress, error_bars, panels
from sinewy.report.numbers import points, share
from sinewy.report.practice.breaks import class_figure
from sinewy.report.practice.confidence import reliability_figure
from sinewy.report.practice.limit_text import allowed, label, number
from sinewy.report.practice.pruned_layers import density_figure
from sinewy.report.style import FAINT, GAINS, Style, styles

SHOWN_MARGINS, LEAST_SHOWN = 10, 6.0
"""How many margins, and at least how many points of loss, the curves show: what is far beyond them matters little."""

LOWEST = 88
"""Pixels that the map is high at least: a scale of colours must fit beside it."""

UNPRUNED = "unpruned"
"""What the parent is called."""


def limit_figures(record: LimitRecord) -> list[Figure]:
    """Return the figures of the page in reading order; each has its key."""
    return all_drawn(offered_figures(record))


def offered_figures(record: LimitRecord) -> list[Offered]:
    """Return the same figures, not yet drawn."""
    evidence, drawn = limit_evidence(record), level_styles(record)
    layers = {name: level.layers for name, level in compared_levels(record).items()}
    return [
        Offered("curves", "What each sparsity costs", lambda: _curves(record)),
        Offered(
            "map",
            "Which shift breaks first",
            lambda: _map(record, record.cells()) if len(record.potentials) > 1 else None,
        ),
        Offered("losses", "Which classes pay", lambda: class_figure(evidence, Shown(record.classes), drawn)),
        Offered("confidence", "Confidence", lambda: reliability_figure(evidence, drawn)),
        Offered("layers", "Where it was pruned", lambda: density_figure(layers, drawn)),
    ]


def level_name(record: LimitRecord, level: Level) -> str:
    """Return what the network of a level is called where it stands beside others."""
    if level is not record.answer:
        return f"sparsity {number(level.sparsity)} (beyond the margin)"
    safe = record.potentials[record.weakest].sparsity
    return f"sparsity {number(level.sparsity)} ({'the answer' if safe else 'the first tried'})"


def compared_levels(record: LimitRecord) -> dict[str, Level]:
    """Return the networks that are looked at closely: that of the answer, and the first beyond the margin."""
    return {level_name(record, level): level for level in (record.answer, record.beyond) if level is not None}


def limit_evidence(record: LimitRecord) -> Evidence:
    """Return the outcomes of the parent and of the networks that are looked at closely."""
    levels = {name: level.outcomes for name, level in compared_levels(record).items()}
    return Evidence(UNPRUNED, {UNPRUNED: record.parent, **levels})


def level_styles(record: LimitRecord) -> dict[str, Style]:
    """Return how the parent and the networks that are looked at closely are drawn."""
    return styles([UNPRUNED, *compared_levels(record)], UNPRUNED)


def _curves(record: LimitRecord) -> Figure:
    drawn = styles(list(record.potentials), CLEAN[0])
    plot = panels(["accuracy loss, points"], "sparsity, %")
    rows: list[dict[str, Any]] = []
    for name, style in drawn.items():
        _curve(plot, record, name, style)
        found = record.potentials[name]
        rows += [
            {"group": name, "sparsity": s, "loss": e.value, "loss_low": e.low, "loss_high": e.high, "n": e.n}
            for s, e in zip(found.sparsities, found.losses, strict=True)
        ]
    plot.add_hrect(y0=0, y1=record.margin, fillcolor=FAINT, opacity=0.14, line_width=0, layer="below")
    plot.add_hline(y=record.margin, line={"color": FAINT, "dash": "dash", "width": 1}, layer="below")
    plot.update_layout(height=430)
    steepest = max(100 * e.high for found in record.potentials.values() for e in found.losses)
    top = min(1.05 * steepest, max(SHOWN_MARGINS * record.margin, LEAST_SHOWN))
    cut = f" The axis ends at {top:g} points; what lost more is above it." if top < steepest else ""
    lowest = min(100 * e.value for found in record.potentials.values() for e in found.losses)
    plot.update_yaxes(range=[min(-top / 4, 1.15 * lowest), top])
    return Figure(
        "curves",
        "What each sparsity costs",
        "Accuracy lost against the unpruned network; lower is better. The grey band is the margin of "
        f"{allowed(record)}; a star marks the largest sparsity within it. Bars are paired 95 % intervals over the test "
        f"examples.{cut}",
        plot,
        rows,
        drawn,
    )


def _curve(plot: go.Figure, record: LimitRecord, name: str, style: Style) -> None:
    found = record.potentials[name]
    shown = figure_text(label(record, name))
    size = [15 if s == found.sparsity else 7 for s in found.sparsities]
    symbols = ["star" if s == found.sparsity else style.symbol for s in found.sparsities]
    plot.add_scatter(
        x=[100 * s for s in found.sparsities],
        y=[100 * e.value for e in found.losses],
        error_y=error_bars(found.losses),
        mode="lines+markers",
        line=style.line,
        marker={"color": style.colour, "symbol": symbols, "size": size},
        meta=style.group,
        customdata=[[shown, f"sparsity {share(s)}", f"loss {points(e, signed=True)} points"] for s, e in _pairs(found)],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<extra></extra>",
        row=1,
        col=1,
    )


def _pairs(found: Any) -> list[tuple[float, Any]]:
    return list(zip(found.sparsities, found.losses, strict=True))


def _map(record: LimitRecord, cells: list[dict[str, Any]]) -> Figure:
    names = list(dict.fromkeys(_shift(cell) for cell in cells))
    loss = {(_shift(cell), cell["sparsity"]): 100 * cell["loss"] for cell in cells}
    table = [[-loss[name, s] for s in record.sparsities] for name in names]
    reach = max(5 * record.margin, 1.0)
    plot = go.Figure(
        go.Heatmap(
            x=[number(s) for s in record.sparsities],
            y=[figure_text(name.replace("_", " "), 28) for name in names],
            z=table,
            text=[["✓" if -value <= record.margin else "" for value in row] for row in table],
            texttemplate="%{text}",
            colorscale=GAINS,
            zmin=-reach,
            zmax=reach,
            colorbar={"title": {"text": "points"}, "thickness": 12, "outlinewidth": 0, "nticks": 5},
            hovertemplate="%{y}<br>sparsity %{x}<br>%{z:+.2f} points<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    dress(plot, height=max(22 * len(names), LOWEST) + 120)
    plot.update_yaxes(automargin=True, autorange="reversed", showgrid=False, ticks="")
    plot.update_xaxes(type="category", showgrid=False, ticks="", title={"text": "sparsity"})
    return Figure(
        "map",
        "Which shift breaks first",
        "Accuracy against the unpruned network, in points, by kind, severity and sparsity: blue is a gain, orange a "
        f"loss; colours end at ±{reach:g}. A tick marks a measured loss within the margin.",
        plot,
        cells,
        wide=True,
    )


def _shift(cell: dict[str, Any]) -> str:
    return f"{cell['kind']} {cell['severity']}" if cell["severity"] else "clean"
