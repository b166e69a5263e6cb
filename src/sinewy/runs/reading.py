"""From a study on disk to the record that analysis and report read. No torch."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sinewy.analysis.forgotten import with_populations
from sinewy.analysis.over_seeds import over_seeds
from sinewy.errors import InputError
from sinewy.files import read_json
from sinewy.outcomes import Condition, Outcomes, load_outcomes
from sinewy.recipe import CellSpec, Recipe
from sinewy.records import RunRecord, StudyRecord
from sinewy.runs.labels import method_labels
from sinewy.runs.probed import Probes
from sinewy.runs.store import Store, read_training
from sinewy.runs.study import audit_kinds


def read_study(store: Store) -> StudyRecord:
    """Return what is known of a study now: finished runs with their outcomes, the others with their state.

    Raises CorruptFileError for a damaged file, with its name, InputError for a study that was not even checked.
    """
    recipe = store.recipe
    cells = recipe.cells()
    checked = store.checked
    if any(cell.id not in checked.get("protocols", {}) for cell in cells):
        raise InputError(f"{store.folder} was stopped before its recipe was checked; go on with: {store.command}")
    labels = method_labels(cells, recipe)
    frequency: dict[str, float] = {}
    runs = tuple(_run(store, cell, labels[cell.id], recipe, checked["protocols"], frequency) for cell in cells)
    protocols = {json.dumps(checked["protocols"][cell.id]["protocol"], sort_keys=True) for cell in cells}
    protocol = json.loads(min(protocols))
    probes = Probes(store, recipe, checked)
    runs = tuple(replace(run, outcomes={**run.outcomes, **_shifted(probes, run, cells)}) for run in runs)
    study = StudyRecord(
        title=recipe.title or recipe.name,
        reference=labels[cells[0].id],
        runs=runs,
        command=store.command,
        protocol={**protocol, **_protocols(probes, cells[0])},
        environment=checked["environment"],
        high_frequency=frequency,
        partial=_partial(recipe, runs, _unmeasured(probes, runs)),
        findings={name: rows for name, parts in probes.found().items() if (rows := _rows(parts))},
        maps={name: maps for name, parts in probes.found().items() if (maps := _maps(parts))},
    )
    return replace(study, findings=with_populations(study.findings, study))


def _unmeasured(probes: Probes, runs: Sequence[RunRecord]) -> dict[str, int]:
    """Return how many of the trained runs a further probe has not measured whole, by probe."""
    counts: dict[str, int] = {}
    for run in runs:
        for name, (done, of) in probes.progress(run.id).items():
            if run.state in ("done", "trained") and done < of:
                counts[name] = counts.get(name, 0) + 1
    return counts


def _shifted(probes: Probes, run: RunRecord, cells: Sequence[CellSpec]) -> dict[Condition, Outcomes]:
    """Return the outcomes under further probes that shift the images, which count in the main table."""
    cell = next(cell for cell in cells if cell.id == run.id)
    shifting = [probe for probe in probes.of(cell.data) if probe.shifts and run.state in ("done", "trained")]
    outcomes: dict[Condition, Outcomes] = {}
    for probe in shifting:
        from sinewy.probes.stored import read_measured  # loads torch, which reading the rest does not need

        for kind, path in probes.files(run.id, probe).items():
            if path.exists():
                measured = read_measured(kind, {run.id: path}).outcomes.get(run.id, {})
                outcomes |= {(kind, severity): found for severity, found in measured.items()}
    return outcomes


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


def _protocols(probes: Probes, cell: CellSpec) -> dict[str, Any]:
    """Return the protocols of the further probes, those of one name numbered."""
    found: dict[str, Any] = {}
    for probe in probes.of(cell.data):
        name = probe.name if probe.name not in found else f"{probe.name} ({probe.number + 1})"
        found[name] = probe.protocol[probe.name]
    return found


def _rows(parts: Sequence[Mapping[int, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    seeds = sorted({seed for by_seed in parts for seed in by_seed})
    whole = [{seed: part.get(seed, {"rows": []})["rows"] for seed in seeds} for part in parts]
    return [row for by_seed in whole for row in over_seeds(by_seed)]


def _maps(parts: Sequence[Mapping[int, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the matrices of the first seed; those of others are in the folder `findings` of the study."""
    maps = []
    for by_seed in parts:
        seed = min(by_seed)
        of = f", seed {seed}" if len(by_seed) > 1 else ""
        maps += [{**drawn, "title": drawn["title"] + of} for drawn in by_seed[seed]["maps"]]
    return maps


def _partial(recipe: Recipe, runs: Sequence[RunRecord], unmeasured: Mapping[str, int]) -> str | None:
    reasons = []
    unfinished = sum(run.state != "done" for run in runs)
    if unfinished:
        reasons.append(f"{unfinished} of {len(runs)} runs are not finished")
    reasons += [f"probe {name} has not measured {count} of {len(runs)} runs" for name, count in unmeasured.items()]
    if recipe.audit.limit is not None:
        reasons.append(f"audited on at most {recipe.audit.limit} test examples")
    return "; ".join(reasons) or None
