"""The verbs that look at a study and change nothing: plan, status."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from sinewy.cli.printing import out, plain_table, print_json, say
from sinewy.cli.studies import Device, Json, Limit, Overrides, RecipeName, Root, overridden
from sinewy.recipe import read_recipe
from sinewy.runs.local import LocalEngine, usable_cores
from sinewy.runs.standing import left, standing, training_seconds
from sinewy.runs.store import Store
from sinewy.runs.study import check

Rows = list[dict[str, Any]]


def plan(
    recipe: RecipeName,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder of the study; default: runs/<name of the recipe>.")
    ] = None,
    override: Overrides = None,
    limit: Limit = None,
    root: Root = None,
    device: Device = None,
    as_json: Json = False,
) -> None:
    """What `run` would do: check the recipe, show its cells and what is left. Trains, measures and writes nothing.

    Example:  sinewy plan study.yaml --out runs/study
    """
    study = read_recipe(recipe, overridden(override, limit))
    store = Store(folder or Path("runs") / study.name)
    engine = LocalEngine(1, root=root, device=device)
    try:
        checked = check(study, engine, lambda _: None)
    finally:
        engine.close()
    rows = standing(store, study, checked)
    todo, seconds = left(rows), training_seconds(store, study)
    if as_json:
        print_json({"folder": str(store.folder), "cells": rows, "left": todo, "training_seconds_left": seconds})
    else:
        out().print(_table(rows))
        print(_sentence(rows, todo, seconds))
    words = ["sinewy", "run", recipe, *(w for o in override or () for w in ("-o", o))]
    words += ["--limit", str(limit)] if limit else []
    say(f"next: {shlex.join([*words, '--out', str(store.folder)])}")


def status(
    folder: Annotated[Path, typer.Argument(help="Folder of a study.")] = Path("sinewy-demo"), as_json: Json = False
) -> None:
    """What became of the cells of a study.

    Example:  sinewy status runs/study
    """
    store = Store.open(folder)
    rows = standing(store, store.recipe, store.checked)
    if as_json:
        print_json({"folder": str(folder), "command": store.command, "cells": rows})
    else:
        out().print(_table(rows))
    say(f"next: {store.command}" if any(left(rows).values()) else f"next: sinewy report {folder}")


def _table(rows: Rows) -> Any:
    last = {"probes": any(row["probes"] for row in rows), "last line of the error": any(row["error"] for row in rows)}
    shown = [heading for heading, wanted in last.items() if wanted]
    table = plain_table(["cell", "method", "seed", "state", "audited", *shown])
    for row in rows:
        words = {"probes": _probed(row["probes"]), "last line of the error": escape(row["error"])}
        own = [row["id"], escape(row["method"]), str(row["seed"]), row["state"], _measured(row["audited"])]
        table.add_row(*own, *(words[heading] for heading in shown))
    return table


def _measured(counts: dict[str, int]) -> str:
    return f"{counts['measured']}/{counts['of']}"


def _probed(probes: dict[str, dict[str, int]]) -> str:
    """Return how much is measured: in all where nothing or all is, else what is lacking."""
    whole = {key: sum(counts[key] for counts in probes.values()) for key in ("measured", "of")}
    lacking = [f"{name} {_measured(counts)}" for name, counts in probes.items() if counts["measured"] < counts["of"]]
    return escape(", ".join(lacking)) if 0 < whole["measured"] < whole["of"] else _measured(whole)


def _sentence(rows: Rows, todo: dict[str, int], seconds: float | None) -> str:
    """Return what is left in words, with the time that training takes where trained cells tell it."""
    methods = len({row["method"] for row in rows})
    lead = f"{len(rows)} cells of {methods} methods"
    if not any(todo.values()):
        return f"{lead}; nothing is left to do"
    parts = [f"train {todo['train']} models"] if todo["train"] else []
    measuring = {name: count for name, count in todo.items() if name != "train" and count}
    parts += [f"make {sum(measuring.values())} measurements ({', '.join(f'{n} {c}' for n, c in measuring.items())})"]
    time = ""
    if todo["train"] and seconds is not None:
        time = (
            f"; training takes about {_duration(seconds / usable_cores())} on {usable_cores()} cores, by the cells done"
        )
    return f"{lead}; left: {' and '.join(parts)}{time}"


def _duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 120
        else f"{seconds / 60:.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:.1f} h"
    )
