"""At which sparsities a network is tried, and which shifts count together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from sinewy.errors import InputError
from sinewy.outcomes import CLEAN, Condition
from sinewy.shifts import PRESETS, SEVERITIES
from sinewy.shifts.names import expand, severities_of

STEP, LARGEST = 0.2, 0.99
"""The share of the remaining weights that each step of the default grid removes, and where the grid ends."""

DEFAULT_GROUPS = ("noise", "blur", "weather", "digital")

Groups = dict[str, tuple[Condition, ...]]


def sparsity_grid(grid: Iterable[float] | None, present: float = 0.0) -> tuple[float, ...]:
    """Return ascending sparsities: those of `grid`, or by default those that remove 20 % of what is left at each step.

    `present` is the sparsity that the network has already. Raises InputError for values outside (present, 1), and
    repeated ones.
    """
    if grid is None:
        steps = math.floor(math.log((1 - LARGEST) / (1 - present)) / math.log(1 - STEP))
        if steps < 1:
            raise InputError(f"the model is {present:.4f} sparse already; name the sparsities to try with grid=[...].")
        return tuple(round(1 - (1 - present) * (1 - STEP) ** k, 6) for k in range(1, steps + 1))
    values = tuple(map(float, grid))
    if not values:
        raise InputError("grid is empty; name at least one sparsity, such as 0.5.")
    wrong = next((value for value in values if not present < value < 1), None)
    if wrong is not None:
        above = f"above {present:.4f}, which the model has already, and" if present else "above 0 and"
        raise InputError(f"grid holds {wrong:g}; sparsities lie {above} below 1 (0.5 is half of the weights).")
    if len(set(values)) < len(values):
        raise InputError(f"grid {list(values)} names a sparsity twice.")
    return tuple(sorted(values))


def shift_groups(
    shifts: Sequence[str] | Mapping[str, Sequence[str]] | None, severities: Sequence[int], preset: str
) -> Groups:
    """Return the conditions of each group of shifts, "clean" first.

    `shifts` are names of groups or kinds (each its own group), or a mapping of your own names to such; None is the four
    groups of the benchmark, and an empty sequence measures clean data only. Raises InputError for an unknown name or
    severity.
    """
    wanted = DEFAULT_GROUPS if shifts is None else shifts
    if isinstance(wanted, str):
        wanted = (wanted,)
    named = dict(wanted) if isinstance(wanted, Mapping) else {name: (name,) for name in wanted}
    wrong = [severity for severity in severities if severity not in SEVERITIES]
    if wrong or not severities:
        raise InputError(f"severities must be among {list(SEVERITIES)}, got {list(severities)}.")
    groups: Groups = {CLEAN[0]: (CLEAN,)}
    for name, kinds in named.items():
        if name in groups:
            raise InputError(f"a group cannot be called '{name}': that is the test set as it is.")
        found = expand((kinds,) if isinstance(kinds, str) else kinds, preset)
        groups[name] = tuple((kind, s) for kind in found for s in severities_of(kind, severities))
    return groups


def nearest_preset(side: int) -> str:
    """Return the published severity constants made for images nearest to `side` pixels."""
    return min(PRESETS, key=lambda name: abs(math.log(PRESETS[name] / side)))
