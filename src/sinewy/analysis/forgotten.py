"""Which classes and examples sparse models forget, over populations of models of several seeds. No torch.

Hooker, Courville, Clark, Dauphin and Frome, "What do compressed deep neural networks forget?", 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.evidence import Finding, known
from sinewy.analysis.proportions import clopper_pearson
from sinewy.errors import InputError
from sinewy.metrics.classes import ClassChange, class_changes, pruning_identified_exemplars
from sinewy.outcomes import CLEAN
from sinewy.records import StudyRecord


@dataclass(frozen=True)
class Forgotten:
    """What one method's models lost against the reference's, on the clean set; `models` are counted on either side.

    `exemplars` are the numbers, in the test set, of the examples whose most frequent prediction differs.
    """

    models: tuple[int, int]
    classes: list[ClassChange]
    exemplars: NDArray[np.intp]


def forgotten(study: StudyRecord) -> dict[str, Forgotten]:
    """Return what every method but the reference forgot, over all its runs that have outcomes on the clean set.

    With one run on either side the exemplars are the examples on which two models disagree, and there is no test:
    another seed of the reference would disagree on many of them as well. Runs on other examples than the reference's
    are left out. Raises InputError where the reference has no outcomes on the clean set.
    """
    label, predictions = _predictions(study)
    dense, number = predictions.pop(study.reference), int(label.max()) + 1
    return {
        method: Forgotten(
            (len(dense), len(sparse)),
            class_changes(label, dense, sparse, number),
            np.flatnonzero(pruning_identified_exemplars(dense, sparse)),
        )
        for method, sparse in predictions.items()
    }


def findings(study: StudyRecord) -> list[Finding]:
    """Return, for methods with several runs on either side, the p of each class's change and the share of exemplars.

    The p are those of the paper's test, one per class, not corrected for there being several.
    """
    found = []
    for method, lost in forgotten(study).items():
        if min(lost.models) < 2:
            continue
        total = sum(change.count for change in lost.classes)
        share = clopper_pearson(len(lost.exemplars), total)
        said = f"{lost.models[0]} against {lost.models[1]} models"
        found.append(Finding(method, said, "share of exemplars, by the mode", share, better=""))
        found += [
            Finding(
                method,
                f"class {change.number}",
                "p of relative change (Hooker et al.)",
                known(change.p, change.count),
                x=float(change.number),
                better="",
            )
            for change in lost.classes
            if not math.isnan(change.p)
        ]
    return found


def with_populations(
    rows: Mapping[str, Sequence[Mapping[str, Any]]], study: StudyRecord
) -> dict[str, list[Mapping[str, Any]]]:
    """Return the findings of a study by probe, those of the classes with what only several seeds can tell."""
    both = {probe: list(own) for probe, own in rows.items()}
    if "classes" in both and any(run.method == study.reference and CLEAN in run.outcomes for run in study.runs):
        both["classes"] += [finding.as_dict() for finding in findings(study)]
    return both


def _predictions(study: StudyRecord) -> tuple[NDArray[np.int32], dict[str, NDArray[np.int32]]]:
    """Return the labels (N,) and, by method, the predictions (models, N) on the reference's clean set."""
    clean = [(run.method, run.outcomes[CLEAN]) for run in study.runs if CLEAN in run.outcomes]
    label = next((own.label for method, own in clean if method == study.reference), None)
    if label is None:
        raise InputError(f"no run of the reference {study.reference} has outcomes on the clean set.")
    rows: dict[str, list[NDArray[np.int32]]] = {}
    for method, own in clean:
        if np.array_equal(own.label, label):
            rows.setdefault(method, []).append(own.prediction)
    return label, {method: np.stack(parts) for method, parts in rows.items()}
