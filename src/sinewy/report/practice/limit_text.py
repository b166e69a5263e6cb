"""What a limit says, in rows and in words: for a terminal, for JSON, and for the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from sinewy.analysis import Potential, clopper_pearson
from sinewy.analysis.limit_record import LimitRecord
from sinewy.analysis.potential import TIE
from sinewy.outcomes import CLEAN
from sinewy.report.numbers import flops
from sinewy.structured import STRUCTURED

INDENT = " " * 13


def limit_rows(record: LimitRecord) -> list[dict[str, Any]]:
    """Return one JSON-able row per group of shifts: accuracy, safe sparsity with interval, first break, certificate."""
    rows = []
    for name, found in record.potentials.items():
        certificate, broken = record.certificates[name], found.break_loss
        rows.append(
            {
                "group": name,
                "kinds": len({kind for kind, _ in record.groups[name]}),
                "accuracy": found.accuracy.value,
                "safe": found.sparsity,
                "low": found.low,
                "high": found.high,
                "censored": found.censored,
                "first_break": found.first_break,
                "break_loss": broken.value if broken else None,
                "certified": certificate.sparsity,
                "examples_needed": certificate.examples_needed,
            }
        )
    return rows


def limit_summary(record: LimitRecord) -> dict[str, Any]:
    """Return the whole result as one JSON-able document."""
    document = {
        "title": record.title,
        "answer": limit_answer(record),
        "method": record.method,
        "retrain": record.retrain,
        "margin_points": record.margin,
        "alpha": record.alpha,
        "n": record.n,
        "partial": record.partial,
        "sparsities": list(record.sparsities),
        "table": limit_rows(record),
        "curves": {name: found.as_dict() for name, found in record.potentials.items()},
        "certificate": record.certificate.as_dict(),
        "cells": record.cells(),
        "protocol": dict(record.protocol),
        "environment": dict(record.environment),
        "command": record.command,
        "folder": record.folder,
    }
    return dict(json.loads(json.dumps(document, default=str, allow_nan=False)))


def limit_answer(record: LimitRecord) -> str:
    """Return how far the network can be pruned, in one or two sentences, and one more where losses rise and fall."""
    return _how_far(record) + _despite(record)


def _how_far(record: LimitRecord) -> str:
    clean, least = record.potentials[CLEAN[0]], record.potentials[record.weakest]
    kept = f"within {allowed(record)} of the unpruned network"
    if len(record.potentials) == 1:
        return f"On inputs like the test set, {_up_to(clean)} {kept}. No shift was measured."
    if least.sparsity == clean.sparsity:
        return f"{_up_to(clean).capitalize()} {kept} on the test set, and no group of shifts allows less."
    weakest = _either([name for name in record.potentials if record.potentials[name].sparsity == least.sparsity])
    stop = f"stop at {number(least.sparsity)}" if least.sparsity else "do not prune: no sparsity that was tried is safe"
    return (
        f"If {weakest} can reach this model in use, {stop}. If inputs stay like the test set, {_up_to(clean)} {kept}."
    )


def _despite(record: LimitRecord) -> str:
    """Return the warning that at the least of the safe sparsities another group, safe at a larger one, is not."""
    stop = record.potentials[record.weakest].sparsity
    level = record.sparsities.index(stop) if stop else 0
    margin = record.margin / 100
    over = [name for name, found in record.potentials.items() if found.losses[level].value > margin + TIE]
    if not stop or not over:
        return ""
    breaks = [found.first_break for found in record.potentials.values() if found.first_break is not None]
    careful = max((s for s in record.sparsities if s < min(breaks)), default=None)
    up_to = "From the first sparsity tried on" if careful is None else f"Beyond {number(careful)}"
    return (
        f" But losses rise and fall again: at {number(stop)}, {_and([_inputs(name) for name in over])} lose more than"
        f" {allowed(record)}. {up_to} some inputs do."
    )


def _inputs(group: str) -> str:
    return "clean inputs" if group == CLEAN[0] else f"inputs under {group}"


def limit_text(record: LimitRecord) -> str:
    """Return the table and what it means, as lines for a terminal."""
    lines = [f"PARTIAL: {record.partial}"] if record.partial else []
    lines += [_unpruned(record), *_wrapped(record), "", *_table(record), ""]
    lines += [
        f'"safe" = mean accuracy loss at most {allowed(record)}, best over the sparsities tried; brackets are its '
        f"95 % interval over the {_examples(record)}.",
        f'"certified" = the loss is below {allowed(record)} on each kind of the group, with '
        f"{100 * (1 - record.alpha):g} % confidence (exact test).",
        limit_answer(record),
        record.certificate.statement,
        advice(record),
    ]
    return "\n".join(lines)


def advice(record: LimitRecord) -> str:
    """Return what the zeros are good for, and what retraining may have added to the answer."""
    return " ".join([*_at_chance(record), _use(record), *_unfinished(record)])


def _at_chance(record: LimitRecord) -> list[str]:
    """Return the warning that the parent can not be told from one that ignores its input: it has nothing to lose."""
    clean = record.parent[CLEAN]
    usual = np.bincount(clean.label).max() / len(clean)
    if usual == 1 or clopper_pearson(int(clean.correct.sum()), len(clean)).low > usual:
        return []
    return [
        f"The unpruned network is right on {100 * clean.accuracy:.1f} % of the test set, where always answering its"
        f" most frequent class is right on {100 * usual:.1f} %: it has hardly anything to lose, so this limit says"
        " little. Are the weights, the data and its normalisation the right ones?"
    ]


def _either(names: Sequence[str], word: str = "or") -> str:
    return f" {word} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _and(names: Sequence[str]) -> str:
    return _either(names, "and")


def _unfinished(record: LimitRecord) -> list[str]:
    """Return the caveat of a parent that retraining has overtaken on clean data, by more than chance would."""
    best = min(record.potentials[CLEAN[0]].losses, key=lambda loss: loss.value)
    if record.retrain == "none" or best.high >= 0 or -100 * best.value <= record.margin:
        return []
    return [
        f"Retrained levels are up to {-100 * best.value:.1f} points better than the unpruned network on clean data: it"
        " was not trained to its end, and part of what is called safe here is that training. Train it longer first."
    ]


def _use(record: LimitRecord) -> str:
    if record.method in STRUCTURED:
        return "Whole channels are zero: sinewy compact removes them, and measures what that saves."
    return "These weights are zeros in dense tensors: same file size and latency. For speed: --method ft, then compact."


def allowed(record: LimitRecord) -> str:
    """Return the margin in words."""
    return f"{record.margin:g} point{'' if record.margin == 1 else 's'}"


def number(sparsity: float) -> str:
    """Return a sparsity with the digits that tell it from its neighbours on the grid."""
    return f"{sparsity:.2f}" if sparsity < 0.895 else f"{sparsity:.3f}".removesuffix("0")


def label(record: LimitRecord, group: str) -> str:
    """Return what a group is called in the table."""
    if group == CLEAN[0]:
        return "your test set"
    kinds = len({kind for kind, _ in record.groups[group]})
    return f"{group} ({kinds} kinds)" if kinds > 1 else group


def _up_to(found: Potential) -> str:
    if not found.sparsity:
        return "no sparsity that was tried stays"
    return f"{number(found.sparsity)}{', the most that was tried,' if found.censored else ''} stays"


def _unpruned(record: LimitRecord) -> str:
    clean = record.potentials[CLEAN[0]].accuracy
    facts = [f"unpruned     top-1 {100 * clean.value:.2f}"]
    if record.cost is not None:
        facts.append(f"{record.cost.parameters:,} parameters")
        facts.append(f"{flops(record.cost.dense_inference_flops)}FLOP (1 MAC = 2)")
    return " · ".join([*facts, f"{_examples(record)}", f"{record.method}, retrain {record.retrain}"])


def _examples(record: LimitRecord) -> str:
    return f"{record.n:,} test example{'' if record.n == 1 else 's'}"


def _wrapped(record: LimitRecord) -> list[str]:
    words = [number(sparsity) for sparsity in record.sparsities]
    rows = [" ".join(words[start : start + 14]) for start in range(0, len(words), 14)]
    return [("sparsity     " if index == 0 else INDENT) + row for index, row in enumerate(rows)]


def _table(record: LimitRecord) -> list[str]:
    width = max(20, *(len(label(record, name)) for name in record.potentials))
    lines = [f"{INDENT}{'inputs':<{width}} {'unpruned':>9}   {'safe up to':<24} {'first break':<15} certified"]
    several = len({found.sparsity for found in record.potentials.values()}) > 1
    least = record.potentials[record.weakest].sparsity
    for row in limit_rows(record):
        if row["first_break"] is None:
            broken = "none"
        else:
            broken = f"{number(row['first_break'])}  {-100 * row['break_loss']:+.1f}"
        safe = f"{number(row['safe'])}  [{number(row['low'])}, {number(row['high'])}]" + (
            " +" if row["censored"] else ""
        )
        mark = "   ← the limit" if several and row["safe"] == least else ""
        lines.append(
            f"{INDENT}{label(record, row['group']):<{width}} {100 * row['accuracy']:>9.1f}   {safe:<24} {broken:<15} "
            f"{number(row['certified']):<9}{mark}".rstrip()
        )
    if any(
        found.first_break is not None and found.first_break < found.sparsity for found in record.potentials.values()
    ):
        lines.append(
            f'{INDENT}a first break below "safe up to": the loss rises and falls again; the careful stop before it'
        )
    if any(found.censored for found in record.potentials.values()):
        lines.append(f"{INDENT}+ the largest sparsity that was tried is still safe: more may be possible")
    return lines
