"""The main table: how every method fared, which one is best, and which cannot be told from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sinewy.analysis import Estimate, Panel, Spreads
from sinewy.outcomes import CLEAN
from sinewy.report import tables
from sinewy.report.numbers import points
from sinewy.report.table import Cell, Column, Table

QUESTIONS: dict[str, str | None] = {"corruption": None, "clean": CLEAN[0]}
"""What accuracy is asked for, and the kind that `Panel` knows it by."""

COLUMNS = (
    Column("method", "method", words=True),
    Column("sparsity", "sparsity reached"),
    Column("corruption_accuracy", "corrupted", "accuracy, % ↑"),
    Column("clean_accuracy", "clean", "accuracy, % ↑"),
    Column("corruption_difference", "corrupted", "difference, points ↑"),
    Column("clean_difference", "clean", "difference, points ↑"),
    Column("epochs", "epochs", "budget"),
    Column("training_flops", "training FLOPs ↓", "budget"),
    Column("inference_flops", "inference FLOPs ↓", "budget"),
    Column("seeds", "seeds"),
    Column("n", "n"),
)


def main_table(panel: Panel, convention: str) -> Table:
    """Return one row per method: accuracies as mean ± deviation over seeds, differences, budget; the best is marked."""
    asked = {name: kind for name, kind in QUESTIONS.items() if kind or panel.kinds}
    spread = {name: {m: panel.spreads(m, kind) for m in panel.methods} for name, kind in asked.items()}
    stands = {name: standing(panel, kind) for name, kind in asked.items()}
    columns = [c for c in COLUMNS if c.key.partition("_")[0] not in QUESTIONS or c.key.partition("_")[0] in asked]
    numbers = panel.table()
    rows = []
    for written, row in zip(tables.results(panel), numbers, strict=True):
        method = written["method"]
        cells = _plain(written, row)
        for name in asked:
            cells[f"{name}_accuracy"] = _accuracy(written, row, name, spread[name][method], stands[name][method])
            cells[f"{name}_difference"] = _difference(written, row, name)
        rows.append(cells)
    data = [
        {**line, **{f"{name}_{k}": v for name in asked for k, v in _apart(spread[name][line["method"]]).items()}}
        for line in tables.results_csv(panel)
    ]
    return Table("results", "Results", _caption(panel, convention), columns, rows, data, marked=0)


def spread_table(panel: Panel) -> Table | None:
    """Return what the choice of seeds and that of examples each do to the accuracies, or None with one seed only."""
    if max(len(seeds) for seeds in panel.seeds.values()) < 2:
        return None
    asked = {name: kind for name, kind in QUESTIONS.items() if kind or panel.kinds}
    columns = [Column("method", "method", words=True), Column("seeds", "seeds")]
    rows: list[dict[str, Cell]] = [
        {"method": Cell(m), "seeds": Cell(str(len(panel.seeds_of(m))), value=len(panel.seeds_of(m)))}
        for m in panel.methods
    ]
    data: list[dict[str, Any]] = [{"method": m, "seeds": len(panel.seeds_of(m)), "n": panel.n} for m in panel.methods]
    for name, kind in asked.items():
        group = f"{'corrupted' if kind is None else 'clean'} accuracy, %"
        columns += [
            Column(f"{name}_mean", "mean ↑", group),
            Column(f"{name}_deviation", "± over seeds", group),
            Column(f"{name}_seeds", "interval over seeds", group),
            Column(f"{name}_examples", "interval over examples", group),
        ]
        for method, row, line in zip(panel.methods, rows, data, strict=True):
            spread = panel.spreads(method, kind)
            row.update({f"{name}_{key}": cell for key, cell in _spread_cells(spread).items()})
            line.update({f"{name}_{key}": value for key, value in _apart(spread).items()})
    caption = (
        "± over seeds: standard deviation of the seeds' accuracies. Interval over seeds: Student's, the test set held "
        "fixed: what another training would give. Interval over examples: bootstrap, the trained networks held fixed: "
        "what another test set would give. The intervals of all other sections cover both."
    )
    return Table("spread", "Spread over seeds and over examples", caption, columns, rows, data, marked=0)


def standing(panel: Panel, kind: str | None) -> dict[str, str]:
    """Return which method is "best" on `kind`, which are "tied" with it, being no different in pairs, and "" others."""
    value = {method: panel.accuracy(method, kind).value for method in panel.methods}
    best = max(panel.methods, key=value.__getitem__)
    stands = dict.fromkeys(panel.methods, "") | {best: "best"}
    for method in panel.methods:
        if method != best and set(panel.seeds_of(method)) & set(panel.seeds_of(best)):
            apart = panel.difference(method, kind, against=best)
            stands[method] = "" if apart.distinguishable else "tied"
    return stands


def _plain(written: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Cell]:
    cells = {
        "method": Cell(written["method"], "reference" if written["reference"] else ""),
        "sparsity": Cell(written["sparsity"], value=row["sparsity"]),
        "epochs": Cell(written["epochs"], value=_leading(written["epochs"])),
        "seeds": Cell(str(written["seeds"]), value=written["seeds"]),
        "n": Cell(written["n"], value=row["n"]),
    }
    costs = ("training_flops", "inference_flops")
    return cells | {c: Cell(written[c], written[f"relative_{c}"], row[c]) for c in costs}


def _leading(epochs: str) -> float | None:
    first = epochs.partition("–")[0]
    return float(first) if first else None


def _accuracy(written: Mapping[str, Any], row: Mapping[str, Any], name: str, spread: Spreads, stand: str) -> Cell:
    value, interval = (written[f"{name}_accuracy"][key] for key in ("value", "interval"))
    plus = "" if math.isnan(spread.deviation) else f" ± {100 * spread.deviation:.{len(value.partition('.')[2])}f}"
    return Cell(f"{value}{plus}", interval, row[f"{name}_accuracy"]["value"], stand)


def _difference(written: Mapping[str, Any], row: Mapping[str, Any], name: str) -> Cell:
    found = f"{name}_difference"
    verdict = written[f"{found}_verdict"]
    if not verdict:
        return Cell("–")
    mark, meaning = tables.MARKS[verdict]
    value, interval = written[found]["value"], written[found]["interval"]
    return Cell(value, interval, row[found]["value"], "", verdict, mark, meaning)


def _spread_cells(spread: Spreads) -> dict[str, Cell]:
    over = _in_unit(spread.seeds)
    return {
        "mean": Cell(points(spread.examples).partition(" ")[0], value=spread.examples.value),
        "deviation": Cell("–") if over is None else Cell(f"{100 * spread.deviation:.2f}", value=spread.deviation),
        "seeds": Cell("–") if over is None else Cell(points(over).partition(" ")[2], value=over.high - over.low),
        "examples": Cell(points(spread.examples).partition(" ")[2], value=spread.examples.high - spread.examples.low),
    }


def _apart(spread: Spreads) -> dict[str, float | None]:
    over, examples = _in_unit(spread.seeds), spread.examples
    return {
        "seed_deviation": None if over is None else spread.deviation,
        "seeds_low": over.low if over else None,
        "seeds_high": over.high if over else None,
        "examples_low": examples.low,
        "examples_high": examples.high,
    }


def _in_unit(estimate: Estimate | None) -> Estimate | None:
    """Return an accuracy whose interval does not leave [0, 1], which Student's may."""
    if estimate is None:
        return None
    return replace(estimate, low=max(estimate.low, 0.0), high=min(estimate.high, 1.0))


def _caption(panel: Panel, convention: str) -> str:
    marks = " ".join(f"{mark} {meaning}." for mark, meaning in tables.MARKS.values())
    several = max(len(seeds) for seeds in panel.seeds.values()) > 1
    plus = "±: standard deviation over seeds. " if several else ""
    corrupted = "Corrupted: mean over kinds of the mean over severities. " if panel.kinds else ""
    return (
        f"↑ higher is better, ↓ lower is better. {plus}Brackets: 95 % intervals, paired bootstrap over examples and "
        "seeds. Bold: the best; underlined: not distinguishable from the best on the same examples (the paired "
        f"interval holds 0, uncorrected). {marks} {corrupted}n: test examples, the same for every method "
        f"and condition. {convention}"
    )
