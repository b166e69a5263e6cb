"""The figure of where networks were pruned: how much of each layer is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinewy.records import Layer
from sinewy.report.escaping import figure_text
from sinewy.report.figure import HOVER, Figure, dress, panels
from sinewy.report.numbers import share
from sinewy.report.style import Style

NAMES_FIT = 24
"""Up to so many layers there is room for their names."""


def density_figure(networks: Mapping[str, Sequence[Layer]], styles: Mapping[str, Style]) -> Figure | None:
    """Return the density of each layer of `networks`, in model order; None if none of them has a zero."""
    sparse = {
        name: layers for name, layers in networks.items() if any(layer.nonzero < layer.weights for layer in layers)
    }
    if not sparse:
        return None
    names = list(dict.fromkeys(layer.name for layers in sparse.values() for layer in layers))
    plot = panels(["weights left, %"], "layer, from input to output")
    dress(plot, height=420 if len(names) <= NAMES_FIT else 340)
    for name, layers in sparse.items():
        own = {layer.name: layer for layer in layers}
        held = [place for place, layer in enumerate(names, start=1) if layer in own]
        plot.add_scatter(
            x=held,
            y=[100 * (1 - own[names[place - 1]].sparsity) for place in held],
            mode="lines+markers",
            line={**styles[name].line, "width": 1.2},
            marker=styles[name].marker,
            meta=styles[name].group,
            customdata=[_hover(name, own[names[place - 1]]) for place in held],
            hovertemplate=HOVER,
        )
    plot.update_yaxes(range=[-3, 103])
    if len(names) <= NAMES_FIT:
        labels = [figure_text(name.removesuffix(".weight"), 22) for name in names]
        plot.update_xaxes(tickvals=list(range(1, len(names) + 1)), ticktext=labels, tickangle=-50, automargin=True)
    return Figure(
        "layers",
        "Where it was pruned",
        "The share of each layer's weights that is left, in model order: a low point is a layer that gave up most, a "
        "high one a layer that was spared. Large layers can usually give more; a first layer that is nearly empty sees "
        "little of its inputs.",
        plot,
        [_row(name, layer) for name, layers in sparse.items() for layer in layers],
        {name: styles[name] for name in sparse},
    )


def _hover(name: str, layer: Layer) -> list[str]:
    left = f"{layer.nonzero:,} of {layer.weights:,} weights left, {share(1 - layer.sparsity)}"
    return [figure_text(name), figure_text(layer.name), left]


def _row(name: str, layer: Layer) -> dict[str, Any]:
    counts = {"weights": layer.weights, "left": layer.nonzero, "density": 1 - layer.sparsity}
    return {"network": name, "layer": layer.name, **counts}
