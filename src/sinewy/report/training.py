"""The figures of how the models came about: where their zeros are, and how training went."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from sinewy.records import Epoch, RunRecord
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, dress, panels
from sinewy.report.numbers import share
from sinewy.report.style import Style

CURVES: dict[str, Callable[[Epoch], float | None]] = {
    "training loss": lambda epoch: epoch.loss,
    "validation accuracy, %": lambda epoch: (
        None if epoch.validation_accuracy is None else 100 * epoch.validation_accuracy
    ),
    "sparsity, %": lambda epoch: 100 * epoch.sparsity,
    "ever kept, %": lambda epoch: None if epoch.movement is None else 100 * epoch.movement.explored,
    "overlap with first, %": lambda epoch: None if epoch.movement is None else 100 * epoch.movement.overlap,
}
LAYER_HOVER = (
    "<b>%{customdata[0]}</b><br>%{customdata[1]}<br>%{customdata[2]} of %{customdata[3]} weights are 0<extra></extra>"
)


def by_method(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs of each method."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.method, []).append(run)
    return groups


def layer_sparsity(runs: Sequence[RunRecord], styles: Mapping[str, Style]) -> Figure | None:
    """Return the sparsity of each layer, as means over seeds, or None if no run has a zero to show."""
    sparse = {m: g for m, g in by_method(r for r in runs if r.layers).items() if any(r.sparsity > 0 for r in g)}
    if not sparse:
        return None
    rows = [row for method, group in sparse.items() for row in _layer_rows(method, group)]
    names = list(dict.fromkeys(row["layer"] for row in rows))
    plot = panels(["sparsity, %"], "prunable layer, from input to output")
    dress(plot, height=420 if len(names) <= 24 else 340)
    for method in sparse:
        own = {row["layer"]: row for row in rows if row["method"] == method}
        held = [i for i, name in enumerate(names) if name in own]
        found = [own[names[i]] for i in held]
        plot.add_scatter(
            x=[i + 1 for i in held],
            y=[100 * row["sparsity"] for row in found],
            mode="lines+markers",
            line={**styles[method].line, "width": 1.2},
            marker=styles[method].marker,
            meta=styles[method].group,
            customdata=[
                [figure_text(method), figure_text(row["layer"]), share(row["sparsity"]), f"{row['weights']:,}"]
                for row in found
            ],
            hovertemplate=LAYER_HOVER,
        )
    plot.update_yaxes(range=[-3, 103])
    if len(names) <= 24:
        labels = [figure_text(name.removesuffix(".weight"), 22) for name in names]
        plot.update_xaxes(tickvals=list(range(1, len(names) + 1)), ticktext=labels, tickangle=-50, automargin=True)
    return Figure(
        "layers",
        "Sparsity by layer",
        "The share of zeros in each prunable layer, mean over seeds, in model order. Even sparsity is a flat line; a "
        "dip is a layer that the allocation spared. Methods without zeros are not drawn.",
        plot,
        rows,
        {method: styles[method] for method in sparse},
    )


def training_curves(runs: Sequence[RunRecord], styles: Mapping[str, Style]) -> Figure | None:
    """Return what was recorded of each epoch, from the loss to the exploration; seeds thin, their mean thick."""
    trained = by_method(run for run in runs if run.history)
    curves = {
        title: ask
        for title, ask in CURVES.items()
        if any(ask(e) is not None for g in trained.values() for r in g for e in r.history)
    }
    if not trained:
        return None
    plot = panels(list(curves), "epoch")
    for method, group in trained.items():
        style = styles[method]
        for row, ask in enumerate(curves.values(), start=1):
            for run in group if len(group) > 1 else ():
                label = f"seed {run.seed} · run {figure_text(run.id, 24)}"
                thin = {"color": style.colour, "width": 1}
                _curve(plot, row, method, style, label, [(e.epoch, ask(e)) for e in run.history], thin, 0.4)
            label = f"mean of {len(group)} seeds" if len(group) > 1 else f"seed {group[0].seed}"
            _curve(plot, row, method, style, label, _mean_curve(group, ask), style.line, 1.0)
    return Figure(
        "training",
        "Training",
        "Thick lines are means over seeds, thin ones single seeds. Validation data is held out of training and is not "
        "the test set; the last epoch is what every other section reports. A mean ends where its shortest run does. "
        "Ever kept: the share of all prunable weights that were in a mask so far. Overlap with first: the share of "
        "the kept weights that the first mask kept, too.",
        plot,
        [_epoch_row(run, epoch) for group in trained.values() for run in group for epoch in run.history],
        {method: styles[method] for method in trained},
    )


def _layer_rows(method: str, group: Sequence[RunRecord]) -> list[dict[str, Any]]:
    layers: dict[str, list[Any]] = {}
    for run in group:
        for layer in run.layers:
            layers.setdefault(layer.name, []).append(layer)
    return [
        {
            "method": method,
            "layer": n,
            "weights": ls[0].weights,
            "sparsity": fmean(x.sparsity for x in ls),
            "seeds": len(ls),
        }
        for n, ls in layers.items()
    ]


def _curve(
    plot: Any,
    row: int,
    method: str,
    style: Style,
    label: str,
    points: Sequence[tuple[int, float | None]],
    line: Mapping[str, Any],
    opacity: float,
) -> None:
    lone = {"mode": "markers", "marker": style.marker} if len(points) == 1 else {"mode": "lines", "line": dict(line)}
    plot.add_scatter(
        x=[x for x, _ in points],
        y=[None if y is None else float(f"{y:.6g}") for _, y in points],
        opacity=opacity,
        meta=style.group,
        customdata=[[figure_text(method), label]] * len(points),
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}<br>epoch %{x}: %{y:.4g}<extra></extra>",
        row=row,
        col=1,
        **lone,
    )


def _mean_curve(group: Sequence[RunRecord], ask: Callable[[Epoch], float | None]) -> list[tuple[int, float | None]]:
    """Return the mean over runs at every epoch that all of them reached; None where one has no value."""
    together = zip(*(run.history for run in group), strict=False)
    means = []
    for epochs in together:
        values = [value for value in map(ask, epochs) if value is not None]
        means.append((epochs[0].epoch, fmean(values) if len(values) == len(epochs) else None))
    return means


def _epoch_row(run: RunRecord, epoch: Epoch) -> dict[str, Any]:
    fields = dict(vars(epoch))
    movement = fields.pop("movement")
    summed = {} if movement is None else {name: value for name, value in vars(movement).items() if name != "layers"}
    return {"method": run.method, "seed": run.seed, "run": run.id, **fields, **summed}
