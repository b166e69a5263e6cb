"""The certificate of a study's methods: the same as by hand from the outcomes, about weights or about training."""

from __future__ import annotations

import numpy as np
import pytest

from sinewy.analysis import Panel, TrainingCertificate, certify, certify_methods, certify_training
from sinewy.errors import InputError
from sinewy.outcomes import Outcomes
from sinewy.records import RunRecord

CONDITIONS = (("clean", 0), ("fog", 3))
LEVELS = {"RigL 50 %": 0.5, "RigL 80 %": 0.8}


def outcomes(correct):
    n = len(correct)
    label = np.arange(n, dtype=np.int32) % 3
    prediction = np.where(correct, label, (label + 1) % 3).astype(np.int32)
    half = np.full(n, 0.5, np.float32)
    return Outcomes(label, prediction, half, half, half, half)


def study(seeds, n=400):
    rng = np.random.default_rng(0)
    correct, runs = {}, []
    for method, sparsity in {"dense": 0.0, **LEVELS}.items():
        for seed in range(seeds):
            right = {c: rng.random(n) < 0.9 - 0.2 * (sparsity > 0.7) for c in CONDITIONS}
            correct[method, seed] = np.stack([right[c] for c in CONDITIONS])
            by_condition = {c: outcomes(values) for c, values in right.items()}
            runs.append(RunRecord(f"{method}-{seed}", method, seed, sparsity, outcomes=by_condition))
    return Panel.build(runs, "dense", resamples=20), correct


def test_one_seed_is_about_its_weights():
    panel, correct = study(1)
    found = certify_methods(panel, list(LEVELS), margin=0.1)
    pruned = np.stack([correct[m, 0] for m in LEVELS])
    by_hand = certify(correct["dense", 0], pruned, [0.5, 0.8], margin=0.1)
    assert not isinstance(found, TrainingCertificate)
    np.testing.assert_array_equal(found.p_values, by_hand.p_values)
    assert found.sparsity == by_hand.sparsity == 0.5
    assert found.shifts == ("clean", "fog 3")


def test_several_seeds_are_about_training():
    panel, correct = study(3)
    found = certify_methods(panel, list(LEVELS), margin=0.1)
    parent = np.stack([correct["dense", s] for s in range(3)])
    pruned = np.stack([np.stack([correct[m, s] for s in range(3)]) for m in LEVELS])
    by_hand = certify_training(parent, pruned, [0.5, 0.8], margin=0.1)
    assert isinstance(found, TrainingCertificate)
    np.testing.assert_array_equal(found.p_values, by_hand.p_values)


def test_only_the_conditions_asked_for_count():
    panel, _ = study(1)
    assert certify_methods(panel, ["RigL 50 %"], conditions=[("clean", 0)]).shifts == ("clean",)


@pytest.mark.parametrize("methods", [[], ["dense", "RigL 50 %"]])
def test_the_reference_is_not_compared_with_itself(methods):
    panel, _ = study(1)
    with pytest.raises(InputError, match="name the methods to certify against dense"):
        certify_methods(panel, methods)
