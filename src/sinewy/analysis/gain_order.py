"""Where sparsity gains: kinds of corruption from the most high-frequency on, and how many gains are more than chance.

Wu et al. 2025, Figures 1, 3 and 10 to 15 (relative gain by kind and severity) and Tables 1 to 3 (wins). A win is a kind
and severity where a method is more accurate than the reference; it is significant if the test says so after Holm's
correction over all cells of the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import special

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.multiplicity import holm
from sinewy.analysis.panel import Panel
from sinewy.analysis.proportions import discordance, mcnemar
from sinewy.errors import InputError, unknown_name
from sinewy.outcomes import CLEAN

LEVELS_OF_WINS = ("severity", "kind")


@dataclass(frozen=True)
class KindGain:
    """The gain of one kind of corruption, over its severities; `high_frequency` is its share of such energy, or NaN.

    Both gains are positive where the method is more accurate; the relative one is None where the reference gets nothing
    right.
    """

    kind: str
    high_frequency: float
    difference: Estimate
    relative: Estimate | None


@dataclass(frozen=True)
class Wins:
    """In how many of `cells` a method was better or worse than the reference, and in how many beyond chance."""

    method: str
    cells: int
    won: int
    lost: int
    won_significantly: int
    lost_significantly: int
    alpha: float

    @property
    def tied(self) -> int:
        """Cells in which both were exactly as accurate."""
        return self.cells - self.won - self.lost

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON-able values."""
        return asdict(self) | {"tied": self.tied}


def gains_by_kind(panel: Panel, method: str, high_frequency: Mapping[str, float]) -> list[KindGain]:
    """Return the gains of `method`, the kind with the most high-frequency energy first; unknown ones come last.

    `high_frequency` is by kind, as `sinewy.shifts.spectrum.high_frequency` measures it.
    """
    kinds = sorted(panel.kinds, key=lambda kind: -high_frequency.get(kind, -1.0))
    seeds = panel.seeds_of(method)
    found = []
    for kind in kinds:
        base = [
            panel.runs[panel.reference][seed].outcomes[c].accuracy
            for seed in seeds
            for c in panel.conditions
            if c[0] == kind
        ]
        relative = panel.relative_gain(method, kind) if any(base) else None
        found.append(KindGain(kind, high_frequency.get(kind, float("nan")), panel.difference(method, kind), relative))
    return found


def frequency_trend(gains: list[KindGain]) -> tuple[float, float]:
    """Return Spearman's correlation of relative gain with high-frequency energy over kinds, and its p-value.

    Positive means that kinds rich in high frequencies gain more, as Wu et al. observe. The p-value, two-sided, is that
    of a permutation of the kinds (9999 draws, or all where there are fewer); kinds that resemble each other make it
    too small. Raises InputError for fewer than 3 kinds of known energy and gain.
    """
    from scipy import stats

    pairs = [(g.high_frequency, g.relative.value) for g in gains if g.relative and not np.isnan(g.high_frequency)]
    if len(pairs) < 3:
        raise InputError(f"a trend needs at least 3 kinds of known energy and gain, got {len(pairs)}.")
    energy, gain = np.array(pairs).T
    if np.ptp(energy) == 0 or np.ptp(gain) == 0:
        return 0.0, 1.0
    ranks, others = (stats.zscore(stats.rankdata(values)) for values in (energy, gain))
    result = stats.permutation_test(
        (ranks,),
        lambda x, axis: (x * others).mean(axis=axis),
        permutation_type="pairings",
        vectorized=True,
        rng=np.random.default_rng(0),
    )
    return float(result.statistic), float(result.pvalue)


def wins(panel: Panel, method: str, *, by: str = "severity", alpha: float = 0.05) -> Wins:
    """Return how often `method` beat the reference, over kinds and severities (by="severity") or over kinds.

    With one seed a cell of one severity is judged by the exact McNemar test. A mean over severities, or over seeds, is
    judged by the paired difference over its bootstrap standard error, as normal. All cells of the method share Holm's
    correction at level `alpha`.
    """
    if by not in LEVELS_OF_WINS:
        raise unknown_name("way to count wins", by, LEVELS_OF_WINS)
    cells: list[tuple[str, int | None]] = (
        [c for c in panel.conditions if c != CLEAN] if by == "severity" else [(kind, None) for kind in panel.kinds]
    )
    if not cells:
        raise InputError("no corruption was measured, so there is nothing to win; audit with the corruption probe.")
    differences = np.array([panel.difference(method, *cell).value for cell in cells])
    sure = holm([_p_value(panel, method, *cell) for cell in cells]) <= alpha
    ahead, behind = differences > 1e-12, differences < -1e-12
    won, lost, sure_won, sure_lost = (int(c.sum()) for c in (ahead, behind, ahead & sure, behind & sure))
    return Wins(method, len(cells), won, lost, sure_won, sure_lost, alpha)


def _p_value(panel: Panel, method: str, kind: str, severity: int | None) -> float:
    seeds = panel.seeds_of(method)
    severities = [s for k, s in panel.conditions if k == kind and severity in (None, s)]
    if len(seeds) == len(severities) == 1:
        own, base = (panel.runs[name][seeds[0]].outcomes[kind, severities[0]] for name in (method, panel.reference))
        first, second, _ = discordance(own.correct, base.correct)
        return mcnemar(first, second)
    estimate = panel.difference(method, kind, severity)
    error = (estimate.high - estimate.low) / 2 / special.ndtri((1 + estimate.level) / 2)
    if error == 0:
        return 1.0 if estimate.value == 0 else 0.0
    return float(2 * special.ndtr(-abs(estimate.value) / error))
