"""The tables of the page, as plain rows: results, runs, and what differs between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sinewy.analysis import Estimate, Panel
from sinewy.records import RunRecord
from sinewy.report.numbers import flat, flops, points, share, times
from sinewy.report.sentences import last_line

MARKS = {
    "better": ("▲", "better than the reference: the 95 % interval lies above 0"),
    "worse": ("▼", "worse than the reference: the 95 % interval lies below 0"),
    "unclear": ("≈", "not distinguishable from the reference: the 95 % interval holds 0"),
}


def results(panel: Panel) -> list[dict[str, Any]]:
    """Return one row per method for the main table, in words; differences come with a verdict and its mark."""
    return [_result(panel, row) for row in panel.table()]


def results_csv(panel: Panel) -> list[dict[str, Any]]:
    """Return the numbers of the main table, one flat row per method."""
    return [_numbers(row, epochs(panel.runs[row["method"]].values())) for row in panel.table()]


def run_table(runs: Sequence[RunRecord]) -> list[dict[str, Any]]:
    """Return one row per run: what it is, what became of it, where it lies."""
    return [
        {
            "id": run.id,
            "method": run.method,
            "seed": run.seed,
            "state": run.state,
            "sparsity": share(run.sparsity),
            "epochs": len(run.history),
            "training_flops": flops(run.cost.training_flops if run.cost else None),
            "closed_form": flops(run.cost.closed_form_training_flops if run.cost else None),
            "minutes": f"{sum(epoch.seconds for epoch in run.history) / 60:.1f}" if run.history else "–",
            "folder": run.folder or "–",
            "error": last_line(run) if run.state == "failed" or run.error else "",
        }
        for run in runs
    ]


def differing_settings(runs: Sequence[RunRecord]) -> tuple[list[str], list[dict[str, str]], dict[str, str]]:
    """Return the settings that differ between methods, one row per method with them, and the settings all share."""
    settings = {run.method: flat(run.settings) for run in reversed(runs) if run.settings}
    names = list(dict.fromkeys(name for run in settings.values() for name in run if name != "seed"))
    values = {name: {lines.get(name, "–") for lines in settings.values()} for name in names}
    differing = [name for name in names if len(values[name]) > 1]
    rows = [
        {"method": method} | {n: lines.get(n, "–") for n in differing} for method, lines in reversed(settings.items())
    ]
    return differing, rows, {name: next(iter(values[name])) for name in names if name not in differing}


def epochs(runs: Any) -> str:
    """Return how many epochs the runs were trained, as a number or a range."""
    lengths = sorted({len(run.history) for run in runs if run.history})
    if not lengths:
        return "–"
    return str(lengths[0]) if len(lengths) == 1 else f"{lengths[0]}–{lengths[-1]}"


def _result(panel: Panel, row: Mapping[str, Any]) -> dict[str, Any]:
    method = row["method"]
    differences = {name: _estimate(row[name]) for name in ("clean_difference", "corruption_difference")}
    return {
        "method": method,
        "reference": row["reference"],
        "sparsity": share(row["sparsity"]),
        "seeds": len(row["seeds"]),
        "n": f"{row['n']:,}",
        **{name: _written(_estimate(row[name])) for name in ("clean_accuracy", "corruption_accuracy")},
        **{name: _written(estimate, signed=True) for name, estimate in differences.items()},
        **{f"{name}_verdict": verdict(estimate) for name, estimate in differences.items()},
        "epochs": epochs(panel.runs[method].values()),
        **{name: flops(row[name]) for name in ("training_flops", "inference_flops")},
        **{f"relative_{name}": times(row[f"relative_{name}"]) for name in ("training_flops", "inference_flops")},
    }


def verdict(difference: Estimate | None) -> str:
    """Return "better", "worse" or "unclear", the keys of MARKS, or "" if there is nothing to compare."""
    if difference is None:
        return ""
    if not difference.distinguishable:
        return "unclear"
    return "better" if difference.low > 0 else "worse"


def _estimate(fields: Mapping[str, Any] | None) -> Estimate | None:
    if fields is None:
        return None
    return Estimate.from_dict(fields)


def _written(estimate: Estimate | None, *, signed: bool = False) -> dict[str, str]:
    """Return value and interval apart, so that the table can set the interval smaller."""
    if estimate is None:
        return {"value": "–", "interval": ""}
    value, _, interval = points(estimate, signed=signed).partition(" ")
    return {"value": value, "interval": interval}


def _numbers(row: Mapping[str, Any], trained: str) -> dict[str, Any]:
    flattened: dict[str, Any] = {"method": row["method"], "seeds": len(row["seeds"]), "n": row["n"], "epochs": trained}
    flattened["sparsity"] = row["sparsity"]
    for name in ("clean_accuracy", "corruption_accuracy", "clean_difference", "corruption_difference"):
        fields = row[name] or {}
        flattened |= {name: fields.get("value"), f"{name}_low": fields.get("low"), f"{name}_high": fields.get("high")}
    costs = ("training_flops", "relative_training_flops", "inference_flops", "relative_inference_flops")
    return flattened | {name: row[name] for name in costs}
