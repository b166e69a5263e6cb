"""The page of a limit: how far a network can be pruned, per group of shifts, with curves, map and certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from sinewy.analysis.limit_record import LimitRecord
from sinewy.files import write_text
from sinewy.outcomes import CLEAN
from sinewy.report.document import render
from sinewy.report.escaping import csv_uri, figure_text
from sinewy.report.figure import Figure, dress, error_bars, panels
from sinewy.report.limit_text import advice, allowed, label, limit_answer, limit_rows, limit_summary, limit_text, number
from sinewy.report.numbers import flat, flops, points, share
from sinewy.report.style import FAINT, GAINS, Style, styles

__all__ = ["limit_rows", "limit_summary", "limit_text", "write_limit_report"]

SHOWN_MARGINS, LEAST_SHOWN = 10, 6.0
"""How many margins, and at least how many points of loss, the curves show: what is far beyond them matters little."""

LIMITS = (
    "Another training run of the same network: the intervals and the certificate are about these weights.",
    "Inputs of other kinds or severities than those listed, adversarial inputs among them.",
    "Speed and size: zeros in dense tensors make a model neither smaller on disk nor faster to run.",
    '"Safe" is the best of several noisy levels, so it leans towards too much; the certificate does not.',
)
"""What the page does not say."""


def write_limit_report(record: LimitRecord, path: Path) -> Path:
    """Write the page of `record` to `path` as one HTML file that needs no network, and return `path`.

    Raises InputError if the file cannot be written; an earlier one then stays.
    """
    write_text(path, _page(record))
    return path


def _page(record: LimitRecord) -> str:
    cells, tests = record.cells(), record.certificate.rows()
    figures = [_curves(record), *([_map(record, cells)] if len(record.potentials) > 1 else [])]
    return render(
        "limit.html.j2",
        record=record,
        answer=limit_answer(record),
        margin=allowed(record),
        advice=advice(record),
        rows=[_written(record, row) for row in limit_rows(record)],
        rows_csv=csv_uri(limit_rows(record)),
        figures=figures,
        certificate=record.certificate.statement,
        tests=[_test(row) for row in tests if row["verdict"] != "not reached"],
        tests_csv=csv_uri(tests),
        layers=_layers(record),
        levels=[number(level.sparsity) for level in record.levels],
        cost=_cost(record),
        protocol=flat(record.protocol),
        environment=flat(record.environment),
        limits=LIMITS,
    )


def _written(record: LimitRecord, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the main table in words; the mark says what colour alone would."""
    least = min(found.sparsity for found in record.potentials.values())
    mark, meaning = ("■", "the limit") if row["safe"] == least else ("▲", "allows more")
    broken = "none" if row["first_break"] is None else number(row["first_break"])
    return {
        "label": label(record, row["group"]),
        "kinds": ", ".join(dict.fromkeys(kind for kind, _ in record.groups[row["group"]] if kind != CLEAN[0])),
        "accuracy": points(record.potentials[row["group"]].accuracy),
        "safe": number(row["safe"]) + (" +" if row["censored"] else ""),
        "interval": f"[{number(row['low'])}, {number(row['high'])}]",
        "break": broken,
        "loss": "" if row["break_loss"] is None else f"{-100 * row['break_loss']:+.2f} points".replace("-", "−"),
        "certified": number(row["certified"]),
        "verdict": "worse" if row["safe"] == least else "better",
        "mark": f"{mark} {meaning}",
    }


def _test(row: dict[str, Any]) -> dict[str, str]:
    return {
        "sparsity": number(row["sparsity"]),
        "shift": row["shift"],
        "loss": f"{100 * row['loss']:+.2f}".replace("-", "−"),
        "bound": f"{100 * row['bound']:.2f}",
        "p": f"{row['p_value']:.3f}",
        "verdict": row["verdict"],
        "class": "better" if row["verdict"] == "passed" else "worse",
    }


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
    plot.update_yaxes(range=[-top / 4, top])
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
            colorbar={"title": {"text": "points"}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{y}<br>sparsity %{x}<br>%{z:+.2f} points<extra></extra>",
            xgap=1,
            ygap=1,
        )
    )
    dress(plot, height=22 * len(names) + 120)
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


def _layers(record: LimitRecord) -> list[dict[str, Any]]:
    """Return one row per layer: its weights, and its sparsity at every level."""
    by_layer = zip(*(level.layers for level in record.levels), strict=True)
    return [
        {
            "name": levels[0].name,
            "weights": f"{levels[0].weights:,}",
            "sparsities": [number(layer.sparsity) for layer in levels],
        }
        for levels in by_layer
    ]


def _cost(record: LimitRecord) -> dict[str, str]:
    if record.cost is None:
        return {}
    return {
        "parameters": f"{record.cost.parameters:,}",
        "FLOPs of one example, dense": flops(record.cost.dense_inference_flops),
    }
