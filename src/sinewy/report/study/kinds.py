"""The figure of the gain by kind of corruption, ordered by high-frequency content, with the trend along that order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from sinewy.analysis import Estimate, KindGain, Panel, frequency_trend, gains_by_kind, holm
from sinewy.errors import InputError
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure
from sinewy.report.numbers import points, share
from sinewy.report.study.gains import PER_ROW, by_frequency, small_multiples
from sinewy.report.style import FAINT, INK, Style

HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>relative gain %{customdata[2]}<br>%{customdata[3]}<extra></extra>"
)


def gains_of_kinds(panel: Panel, styles: Mapping[str, Style], high_frequency: Mapping[str, float]) -> Figure:
    """Return the relative gain of each method on each kind, mean over severities, the most high frequencies on top."""
    gains = {m: gains_by_kind(panel, m, high_frequency) for m in styles if m != panel.reference}
    trends = _trends(gains)
    kinds = by_frequency(panel.kinds, high_frequency)
    plot = small_multiples([_title(m, trends.get(m)) for m in gains], len(kinds))
    for index, (method, own) in enumerate(gains.items()):
        place = {"row": index // PER_ROW + 1, "col": index % PER_ROW + 1}
        plot.add_vline(x=0, line={"color": FAINT, "width": 1}, **place)
        _draw(plot, place, method, own, styles[method])
    first = kinds[0] if kinds else ""
    plot.update_yaxes(type="category", categoryorder="array", categoryarray=[_label(k) for k in kinds])
    plot.update_layout(margin={"t": 76}, height=plot.layout.height + 26)
    plot.update_xaxes(
        type="linear", showgrid=True, tickangle=0, ticks="outside", nticks=5, title={"text": "gain, %", "standoff": 4}
    )
    trend = (
        "ρ: Spearman's correlation of the gain with the share of high frequencies over kinds, p by permutation of the "
        "kinds, after Holm's correction over methods; kinds that resemble each other make p too small."
        if trends
        else "A trend needs at least three kinds whose spectrum is known."
    )
    return Figure(
        "kinds",
        "Relative gain by kind",
        f"(accuracy − accuracy of {panel.reference}) ÷ accuracy of {panel.reference}, mean over severities, with its "
        f"paired 95 % interval; right of the line is a gain. {_order(high_frequency, first)}{trend}",
        plot,
        [_row(m, gain, trends.get(m)) for m, own in gains.items() for gain in own],
        wide=len(gains) > 1,
    )


def _trends(gains: Mapping[str, Sequence[KindGain]]) -> dict[str, tuple[float, float]]:
    """Return correlation and p-value, corrected over methods, where there are kinds enough."""
    found = {}
    for method, own in gains.items():
        try:
            found[method] = frequency_trend(list(own))
        except InputError:
            return {}
    adjusted = holm([p for _, p in found.values()]).tolist()
    return {m: (rho, p) for (m, (rho, _)), p in zip(found.items(), adjusted, strict=True)}


def _title(method: str, trend: tuple[float, float] | None) -> str:
    name = f"<b>{figure_text(method, 24)}</b>"
    if trend is None:
        return name
    rho, p = f"{trend[0]:+.2f}".replace("-", "−"), "<\u00a00.001" if trend[1] < 0.001 else f"=\u00a0{trend[1]:.3f}"
    return f"{name}<br>ρ\u00a0{rho}, p\u00a0{p}"


def _order(high_frequency: Mapping[str, float], first: str) -> str:
    if not high_frequency:
        return "Kinds are in the order they were measured. "
    top = f"highest ({_label(first)}) on top"
    return f"Kinds are ordered by the share of their energy in high spatial frequencies, {top}. "


def _draw(plot: go.Figure, place: dict[str, Any], method: str, own: Sequence[KindGain], style: Style) -> None:
    known = [gain for gain in own if gain.relative]
    estimates = [gain.relative for gain in known if gain.relative]
    bars = {"array": [_reach(e, e.high) for e in estimates], "arrayminus": [_reach(e, e.low) for e in estimates]}
    plot.add_scatter(
        x=[100 * e.value for e in estimates],
        y=[_label(gain.kind) for gain in known],
        error_x={"type": "data", "symmetric": False, **bars, "thickness": 1.2, "width": 3, "color": INK},
        mode="markers",
        marker=style.marker,
        customdata=[
            [figure_text(method), figure_text(g.kind), f"{points(e, signed=True)} %", _energy(g)]
            for g, e in zip(known, estimates, strict=True)
        ],
        hovertemplate=HOVER,
        **place,
    )


def _reach(estimate: Estimate, bound: float) -> float:
    return 100 * abs(bound - estimate.value) if math.isfinite(bound) else 0.0


def _label(kind: str) -> str:
    return figure_text(kind.replace("_", " "), 28)


def _energy(gain: KindGain) -> str:
    return "" if math.isnan(gain.high_frequency) else f"{share(gain.high_frequency)} of its energy in high frequencies"


def _row(method: str, gain: KindGain, trend: tuple[float, float] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"method": method, "kind": gain.kind}
    row["high_frequency"] = None if math.isnan(gain.high_frequency) else gain.high_frequency
    for name, found in (("difference", gain.difference), ("relative_gain", gain.relative)):
        low, high = (found.low, found.high) if found else (None, None)
        row |= {name: found.value if found else None, f"{name}_low": low, f"{name}_high": high}
    return row | {"trend": trend[0] if trend else None, "trend_p": trend[1] if trend else None}
