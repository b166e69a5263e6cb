"""What probes beside the corruptions found: a table for a terminal, and a figure for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from rich.markup import escape
from rich.table import Table

from sinewy.analysis import Estimate
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, PANEL, Figure, dodge, dress
from sinewy.report.style import Style
from sinewy.report.tables import MARKS

Row = Mapping[str, Any]

TITLES = {
    "attack": "Accuracy under attack",
    "weight-noise": "Noise on the weights",
    "ood": "Detection of anomalies",
    "calibration": "Calibration",
    "classes": "Single classes",
    "lipschitz": "Lipschitz bounds",
    "function": "Likeness to the reference as a function",
    "features": "Confidence on the pixels that inform each network",
    "attention": "Size of the region looked at",
    "spectrum": "Accuracy without low or high frequencies",
    "kernels": "Concentration of weights in channels",
}
IN_SHORT = {
    "weight-noise": ("accuracy", "loss rise"),
    "ood": ("AUROC",),
    "classes": ("lowest recall", "share of exemplars", "relative change of recall"),
    "kernels": tuple(
        f"{what} beyond chance, {side} channels" for what in ("layers", "Gini") for side in ("input", "output")
    ),
}
"""What the terminal and the figure show of a probe that found much; the data have all."""

DRAWN = {"accuracy by confidence"}
"""Measures that only the figure shows; where they should lie, on the diagonal, is drawn as well."""

ARROWS = {"higher": " ↑", "lower": " ↓", "": ""}
MOST_LINES = 10
"""Lines of one measure, or of one series, that the terminal shows; of more, so many evenly among them."""

DIFFERENT = "≠"
"""The mark of a number that differs from the reference's where neither is better."""

GAP = 60
"""Pixels between panels."""

LINE, MARK = 22, 8
"""Height of one line of a figure with names on its axis, and of one method on it, in pixels."""


def findings_table(probe: str, rows: Sequence[Row]) -> Table:
    """Return one line per condition and measure, one column per method; marks compare with the reference."""
    shown = [row for row in _in_short(probe, rows) if row["measure"] not in DRAWN]
    methods = list(dict.fromkeys(row["method"] for row in rows))
    title = f"\n{TITLES.get(probe, probe)}"
    table = Table(box=None, pad_edge=False, header_style="bold", title=title, title_justify="left")
    for heading in ("condition", "measure"):
        table.add_column(heading, no_wrap=True)
    for method in methods:
        table.add_column(escape(method), justify="right")
    cells = {(row["condition"], row["measure"], row["method"]): row for row in shown}
    lines = {(row["condition"], row["measure"]): (row["measure"], row["series"]) for row in shown}
    kept = _thinned(lines)
    for condition, measure in kept:
        own = [cells.get((condition, measure, method)) for method in methods]
        better = next(row["better"] for row in own if row)
        table.add_row(escape(condition), measure + ARROWS[better], *(_cell(row) for row in own))
    if len(kept) < len(lines):
        table.caption = f"{len(kept)} of {len(lines)} lines; the page and its data hold all."
        table.caption_justify = "left"
    return table


def findings_figure(probe: str, rows: Sequence[Row], styles: Mapping[str, Style]) -> Figure:
    """Return what a probe found as one panel per measure; numbers with an axis of their own are joined."""
    shown = _in_short(probe, rows)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in shown:
        groups.setdefault((row["measure"], row["series"]), []).append(row)
    heights = [_height(rows) for rows in groups.values()]
    plot = make_subplots(
        rows=len(groups),
        cols=1,
        row_heights=heights,
        vertical_spacing=GAP / (sum(heights) + GAP * (len(groups) - 1)),
        subplot_titles=[_title(measure, series, part) for (measure, series), part in groups.items()],
    )
    dress(plot, height=sum(heights) + GAP * (len(groups) - 1) + 90)
    plot.update_annotations(font={"size": 13})
    for number, ((_, series), part) in enumerate(groups.items(), start=1):
        draw = _curves if series else _names
        draw(plot, number, part, styles)
    return Figure(
        probe,
        TITLES.get(probe, probe),
        "↑ higher is better, ↓ lower is better. Bars are 95 % intervals; a number without one is computed from the "
        "weights, or has no interval here. On a line with a name, methods stand in the order of the legend. Marks on "
        "differences, and all other measures, are in the data.",
        plot,
        [_flat(row) for row in rows],
        dict(styles),
    )


def _in_short(probe: str, rows: Sequence[Row]) -> list[Row]:
    wanted = IN_SHORT.get(probe)
    return [row for row in rows if wanted is None or row["measure"] in wanted]


def _thinned(lines: Mapping[tuple[str, str], tuple[str, str]]) -> list[tuple[str, str]]:
    """Return at most MOST_LINES of each group that `lines` belong to, the first and the last among them."""
    kept: set[tuple[str, str]] = set()
    for group in set(lines.values()):
        own = [line for line, its in lines.items() if its == group]
        steps = min(len(own), MOST_LINES)
        kept |= {own[round(i * (len(own) - 1) / max(steps - 1, 1))] for i in range(steps)}
    return [line for line in lines if line in kept]


def _cell(row: Row | None) -> str:
    if row is None:
        return "–"
    difference = Estimate.from_dict(row["difference"]) if row["difference"] else None
    mark = _mark(difference, row["better"]) if difference else ""
    return f"{escape(_written(Estimate.from_dict(row['estimate'])))} {mark}".strip()


def _mark(difference: Estimate, better: str) -> str:
    return MARKS[_verdict(difference, better)][0] if better or not difference.distinguishable else DIFFERENT


def _verdict(difference: Estimate, better: str) -> str:
    if not difference.distinguishable:
        return "unclear"
    return "better" if (difference.low > 0) == (better == "higher") else "worse"


def _written(estimate: Estimate) -> str:
    return f"{estimate.value:.3f}" if estimate.low == estimate.high else format(estimate, "z.3f")


def _title(measure: str, series: str, rows: Sequence[Row]) -> str:
    return figure_text(f"{measure}{ARROWS[rows[0]['better']]}{', ' + series if series else ''}", 60)


def _height(rows: Sequence[Row]) -> int:
    if rows[0]["series"]:
        return PANEL
    line = max(LINE, MARK * len({row["method"] for row in rows}) + 8)
    return line * len({row["condition"] for row in rows}) + 40


def _curves(plot: go.Figure, number: int, rows: Sequence[Row], styles: Mapping[str, Style]) -> None:
    if rows[0]["measure"] in DRAWN:
        dots = {"color": "#808080", "width": 1, "dash": "dot"}
        plot.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=dots, hoverinfo="skip", row=number, col=1)
    for method, style in styles.items():
        own = sorted((row for row in rows if row["method"] == method), key=lambda row: float(row["x"]))
        _trace(plot, number, own, style, [row["x"] for row in own], mode="lines+markers")


def _names(plot: go.Figure, number: int, rows: Sequence[Row], styles: Mapping[str, Style]) -> None:
    """Draw one line per condition, the methods a little apart on it, so that no interval hides another."""
    lines = {condition: line for line, condition in enumerate(dict.fromkeys(row["condition"] for row in rows))}
    drawn = [method for method in styles if any(row["method"] == method for row in rows)]
    for position, method in enumerate(drawn):
        own = [row for row in rows if row["method"] == method]
        off = dodge(position, len(drawn), min(0.2, 0.75 / len(drawn)))
        _trace(
            plot, number, own, styles[method], [lines[row["condition"]] + off for row in own], mode="markers", flip=True
        )
    plot.update_yaxes(
        automargin=True,
        range=[len(lines) - 0.5, -0.5],
        tickvals=list(lines.values()),
        ticktext=[figure_text(condition, 44) for condition in lines],
        showgrid=False,
        row=number,
        col=1,
    )


def _trace(
    plot: go.Figure,
    number: int,
    rows: Sequence[Row],
    style: Style,
    places: Sequence[Any],
    *,
    mode: str,
    flip: bool = False,
) -> None:
    estimates = [Estimate.from_dict(row["estimate"]) for row in rows]
    values = [estimate.value for estimate in estimates]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [e.high - e.value for e in estimates],
        "arrayminus": [e.value - e.low for e in estimates],
        "thickness": 1.2,
        "width": 3,
    }
    hovers = [
        [figure_text(row["method"]), figure_text(row["condition"]), f"{row['measure']} {_written(estimate)}"]
        for row, estimate in zip(rows, estimates, strict=True)
    ]
    axes = {"x": values, "y": list(places), "error_x": bars} if flip else {"x": places, "y": values, "error_y": bars}
    plot.add_scatter(
        **axes,
        mode=mode,
        line=style.line,
        marker=style.marker,
        meta=style.group,
        customdata=hovers,
        hovertemplate=HOVER,
        row=number,
        col=1,
    )


def _flat(row: Row) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name in ("estimate", "difference"):
        fields = row[name] or {}
        numbers |= {name: fields.get("value"), f"{name}_low": fields.get("low"), f"{name}_high": fields.get("high")}
    kept = {name: row[name] for name in ("method", "condition", "measure", "better", "x")}
    seeds = {f"seed {part['seed']}": (part["estimate"] or {}).get("value") for part in row.get("by_seed", ())}
    return {**kept, **numbers, "n": row["estimate"]["n"], "draws": row["estimate"]["seeds"], **seeds}
