"""Whether a pruned network knows how sure it may be: reliability curves, and calibration errors as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plotly.subplots import make_subplots

from sinewy.analysis import Estimate, clopper_pearson
from sinewy.analysis.confidence import confidence_findings, reliability_curve
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.metrics.calibration import BINS, Bin
from sinewy.outcomes import CLEAN, Condition
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, Figure, dress
from sinewy.report.numbers import share
from sinewy.report.style import FAINT, Style
from sinewy.report.tables import MARKS

EXAMPLES, FEWEST = 100, 5
"""A curve has a bin for so many examples, and at least so many bins: more would be noise."""


def shared_sets(evidence: Evidence) -> dict[str, tuple[Condition, ...]]:
    """Return the clean set, and all shifts that every network was measured under together, if there are any."""
    every = [set(by_condition) for by_condition in evidence.outcomes.values()]
    shared = [c for c in evidence.outcomes[evidence.reference] if c != CLEAN and all(c in found for found in every)]
    title = f"{len(shared)} shifts together" if len(shared) > 1 else "shifted"
    return {"clean": (CLEAN,)} | ({title: tuple(shared)} if shared else {})


def reliability_figure(evidence: Evidence, styles: Mapping[str, Style]) -> Figure:
    """Return accuracy over stated confidence, by bins, for every network, clean and under all shifts together."""
    sets = shared_sets(evidence)
    number = min(max(len(evidence.label) // EXAMPLES, FEWEST), BINS)
    plot = make_subplots(rows=1, cols=len(sets), subplot_titles=list(sets), shared_yaxes=True, horizontal_spacing=0.05)
    dress(plot, height=430)
    plot.update_annotations(font={"size": 13})
    rows: list[dict[str, Any]] = []
    for column, (title, conditions) in enumerate(sets.items(), start=1):
        honest = {"color": FAINT, "dash": "dash", "width": 1}
        plot.add_scatter(
            x=[0, 100], y=[0, 100], mode="lines", line=honest, hoverinfo="skip", row=1, col=column, showlegend=False
        )
        for method in evidence.methods:
            bins = reliability_curve(evidence, method, conditions, number)
            _curve(plot, column, method, bins, styles[method], exact=len(conditions) == 1)
            rows += [{"set": title, "method": method, **vars(part)} for part in bins]
    plot.update_xaxes(range=[-3, 103], title={"text": "stated confidence, %"})
    plot.update_yaxes(range=[-3, 103])
    plot.update_yaxes(title={"text": "accuracy, %", "standoff": 8}, col=1)
    return Figure(
        "confidence",
        "Confidence",
        f"Of the answers given with so much confidence, in {number} bins, how many are right. On the dashed line "
        "confidence is honest; below it the network is surer than it may be, above it too modest. Bars on the clean "
        "set are exact 95 % intervals; under shifts, where an example counts once a shift, none are drawn.",
        plot,
        rows,
        dict(styles),
        wide=len(sets) > 1,
    )


def confidence_rows(evidence: Evidence) -> list[dict[str, Any]]:
    """Return calibration errors as flat rows: set, method, measure, value and difference with their bounds."""
    return [_flat(found) for found in _found(evidence)]


def confidence_table(evidence: Evidence) -> list[dict[str, Any]]:
    """Return one line per set and measure, in words, with a cell per network; marks compare with the parent."""
    by_line: dict[tuple[str, str], list[dict[str, str]]] = {}
    for found in _found(evidence):
        by_line.setdefault((found.condition, found.measure), []).append(_cell(found))
    return [{"set": name, "measure": measure, "cells": cells} for (name, measure), cells in by_line.items()]


def _found(evidence: Evidence) -> list[Finding]:
    return [f for name, conditions in shared_sets(evidence).items() for f in _of_set(evidence, conditions, name)]


def _of_set(evidence: Evidence, conditions: Sequence[Condition], name: str) -> list[Finding]:
    return confidence_findings(evidence, conditions, name)


def _cell(found: Finding) -> dict[str, str]:
    value, _, interval = format(found.estimate, "z.3f").partition(" ")
    verdict = _verdict(found.difference)
    mark = MARKS[verdict][0] if verdict else ""
    return {"value": f"{value} {mark}".strip(), "interval": interval, "verdict": verdict}


def _verdict(difference: Estimate | None) -> str:
    """Return whether a measure that should be low is better, worse or unclear; "" for the parent."""
    if difference is None:
        return ""
    if not difference.distinguishable:
        return "unclear"
    return "better" if difference.high < 0 else "worse"


def _curve(plot: Any, column: int, method: str, bins: Sequence[Bin], style: Style, *, exact: bool) -> None:
    bounds = [clopper_pearson(round(part.accuracy * part.count), part.count) for part in bins]
    bars = {
        "type": "data",
        "symmetric": False,
        "array": [100 * (b.high - b.value) for b in bounds],
        "arrayminus": [100 * (b.value - b.low) for b in bounds],
        "thickness": 1,
        "width": 2,
    }
    hovers = [
        [
            figure_text(method),
            f"confidence {share(part.confidence)}",
            f"right {share(part.accuracy)} of {part.count:,}",
        ]
        for part in bins
    ]
    plot.add_scatter(
        x=[100 * part.confidence for part in bins],
        y=[100 * part.accuracy for part in bins],
        error_y=bars if exact else None,
        mode="lines+markers",
        line=style.line,
        marker=style.marker,
        meta=style.group,
        customdata=hovers,
        hovertemplate=HOVER,
        row=1,
        col=column,
    )


def _flat(found: Finding) -> dict[str, Any]:
    row: dict[str, Any] = {"set": found.condition, "method": found.method, "measure": found.measure}
    for name, estimate in (("value", found.estimate), ("difference", found.difference)):
        parts = {} if estimate is None else {"": estimate.value, "_low": estimate.low, "_high": estimate.high}
        row |= {f"{name}{suffix}": parts.get(suffix) for suffix in ("", "_low", "_high")}
    return {**row, "n": found.estimate.n}
