"""Intervals cover what they should, pairing pays, and the panel answers hand-worked questions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import numpy as np
import pytest

from sinewy.analysis import Estimate, Panel, example_means, paired_bootstrap, percentile_interval, seed_means
from sinewy.errors import InputError
from sinewy.outcomes import CLEAN, Condition, Outcomes
from sinewy.records import Cost, RunRecord


def outcomes(correct, label=None):
    correct = np.asarray(correct, bool)
    label = np.arange(len(correct), dtype=np.int32) % 3 if label is None else np.asarray(label, np.int32)
    ones = np.ones(len(correct), np.float32)
    return Outcomes(label, np.where(correct, label, label + 1).astype(np.int32), ones, ones, ones, ones)


def run(method, seed, right: Mapping[Condition, list[int]], **facts):
    by_condition = {condition: outcomes(correct) for condition, correct in right.items()}
    return RunRecord(f"{method}-{seed}", method, seed, facts.pop("sparsity", 0.0), outcomes=by_condition, **facts)


def small_runs():
    dense = {CLEAN: [1, 1, 1, 0], ("fog", 1): [1, 1, 0, 0], ("fog", 3): [1, 0, 0, 0], ("blur", 1): [1, 1, 1, 1]}
    sparse = {CLEAN: [1, 1, 1, 1], ("fog", 1): [1, 1, 1, 0], ("fog", 3): [1, 1, 0, 0], ("blur", 1): [1, 0, 0, 0]}
    return [run("dense", 0, dense), run("sparse", 0, sparse, sparsity=0.5)]


def test_estimate_prints_value_and_interval():
    estimate = Estimate(0.012, 0.004, 0.0204, n=100, seeds=3)
    assert estimate.percent(signed=True) == "+1.2 [0.4, 2.0]"
    assert f"{estimate:.3f}" == "0.012 [0.004, 0.020]"
    assert Estimate(-0.0001, -0.01, 0.01, 10, 1).percent() == "0.0 [-1.0, 1.0]"


def test_estimate_is_distinguishable_only_if_the_interval_excludes_zero():
    assert Estimate(0.1, 0.01, 0.2, 9, 1).distinguishable
    assert Estimate(-0.1, -0.2, -0.01, 9, 1).distinguishable
    assert not Estimate(0.0, 0.0, 0.0, 9, 1).distinguishable
    assert not Estimate(0.1, 0.0, 0.2, 9, 1).distinguishable


def test_estimate_as_dict_is_json_even_if_unbounded():
    facts = Estimate(0.5, 0.1, math.inf, 9, 2).as_dict()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["high"] is None
    assert facts["distinguishable"]


def test_bootstrap_error_agrees_with_the_closed_form_of_paired_means():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=500)
    pair = np.stack([difficulty + rng.normal(size=500) > shift for shift in (-1.0, -0.8)], axis=1)
    draws = paired_bootstrap(pair[None], resamples=8000)
    per_example = pair[:, 0].astype(float) - pair[:, 1]
    assert np.std(draws[:, 0] - draws[:, 1]) == pytest.approx(per_example.std() / math.sqrt(500), rel=0.03)
    assert draws.mean(axis=0) == pytest.approx(pair.mean(axis=0), abs=0.002)


def test_bootstrap_error_over_seeds_agrees_with_the_closed_form():
    per_seed = np.array([0.1, 0.4, 0.5, 0.9])
    draws = paired_bootstrap(np.repeat(per_seed[:, None, None], 50, axis=1), resamples=20000)
    assert draws.std() == pytest.approx(per_seed.std(ddof=1) / 2, rel=0.02)
    assert draws.mean() == pytest.approx(per_seed.mean(), abs=0.005)


def test_pairing_is_tighter_than_treating_the_models_as_independent():
    rng = np.random.default_rng(1)
    difficulty = rng.normal(size=(1, 400))
    pair = np.stack([difficulty + 0.3 * rng.normal(size=(3, 400)) > 0 for _ in range(2)], axis=2)
    draws = paired_bootstrap(pair, resamples=2000)
    elsewhere = paired_bootstrap(pair, resamples=2000, seed=1)
    assert np.std(draws[:, 0] - draws[:, 1]) < 0.7 * np.std(draws[:, 0] - elsewhere[:, 1])


def test_seeds_are_paired_across_columns():
    per_seed = np.repeat(np.array([0.2, 0.5, 0.9])[:, None, None], 40, axis=1)
    draws = paired_bootstrap(np.concatenate([per_seed, per_seed + 0.1], axis=2), resamples=300)
    assert draws[:, 1] - draws[:, 0] == pytest.approx(0.1, abs=1e-6)
    assert draws[:, 0].std() > 0.1


def test_one_seed_resamples_examples_only():
    values = np.random.default_rng(2).random((1, 30, 2))
    expected = example_means([values[0]], resamples=50, seed=3)[0]
    assert np.array_equal(paired_bootstrap(values, resamples=50, seed=3), expected.astype(float))


def test_bootstrap_is_reproducible_and_its_seed_matters():
    values = np.random.default_rng(3).random((2, 25, 1))
    first, again = (paired_bootstrap(values, resamples=40, seed=5) for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, paired_bootstrap(values, resamples=40, seed=6))


def test_blocks_do_not_change_the_draws(monkeypatch):
    values = [np.random.default_rng(4).random((20, 2))]
    whole = example_means(values, resamples=33, seed=0)
    monkeypatch.setattr("sinewy.analysis.bootstrap.BLOCK_BYTES", 8 * 20 * 4)
    assert np.array_equal(example_means(values, resamples=33, seed=0), whole)


def test_order_of_examples_changes_the_interval_only_by_chance():
    rng = np.random.default_rng(5)
    values = rng.random((2, 300, 1)) < 0.7
    spread = [paired_bootstrap(v, resamples=4000).std() for v in (values, values[:, rng.permutation(300)])]
    assert spread[0] == pytest.approx(spread[1], rel=0.05)


def test_mean_is_kept_exactly_where_all_examples_agree():
    draws = seed_means(np.full((3, 10, 2), 0.25), seed=0)
    assert draws == pytest.approx(np.full((10, 2), 0.25))


def _study(rng, seeds, seed_effect):
    """Correctness, shape (seeds, 200, 2), of two methods whose true difference is `_true_difference(seed_effect)`."""
    shared = rng.normal(size=(1, 200, 1)) + 0.3 * rng.normal(size=(seeds, 200, 1))
    own = 0.4 * rng.normal(size=(seeds, 200, 2)) + seed_effect * rng.normal(size=(seeds, 1, 2))
    return shared + own + np.array([0.5, 0.7]) > 0


def _true_difference(seed_effect):
    scale = math.sqrt(1 + 0.09 + 0.16 + seed_effect**2)
    return sum(sign * 0.5 * math.erfc(-mean / scale / math.sqrt(2)) for sign, mean in ((1, 0.7), (-1, 0.5)))


@pytest.mark.parametrize(("seeds", "seed_effect"), [(1, 0.0), (3, 0.1), (8, 0.1)])
def test_interval_covers_the_truth_as_often_as_it_says(seeds, seed_effect):
    truth, covered = _true_difference(seed_effect), 0
    for study in range(400):
        draws = paired_bootstrap(_study(np.random.default_rng(study), seeds, seed_effect), resamples=400, seed=study)
        low, high = percentile_interval(draws[:, 1] - draws[:, 0])
        covered += low <= truth <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("values", "resamples", "sentence"),
    [
        (np.zeros((3, 4)), 5, "shape"),
        (np.zeros((0, 4, 1)), 5, "shape"),
        (np.full((1, 4, 1), np.nan), 5, "finite"),
        (np.zeros((1, 4, 1)), 0, "resamples"),
    ],
)
def test_bootstrap_refuses_what_it_cannot_resample(values, resamples, sentence):
    with pytest.raises(InputError, match=sentence):
        paired_bootstrap(values, resamples=resamples)


def test_interval_refuses_an_impossible_level():
    with pytest.raises(InputError, match="between 0 and 1"):
        percentile_interval(np.zeros(3), 95)


def test_panel_answers_by_hand():
    panel = Panel.build(small_runs(), "dense", resamples=200)
    assert panel.methods == ("dense", "sparse")
    assert panel.kinds == ("fog", "blur")
    assert panel.severities == (1, 3)
    assert panel.seeds == {"dense": (0,), "sparse": (0,)}
    assert panel.accuracy("dense").value == 0.75
    assert panel.accuracy("sparse", "fog", 3).value == 0.5
    assert panel.accuracy("sparse", "fog").value == 0.625
    assert panel.difference("sparse", "clean").value == 0.25
    assert panel.difference("sparse", "blur", 1).value == -0.75
    assert panel.difference("sparse", severity=1).value == pytest.approx(((0.75 - 0.5) + (0.25 - 1)) / 2)
    assert panel.relative_gain("sparse", "fog", 3).value == pytest.approx(1.0)
    assert panel.relative_gain("sparse", "clean").value == pytest.approx(1 / 3)
    assert (panel.accuracy("dense").n, panel.accuracy("dense").seeds) == (4, 1)


def test_corruption_accuracy_is_the_mean_over_kinds_not_over_cells():
    panel = Panel.build(small_runs(), "dense", resamples=50)
    assert panel.corruption_accuracy("dense").value == pytest.approx((0.375 + 1.0) / 2)
    assert panel.corruption_accuracy("dense").value != pytest.approx((0.5 + 0.25 + 1.0) / 3)
    assert panel.corruption_accuracy("dense", ["fog"]).value == pytest.approx(0.375)


def test_difference_is_that_of_the_accuracies_and_of_their_draws():
    rng = np.random.default_rng(7)
    conditions = [CLEAN, ("fog", 1), ("fog", 2)]
    runs = [
        run(method, seed, {c: rng.random(60) < skill for c in conditions})
        for method, skill in (("dense", 0.6), ("sparse", 0.8))
        for seed in range(3)
    ]
    panel = Panel.build(runs, "dense", resamples=4000)
    estimate = panel.difference("sparse")
    assert estimate.value == pytest.approx(
        panel.corruption_accuracy("sparse").value - panel.corruption_accuracy("dense").value
    )
    values = np.stack([[r.outcomes[c].correct for c in conditions[1:]] for r in runs]).mean(axis=1).reshape(2, 3, 60)
    draws = paired_bootstrap(values.transpose(1, 2, 0), resamples=4000)
    assert (estimate.low, estimate.high) == pytest.approx(percentile_interval(draws[:, 1] - draws[:, 0]), abs=1e-6)


def test_panel_pairs_by_seed_and_says_what_it_left_out():
    right = {CLEAN: [1, 0], ("fog", 1): [0, 1]}
    runs = [run("dense", seed, right) for seed in (0, 1)]
    runs += [run("set", seed, right) for seed in (1, 2)] + [run("lone", 9, right)]
    runs.append(RunRecord("bad", "set", 0, 0.0, state="failed", error="out of memory"))
    panel = Panel.build(runs, "dense", resamples=20)
    assert panel.methods == ("dense", "set")
    assert panel.seeds == {"dense": (0, 1), "set": (1,)}
    assert panel.difference("set").seeds == 1
    text = " ".join(panel.notes)
    for part in ("run 'bad'", "seed 2", "seed 0 of dense", "lone shares no seed"):
        assert part in text


def test_panel_refuses_runs_that_cannot_be_compared():
    runs = small_runs()
    with pytest.raises(InputError, match=r"unknown reference method 'dens'.*Did you mean 'dense'"):
        Panel.build(runs, "dens")
    with pytest.raises(InputError, match="same method and seed"):
        Panel.build([*runs, runs[0]], "dense")
    lacking = RunRecord("x7", "set", 0, 0.5, outcomes={c: o for c, o in runs[0].outcomes.items() if c != ("fog", 3)})
    with pytest.raises(InputError, match=r"run 'x7'.*'fog' at severity 3"):
        Panel.build([*runs, lacking], "dense")
    other = {c: outcomes(o.correct, label=[9, 9, 9, 9]) for c, o in runs[0].outcomes.items()}
    with pytest.raises(InputError, match="other examples"):
        Panel.build([*runs, RunRecord("x8", "set", 0, 0.5, outcomes=other)], "dense")


def test_panel_refuses_questions_it_cannot_answer():
    panel = Panel.build(small_runs(), "dense", resamples=20)
    with pytest.raises(InputError, match="Did you mean 'sparse'"):
        panel.accuracy("sparze")
    with pytest.raises(InputError, match="Did you mean 'fog'"):
        panel.difference("sparse", "fgo")
    with pytest.raises(InputError, match="severity 3"):
        panel.difference("sparse", "blur", 3)
    clean_only = Panel.build([run("dense", 0, {CLEAN: [1, 0]})], "dense", resamples=20)
    assert clean_only.table()[0]["corruption_accuracy"] is None
    with pytest.raises(InputError, match="no corruption"):
        clean_only.corruption_accuracy("dense")


def test_gain_is_none_where_the_reference_gets_nothing_right():
    runs = [run("dense", 0, {CLEAN: [1, 1], ("fog", 5): [0, 0]}), run("sparse", 0, {CLEAN: [1, 1], ("fog", 5): [1, 0]})]
    panel = Panel.build(runs, "dense", resamples=50)
    assert panel.gains()[0]["relative_gain"] is None
    assert panel.gains()[0]["difference"]["value"] == 0.5
    with pytest.raises(InputError, match="not defined"):
        panel.relative_gain("sparse", "fog", 5)


def test_gain_is_unbounded_if_a_resample_leaves_the_reference_nothing():
    runs = [run("dense", 0, {CLEAN: [1, 0, 0]}), run("sparse", 0, {CLEAN: [1, 1, 1]})]
    assert Panel.build(runs, "dense", resamples=400).relative_gain("sparse", "clean").high == math.inf


def test_table_and_gains_are_json_and_carry_costs():
    dense, sparse = small_runs()
    costs = Cost(100, 100, 2e6, 2e6, 6e9, 6e9), Cost(100, 50, 2e6, 1e6, 6e9, 4.5e9)
    runs = [RunRecord(**{**vars(r), "cost": cost}) for r, cost in zip((dense, sparse), costs, strict=True)]
    panel = Panel.build(runs, "dense", resamples=60)
    table, gains = json.loads(json.dumps([panel.table(), panel.gains()], allow_nan=False))
    assert [row["method"] for row in table] == ["dense", "sparse"]
    assert table[0]["corruption_difference"] is None
    assert table[1]["relative_inference_flops"] == 0.5
    assert table[1]["relative_training_flops"] == 0.75
    assert table[1]["sparsity"] == 0.5
    assert [(g["kind"], g["severity"]) for g in gains] == [("fog", 1), ("fog", 3), ("blur", 1)]
    assert Panel.build(small_runs(), "dense", resamples=9).table()[0]["training_flops"] is None
