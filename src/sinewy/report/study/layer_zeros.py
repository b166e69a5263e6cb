"""The figure of where the zeros are: the sparsity of each layer, and what the allocation by Erdos-Renyi-kernel asks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from sinewy.records import Layer, RunRecord
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, dress, panels
from sinewy.report.numbers import share
from sinewy.report.study.training import by_method
from sinewy.report.style import FAINT, Style, family

HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]} of %{customdata[3]} weights are 0<extra></extra>"
)
NAMES_FIT = 24
"""Up to so many layers there is room for their names."""


def layer_sparsity(runs: Sequence[RunRecord], styles: Mapping[str, Style]) -> Figure | None:
    """Return the sparsity of each layer, as means over seeds, or None if no run has a zero to show."""
    groups = by_method(run for run in runs if run.layers and run.method in styles)
    sparse = {m: g for m, g in groups.items() if any(run.sparsity > 0 for run in g)}
    if not sparse:
        return None
    rows = [row for method, group in sparse.items() for row in _rows(method, group)]
    names = list(dict.fromkeys(row["layer"] for row in rows))
    plot = panels(["sparsity, %"], "prunable layer, from input to output")
    dress(plot, height=440 if len(names) <= NAMES_FIT else 360)
    targets = _targets_to_draw(sparse)
    for method in targets:
        _trace(plot, method, names, [r for r in rows if r["method"] == method], "erk", styles[method])
    for method in sparse:
        _trace(plot, method, names, [r for r in rows if r["method"] == method], "sparsity", styles[method])
    plot.update_yaxes(range=[-3, 103])
    if len(names) <= NAMES_FIT:
        labels = [figure_text(name.removesuffix(".weight"), 22) for name in names]
        turned = -50 if max(map(len, labels)) > 3 else 0
        plot.update_xaxes(tickvals=list(range(1, len(names) + 1)), ticktext=labels, tickangle=turned, automargin=True)
    asked = {f"{share(sparse[m][0].sparsity)}" for m in targets}
    return Figure(
        "layers",
        "Sparsity by layer",
        "The share of zeros in each prunable layer, mean over seeds, in model order. Even sparsity is a flat line; a "
        "dip is a layer that was spared. Faint dotted lines without markers: what the Erdos-Renyi-kernel allocation "
        f"asks at {', '.join(sorted(asked))}; a method that stays on it was allocated so and has not moved. "
        "Methods without zeros are not drawn.",
        plot,
        rows,
        {method: styles[method] for method in sparse},
    )


def erk_sparsities(layers: Sequence[Layer], sparsity: float) -> dict[str, float]:
    """Return the sparsity of each layer if their densities were proportional to sum(shape) / prod(shape).

    As `sinewy.allocate(model, sparsity, "erk")` has it (Evci et al. 2020), before counts are rounded: a layer whose
    density would exceed 1 stays dense, and the others share what is left.
    """
    raw = {layer.name: sum(layer.shape) / math.prod(layer.shape) for layer in layers}
    sizes = {layer.name: layer.weights for layer in layers}
    budget = (1 - sparsity) * sum(sizes.values())
    full: set[str] = set()
    while len(full) < len(raw):
        rest = [name for name in raw if name not in full]
        scale = (budget - sum(sizes[n] for n in full)) / sum(raw[n] * sizes[n] for n in rest)
        highest = max(raw[name] for name in rest)
        if scale * highest <= 1:
            return {name: 0.0 if name in full else 1 - scale * raw[name] for name in raw}
        full |= {name for name in rest if raw[name] == highest}
    return dict.fromkeys(raw, 0.0)


def _targets_to_draw(sparse: Mapping[str, Sequence[RunRecord]]) -> list[str]:
    """Return one method per sparsity, so that equal targets are drawn once; those allocated by ERK first."""
    by_sparsity: dict[int, str] = {}
    for method, group in sorted(sparse.items(), key=lambda item: "erk" not in str(_allocation(item[1][0]))):
        by_sparsity.setdefault(round(100 * group[0].sparsity), method)
    return list(by_sparsity.values())[:4]


def _allocation(run: RunRecord) -> Any:
    return run.settings.get("sparsifier.allocation", "")


def _rows(method: str, group: Sequence[RunRecord]) -> list[dict[str, Any]]:
    layers: dict[str, list[Layer]] = {}
    for run in group:
        for layer in run.layers:
            layers.setdefault(layer.name, []).append(layer)
    targets = erk_sparsities(group[0].layers, group[0].sparsity)
    return [
        {
            "method": method,
            "family": family(method),
            "layer": name,
            "weights": own[0].weights,
            "sparsity": fmean(layer.sparsity for layer in own),
            "erk": targets.get(name),
            "seeds": len(own),
        }
        for name, own in layers.items()
    ]


def _trace(
    plot: Any, method: str, names: Sequence[str], rows: Sequence[Mapping[str, Any]], what: str, style: Style
) -> None:
    own = {row["layer"]: row for row in rows if row[what] is not None}
    held = [i for i, name in enumerate(names) if name in own]
    found = [own[names[i]] for i in held]
    target = what == "erk"
    drawn = (
        {"mode": "lines", "line": {"color": FAINT, "dash": "dot", "width": 1.6}}
        if target
        else {
            "mode": "lines+markers",
            "line": {**style.line, "width": 1.2},
            "marker": style.marker,
            "meta": style.group,
        }
    )
    label = f"ERK at {share(1 - _density(found))}" if target else figure_text(method)
    plot.add_scatter(
        x=[i + 1 for i in held],
        y=[100 * row[what] for row in found],
        customdata=[[label, figure_text(r["layer"]), share(r[what]), f"{r['weights']:,}"] for r in found],
        hovertemplate=HOVER,
        **drawn,
    )


def _density(rows: Sequence[Mapping[str, Any]]) -> float:
    return float(sum((1 - row["erk"]) * row["weights"] for row in rows) / sum(row["weights"] for row in rows))
