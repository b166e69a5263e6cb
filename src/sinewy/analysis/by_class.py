"""What single classes and examples pay, against the reference. No torch."""

from __future__ import annotations

import numpy as np

from sinewy.analysis.evidence import Evidence, Finding, known, means, statistics
from sinewy.metrics.classes import most_sensitive_class, pruning_identified_exemplars
from sinewy.outcomes import CLEAN


def findings(evidence: Evidence) -> list[Finding]:
    """Return the recall of each class, its change relative to overall accuracy, the lowest recall, and the exemplars.

    The relative change of a class (Hooker et al. 2019) is the change of its recall less the change of the accuracy,
    against the reference; its interval is over examples. The test over populations of models is
    `sinewy.metrics.classes.class_changes`.
    """
    label, found = evidence.label, []
    classes = int(label.max()) + 1
    own = {method: evidence.outcomes[method][CLEAN] for method in evidence.methods}
    for number in np.unique(label):
        inside = label == number
        columns = {method: outcomes.correct[inside][None].astype(float) for method, outcomes in own.items()}
        for method, (recall, difference) in means(columns, evidence.reference).items():
            found.append(Finding(method, f"class {number}", "recall", recall, difference, float(number)))
    for method in evidence.methods[1:]:
        found += _relative_changes(evidence, method)
        differs = pruning_identified_exemplars(own[evidence.reference].prediction[None], own[method].prediction[None])
        share = means({method: differs[None].astype(float)}, method)[method][0]
        found.append(Finding(method, "all", "share of exemplars", share, better=""))
    for method, outcomes in own.items():
        lowest, value = most_sensitive_class(label, outcomes.prediction, classes)
        estimate = known(value, int((label == lowest).sum()))
        found.append(Finding(method, "all", "lowest recall", estimate, x=float(lowest)))
    return found


def _relative_changes(evidence: Evidence, method: str) -> list[Finding]:
    """Return the relative change of each class's recall, by the ratio of resampled means."""
    label, base = evidence.label, evidence.outcomes[evidence.reference][CLEAN].correct
    change = evidence.outcomes[method][CLEAN].correct.astype(float) - base
    numbers = np.unique(label)
    inside = (label[:, None] == numbers).astype(float)
    table = np.concatenate([change[:, None] * inside, inside, change[:, None]], axis=1)[None]

    def relative(sums: np.ndarray) -> np.ndarray:
        size = len(numbers)
        recall = sums[..., :size] / np.maximum(sums[..., size : 2 * size], 1e-12)
        return np.asarray(recall - sums[..., -1:])

    names = [f"class {number}" for number in numbers]
    found = statistics(table, names, names[0], relative)
    return [
        Finding(method, name, "relative change of recall", own, x=float(number))
        for number, (name, (own, _)) in zip(numbers, found.items(), strict=True)
    ]
