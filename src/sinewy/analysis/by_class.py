"""What single classes and examples pay, against the reference. No torch."""

from __future__ import annotations

import numpy as np

from sinewy.analysis.bootstrap import paired_bootstrap, percentile_interval
from sinewy.analysis.estimate import Estimate
from sinewy.analysis.evidence import RESAMPLES, Evidence, Finding, known, means
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
    """Return the relative change of each class's recall, by the ratio of resampled means.

    A resample that holds no example of a class says nothing of its recall and is left out for that class.
    """
    label, base = evidence.label, evidence.outcomes[evidence.reference][CLEAN].correct
    change = evidence.outcomes[method][CLEAN].correct.astype(float) - base
    numbers = np.unique(label)
    inside = (label[:, None] == numbers).astype(float)
    size = len(numbers)
    table = np.concatenate([change[:, None] * inside, inside, change[:, None]], axis=1)
    draws = paired_bootstrap(table[None], resamples=RESAMPLES)
    found = []
    for index, number in enumerate(numbers):
        held = draws[draws[:, size + index] > 0]
        spread = held[:, index] / held[:, size + index] - held[:, -1]
        value = change[label == number].mean() - change.mean()
        own = Estimate(float(value), *percentile_interval(spread), len(label), 1)
        found.append(Finding(method, f"class {number}", "relative change of recall", own, x=float(number)))
    return found
