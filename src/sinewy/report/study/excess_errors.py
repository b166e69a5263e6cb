"""The figure of the excess error: how much more a shift costs the pruned networks than their parent, over sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from sinewy.analysis import ExcessCurve, excess_curve
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, Figure, dodge, error_bars, panels
from sinewy.report.numbers import points, share
from sinewy.report.study.pruned_families import PrunedFamily
from sinewy.report.style import FAINT, Style

RESAMPLES = 1000


def excess_figure(reference: str, families: Sequence[PrunedFamily], styles: Mapping[str, Style]) -> Figure | None:
    """Return the difference of excess errors with its line through the origin, or None without corruptions."""
    if not families or not families[0].shifts:
        return None
    plot = panels(["difference of excess errors, points ↓"], "sparsity, %")
    plot.update_layout(height=400)
    plot.update_xaxes(rangemode="tozero")
    plot.add_hline(y=0, line={"color": FAINT, "width": 1.2})
    rows: list[dict[str, Any]] = []
    slopes = []
    for position, found in enumerate(families):
        curve = excess_curve(
            found.parent_clean,
            found.parent_shifted,
            found.pruned_clean,
            found.pruned_shifted,
            found.sparsities,
            resamples=RESAMPLES,
        )
        _draw(plot, found, curve, styles[found.name], dodge(position, len(families), 0.6))
        slopes.append(f"{found.name} {points(curve.slope, signed=True)}")
        rows += [
            {"family": found.name, "method": m, "sparsity": ratio, **_numbers("difference", d), **_line(curve, ratio)}
            for m, ratio, d in zip(found.members, curve.ratios, curve.differences, strict=True)
        ]
    severities = sorted({severity for _, severity in families[0].shifts})
    at = ", ".join(map(str, severities))
    return Figure(
        "excess",
        "Excess error",
        f"Excess error: error under {len(families[0].shifts)} corruptions of severity {at} less that on clean inputs. "
        f"Drawn: that of the pruned networks less that of {reference}; 0 means that clean accuracy tells how far "
        "to prune, above it shifts make sparsity cost more. Lines: least squares through the origin, "
        "dotted edges its 95 % band; "
        f"bars 95 % intervals. Points per unit of sparsity: {'; '.join(slopes)}.",
        plot,
        rows,
        {found.name: styles[found.name] for found in families},
    )


def _draw(plot: go.Figure, found: PrunedFamily, curve: ExcessCurve, style: Style, aside: float) -> None:
    plot.add_scatter(
        x=[100 * ratio + aside for ratio in curve.ratios],
        y=[100 * d.value for d in curve.differences],
        error_y=error_bars(curve.differences),
        mode="markers",
        marker=style.marker,
        meta=style.group,
        customdata=[
            [figure_text(m), f"sparsity {share(ratio)}", f"{points(d, signed=True)} points"]
            for m, ratio, d in zip(found.members, curve.ratios, curve.differences, strict=True)
        ],
        hovertemplate=HOVER,
    )
    end = max(curve.ratios)
    for bound, dash, width in (("value", style.dash, 1.6), ("low", "dot", 1.0), ("high", "dot", 1.0)):
        plot.add_scatter(
            x=[0, 100 * end],
            y=[0, 100 * getattr(curve.line(end), bound)],
            mode="lines",
            line={"color": style.colour, "dash": dash, "width": width},
            meta=style.group,
            hoverinfo="skip",
        )


def _numbers(name: str, estimate: Any) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high, "n": estimate.n}


def _line(curve: ExcessCurve, ratio: float) -> dict[str, float]:
    at = curve.line(ratio)
    return {"line": at.value, "line_low": at.low, "line_high": at.high}
