"""The main table for a terminal."""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from sinewy.analysis import Panel
from sinewy.report import tables


def results_table(panel: Panel) -> Table:
    """Return the main table: accuracies in percent with intervals, differences in points, sparsity and cost."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("method")
    for heading in (
        "sparsity",
        "seeds",
        "clean ↑",
        "corrupted ↑",
        "clean − ref.",
        "corrupted − ref.",
        "train FLOPs ↓",
        "infer. FLOPs ↓",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in tables.results(panel):
        table.add_row(
            escape(row["method"]) + _mark(row),
            row["sparsity"],
            str(row["seeds"]),
            _estimate(row["clean_accuracy"]),
            _estimate(row["corruption_accuracy"]),
            _difference(row, "clean_difference"),
            _difference(row, "corruption_difference"),
            _cost(row, "training_flops"),
            _cost(row, "inference_flops"),
        )
    return table


def _estimate(written: dict[str, str]) -> str:
    return escape(f"{written['value']} {written['interval']}".strip())


def _difference(row: dict[str, Any], name: str) -> str:
    mark = tables.MARKS[row[f"{name}_verdict"]][0] if row[f"{name}_verdict"] else ""
    return f"{_estimate(row[name])} {mark}".strip()


def _cost(row: dict[str, Any], name: str) -> str:
    relative = row[f"relative_{name}"]
    return escape(f"{row[name]} ({relative})" if relative not in ("", "–") else row[name])


def _mark(row: dict[str, Any]) -> str:
    """Return the mark of the reference, which its name may hold already."""
    return " (reference)" if row["reference"] and not row["method"].endswith("(reference)") else ""
