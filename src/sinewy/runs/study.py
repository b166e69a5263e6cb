"""Running a study: check everything, train the cells, audit them, probe by probe; again is continue. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sinewy.errors import InputError
from sinewy.files import write_json
from sinewy.recipe import CellSpec, Recipe
from sinewy.runs.local import Engine, Event
from sinewy.runs.probed import Probes, check_names
from sinewy.runs.store import Store

MODELS_AT_ONCE = 32
"""Models that share one pass over a corrupted set; bounds the memory of a worker."""


def run_study(
    recipe: Recipe, folder: Path | str, engine: Engine, *, command: str, on_event: Callable[[Event], None]
) -> Store:
    """Train and audit every cell of `recipe` into `folder`, and return its store; cells done before are not done again.

    A cell that fails is recorded and the rest go on. Raises InputError before any work if something asked for cannot be
    done.
    """
    cells = recipe.cells()
    checked = check(recipe, engine, on_event)
    store = Store.create(folder, recipe, command)
    write_json(store.folder / "audit.json", checked)
    foreign = store.foreign_cells(cells)
    if foreign:
        on_event(
            {"event": "note", "text": f"{len(foreign)} cells in {folder} are of another recipe; they stay untouched."}
        )
    _train(store, cells, recipe.keep_epochs, engine, on_event)
    _audit(store, [cell for cell in cells if store.is_trained(cell.id)], recipe, checked["protocols"], engine, on_event)
    if recipe.audit.probes:
        _probe(Probes(store, recipe, checked), engine, on_event)
    return store


def audit_kinds(recipe: Recipe) -> tuple[str, ...]:
    """Return every condition a study measures, the clean set first."""
    return ("clean", *recipe.audit.kinds)


def check(recipe: Recipe, engine: Engine, on_event: Callable[[Event], None]) -> dict[str, Any]:
    """Return what the recipe's protocols, probes and environment are; raises InputError if it cannot be run."""
    check_names(recipe)
    on_event({"event": "phase", "name": "check", "tasks": 1})
    (answer,) = engine.run([{"task": "check", "recipe": recipe.model_dump(mode="json")}], on_event)
    if answer.get("state") == "failed":
        raise (
            InputError(answer["error"])
            if answer.get("kind") == "input"
            else RuntimeError(answer.get("traceback", answer["error"]))
        )
    return {part: answer[part] for part in ("protocols", "probes", "environment")}


def _train(
    store: Store, cells: Sequence[CellSpec], keep: Sequence[int], engine: Engine, on_event: Callable[[Event], None]
) -> None:
    _tell_of_unkept(store, cells, keep, on_event)
    todo = [cell for cell in cells if not store.is_trained(cell.id)]
    on_event({"event": "phase", "name": "train", "tasks": len(todo)})
    tasks = [
        {
            "task": "train",
            "store": str(store.folder),
            "cell": cell.id,
            "spec": cell.model_dump(mode="json"),
            "keep": list(keep),
        }
        for cell in todo
    ]
    for cell, result in zip(todo, engine.run(tasks, on_event), strict=True):
        if result["state"] == "failed" and store.error(cell.id) is None:  # the worker died before it could write
            store.write_error(cell.id, result["error"] + "\n")


def _tell_of_unkept(
    store: Store, cells: Sequence[CellSpec], keep: Sequence[int], on_event: Callable[[Event], None]
) -> None:
    """Say which finished cells lack networks that are to be kept: only training can make them."""
    lacking = [cell.id for cell in cells if store.is_trained(cell.id) and set(keep) - set(store.epoch_files(cell.id))]
    if lacking:
        text = (
            f"{len(lacking)} cells were trained before, and without all networks of keep_epochs; to have these too,"
            f" delete their folders ({lacking[0]}{', ...' if len(lacking) > 1 else ''} in {store.folder / 'cells'}) and"
            " run the same command."
        )
        on_event({"event": "note", "text": text})


def _audit(
    store: Store,
    cells: list[CellSpec],
    recipe: Recipe,
    protocols: Mapping[str, Any],
    engine: Engine,
    on_event: Callable[[Event], None],
) -> None:
    tasks: list[dict[str, Any]] = []
    for group in _groups(cells):
        for kind in audit_kinds(recipe):
            missing = [c.id for c in group if not store.outcomes_file(c.id, protocols[c.id]["id"], kind).exists()]
            if missing:
                spec = {"data": group[0].data.model_dump(mode="json"), "spec": recipe.audit.model_dump(mode="json")}
                tasks.append({"task": "audit", "store": str(store.folder), "cells": missing, "kind": kind, **spec})
    _run("audit", tasks, engine, on_event)


def _probe(probes: Probes, engine: Engine, on_event: Callable[[Event], None]) -> None:
    """Measure what is missing with the further probes, then read what they found."""
    if unpaired := probes.unpaired():
        text = f"{len(unpaired)} cells are on other data than the reference; no further probe measures them."
        on_event({"event": "note", "text": text})
    _run("probe", probes.measuring(), engine, on_event)
    _run("findings", probes.reading(), engine, on_event)


def _run(phase: str, tasks: list[dict[str, Any]], engine: Engine, on_event: Callable[[Event], None]) -> None:
    on_event({"event": "phase", "name": phase, "tasks": len(tasks)})
    failures = [result["error"] for result in engine.run(tasks, on_event) if result["state"] == "failed"]
    if failures:
        on_event({"event": "note", "text": f"{len(failures)} {phase} tasks failed; the first: {failures[0]}"})


def _groups(cells: list[CellSpec]) -> list[list[CellSpec]]:
    """Group cells that are audited on the same data, at most MODELS_AT_ONCE together."""
    by_data: dict[str, list[CellSpec]] = {}
    for cell in cells:
        by_data.setdefault(cell.data.model_dump_json(), []).append(cell)
    return [group[i : i + MODELS_AT_ONCE] for group in by_data.values() for i in range(0, len(group), MODELS_AT_ONCE)]
