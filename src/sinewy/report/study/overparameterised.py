"""The table of how overparameterised each method is, and what it saves where it is as accurate as its reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sinewy.analysis import Estimate, Overparameterisation, Panel, commensurate, overparameterisation
from sinewy.report.numbers import points
from sinewy.report.study.costs import mean_cost
from sinewy.report.study.potentials import MARGIN
from sinewy.report.study.pruned_families import PrunedFamily
from sinewy.report.table import Cell, Column, Table

RESAMPLES = 1000

COLUMNS = (
    Column("family", "method", words=True),
    Column("inputs", "inputs", words=True),
    Column("average", "average ↑", "prune potential, %"),
    Column("minimum", "minimum ↑", "prune potential, %"),
    Column("sparsity", "sparsity, % ↑", "at commensurate accuracy"),
    Column("loss", "loss, points ↓", "at commensurate accuracy"),
    Column("flops", "FLOPs saved, % ↑", "at commensurate accuracy"),
)


def potential_rows(panel: Panel, families: Sequence[PrunedFamily]) -> Table:
    """Return how overparameterised each family is, and what it saves at commensurate accuracy."""
    rows, data = [], []
    for found in families:
        base = mean_cost(panel, panel.reference, "inference_flops")
        spent = [mean_cost(panel, member, "inference_flops") for member in found.members]
        saved = [1 - (own / base if own and base else float("nan")) for own in spent]
        for inputs, parent, pruned in _distributions(found):
            over = overparameterisation(parent, pruned, found.sparsities, margin=MARGIN, resamples=RESAMPLES)
            losses = (parent.mean() - pruned.mean(axis=(0, 2, 3))).tolist()
            best = commensurate(losses, found.sparsities, saved, margin=MARGIN)
            rows.append(
                {
                    "family": Cell(found.name),
                    "inputs": Cell(inputs),
                    "average": _potential_cell(over.average, over.spread),
                    "minimum": _potential_cell(over.minimum, over.minimum_spread),
                    "sparsity": Cell(f"{100 * best.sparsity:.1f}", value=best.sparsity),
                    "loss": Cell(f"{100 * best.loss:+.2f}".replace("-", "−"), value=best.loss),
                    "flops": Cell(f"{100 * best.flop_reduction:.1f}" if base else "–", value=best.flop_reduction),
                }
            )
            data.append(_flat(found, inputs, over, best))
    caption = (
        f"Prune potential: the largest sparsity tried whose loss is at most {100 * MARGIN:g} points; average "
        "and minimum over the inputs, mean ± standard deviation over seeds, brackets 95 % intervals (a maximum over "
        "noisy curves: they lean upwards). Commensurate: the sparsest network whose mean loss over the inputs is "
        "within the margin."
    )
    return Table("potentials", "How overparameterised", caption, COLUMNS, rows, data)


def _distributions(found: PrunedFamily) -> list[tuple[str, Any, Any]]:
    clean = ("clean", found.parent_clean[:, None], found.pruned_clean[:, :, None])
    if not found.shifts:
        return [clean]
    severities = sorted({severity for _, severity in found.shifts})
    name = f"{len(found.shifts)} corruptions, severity {', '.join(map(str, severities))}"
    return [clean, (name, found.parent_shifted, found.pruned_shifted)]


def _potential_cell(estimate: Estimate, deviation: float) -> Cell:
    plus = f" ± {100 * deviation:.1f}" if estimate.seeds > 1 else ""
    return Cell(f"{100 * estimate.value:.1f}{plus}", points(estimate).partition(" ")[2], estimate.value)


def _flat(found: PrunedFamily, inputs: str, over: Overparameterisation, best: Any) -> dict[str, Any]:
    return {
        "family": found.name,
        "inputs": inputs,
        **_bounds("average", over.average),
        "average_deviation": over.spread,
        **_bounds("minimum", over.minimum),
        "minimum_deviation": over.minimum_spread,
        "commensurate_sparsity": best.sparsity,
        "commensurate_loss": best.loss,
        "commensurate_flop_reduction": best.flop_reduction,
        "n": over.average.n,
        "seeds": over.average.seeds,
    }


def _bounds(name: str, estimate: Estimate) -> dict[str, float]:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
