"""Where a study stands: what of each cell is done, what is left, and what keeps it from being whole. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from sinewy.files import read_json
from sinewy.recipe import Recipe
from sinewy.records import StudyRecord
from sinewy.runs.labels import method_labels
from sinewy.runs.probed import Probes
from sinewy.runs.store import Store
from sinewy.runs.study import audit_kinds

Row = dict[str, Any]


def standing(store: Store, recipe: Recipe, checked: Mapping[str, Any]) -> list[Row]:
    """Return one row per cell: its state, how many shifts it was audited on, and what each further probe measured.

    The store need not exist: then all is to do. `checked` is what the check of the recipe found, or empty.
    """
    cells = recipe.cells()
    labels, probes = method_labels(cells, recipe), Probes(store, recipe, checked)
    kinds = audit_kinds(recipe)
    rows = []
    for cell in cells:
        protocol = checked.get("protocols", {}).get(cell.id, {}).get("id", "")
        audited = sum(store.outcomes_file(cell.id, protocol, kind).is_file() for kind in kinds)
        rows.append(
            {
                "id": cell.id,
                "method": labels[cell.id],
                "seed": cell.seed,
                "state": store.state(cell.id),
                "audited": {"measured": audited, "of": len(kinds)},
                "probes": {n: {"measured": done, "of": of} for n, (done, of) in probes.progress(cell.id).items()},
                "error": (store.error(cell.id) or "").strip().rpartition("\n")[2],
            }
        )
    return rows


def left(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many models are to be trained, and how many measurements to be made, of shifts and by each probe."""
    counts = {"train": sum(row["state"] != "trained" for row in rows)}
    for row in rows:
        for name, done in {"audit": row["audited"], **row["probes"]}.items():
            counts[name] = counts.get(name, 0) + done["of"] - done["measured"]
    return counts


def training_seconds(store: Store, recipe: Recipe) -> float | None:
    """Return how long training what is left would take one worker, by the seconds per epoch of trained cells.

    None if none is trained yet. Epochs done before a checkpoint count as to be done.
    """
    epochs: list[float] = []
    waiting = 0
    for cell in recipe.cells():
        if store.is_trained(cell.id):
            history = read_json(store.cell_folder(cell.id) / "training.json")["history"]
            epochs += [row["seconds"] for row in history]
        else:
            waiting += cell.train.epochs
    return waiting * fmean(epochs) if epochs else None


def problems(store: Store, study: StudyRecord) -> list[str]:
    """Return what keeps a study from being whole, in sentences; nothing, if every number of its report can be trusted.

    Whole means: every cell trained and audited on every shift, under one protocol and on all test examples; every
    further probe measured, and its findings read from these measurements.
    """
    recipe, checked = store.recipe, store.checked
    found = [
        f"{run.method}, seed {run.seed} ({run.id}) is {_unfinished(run.state)}."
        for run in study.runs
        if run.state != "done"
    ]
    protocols = {checked.get("protocols", {}).get(cell.id, {}).get("id") for cell in recipe.cells()}
    if len(protocols) > 1:
        found.append(f"The cells were audited under {len(protocols)} protocols, so their numbers do not compare.")
    if recipe.audit.limit is not None:
        found.append(f"Only the first {recipe.audit.limit} test examples were measured (audit.limit).")
    probes = Probes(store, recipe, checked)
    asked = {probe.name.partition(":")[0] for probe in recipe.audit.probes}
    known = [probe for cell in recipe.cells()[:1] for probe in probes.of(cell.data)]
    if len(known) < len(asked):
        found.append("The further probes of the recipe were not checked yet.")
    for probe, count in left(standing(store, recipe, checked)).items():
        if probe not in ("train", "audit") and count:
            found.append(f"Probe {probe} lacks {count} measurement{'s' if count > 1 else ''}.")
    if probes.reading():
        found.append("What probes found was not read yet, or from other measurements or by other code.")
    return found


def _unfinished(state: str) -> str:
    return "trained, but not audited on every shift" if state == "trained" else f"not trained ({state})"
