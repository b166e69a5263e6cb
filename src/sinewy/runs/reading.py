"""From a study on disk to the record that analysis and report read. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sinewy.files import read_json
from sinewy.outcomes import Condition, Outcomes, load_outcomes
from sinewy.recipe import CellSpec, Recipe
from sinewy.records import RunRecord, StudyRecord
from sinewy.runs.store import Store, read_training
from sinewy.runs.study import audit_kinds
from sinewy.sparsify import SPARSIFIERS


def read_study(store: Store) -> StudyRecord:
    """Return what is known of a study now: finished runs with their outcomes, the others with their state.

    Raises CorruptFileError for a damaged file, with its name.
    """
    recipe = store.recipe
    cells = recipe.cells()
    checked = read_json(store.folder / "audit.json")
    labels = method_labels(cells, recipe)
    frequency: dict[str, float] = {}
    runs = tuple(_run(store, cell, labels[cell.id], recipe, checked["protocols"], frequency) for cell in cells)
    protocols = {json.dumps(checked["protocols"][cell.id]["protocol"], sort_keys=True) for cell in cells}
    protocol = json.loads(min(protocols))
    return StudyRecord(
        title=recipe.title or recipe.name,
        reference=labels[cells[0].id],
        runs=runs,
        command=store.command,
        protocol=protocol,
        environment=checked["environment"],
        high_frequency=frequency,
        partial=_partial(recipe, runs),
    )


def method_labels(cells: Sequence[CellSpec], recipe: Recipe) -> dict[str, str]:
    """Return what to call each cell: sparsifier, sparsity, and whatever else but the seed tells it from others."""
    axes = [axis for axis in recipe.grid if axis != "seed" and axis.partition(".")[0] != "sparsifier"]
    plain = {cell.id: _method(cell) for cell in cells}
    labels = {
        cell.id: ", ".join([plain[cell.id], *(f"{axis}={cell.flat().get(axis)}" for axis in axes)]) for cell in cells
    }
    for cell in cells:
        twins = [other for other in cells if plain[other.id] == plain[cell.id]]
        options = [
            axis
            for axis in cell.flat()
            if axis.startswith("sparsifier.") and axis not in ("sparsifier.name", "sparsifier.sparsity")
        ]
        differing = [axis for axis in options if len({json.dumps(other.flat().get(axis)) for other in twins}) > 1]
        extra = [f"{axis.removeprefix('sparsifier.')}={cell.flat()[axis]}" for axis in differing]
        labels[cell.id] = ", ".join([labels[cell.id], *extra])
    return labels


def _method(cell: CellSpec) -> str:
    if cell.sparsifier.name == "dense":
        return "dense"
    path = SPARSIFIERS.get(cell.sparsifier.name, cell.sparsifier.name)
    name = path.rpartition(":")[2]
    # A sparsity of 0 is one that follows from other options, as with fixed capacity.
    return f"{name} {100 * cell.sparsifier.sparsity:g} %" if cell.sparsifier.sparsity else name


def _run(
    store: Store, cell: CellSpec, label: str, recipe: Recipe, protocols: Mapping[str, Any], frequency: dict[str, float]
) -> RunRecord:
    common: dict[str, Any] = {
        "id": cell.id,
        "method": label,
        "seed": cell.seed,
        "folder": str(store.cell_folder(cell.id)),
        "settings": cell.flat(),
    }
    if not store.is_trained(cell.id):
        error = store.error(cell.id)
        return RunRecord(**common, sparsity=cell.sparsifier.sparsity, state=store.state(cell.id), error=error)
    history, cost, layers = read_training(read_json(store.cell_folder(cell.id) / "training.json"))
    outcomes: dict[Condition, Outcomes] = {}
    whole = True
    for kind in audit_kinds(recipe):
        path = store.outcomes_file(cell.id, protocols[cell.id]["id"], kind)
        if not path.exists():
            whole = False
            continue
        by_severity, about = load_outcomes(path)
        outcomes |= {(kind, severity): found for severity, found in by_severity.items()}
        if "high_frequency" in about:
            frequency[kind] = about["high_frequency"]
    reached = 1 - sum(layer.nonzero for layer in layers) / sum(layer.weights for layer in layers)
    return RunRecord(
        **common,
        sparsity=reached,
        state="done" if whole else "trained",
        layers=layers,
        history=history,
        cost=cost,
        outcomes=outcomes,
    )


def _partial(recipe: Recipe, runs: Sequence[RunRecord]) -> str | None:
    reasons = []
    unfinished = sum(run.state != "done" for run in runs)
    if unfinished:
        reasons.append(f"{unfinished} of {len(runs)} runs are not finished")
    if recipe.audit.limit is not None:
        reasons.append(f"audited on at most {recipe.audit.limit} test examples")
    return "; ".join(reasons) or None
