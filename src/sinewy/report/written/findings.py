"""What a probe found, as a table: one line per condition and measure, one column per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinewy.analysis import Estimate
from sinewy.report.findings import ARROWS, TITLES
from sinewy.report.table import Cell, Column, Table
from sinewy.report.tables import MARKS

Row = Mapping[str, Any]


def findings_rows(probe: str, rows: Sequence[Row]) -> Table:
    """Return the findings of a probe as a table; marks compare with the reference."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    names = {method: f"method {number}" for number, method in enumerate(methods)}
    cells = {(row["condition"], row["measure"], row["method"]): row for row in rows}
    lines = []
    for condition, measure in dict.fromkeys((row["condition"], row["measure"]) for row in rows):
        own = {method: cells.get((condition, measure, method)) for method in methods}
        better = next(row["better"] for row in own.values() if row)
        heads = {"condition": Cell(condition), "measure": Cell(measure + ARROWS[better])}
        lines.append(heads | {names[method]: _cell(row) for method, row in own.items()})
    columns = [Column("condition", "condition", words=True), Column("measure", "measure", words=True)]
    columns += [Column(names[method], method) for method in methods]
    marks = " ".join(f"{mark} {meaning}." for mark, meaning in MARKS.values())
    caption = f"↑ higher is better, ↓ lower is better. Brackets: 95 % intervals, where there are any. {marks}"
    return Table(probe, TITLES.get(probe, probe), caption, columns, lines, [_flat(row) for row in rows])


def _cell(row: Row | None) -> Cell:
    if row is None:
        return Cell("–")
    estimate = Estimate.from_dict(row["estimate"])
    value, _, interval = format(estimate, "z.3f").replace("-", "−").partition(" ")
    verdict = _verdict(row)
    mark, hint = MARKS[verdict] if verdict else ("", "")
    return Cell(value, "" if estimate.low == estimate.high else interval, estimate.value, "", verdict, mark, hint)


def _verdict(row: Row) -> str:
    if not row["difference"] or not row["better"]:
        return ""
    difference = Estimate.from_dict(row["difference"])
    if not difference.distinguishable:
        return "unclear"
    return "better" if (difference.low > 0) == (row["better"] == "higher") else "worse"


def _flat(row: Row) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: row[name] for name in ("method", "condition", "measure", "better", "x")}
    for name in ("estimate", "difference"):
        fields = row[name] or {}
        numbers |= {name: fields.get("value"), f"{name}_low": fields.get("low"), f"{name}_high": fields.get("high")}
    return numbers | {"n": row["estimate"]["n"], "seeds": row["estimate"]["seeds"]}
