"""The tables of single runs: all of them, those that failed or wait, and where the study lies."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath

from sinewy.records import RunRecord, StudyRecord
from sinewy.report.sentences import last_line
from sinewy.report.style import family
from sinewy.report.table import Cell, Column, Table
from sinewy.report.tables import run_table

COLUMNS = (
    Column("id", "run", words=True),
    Column("method", "method", words=True),
    Column("seed", "seed"),
    Column("state", "state", words=True),
    Column("sparsity", "sparsity"),
    Column("epochs", "epochs"),
    Column("training_flops", "training FLOPs"),
    Column("closed_form", "closed form"),
    Column("minutes", "minutes"),
    Column("folder", "folder", words=True),
)

OPEN_COLUMNS = (
    Column("id", "run", words=True),
    Column("method", "method", words=True),
    Column("seed", "seed"),
    Column("state", "state", words=True),
    Column("error", "last line of the error", words=True),
    Column("folder", "folder", words=True),
)

SHOWN_CELLS = 60
"""Up to so many cells behind a figure are listed one by one."""


def runs_table(runs: Sequence[RunRecord]) -> Table:
    """Return one row per run: what it is, what became of it, where it lies."""
    data = run_table(runs)
    rows = []
    for run, line in zip(runs, data, strict=True):
        cells = {column.key: Cell(str(line[column.key])) for column in COLUMNS}
        cost = run.cost
        cells["seed"] = Cell(str(run.seed), value=run.seed)
        cells["state"] = Cell(run.state, verdict="" if run.state == "done" else "failed")
        cells["sparsity"] = Cell(line["sparsity"], value=run.sparsity)
        cells["epochs"] = Cell(str(line["epochs"]), value=line["epochs"])
        cells["training_flops"] = Cell(line["training_flops"], value=cost.training_flops if cost else None)
        cells["closed_form"] = Cell(line["closed_form"], value=cost.closed_form_training_flops if cost else None)
        cells["minutes"] = Cell(line["minutes"], value=float(line["minutes"]) if run.history else None)
        rows.append(cells)
    caption = (
        "Training FLOPs are those that were counted; the closed form is the formula by which the method's paper counts."
    )
    anchors = [f"run-{number}" for number in range(len(runs))]
    return Table("runs", "Runs", caption, COLUMNS, rows, data, anchors)


def open_runs_table(runs: Sequence[RunRecord]) -> Table | None:
    """Return the runs that failed or are not finished, or None if all are done."""
    rows, data = [], []
    for number, run in enumerate(runs):
        if run.state == "done":
            continue
        error = last_line(run) if run.state == "failed" or run.error else ""
        line = {"id": run.id, "method": run.method, "seed": run.seed, "state": run.state, "error": error}
        data.append({**line, "folder": run.folder or "–"})
        rows.append(
            {
                "id": Cell(run.id, link=f"run-{number}"),
                "method": Cell(run.method),
                "seed": Cell(str(run.seed), value=run.seed),
                "state": Cell(run.state, verdict="failed"),
                "error": Cell(error or "–"),
                "folder": Cell(run.folder or "–"),
            }
        )
    if not rows:
        return None
    caption = "The whole traceback of a run is in error.txt in its folder; the same command runs it again."
    return Table("failures", "Failures and warnings", caption, OPEN_COLUMNS, rows, data)


def store_of(study: StudyRecord) -> str:
    """Return the folder of the study, or "" if its runs do not lie in one."""
    folders = {PurePath(run.folder).parent for run in study.runs if run.folder}
    one = next(iter(folders)) if len(folders) == 1 else None
    return str(one.parent) if one is not None and one.name == "cells" else ""


def command_of(study: StudyRecord, key: str, verb: str = "figure") -> str:
    """Return the command that draws a figure again, or "" if the study lies in no folder."""
    store = store_of(study)
    return f"sinewy {verb} {key} {shlex.quote(store)}" if store else ""


def cells_behind(study: StudyRecord, methods: Sequence[str]) -> tuple[list[dict[str, str]], str]:
    """Return the finished runs of `methods` or families (all if none) as links, if few, and a sentence on them."""
    found = [
        {"id": run.id, "anchor": f"run-{number}", "method": run.method, "seed": str(run.seed)}
        for number, run in enumerate(study.runs)
        if run.state == "done" and (not methods or run.method in methods or family(run.method) in methods)
    ]
    store = store_of(study)
    where = f" in {store}/cells" if store else ""
    return (
        found if len(found) <= SHOWN_CELLS else []
    ), f"{len(found)} cell{'' if len(found) == 1 else 's'} behind it{where}"
