"""What a pruned network gets wrong that its parent got right: by class, by shift, and in single examples. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.estimate import Estimate
from sinewy.outcomes import CLEAN, Condition, Outcomes

SHOWN = 12
"""Single examples that are shown, half of them as they are and half shifted."""

_NORMAL_95 = 1.959964


@dataclass(frozen=True)
class ClassLoss:
    """How often the examples of one class are recognised, before and after; `change` is below 0 where it got worse."""

    number: int
    parent: float
    pruned: float
    change: Estimate


@dataclass(frozen=True, eq=False)
class Example:
    """An image that the parent recognises and the pruned network does not: the very pixels, uint8 (3, H, W).

    `answers` are the class and the confidence of the parent, then those of the pruned network.
    """

    index: int
    condition: Condition
    label: int
    answers: tuple[tuple[int, float], tuple[int, float]]
    pixels: NDArray[np.uint8]


def class_losses(parent: Sequence[Outcomes], pruned: Sequence[Outcomes]) -> list[ClassLoss]:
    """Return the change of each class's recall, mean over conditions, in the order of the classes.

    Both hold the outcomes of one network under the same conditions, on the same examples. The interval is over examples
    (Agresti and Min 2005: half an example lost and half an example won are added, and one that stays, so that a class
    without a change has an interval, too). Several conditions of one example count as one observation.
    """
    label = parent[0].label
    before, after = (np.mean([o.correct for o in side], axis=0) for side in (parent, pruned))
    change = after - before
    sums = {
        name: np.bincount(label, weights=values)
        for name, values in (("before", before), ("after", after), ("change", change), ("square", change**2))
    }
    counts = np.bincount(label)
    return [_class_loss(int(number), int(counts[number]), {k: float(v[number]) for k, v in sums.items()})
            for number in np.flatnonzero(counts)]  # fmt: skip


def worst_condition(parent: Mapping[Condition, Outcomes], pruned: Mapping[Condition, Outcomes]) -> Condition | None:
    """Return the shift under which the pruned network loses most accuracy, the first of equals; None without shifts."""
    shifted = [condition for condition in parent if condition != CLEAN and condition in pruned]
    return max(shifted, key=lambda c: parent[c].accuracy - pruned[c].accuracy, default=None)


def clearest_losses(parent: Outcomes, pruned: Outcomes, count: int) -> NDArray[np.intp]:
    """Return up to `count` examples that only the parent gets right: those whose true class lost most probability.

    Of equal losses the earlier example comes first.
    """
    lost = np.flatnonzero(parent.correct & ~pruned.correct)
    drop = parent.true_probability[lost].astype(np.float64) - pruned.true_probability[lost]
    return lost[np.argsort(-drop, kind="stable")][:count]


def choose(
    parent: Mapping[Condition, Outcomes], pruned: Mapping[Condition, Outcomes], worst: Condition | None, count: int
) -> list[tuple[Condition, int]]:
    """Return which examples to show: half under the worst shift, half as they are, more of one where the other lacks.

    Deterministic: the same outcomes give the same examples, the unshifted ones first.
    """
    clean = clearest_losses(parent[CLEAN], pruned[CLEAN], count)
    shifted = clearest_losses(parent[worst], pruned[worst], count) if worst is not None else clean[:0]
    half = max(count // 2, count - len(shifted))
    kept = [(CLEAN, int(index)) for index in clean[:half]]
    return kept + [(worst, int(index)) for index in shifted[: count - len(kept)] if worst is not None]


def example(condition: Condition, index: int, pixels: NDArray[np.uint8], parent: Outcomes, pruned: Outcomes) -> Example:
    """Return one example with what both networks said of it."""
    answers = [(int(o.prediction[index]), float(o.confidence[index])) for o in (parent, pruned)]
    return Example(index, condition, int(parent.label[index]), (answers[0], answers[1]), pixels)


def _class_loss(number: int, n: int, sums: Mapping[str, float]) -> ClassLoss:
    value = sums["change"] / n
    centre = sums["change"] / (n + 2)
    spread = np.sqrt(((sums["square"] + 1) / (n + 2) - centre**2) / (n + 2))
    low, high = max(centre - _NORMAL_95 * spread, -1.0), min(centre + _NORMAL_95 * spread, 1.0)
    change = Estimate(value, float(min(low, value)), float(max(high, value)), n, 1)
    return ClassLoss(number, sums["before"] / n, sums["after"] / n, change)
