"""The figures of how the models came about: how training went, and what the masks did meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from sinewy.records import Epoch, Movement, RunRecord
from sinewy.report.escaping import figure_text
from sinewy.report.figure import Figure, dress, panels
from sinewy.report.style import Style

Curves = dict[str, Callable[[Epoch], float | None]]


def _moved(of: Callable[[Movement], float]) -> Callable[[Epoch], float | None]:
    return lambda epoch: None if epoch.movement is None else of(epoch.movement)


DEAD = "dead neurons"
TRAINING: Curves = {
    "training loss ↓": lambda epoch: epoch.loss,
    "validation accuracy, % ↑": lambda epoch: (
        None if epoch.validation_accuracy is None else 100 * epoch.validation_accuracy
    ),
}
MASKS: Curves = {
    "density, %": lambda epoch: 100 * (1 - epoch.sparsity),
    "newly kept, %": _moved(lambda m: 100 * sum(x.grown for x in m.layers) / max(sum(x.kept for x in m.layers), 1)),
    "overlap with first, %": _moved(lambda m: 100 * m.overlap),
    "ever kept, %": _moved(lambda m: 100 * m.explored),
    DEAD: _moved(lambda m: m.dead),
}
SEEDS_FIT = 40
"""Up to so many runs each seed is drawn as a thin line."""

POINTS = 200
"""Epochs that a curve shows at most."""

PANEL = 190


def by_method(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Return the runs of each method."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.method, []).append(run)
    return groups


def training_curves(runs: Sequence[RunRecord], styles: Mapping[str, Style]) -> Figure | None:
    """Return loss and validation accuracy of each epoch, or None if no run recorded any."""
    caption = (
        "Validation data is held out of training and is not the test set; the last epoch is what every other section "
        "reports."
    )
    return _figure("training", "Training", caption, TRAINING, runs, styles, _training_row)


def mask_curves(runs: Sequence[RunRecord], styles: Mapping[str, Style]) -> Figure | None:
    """Return what the masks did in each epoch, or None if no run has a mask."""
    sparse = [run for run in runs if any(epoch.sparsity > 0 for epoch in run.history)]
    died = any(epoch.movement and epoch.movement.dead for run in sparse for epoch in run.history)
    curves = MASKS if died else {name: ask for name, ask in MASKS.items() if name != DEAD}
    caption = (
        "Density: the share of prunable weights that are kept. Newly kept: the share of the kept weights that were "
        "pruned an epoch before. Overlap with first: the share of the kept weights that the first mask kept, too. Ever "
        "kept: the share of all prunable weights that were in a mask so far. "
        f"{'Dead neurons have no incoming weight left.' if died else 'No neuron lost all its incoming weights.'}"
    )
    return _figure("masks", "Masks over time", caption, curves, sparse, styles, _mask_row)


def _figure(
    key: str,
    title: str,
    caption: str,
    wanted: Curves,
    runs: Sequence[RunRecord],
    styles: Mapping[str, Style],
    row: Callable[[RunRecord, Epoch], dict[str, Any]],
) -> Figure | None:
    trained = by_method(run for run in runs if run.history and run.method in styles)
    curves = {
        name: ask
        for name, ask in wanted.items()
        if any(ask(e) is not None for g in trained.values() for r in g for e in r.history)
    }
    if not trained or not curves:
        return None
    plot = panels(list(curves), "epoch")
    dress(plot, height=PANEL * len(curves) + 70)
    thin = sum(map(len, trained.values())) <= SEEDS_FIT
    for method, group in trained.items():
        for number, ask in enumerate(curves.values(), start=1):
            _method(plot, number, method, group, ask, styles[method], thin=thin)
    several = any(len(group) > 1 for group in trained.values())
    lines = "Lines are means over seeds"
    seeds = f"{lines}; thin ones are single seeds. " if thin else f"{lines}. "
    return Figure(
        key,
        title,
        f"{seeds if several else ''}{caption} A mean ends where its shortest run does.",
        plot,
        [row(run, epoch) for group in trained.values() for run in group for epoch in run.history],
        {method: styles[method] for method in trained},
    )


def _method(
    plot: Any,
    row: int,
    method: str,
    group: Sequence[RunRecord],
    ask: Callable[[Epoch], float | None],
    style: Style,
    *,
    thin: bool,
) -> None:
    for run in group if thin and len(group) > 1 else ():
        label = f"seed {run.seed} · run {figure_text(run.id, 24)}"
        line = {"color": style.colour, "width": 1}
        _curve(plot, row, method, style, label, [(e.epoch, ask(e)) for e in run.history], line, 0.4)
    label = f"mean of {len(group)} seeds" if len(group) > 1 else f"seed {group[0].seed}"
    _curve(plot, row, method, style, label, _mean_curve(group, ask), style.line, 1.0)


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
    step = -(-len(points) // POINTS)
    shown = [*points[:-1:step], *points[-1:]]
    plot.add_scatter(
        x=[x for x, _ in shown],
        y=[None if y is None else float(f"{y:.6g}") for _, y in shown],
        opacity=opacity,
        meta=style.group,
        text=f"<b>{figure_text(method)}</b><br>{label}",
        hovertemplate="%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
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


def _training_row(run: RunRecord, epoch: Epoch) -> dict[str, Any]:
    fields = dict(vars(epoch))
    del fields["movement"]
    return {"method": run.method, "seed": run.seed, "run": run.id, **fields}


def _mask_row(run: RunRecord, epoch: Epoch) -> dict[str, Any]:
    moved = epoch.movement
    names = ("distance", "overlap", "explored", "dead")
    facts = {name: None if moved is None else getattr(moved, name) for name in names}
    grown = None if moved is None else sum(layer.grown for layer in moved.layers)
    where = {"method": run.method, "seed": run.seed, "run": run.id, "epoch": epoch.epoch}
    return {**where, "sparsity": epoch.sparsity, "moved": epoch.moved, "grown": grown, **facts}
