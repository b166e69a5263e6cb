"""How often each method beat the reference: the wins over kinds and severities, and those beyond chance."""

from __future__ import annotations

from sinewy.analysis import Panel, Wins, wins
from sinewy.report.table import Cell, Column, Table

COLUMNS = (
    Column("method", "method", words=True),
    *(
        Column(f"{by}_{what}", title, group)
        for by, group in (("severity", "by kind and severity"), ("kind", "by kind"))
        for what, title in (
            ("won", "won ↑"),
            ("won_significantly", "beyond chance ↑"),
            ("lost", "lost ↓"),
            ("lost_significantly", "beyond chance ↓"),
        )
    ),
)


def wins_table(panel: Panel) -> Table | None:
    """Return how often each method was better and worse than the reference, or None if there is nothing to win."""
    if not panel.kinds or len(panel.methods) < 2:
        return None
    found = {m: {by: wins(panel, m, by=by) for by in ("severity", "kind")} for m in panel.methods[1:]}
    rows = [
        {"method": Cell(m), **_cells("severity", w["severity"]), **_cells("kind", w["kind"])} for m, w in found.items()
    ]
    data = [{"by": by, **one.as_dict()} for own in found.values() for by, one in own.items()]
    caption = (
        f"A win is a kind (and severity) of corruption on which a method is more accurate than {panel.reference}. "
        "Beyond chance: the paired test says so after Holm's correction over all cells of the method, at 5 %."
    )
    return Table("wins", "Wins over the reference", caption, COLUMNS, rows, data)


def _cells(by: str, found: Wins) -> dict[str, Cell]:
    counts = {name: getattr(found, name) for name in ("won", "won_significantly", "lost", "lost_significantly")}
    return {f"{by}_{name}": Cell(f"{count} of {found.cells}", value=count) for name, count in counts.items()}
