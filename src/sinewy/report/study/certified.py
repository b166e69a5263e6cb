"""The table of what is proved of each method: the sparsity up to which it keeps a margin, with 95 % confidence."""

from __future__ import annotations

from collections.abc import Sequence

from sinewy.analysis import Certificate, Panel, TrainingCertificate, certify_methods
from sinewy.outcomes import CLEAN, Condition
from sinewy.report.study.pruned_families import PrunedFamily
from sinewy.report.table import Cell, Column, Table

MARGINS = (0.01, 0.05)
"""Losses that are accepted, as shares of examples."""

COLUMNS = (
    Column("family", "method", words=True),
    Column("inputs", "inputs", words=True),
    *(Column(f"margin{round(100 * m)}", f"loss ≤ {100 * m:g}", "certified sparsity, % ↑") for m in MARGINS),
    Column("about", "about", words=True),
)


def certified_table(panel: Panel, families: Sequence[PrunedFamily]) -> Table:
    """Return the certified sparsity of each family on the clean set, and on it and each shift at one severity."""
    rows, data = [], []
    for found in families:
        places: dict[str, tuple[Condition, ...]] = {"clean": (CLEAN,)}
        if found.shifts:
            places["clean and each corruption"] = (CLEAN, *found.shifts)
        for inputs, conditions in places.items():
            proved = [certify_methods(panel, found.members, margin=m, conditions=conditions) for m in MARGINS]
            cells = {f"margin{round(100 * p.margin)}": _cell(p) for p in proved}
            rows.append({"family": Cell(found.name), "inputs": Cell(inputs), **cells, "about": Cell(_about(proved[0]))})
            data += [{"family": found.name, "inputs": inputs, **proof.as_dict()} for proof in proved]
    caption = (
        f"The largest sparsity at which the loss against {panel.reference} is below the margin on each of the inputs, "
        "with 95 % confidence; sparsities are tested in ascending order up to the first that fails. With one seed it "
        "is about these weights (exact test), with several about training (seeds and examples are both samples). 0: "
        "too few examples or seeds to prove any, or the loss is too large; the data say which."
    )
    return Table("certified", "What is proved", caption, COLUMNS, rows, data)


def _cell(proof: Certificate) -> Cell:
    return Cell(f"{100 * proof.sparsity:.1f}" if proof.sparsity else "0", value=proof.sparsity)


def _about(proof: Certificate) -> str:
    if isinstance(proof, TrainingCertificate):
        return f"training, {proof.seeds} seeds"
    return "these weights, one seed"
