"""The coverage of a study: which method was run with which seed, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from sinewy.records import RunRecord
from sinewy.report.numbers import share
from sinewy.report.table import Cell, Column, Table

SIGNS = {"done": "✓", "failed": "✗", "missing": "–"}
OPEN = "…"
"""The sign of every other state: waiting, running, started, trained but not audited."""

WORDS_FIT = 6
"""Up to so many seeds there is room for words beside the signs."""


def coverage_table(runs: Sequence[RunRecord]) -> Table | None:
    """Return one row per method and one column per seed with the state of that run, or None if there is no run."""
    if not runs:
        return None
    seeds = sorted({run.seed for run in runs})
    places: dict[str, dict[int, int]] = {}
    for number, run in enumerate(runs):
        places.setdefault(run.method, {})[run.seed] = number
    wordy = len(seeds) <= WORDS_FIT
    columns = [
        Column("method", "method", words=True),
        Column("sparsity", "sparsity reached"),
        Column("whole", "done"),
        *(Column(f"seed {seed}", f"seed {seed}" if wordy else str(seed), "" if wordy else "seed") for seed in seeds),
    ]
    rows = []
    for method, own in places.items():
        states = {seed: runs[own[seed]].state if seed in own else "missing" for seed in seeds}
        done = [runs[own[seed]] for seed, state in states.items() if state == "done"]
        reached = sum(run.sparsity for run in done) / len(done) if done else None
        rows.append(
            {
                "method": Cell(method),
                "sparsity": Cell(share(reached), value=reached),
                "whole": Cell(f"{len(done)} of {len(seeds)}", value=len(done)),
                **{f"seed {seed}": _cell(states[seed], own.get(seed), wordy=wordy) for seed in seeds},
            }
        )
    data = [{"method": run.method, "seed": run.seed, "state": run.state, "run": run.id} for run in runs]
    data += [
        {"method": method, "seed": seed, "state": "missing", "run": ""}
        for method, own in places.items()
        for seed in seeds
        if seed not in own
    ]
    caption = (
        f"{sum(run.state == 'done' for run in runs)} of {len(places) * len(seeds)} runs are done. "
        "✓ done, ✗ failed, … not finished, – missing: no such run, although another method has this seed. "
        "A sign leads to its run."
    )
    return Table("coverage", "Coverage", caption, columns, rows, data)


def _cell(state: str, number: int | None, *, wordy: bool) -> Cell:
    sign = SIGNS.get(state, OPEN)
    verdict = {"failed": "failed", "done": ""}.get(state, "unclear")
    rank = float([*SIGNS, state].index(state))
    link = "" if number is None else f"run-{number}"
    return Cell(f"{sign} {state}" if wordy else sign, value=rank, verdict=verdict, hint=state, link=link)
