"""The figures of the prune potential of methods that were run at several sparsities: over sparsity, shift, margin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sinewy.analysis import Estimate, Panel, margin_sweep
from sinewy.outcomes import CLEAN
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, Figure, add_curve, dodge, dress, panels
from sinewy.report.numbers import points, share
from sinewy.report.study.gains import by_frequency
from sinewy.report.study.pruned_families import PrunedFamily
from sinewy.report.style import FAINT, Style

MARGIN = 0.005
"""The loss of accuracy that counts as none, 0.5 points (Liebenwein et al. 2021)."""

MARGINS = tuple(round(0.0025 * step, 4) for step in range(21))
"""Those of the sweep, 0 to 5 points."""


def prune_curves(panel: Panel, families: Sequence[PrunedFamily], styles: Mapping[str, Style]) -> Figure:
    """Return the accuracy lost against the reference over sparsity, one line per family."""
    asked: dict[str, str | None] = {"corruption": None} if panel.kinds else {}
    asked["clean"] = CLEAN[0]
    plot = panels([f"{name} loss, points ↓" for name in asked], "sparsity, %")
    rows: list[dict[str, Any]] = []
    for row, (name, kind) in enumerate(asked.items(), start=1):
        for position, found in enumerate(families):
            losses = [_negated(panel.difference(member, kind)) for member in found.members]
            xs = [100 * s + dodge(position, len(families), 0.5) for s in found.sparsities]
            _line(plot, row, found, styles[found.name], xs, losses, "points")
            rows += [
                {"family": found.name, "method": m, "sparsity": s, "set": name, **_bounds("loss", loss), "n": loss.n}
                for m, s, loss in zip(found.members, found.sparsities, losses, strict=True)
            ]
        plot.add_hline(y=0, line={"color": FAINT, "width": 1}, row=row, col=1)
        plot.add_hline(y=100 * MARGIN, line={"color": FAINT, "dash": "dash", "width": 1}, row=row, col=1)
    plot.update_xaxes(rangemode="tozero")
    return Figure(
        "prune-accuracy",
        "Prune-accuracy curves",
        f"Accuracy lost against {panel.reference} on the same examples; lower is better, below the line at 0 pruning "
        f"gained. The dashed line is a loss of {100 * MARGIN:g} points. Bars are paired 95 % intervals.",
        plot,
        rows,
        {found.name: styles[found.name] for found in families},
    )


def potential_bars(
    panel: Panel, families: Sequence[PrunedFamily], styles: Mapping[str, Style], high_frequency: Mapping[str, float]
) -> Figure:
    """Return the prune potential of each family on the clean set and on each kind of corruption."""
    severities = dict(families[0].shifts)
    names = [CLEAN[0], *by_frequency(panel.kinds, high_frequency)]
    plot = panels(["" for _ in range(1)], "prune potential, % ↑")
    lane = 9 * len(families) + 9
    dress(plot, height=lane * len(names) + 90)
    rows: list[dict[str, Any]] = []
    for position, found in enumerate(families):
        own = _potentials_by_shift(found)
        rows += [
            {"family": found.name, "kind": name, "severity": severities.get(name, 0), **_spread(own[name])}
            for name in names
        ]
        drawn = rows[-len(names) :]
        plot.add_bar(
            x=[100 * row["potential"] for row in drawn],
            y=[i + dodge(position, len(families), 0.8 / len(families)) for i in range(len(names))],
            width=0.7 / len(families),
            orientation="h",
            marker={"color": styles[found.name].colour, "opacity": 0.55},
            meta=styles[found.name].group,
            customdata=[[figure_text(found.name), figure_text(r["kind"]), _spelled(r)] for r in drawn],
            hovertemplate=HOVER,
        )
        plot.add_scatter(
            x=[100 * row["potential"] for row in drawn],
            y=[i + dodge(position, len(families), 0.8 / len(families)) for i in range(len(names))],
            mode="markers",
            marker=styles[found.name].marker,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [100 * (row["most"] - row["potential"]) for row in drawn],
                "arrayminus": [100 * (row["potential"] - row["least"]) for row in drawn],
                "thickness": 1.2,
                "width": 3,
            },
            meta=styles[found.name].group,
            hoverinfo="skip",
        )
    labels = [figure_text(name.replace("_", " "), 28) for name in names]
    plot.update_layout(barmode="overlay", margin={"l": 10, "r": 14, "t": 14, "b": 52})
    plot.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=labels,
        range=[len(names) - 0.5, -0.5],
        automargin=True,
        showgrid=False,
    )
    plot.update_xaxes(range=[0, 102])
    severity = sorted(set(severities.values()))
    at = f" at severity {', '.join(map(str, severity))}" if severity else ""
    return Figure(
        "potential",
        "Prune potential by shift",
        f"The largest sparsity tried whose mean accuracy loss is at most {100 * MARGIN:g} points, 0 if none is; "
        f"corruptions{at}, those with the most high frequencies on top. Bars are means over seeds, whiskers reach from "
        "the least to the most. A short bar is a shift on which the network cannot spare its weights.",
        plot,
        rows,
        {found.name: styles[found.name] for found in families},
    )


def potential_sweep(families: Sequence[PrunedFamily], styles: Mapping[str, Style]) -> Figure:
    """Return the prune potential over the margin, on the clean set, and average and minimum over the corruptions."""
    rows = [row for found in families for row in _sweep_rows(found)]
    asked = list(dict.fromkeys(row["set"] for row in rows))
    plot = panels([f"{name}, % ↑" for name in asked], "margin δ, points")
    dress(plot, height=200 * len(asked) + 60)
    for number, name in enumerate(asked, start=1):
        for found in families:
            own = [row for row in rows if row["family"] == found.name and row["set"] == name]
            style = styles[found.name]
            plot.add_scatter(
                x=[100 * row["margin"] for row in own],
                y=[100 * row["potential"] for row in own],
                mode="lines+markers",
                line={**style.line, "shape": "hv"},
                marker={**style.marker, "size": 6},
                meta=style.group,
                customdata=[
                    [figure_text(found.name), f"{name}, δ = {100 * r['margin']:g}", share(r["potential"])] for r in own
                ],
                hovertemplate=HOVER,
                row=number,
                col=1,
            )
    plot.update_yaxes(range=[-4, 104])
    return Figure(
        "sweep",
        "Prune potential by margin",
        "How the prune potential depends on the loss δ that is allowed, mean over seeds: on clean "
        "inputs, as the average over corruptions, and on the worst of them. A curve that rises only at large "
        "δ belongs to a network without weights to spare on those inputs; one that jumps depends on the choice of δ.",
        plot,
        rows,
        {found.name: styles[found.name] for found in families},
    )


def _potentials_by_shift(found: PrunedFamily) -> dict[str, Any]:
    """Return the potentials of the networks, (nets,), on each shift."""
    own = {
        CLEAN[0]: margin_sweep(found.parent_clean[:, None], found.pruned_clean[:, :, None], found.sparsities, [MARGIN])[
            0, :, 0
        ]
    }
    if found.shifts:
        table = margin_sweep(found.parent_shifted, found.pruned_shifted, found.sparsities, [MARGIN])[0]
        own |= {kind: table[:, i] for i, (kind, _) in enumerate(found.shifts)}
    return own


def _sweep_rows(found: PrunedFamily) -> list[dict[str, Any]]:
    clean = margin_sweep(found.parent_clean[:, None], found.pruned_clean[:, :, None], found.sparsities, MARGINS)
    curves = {"clean": clean[:, :, 0].mean(axis=1)}
    if found.shifts:
        shifted = margin_sweep(found.parent_shifted, found.pruned_shifted, found.sparsities, MARGINS)
        curves["corruptions"] = shifted.mean(axis=(1, 2))
        curves["worst one"] = shifted.min(axis=2).mean(axis=1)
    return [
        {"family": found.name, "set": name, "margin": margin, "potential": float(value)}
        for name, curve in curves.items()
        for margin, value in zip(MARGINS, curve, strict=True)
    ]


def _line(
    plot: Any,
    row: int,
    found: PrunedFamily,
    style: Style,
    xs: Sequence[float],
    estimates: Sequence[Estimate],
    unit: str,
) -> None:
    hovers = [
        [figure_text(m), f"sparsity {share(s)}", f"{points(e, signed=True)} {unit}"]
        for m, s, e in zip(found.members, found.sparsities, estimates, strict=True)
    ]
    add_curve(plot, row, style, xs, estimates, hovers)


def _negated(gain: Estimate) -> Estimate:
    return Estimate(-gain.value, -gain.high, -gain.low, gain.n, gain.seeds, gain.level)


def _bounds(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def _spread(own: Any) -> dict[str, Any]:
    deviation = float(np.std(own, ddof=1)) if len(own) > 1 else None
    ends = {"least": float(np.min(own)), "most": float(np.max(own))}
    return {"potential": float(np.mean(own)), "deviation": deviation, **ends, "seeds": len(own)}


def _spelled(row: Mapping[str, Any]) -> str:
    plus = "" if row["deviation"] is None else f" ± {share(row['deviation'])}"
    return f"{share(row['potential'])}{plus}"
