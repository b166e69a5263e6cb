"""What breaks: which classes pay for the sparsity, clean and under the shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plotly.subplots import make_subplots

from sinewy.analysis.breaking import ClassLoss, class_losses
from sinewy.analysis.evidence import Evidence
from sinewy.analysis.shown import Shown
from sinewy.outcomes import Condition, Outcomes
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, dodge, dress, error_bars
from sinewy.report.numbers import points
from sinewy.report.practice.confidence import shared_sets
from sinewy.report.style import FAINT, Style

LOWEST, HIGHEST = 16, 8
"""Of how many classes a figure shows the largest losses, and the largest gains, where there are more."""

LINE = 26
"""Height of a class in the figure, in pixels."""

HOVER = "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]}<br>%{customdata[3]}<extra></extra>"


def class_figure(evidence: Evidence, shown: Shown, styles: Mapping[str, Style]) -> Figure | None:
    """Return the change of each class's accuracy, clean and under all shifts; None with nothing to compare."""
    others = evidence.methods[1:]
    if not others:
        return None
    sets = shared_sets(evidence)
    found = {
        (title, method): class_losses(*(_picked(evidence, m, conditions) for m in (evidence.reference, method)))
        for title, conditions in sets.items()
        for method in others
    }
    order = _order(found, next(reversed(sets)))
    kept = order if len(order) <= LOWEST + HIGHEST else [*order[:LOWEST], *order[-HIGHEST:]]
    plot = make_subplots(rows=1, cols=len(sets), subplot_titles=list(sets), shared_yaxes=True, horizontal_spacing=0.04)
    dress(plot, height=(LINE + 7 * (len(others) - 1)) * len(kept) + 110)
    plot.update_layout(margin={"l": 10, "t": 40})
    plot.update_annotations(font={"size": 13})
    for column, title in enumerate(sets, start=1):
        for position, method in enumerate(others):
            rows = {row.number: row for row in found[title, method]}
            offset = dodge(position, len(others), min(0.22, 0.7 / len(others)))
            _changes(plot, column, method, [rows[number] for number in kept], shown, styles[method], offset)
    plot.add_vline(x=0, line={"color": FAINT, "width": 1.5})
    names = [figure_text(shown.class_name(number), 24) for number in kept]
    plot.update_yaxes(
        tickvals=list(range(len(kept))), ticktext=names, range=[len(kept) - 0.4, -0.6], automargin=True, zeroline=False
    )
    plot.update_xaxes(title={"text": "change of accuracy, points ↑"})
    return Figure(
        "losses",
        "Which classes pay",
        f"Change of each class's accuracy against {evidence.reference}, in points: left of the line at 0 the class got "
        "worse. Bars are 95 % intervals over its examples, one class at a time: with many classes, some exclude 0 by "
        f"chance. Classes are in the order of their change, largest loss on top.{_cut(len(order), len(kept))}",
        plot,
        [_row(title, method, row, shown) for (title, method), rows in found.items() for row in rows],
        {method: styles[method] for method in others},
        wide=len(sets) > 1,
    )


def _picked(evidence: Evidence, method: str, conditions: Sequence[Condition]) -> list[Outcomes]:
    return [evidence.outcomes[method][condition] for condition in conditions]


def _order(found: Mapping[tuple[str, str], Sequence[ClassLoss]], title: str) -> list[int]:
    """Return the classes from the largest loss to the largest gain in one set, mean over networks."""
    changes: dict[int, float] = {}
    for (own, _), rows in found.items():
        for row in rows if own == title else ():
            changes[row.number] = changes.get(row.number, 0.0) + row.change.value
    return sorted(changes, key=lambda number: (changes[number], number))


def _changes(
    plot: Any, column: int, method: str, rows: Sequence[ClassLoss], shown: Shown, style: Style, offset: float
) -> None:
    estimates = [row.change for row in rows]
    hovers = [
        [
            figure_text(method),
            figure_text(shown.class_name(row.number)),
            f"{100 * row.parent:.1f} % before, {100 * row.pruned:.1f} % after",
            f"{points(row.change, signed=True)} points, n = {row.change.n:,}",
        ]
        for row in rows
    ]
    plot.add_scatter(
        x=[100 * e.value for e in estimates],
        y=[place + offset for place in range(len(rows))],
        error_x=error_bars(estimates),
        mode="markers",
        marker=style.marker,
        meta=style.group,
        customdata=hovers,
        hovertemplate=HOVER,
        row=1,
        col=column,
    )


def _cut(classes: int, kept: int) -> str:
    if classes == kept:
        return ""
    return f" Of {classes:,} classes, the {LOWEST} that lost most and the {HIGHEST} that gained most; the data has all."


def _row(title: str, method: str, row: ClassLoss, shown: Shown) -> dict[str, Any]:
    change = {"change": row.change.value, "change_low": row.change.low, "change_high": row.change.high}
    named = {"set": title, "method": method, "class": shown.class_name(row.number), "number": row.number}
    return {**named, "before": row.parent, "after": row.pruned, **change, "n": row.change.n}
