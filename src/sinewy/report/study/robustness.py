"""The figures of what sparsity did to accuracy: against sparsity, and against severity."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import Any

import plotly.graph_objects as go

from sinewy.analysis import Estimate, Panel
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, Figure, add_curve, dodge, panels
from sinewy.report.numbers import points, share
from sinewy.report.style import FAINT, Style, family


def against_sparsity(panel: Panel, styles: dict[str, Style], others: Sequence[str] = ()) -> Figure:
    """Return clean and corruption accuracy of each method over the sparsity it reached; `others` are grey points."""
    questions: dict[str, Callable[[str], Estimate]] = {"clean": panel.accuracy}
    if panel.kinds:
        questions = {"corruption": panel.corruption_accuracy, **questions}
    plot = panels([f"{name} accuracy, %" for name in questions], "sparsity reached, %")
    rows: list[dict[str, Any]] = []
    reached = {method: panel.sparsity(method) for method in panel.methods}
    xs = _side_by_side(reached)
    for row, (what, ask) in enumerate(questions.items(), start=1):
        estimates = {method: ask(method) for method in panel.methods}
        _grey(plot, row, others, reached, estimates)
        for members in _families(panel, styles, reached):
            _sparsity_trace(plot, row, members, xs, reached, estimates, styles)
        _reference_band(plot, row, estimates[panel.reference])
        rows += [_row(m, e, set=what, sparsity=reached[m]) for m, e in estimates.items()]
    plot.update_xaxes(range=[-4, 104])
    return Figure(
        "sparsity",
        "Robustness versus sparsity",
        f"Higher is better; the dashed line and its band are {panel.reference}{_greyed(others)}. Bars are the 95 % "
        "interval of each accuracy by itself. Methods are compared in pairs on the same examples, so a difference "
        "can be clear although bars overlap: the table of results decides. Methods that differ only in "
        "sparsity are joined.",
        plot,
        rows,
        styles,
    )


def against_severity(panel: Panel, styles: dict[str, Style], others: Sequence[str] = ()) -> Figure:
    """Return accuracy, and its difference to the reference, over severity, as means over the kinds of corruption.

    The mean of `others` is a grey line.
    """
    plot = panels(["accuracy, %", "difference, points"], "severity (0 = clean)")
    levels = [0, *panel.severities]
    rows: list[dict[str, Any]] = []
    for position, (method, style) in enumerate(styles.items()):
        xs = [level + dodge(position, len(styles), min(0.09, 0.6 / len(styles))) for level in levels]
        accuracies = [panel.accuracy(method, "clean" if s == 0 else None, s) for s in levels]
        _trace(plot, 1, method, style, xs, accuracies, [f"severity {s}" for s in levels])
        differences = [panel.difference(method, "clean" if s == 0 else None, s) for s in levels]
        if method != panel.reference:
            _trace(plot, 2, method, style, xs, differences, [f"severity {s}" for s in levels], signed=True)
        for s, accuracy, difference in zip(levels, accuracies, differences, strict=True):
            extra = {f"difference{suffix}": value for suffix, value in _bounds(difference).items()}
            rows.append({**_row(method, accuracy, severity=s), **extra})
    _grey_mean(plot, panel, others, levels)
    plot.add_hline(y=0, line={"color": FAINT, "width": 1.5}, row=2, col=1)
    plot.update_xaxes(tickvals=levels)
    return Figure(
        "severity",
        "Accuracy against severity",
        f"{_mean_over(panel)}Above: accuracy, higher is better. Below: the paired "
        f"difference to {panel.reference}; where a bar (95 % interval) does not touch the line at 0, the difference "
        f"can be told from chance.{_greyed(others, 'The grey line is the mean of')}",
        plot,
        rows,
        styles,
    )


def _greyed(others: Sequence[str], what: str = "") -> str:
    if not others:
        return ""
    return f" {what} the {len(others)} other methods." if what else f"; grey points are the {len(others)} other methods"


def _grey(
    plot: go.Figure, row: int, others: Sequence[str], reached: dict[str, float], estimates: dict[str, Estimate]
) -> None:
    if not others:
        return
    plot.add_scatter(
        x=[100 * reached[m] for m in others],
        y=[100 * estimates[m].value for m in others],
        mode="markers",
        marker={"color": FAINT, "symbol": "circle-open", "size": 6},
        opacity=0.6,
        customdata=[[figure_text(m), f"sparsity {share(reached[m])}", f"{points(estimates[m])} %"] for m in others],
        hovertemplate=HOVER,
        row=row,
        col=1,
    )


def _grey_mean(plot: go.Figure, panel: Panel, others: Sequence[str], levels: Sequence[int]) -> None:
    if not others:
        return
    asked = [("clean" if s == 0 else None, s) for s in levels]
    for row, ask in ((1, panel.accuracy), (2, panel.difference)):
        plot.add_scatter(
            x=list(levels),
            y=[100 * fmean(ask(m, *where).value for m in others) for where in asked],
            mode="lines",
            line={"color": FAINT, "dash": "dot", "width": 3},
            hovertemplate=f"mean of {len(others)} other methods<br>%{{y:.1f}}<extra></extra>",
            row=row,
            col=1,
        )


def _families(panel: Panel, drawn: Iterable[str], reached: dict[str, float]) -> list[list[str]]:
    """Return the methods that one line joins, the sparse ones ascending in sparsity; the reference is on its own."""
    groups: dict[str, list[str]] = {}
    for method in drawn:
        name = method if method == panel.reference else f"{family(method)} "
        groups.setdefault(name, []).append(method)
    return [sorted(members, key=lambda member: reached[member]) for members in groups.values()]


def _side_by_side(reached: dict[str, float]) -> dict[str, float]:
    """Return where each method stands, in percent, those of about the same sparsity a little apart."""
    together: dict[int, list[str]] = {}
    for method, sparsity in reached.items():
        together.setdefault(round(50 * sparsity), []).append(method)
    return {m: 100 * reached[m] + dodge(i, len(group), 0.9) for group in together.values() for i, m in enumerate(group)}


def _reference_band(plot: go.Figure, row: int, estimate: Estimate) -> None:
    low, high, middle = (100 * value for value in (estimate.low, estimate.high, estimate.value))
    plot.add_hrect(y0=low, y1=high, fillcolor=FAINT, opacity=0.14, line_width=0, layer="below", row=row, col=1)
    plot.add_hline(y=middle, line={"color": FAINT, "dash": "dash", "width": 1}, layer="below", row=row, col=1)


def _sparsity_trace(
    plot: go.Figure,
    row: int,
    members: list[str],
    xs: dict[str, float],
    reached: dict[str, float],
    estimates: dict[str, Estimate],
    styles: dict[str, Style],
) -> None:
    if len(members) > 1:
        joined = {"color": styles[members[0]].colour, "width": 1.5}
        ys = [100 * estimates[m].value for m in members]
        plot.add_scatter(x=[xs[m] for m in members], y=ys, mode="lines", line=joined, hoverinfo="skip", row=row, col=1)
    for member in members:
        where = [f"sparsity {share(reached[member])}"]
        _trace(plot, row, member, styles[member], [xs[member]], [estimates[member]], where)


def _trace(
    plot: go.Figure,
    row: int,
    method: str,
    style: Style,
    xs: Sequence[float],
    estimates: Sequence[Estimate],
    where: Sequence[str],
    *,
    signed: bool = False,
) -> None:
    unit = "points" if signed else "%"
    name = figure_text(method)
    hovers = [[name, w, f"{points(e, signed=signed)} {unit}"] for w, e in zip(where, estimates, strict=True)]
    add_curve(plot, row, style, xs, estimates, hovers)


def _bounds(estimate: Estimate) -> dict[str, float]:
    return {"": estimate.value, "_low": estimate.low, "_high": estimate.high}


def _row(method: str, estimate: Estimate, **where: Any) -> dict[str, Any]:
    accuracy = {f"accuracy{suffix}": value for suffix, value in _bounds(estimate).items()}
    return {"method": method, **where, **accuracy, "n": estimate.n, "seeds": estimate.seeds}


def _mean_over(panel: Panel) -> str:
    kinds = len(panel.kinds)
    return (
        f"Mean over {kinds} kinds of corruption. " if kinds > 1 else f"Under {panel.kinds[0].replace('_', ' ')} alone. "
    )
