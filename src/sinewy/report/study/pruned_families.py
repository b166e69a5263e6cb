"""The verdicts of the methods that differ only in sparsity, laid out as prune potential and excess error want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis import Panel
from sinewy.outcomes import CLEAN, Condition
from sinewy.report.style import family

Verdicts = NDArray[np.bool_]

SEVERITY = 3
"""The severity at which the paper's tables and figures stand (Liebenwein et al. 2021, section 5)."""


@dataclass(frozen=True)
class PrunedFamily:
    """One method at several sparsities, `members` ascending, over the seeds it shares with the reference.

    `sparsities` are means over seeds. `shifts` are the kinds of corruption at `severity`; verdicts are (nets, n),
    (nets, shifts, n), and of the pruned networks (nets, sparsities, n), (nets, sparsities, shifts, n).
    """

    name: str
    members: tuple[str, ...]
    sparsities: tuple[float, ...]
    shifts: tuple[Condition, ...]
    parent_clean: Verdicts
    parent_shifted: Verdicts
    pruned_clean: Verdicts
    pruned_shifted: Verdicts


def pruned_families(panel: Panel, methods: Sequence[str]) -> list[PrunedFamily]:
    """Return the families among `methods` with at least two sparsities and a seed that all members share."""
    groups: dict[str, list[str]] = {}
    for method in methods:
        if method != panel.reference and panel.sparsity(method) > 0:
            groups.setdefault(family(method), []).append(method)
    shifts = one_severity(panel)
    return [
        found
        for name, members in groups.items()
        if len({round(panel.sparsity(m), 4) for m in members}) == len(members) > 1
        and (found := _family(panel, name, sorted(members, key=panel.sparsity), shifts)) is not None
    ]


def one_severity(panel: Panel) -> tuple[Condition, ...]:
    """Return each kind of corruption once: at the middle severity if it was measured there, else at the one nearest."""
    measured = {kind: [s for k, s in panel.conditions if k == kind] for kind in panel.kinds}
    return tuple((kind, min(own, key=lambda s: (abs(s - SEVERITY), s))) for kind, own in measured.items())


def _family(panel: Panel, name: str, members: Sequence[str], shifts: tuple[Condition, ...]) -> PrunedFamily | None:
    seeds = [s for s in panel.seeds_of(panel.reference) if all(s in panel.seeds_of(m) for m in members)]
    if not seeds:
        return None
    clean = [CLEAN]
    return PrunedFamily(
        name,
        tuple(members),
        tuple(panel.sparsity(member) for member in members),
        shifts,
        _verdicts(panel, [panel.reference], seeds, clean)[:, 0, 0],
        _verdicts(panel, [panel.reference], seeds, shifts)[:, 0],
        _verdicts(panel, members, seeds, clean)[:, :, 0],
        _verdicts(panel, members, seeds, shifts),
    )


def _verdicts(panel: Panel, methods: Sequence[str], seeds: Sequence[int], conditions: Sequence[Condition]) -> Verdicts:
    """Return whether each network was right, (nets, methods, conditions, n)."""
    found = np.empty((len(seeds), len(methods), len(conditions), panel.n), np.bool_)
    for i, seed in enumerate(seeds):
        for j, method in enumerate(methods):
            for k, condition in enumerate(conditions):
                found[i, j, k] = panel.runs[method][seed].outcomes[condition].correct
    return found
