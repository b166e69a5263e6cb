"""What an audit found in short: each group of inputs with its verdict, and the answer in one sentence per network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sinewy.analysis import Estimate, Panel
from sinewy.analysis.evidence import RESAMPLES, Evidence, means
from sinewy.outcomes import CLEAN, Condition
from sinewy.report.numbers import points
from sinewy.shifts.names import family, group

BENCHMARK = ("noise", "blur", "weather", "digital")
VERDICTS = {"better": "▲ better", "worse": "▼ worse", "unclear": "≈ no clear difference"}

NAMED = {"cifar-c": "held-out", "own": "your own", "continuous": "of any strength"}
"""What families of shifts that are no group of the benchmark are called, where their name would not say it."""

CLEAN_LABEL = "your test set"


MOST_SENTENCES = 3
"""Networks that are spoken of one by one; of more, the answer names the best and the worst."""


@dataclass(frozen=True)
class GroupRow:
    """How one network fared on one group of inputs, against the reference; `difference` is None for the reference."""

    group: str
    kinds: tuple[str, ...]
    network: str
    accuracy: Estimate
    reference: Estimate
    difference: Estimate | None

    @property
    def verdict(self) -> str:
        """Return "better", "worse", "unclear", or "" for the reference."""
        if self.difference is None:
            return ""
        if not self.difference.distinguishable:
            return "unclear"
        return "better" if self.difference.low > 0 else "worse"


def groups_of(conditions: Iterable[Condition]) -> dict[str, tuple[Condition, ...]]:
    """Return the clean set, and the shifts in groups: those of the benchmark, else by family."""
    members = {kind: name for name in BENCHMARK for kind in group(name, "cifar")}
    found: dict[str, list[Condition]] = {CLEAN[0]: [CLEAN]}
    for kind, severity in conditions:
        if kind != CLEAN[0]:
            found.setdefault(members.get(kind, _family(kind)), []).append((kind, severity))
    order = [CLEAN[0], *(name for name in BENCHMARK if name in found)]
    return {name: tuple(found[name]) for name in dict.fromkeys((*order, *found))}


def group_rows(evidence: Evidence, resamples: int = RESAMPLES) -> list[GroupRow]:
    """Return one row per group and network: mean accuracy over the group's shifts, and the paired difference.

    With as many `resamples` as a panel of the same outcomes has, the same numbers have the same intervals.
    """
    shared = [c for c in evidence.outcomes[evidence.reference] if all(c in o for o in evidence.outcomes.values())]
    rows = []
    for name, conditions in groups_of(shared).items():
        columns = {
            m: np.asarray([np.mean([evidence.outcomes[m][c].correct for c in conditions], axis=0, dtype=np.float64)])
            for m in evidence.methods
        }
        found = means(columns, evidence.reference, resamples=resamples)
        kinds = tuple(dict.fromkeys(kind for kind, _ in conditions if kind != CLEAN[0]))
        base = found[evidence.reference][0]
        rows += [GroupRow(name, kinds, method, own, base, apart) for method, (own, apart) in found.items()]
    return rows


def audit_answer(rows: Sequence[GroupRow], reference: str) -> str:
    """Return what each network lost on clean inputs and under which group most; of many, the best and the worst."""
    networks = list(dict.fromkeys(row.network for row in rows))
    if len(networks) == 1:
        return _alone(rows)
    if len(networks) > MOST_SENTENCES + 1:
        return _of_many([row for row in rows if row.network != reference], reference)
    sentences = [_sentence([r for r in rows if r.network == name], reference) for name in networks if name != reference]
    return " ".join(sentences)


def written_rows(rows: Sequence[GroupRow], reference: str) -> list[dict[str, Any]]:
    """Return the rows of the table in words; the reference has rows of its own only where it stands alone."""
    alone = len({row.network for row in rows}) == 1
    return [_written(row) for row in rows if alone or row.network != reference]


def worst_sentences(panel: Panel) -> list[str]:
    """Return the single shift under which each network lost most, where that is clearly a loss."""
    said = []
    for method in panel.methods[1:]:
        own = [cell for cell in panel.gains() if cell["method"] == method]
        worst = min(own, key=lambda cell: cell["difference"]["value"], default=None)
        if worst is not None and worst["difference"]["high"] < 0:
            kind, size = worst["kind"].replace("_", " "), points(Estimate.from_dict(worst["difference"]), signed=True)
            said.append(f"The worst single shift of {method}: {kind}, severity {worst['severity']}, {size} points.")
    return said


def flat_rows(rows: Sequence[GroupRow]) -> list[dict[str, Any]]:
    """Return the rows as plain numbers."""
    return [
        {
            "group": row.group,
            "kinds": " ".join(row.kinds),
            "network": row.network,
            **_numbers("accuracy", row.accuracy),
            **_numbers("difference", row.difference),
            "n": row.accuracy.n,
        }
        for row in rows
    ]


def label(row: GroupRow) -> str:
    """Return what a group is called."""
    if row.group == CLEAN[0]:
        return CLEAN_LABEL
    return f"{row.group} ({len(row.kinds)} kinds)" if len(row.kinds) > 1 else row.group


def _family(kind: str) -> str:
    return NAMED.get(family(kind), family(kind))


def _alone(rows: Sequence[GroupRow]) -> str:
    clean, shifted = rows[0], rows[1:]
    said = f"{clean.network} is right on {points(clean.accuracy)} % of your test set"
    if shifted:
        weakest = min(shifted, key=lambda row: row.accuracy.value)
        said += f", and least under {weakest.group}: {points(weakest.accuracy)} %"
    return f"{said}. There is no reference to compare it with: give one, --against PARENT."


def _sentence(rows: Sequence[GroupRow], reference: str) -> str:
    clean, shifted = rows[0], rows[1:]
    name = clean.network
    lost = [row for row in shifted if row.verdict == "worse"]
    gained = [row for row in shifted if row.verdict == "better"]
    said = f"{name}, against {reference}, {_verb(clean)} on your test set"
    if not shifted:
        return f"{said}. No shift was measured."
    if lost:
        worst = min(lost, key=lambda row: _value(row))
        only = "; no other group is clearly worse" if len(lost) == 1 and len(shifted) > 1 else ""
        most = "among shifts most under" if len(lost) > 1 else "loses accuracy under"
        return f"{said}, and {most} {worst.group}: {_size(worst)} points{only}."
    if gained:
        best = max(gained, key=lambda row: _value(row))
        return (
            f"{said}, and under no group is it clearly worse; it gains most under {best.group}: {_size(best)} points."
        )
    return f"{said}, and under none of {len(shifted)} groups of shifts is a difference clear."


def _of_many(rows: Sequence[GroupRow], reference: str) -> str:
    clean = sorted((row for row in rows if row.group == CLEAN[0]), key=_value)
    counts = [sum(row.verdict == verdict for row in clean) for verdict in ("worse", "better")]
    said = (
        f"Of {len(clean)} networks, against {reference}, {counts[0]} lose and {counts[1]} gain clearly on your test "
        f"set: from {_size(clean[0])} points ({clean[0].network}) to {_size(clean[-1])} ({clean[-1].network})."
    )
    shifted = [row for row in rows if row.group != CLEAN[0]]
    if not shifted:
        return f"{said} No shift was measured."
    losers = {row.network for row in shifted if row.verdict == "worse"}
    worst = min(shifted, key=_value)
    most = f"; {worst.network} loses most, under {worst.group}: {_size(worst)} points" if losers else ""
    return f"{said} Under shifts, {len(losers)} lose clearly in some group{most}."


def _verb(row: GroupRow) -> str:
    if row.verdict == "unclear":
        return f"shows no clear difference ({_size(row)} points)"
    return f"{'loses' if row.verdict == 'worse' else 'gains'} {_size(row, signed=False)} points"


def _value(row: GroupRow) -> float:
    return row.difference.value if row.difference is not None else 0.0


def _size(row: GroupRow, *, signed: bool = True) -> str:
    """Return the difference in points with its interval; without its sign where the verb says it."""
    assert row.difference is not None
    found = row.difference
    if signed or found.value > 0:
        return points(found, signed=signed)
    return points(Estimate(-found.value, -found.high, -found.low, found.n, found.seeds))


def _written(row: GroupRow) -> dict[str, Any]:
    accuracy, base = (_split(points(e)) for e in (row.accuracy, row.reference))
    difference = _split(points(row.difference, signed=True)) if row.difference else ("–", "")
    return {
        "label": label(row),
        "kinds": ", ".join(row.kinds),
        "network": row.network,
        "accuracy": accuracy,
        "reference": base,
        "difference": difference,
        "verdict": row.verdict,
        "mark": VERDICTS.get(row.verdict, ""),
    }


def _split(text: str) -> tuple[str, str]:
    value, _, interval = text.partition(" ")
    return value, interval


def _numbers(name: str, estimate: Estimate | None) -> Mapping[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
