"""What single classes pay, worked by hand, and the test over populations of models."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_ind

import sinewy as sw
from sinewy.analysis import by_class
from sinewy.analysis.evidence import Evidence
from sinewy.analysis.forgotten import forgotten, with_populations
from sinewy.metrics.classes import (
    class_changes,
    most_sensitive_class,
    pruning_identified_exemplars,
    recall_per_class,
)
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.records import RunRecord, StudyRecord

LABEL = np.array([0, 0, 0, 0, 1, 1, 3, 3])
DENSE = np.array([0, 0, 0, 1, 1, 1, 3, 0])
SPARSE = np.array([0, 0, 0, 1, 0, 1, 0, 0])


def outcomes(label: np.ndarray, prediction: np.ndarray) -> Outcomes:
    ones = np.ones(len(label), np.float32)
    return Outcomes(label.astype(np.int32), prediction.astype(np.int32), ones, ones, ones, ones)


def test_by_hand():
    assert recall_per_class(LABEL, DENSE, 4) == pytest.approx([0.75, 1, np.nan, 0.5], nan_ok=True)
    assert most_sensitive_class(LABEL, DENSE, 4) == (3, 0.5)
    assert most_sensitive_class(LABEL, SPARSE, 4) == (3, 0.0)
    zero, one, three = class_changes(LABEL, DENSE[None], SPARSE[None], 4)
    assert [c.number for c in (zero, one, three)] == [0, 1, 3]
    assert [c.change for c in (zero, one, three)] == [0, -0.5, -0.5]
    fall = 4 / 8 - 6 / 8
    assert [c.relative for c in (zero, one, three)] == pytest.approx([-fall, -0.5 - fall, -0.5 - fall])
    assert all(np.isnan(c.p) for c in (zero, one, three))
    assert (zero.count, one.count) == (4, 2)


def test_exemplars_go_by_the_most_frequent_prediction():
    dense = np.array([[0, 1, 2, 2], [0, 1, 1, 2], [1, 1, 0, 3]])
    sparse = np.array([[0, 2, 0, 2], [0, 2, 1, 3], [2, 1, 2, 3]])
    # Modes: dense 0, 1, 0 (of equals the lowest), 2; sparse 0, 2, 0, 3.
    assert pruning_identified_exemplars(dense, sparse).tolist() == [False, True, False, True]
    assert not pruning_identified_exemplars(dense, dense).any()


def test_welch_over_populations():
    generator = np.random.default_rng(0)
    label = np.repeat(np.arange(4), 100)

    def models(rates: list[float], count: int) -> np.ndarray:
        right = generator.random((count, 400)) < np.repeat(rates, 100)
        return np.where(right, label, (label + 1) % 4)

    dense, sparse = models([0.9] * 4, 12), models([0.9, 0.9, 0.9, 0.6], 10)
    changes = class_changes(label, dense, sparse, 4)
    assert changes[3].p < 1e-6
    assert changes[3].relative == pytest.approx(-0.3 * 3 / 4, abs=0.03)
    normal = (dense == label).reshape(12, 4, 100).mean(2)[:, 1] - (dense == label).mean(1)
    changed = (sparse == label).reshape(10, 4, 100).mean(2)[:, 1] - (sparse == label).mean(1)
    assert changes[1].p == pytest.approx(ttest_ind(normal, changed, equal_var=False).pvalue)
    same = class_changes(label, models([0.9] * 4, 12), models([0.9] * 4, 12), 4)
    assert sum(change.p < 0.01 for change in same) == 0


def test_findings_of_one_pair():
    models = {"dense": {CLEAN: outcomes(LABEL, DENSE)}, "sparse": {CLEAN: outcomes(LABEL, SPARSE)}}
    found = by_class.findings(Evidence("dense", models))
    by_name = {(f.method, f.condition, f.measure): f for f in found}
    recall = by_name["sparse", "class 1", "recall"]
    assert (recall.estimate.value, recall.difference.value, recall.estimate.n) == (0.5, -0.5, 2)
    relative = by_name["sparse", "class 1", "relative change of recall"].estimate
    assert relative.value == pytest.approx(-0.25)
    assert relative.low <= relative.value <= relative.high
    assert by_name["sparse", "all", "share of exemplars"].estimate.value == pytest.approx(2 / 8)
    lowest = by_name["sparse", "all", "lowest recall"]
    assert (lowest.estimate.value, lowest.x) == (0, 3)
    assert ("dense", "all", "share of exemplars") not in by_name


def study(dense: list[np.ndarray], sparse: list[np.ndarray], label: np.ndarray = LABEL) -> StudyRecord:
    runs = [
        RunRecord(f"{method} {seed}", method, seed, 0.0, outcomes={CLEAN: outcomes(label, prediction)})
        for method, predictions in (("dense", dense), ("sparse", sparse))
        for seed, prediction in enumerate(predictions)
    ]
    other = RunRecord("elsewhere", "sparse", 9, 0.0, outcomes={CLEAN: outcomes(label[:3], label[:3])})
    return StudyRecord("study", "dense", (*runs, other, RunRecord("planned", "sparse", 8, 0.0, state="new")), "")


def test_what_the_models_of_a_study_forgot():
    lost = forgotten(study([DENSE], [SPARSE]))["sparse"]
    assert (lost.models, lost.exemplars.tolist()) == ((1, 1), [4, 6])
    assert [change.number for change in lost.classes] == [0, 1, 3]
    assert with_populations({"classes": []}, study([DENSE], [SPARSE])) == {"classes": []}
    several = study([DENSE, DENSE, LABEL], [SPARSE, DENSE, SPARSE])
    rows = with_populations({"classes": [], "attack": []}, several)
    share = next(row for row in rows["classes"] if row["measure"].startswith("share"))
    assert (share["condition"], share["estimate"]["value"]) == ("3 against 3 models", 2 / 8)
    p = {row["x"]: row["estimate"]["value"] for row in rows["classes"] if row["measure"].startswith("p of")}
    expected = class_changes(LABEL, np.stack([DENSE, DENSE, LABEL]), np.stack([SPARSE, DENSE, SPARSE]), 4)
    assert p == pytest.approx({float(c.number): c.p for c in expected if not np.isnan(c.p)})
    assert p
    assert rows["attack"] == []
    with pytest.raises(sw.InputError, match="no run of the reference dense"):
        forgotten(study([], [SPARSE]))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: recall_per_class(LABEL, DENSE[:3], 4), r"both be \(N,\)"),
        (lambda: recall_per_class(LABEL, DENSE, 3), "labels must be 0 to 2, got 0 to 3"),
        (lambda: class_changes(LABEL, DENSE, SPARSE[None], 4), r"predictions must be \(models, 8\)"),
        (lambda: pruning_identified_exemplars(DENSE[None], SPARSE[None, :3]), "on both sides"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        call()


def test_a_small_class_is_not_judged_by_resamples_without_it():
    """Two of 40 examples: 13 % of resamples lack the class, and its recall there is not 0 but unknown."""
    label = np.repeat(np.array([0, 1], np.int32), (38, 2))
    wrong = np.where(label == 1, 0, label)
    evidence = Evidence("dense", {"dense": {CLEAN: outcomes(label, wrong)}, "sparse": {CLEAN: outcomes(label, label)}})
    found = {f.condition: f.estimate for f in by_class.findings(evidence) if f.measure == "relative change of recall"}
    assert found["class 1"].value == pytest.approx(1 - 2 / 40)
    assert found["class 1"].low > 0.8
    assert found["class 0"].value == pytest.approx(-2 / 40)
    assert -0.2 < found["class 0"].low < found["class 0"].high <= 0
