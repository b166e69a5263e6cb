"""The figure of what accuracy costs: against FLOPs of inference and training, and against non-zero parameters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from sinewy.analysis import Estimate, Panel
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, Figure, dress, error_bars
from sinewy.report.numbers import flops, points
from sinewy.report.style import FAINT, Style

COSTS = {
    "inference_flops": "inference FLOPs ↓",
    "nonzero_parameters": "non-zero parameters ↓",
    "training_flops": "training FLOPs ↓",
}
HEIGHT = 235


def against_costs(panel: Panel, styles: dict[str, Style], others: Sequence[str] = ()) -> Figure | None:
    """Return accuracy over each cost that is known of all methods, `others` in grey, or None if none is."""
    spent = {what: {m: mean_cost(panel, m, what) for m in panel.methods} for what in COSTS}
    known = {what: own for what, own in spent.items() if all(own.values())}
    if not known:
        return None
    questions: dict[str, Any] = {"corruption": panel.corruption_accuracy} if panel.kinds else {}
    questions["clean"] = panel.accuracy
    estimates = {name: {m: ask(m) for m in panel.methods} for name, ask in questions.items()}
    plot = _grid(list(questions), known)
    for row, name in enumerate(questions, start=1):
        for column, own in enumerate(known.values(), start=1):
            place: dict[str, Any] = {"row": row, "col": column}
            _others(plot, place, others, own, estimates[name])
            for method, style in styles.items():
                _point(plot, place, method, style, own[method], estimates[name][method])
    rows = [
        {"method": m, **{what: own[m] for what, own in spent.items()}, **_numbers(estimates, m)} for m in panel.methods
    ]
    return Figure(
        "cost",
        "Accuracy against cost",
        "Up and to the left is better: more accurate for less. Costs are means over seeds, on a logarithmic axis; bars "
        "are 95 % intervals. Zeros save FLOPs on paper only, unless something skips them.",
        plot,
        rows,
        styles,
        wide=True,
    )


def mean_cost(panel: Panel, method: str, what: str) -> float | None:
    """Return a field of `Cost` as the mean over the method's seeds, or None if a run does not know it."""
    costs = [getattr(run.cost, what) if run.cost else None for run in panel.runs[method].values()]
    known = [cost for cost in costs if cost]
    return fmean(known) if len(known) == len(costs) else None


def _grid(questions: Sequence[str], known: Mapping[str, Mapping[str, float | None]]) -> go.Figure:
    plot = make_subplots(
        rows=len(questions),
        cols=len(known),
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.08,
    )
    dress(plot, height=HEIGHT * len(questions) + 70)
    for row, name in enumerate(questions, start=1):
        plot.update_yaxes(title={"text": f"{name} accuracy, % ↑", "standoff": 8}, row=row, col=1)
    for column, (what, own) in enumerate(known.items(), start=1):
        ticks = round_numbers([cost for cost in own.values() if cost])
        plot.update_xaxes(type="log", tickvals=ticks, ticktext=[flops(t) for t in ticks], tickangle=0, col=column)
        plot.update_xaxes(title={"text": COSTS[what]}, row=len(questions), col=column)
    return plot


def round_numbers(values: Sequence[float]) -> list[float]:
    """Return few numbers of one digit, 1, 2 or 5 (or 1 only, over many decades), that span positive `values`."""
    low, high = math.log10(min(values)), math.log10(max(values))
    digits = (1, 2, 5) if high - low < 2 else (1,)
    numbers = [d * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for d in digits]
    return [n for n in numbers if min(values) * 0.8 <= n <= max(values) * 1.25]


def _others(
    plot: go.Figure, place: dict[str, Any], methods: Sequence[str], spent: dict[str, Any], found: dict[str, Estimate]
) -> None:
    if not methods:
        return
    plot.add_scatter(
        x=[spent[m] for m in methods],
        y=[100 * found[m].value for m in methods],
        mode="markers",
        marker={"color": FAINT, "symbol": "circle-open", "size": 6},
        opacity=0.6,
        customdata=[[figure_text(m), flops(spent[m]), points(found[m])] for m in methods],
        hovertemplate=HOVER,
        **place,
    )


def _point(
    plot: go.Figure, place: dict[str, Any], method: str, style: Style, spent: float | None, found: Estimate
) -> None:
    plot.add_scatter(
        x=[spent],
        y=[100 * found.value],
        error_y=error_bars([found]),
        mode="markers",
        marker=style.marker,
        meta=style.group,
        customdata=[[figure_text(method), flops(spent), f"{points(found)} %"]],
        hovertemplate=HOVER,
        **place,
    )


def _numbers(estimates: dict[str, dict[str, Estimate]], method: str) -> dict[str, float]:
    return {
        f"{name}_accuracy{end}": getattr(own[method], field)
        for name, own in estimates.items()
        for end, field in (("", "value"), ("_low", "low"), ("_high", "high"))
    }
