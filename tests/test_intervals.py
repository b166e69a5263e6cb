"""Intervals agree with scipy's, cover what they say, and the exact tests with their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sinewy.analysis.bootstrap import paired_bootstrap
from sinewy.analysis.gain_order import frequency_trend, gains_by_kind, wins
from sinewy.analysis.intervals import acceleration, bootstrap_means, mean_interval, paired_interval, spreads
from sinewy.analysis.multiplicity import holm
from sinewy.analysis.panel import Panel
from sinewy.analysis.proportions import clopper_pearson, discordance, mcnemar
from sinewy.errors import InputError
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.records import RunRecord

RNG = np.random.default_rng(0)
VERDICTS = RNG.choice([-1, 0, 1], 400, p=[0.03, 0.89, 0.08])
SKEWED = RNG.exponential(size=40)


@pytest.mark.parametrize("values", [VERDICTS, SKEWED], ids=["few distinct values", "all distinct"])
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_interval_agrees_with_scipy(values, method):
    ours = mean_interval(values, method=method, resamples=40_000)
    name = {"bca": "BCa"}.get(method, method)
    theirs = stats.bootstrap((values,), np.mean, method=name, n_resamples=20_000, batch=500, rng=1).confidence_interval
    error = values.std() / math.sqrt(len(values))
    assert ours.value == pytest.approx(values.mean())
    step = 1 / 400 if values is VERDICTS else 0  # where means lie on a lattice, quantiles may differ by one step
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.06 * error + 1.01 * step)


def test_acceleration_agrees_with_the_jackknife():
    left_out = np.array([np.delete(SKEWED, i).mean() for i in range(len(SKEWED))])
    moves = left_out.mean() - left_out
    assert acceleration(SKEWED) == pytest.approx((moves**3).sum() / (6 * (moves**2).sum() ** 1.5))
    assert acceleration(np.ones(5)) == 0


def test_counted_and_gathered_resamples_have_the_same_distribution(monkeypatch):
    counted = bootstrap_means(VERDICTS, resamples=20_000)
    monkeypatch.setattr("sinewy.analysis.intervals.MOST_PATTERNS", 0)
    gathered = bootstrap_means(VERDICTS, resamples=20_000)
    assert not np.array_equal(counted, gathered)
    sums = [np.round(400 * draws) for draws in (counted, gathered)]
    assert gathered == pytest.approx(sums[1] / 400, abs=1e-6)
    assert stats.ks_2samp(*sums).pvalue > 0.001


def test_counted_resamples_have_the_exact_distribution():
    values = np.array([0.0, 0.0, 1.0])
    seen = np.bincount(np.round(3 * bootstrap_means(values, resamples=30_000)).astype(int), minlength=4)
    expected = [math.comb(3, k) * 2 ** (3 - k) / 27 * 30_000 for k in range(4)]
    assert stats.chisquare(seen, expected).pvalue > 0.001


def test_strata_are_resampled_by_themselves():
    classes = np.repeat([0, 1], [30, 10])
    constant = np.where(classes == 0, 0.2, 0.9)
    assert mean_interval(constant, strata=classes).low == pytest.approx(constant.mean())
    assert mean_interval(constant).low < constant.mean() - 0.01
    values = np.where(RNG.random(40) < 0.5, constant, 0.0)
    draws = bootstrap_means(values, strata=classes, resamples=20_000)
    within = sum((classes == c).sum() * values[classes == c].var() for c in (0, 1))
    assert draws.std() == pytest.approx(math.sqrt(within) / 40, rel=0.03)


def test_several_seeds_have_the_spread_of_the_two_way_bootstrap():
    difficulty = RNG.normal(size=300)
    values = np.stack([difficulty + 0.5 * RNG.normal(size=300) > s for s in (-0.4, 0.0, 0.3)]).astype(float)
    ours = bootstrap_means(values, resamples=20_000)
    theirs = paired_bootstrap(values[:, :, None], resamples=8_000)[:, 0]
    assert ours.std() == pytest.approx(theirs.std(), rel=0.04)
    assert ours.mean() == pytest.approx(values.mean(), abs=0.005)


def test_paired_interval_is_that_of_the_differences():
    first, second = RNG.random(50) < 0.8, RNG.random(50) < 0.6
    assert paired_interval(first, second) == mean_interval(first.astype(float) - second)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 1), min_size=2, max_size=30), st.sampled_from(["percentile", "bca"]))
def test_interval_lies_among_the_values_and_turns_round_with_them(values, method):
    estimate = mean_interval(values, method=method, resamples=400)
    assert min(values) <= estimate.low <= estimate.high <= max(values)
    assert mean_interval(values, method=method, resamples=400) == estimate
    turned = mean_interval(-np.array(values), method=method, resamples=4000)
    whole = mean_interval(values, method=method, resamples=4000)
    error = np.std(values) / math.sqrt(len(values))
    assert turned.low == pytest.approx(-whole.high, abs=0.25 * error + 1.01 / len(values))


def test_seeds_and_examples_are_shown_apart():
    values = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    found = spreads(values)
    assert found.deviation == pytest.approx(0.25)
    assert (found.seeds.value, found.examples.value) == pytest.approx((0.5, 0.5))
    assert found.seeds.high == pytest.approx(0.5 + 4.302653 * 0.25 / math.sqrt(3), abs=1e-5)  # t(0.975, 2) = 4.302653
    alone = spreads(values[:1])
    assert alone.seeds is None
    assert math.isnan(alone.deviation)


def test_bca_covers_a_skewed_mean_more_often_than_the_percentile_interval():
    covered = {"percentile": 0, "bca": 0}
    for study in range(800):
        values = np.random.default_rng(study).exponential(size=20)
        for method in covered:
            estimate = mean_interval(values, method=method, resamples=400, seed=study)
            covered[method] += estimate.low <= 1 <= estimate.high
    assert covered["bca"] > covered["percentile"] + 6
    assert covered["bca"] / 800 > 0.89


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
@pytest.mark.parametrize("n", [5, 12, 40])
def test_clopper_pearson_covers_at_least_as_often_as_it_says(n, share):
    covered = sum(
        stats.binom.pmf(k, n, share)
        for k in range(n + 1)
        if clopper_pearson(k, n).low <= share <= clopper_pearson(k, n).high
    )
    assert covered >= 0.95


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (997, 1000)])
def test_clopper_pearson_agrees_with_scipy(successes, n):
    ours = clopper_pearson(successes, n, level=0.9)
    theirs = stats.binomtest(successes, n).proportion_ci(0.9, method="exact")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


def test_mcnemar_by_hand():
    # two against none of 2 coins: 1/4, twice; 1 against 4 of 5 coins: (1 + 5) / 32, twice
    assert mcnemar(0, 2) == pytest.approx(0.5)
    assert mcnemar(4, 1) == mcnemar(1, 4) == pytest.approx(12 / 32)
    assert mcnemar(1, 4, mid=True) == pytest.approx(12 / 32 - 5 / 32)
    assert mcnemar(3, 3) == mcnemar(0, 0) == 1
    assert mcnemar(250, 310) == pytest.approx(stats.binomtest(250, 560).pvalue)


def test_mcnemar_rejects_a_true_hypothesis_at_most_as_often_as_it_says():
    for n in (6, 15, 30):
        rejected = sum(stats.binom.pmf(k, n, 0.5) for k in range(n + 1) if mcnemar(k, n - k) <= 0.05)
        assert rejected <= 0.05


def test_discordance_counts_who_alone_was_right():
    assert discordance([1, 1, 0, 0, 1], [1, 0, 1, 0, 0]) == (2, 1, 5)


def test_holm_by_hand():
    # sorted 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, none below a smaller one
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([[0.5, 0.9]]) == pytest.approx(np.array([[1.0, 1.0]]))
    assert holm([]).shape == (0,)


def test_holm_keeps_the_chance_of_any_false_claim_below_alpha():
    rng, wrong = np.random.default_rng(3), 0
    for _ in range(2000):
        shared = rng.normal()
        p = stats.norm.sf(0.7 * shared + math.sqrt(0.51) * rng.normal(size=10))
        wrong += (holm(p) <= 0.05).any()
    assert wrong / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def _record(method, seed, right):
    n = len(right[CLEAN])
    label, ones = np.zeros(n, np.int32), np.ones(n, np.float32)
    outcomes = {c: Outcomes(label, 1 - np.asarray(r, np.int32), ones, ones, ones, ones) for c, r in right.items()}
    return RunRecord(f"{method}-{seed}", method, seed, 0.0, outcomes=outcomes)


def _panel(seeds=1):
    base = {CLEAN: [1] * 20, ("noise", 1): [1] * 5 + [0] * 15, ("blur", 1): [1] * 10 + [0] * 10, ("fog", 1): [1] * 20}
    own = {
        CLEAN: [1] * 20,
        ("noise", 1): [1] * 17 + [0] * 3,
        ("blur", 1): [1] * 12 + [0] * 8,
        ("fog", 1): [1] * 19 + [0],
    }
    runs = [_record("dense", s, base) for s in range(seeds)] + [_record("sparse", s, own) for s in range(seeds)]
    return Panel.build(runs, "dense", resamples=400)


@pytest.mark.parametrize("seeds", [1, 3])
def test_wins_count_what_is_beyond_chance(seeds):
    # noise: 12 against 0, p = 2^-11, times 3; blur: 2 against 0 and fog: 0 against 1 are chance
    found = wins(_panel(seeds), "sparse")
    assert (found.cells, found.won, found.lost, found.tied) == (3, 2, 1, 0)
    assert (found.won_significantly, found.lost_significantly) == (1, 0)
    assert wins(_panel(seeds), "sparse", by="kind").won == 2


def test_kinds_are_ordered_by_high_frequencies_and_the_trend_is_their_rank_correlation():
    gains = gains_by_kind(_panel(), "sparse", {"fog": 0.1, "noise": 0.8, "blur": 0.5})
    assert [g.kind for g in gains] == ["noise", "blur", "fog"]
    assert [g.relative.value for g in gains] == pytest.approx([12 / 5, 0.2, -0.05])
    correlation, p = frequency_trend(gains)
    assert correlation == pytest.approx(1)
    assert p == pytest.approx(2 / 6)  # one of 6 orders is as extreme on each side


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mean_interval([[1, 2], [2, 3]], method="bca"), "one seed"),
        (lambda: mean_interval([1.0, math.nan]), "finite"),
        (lambda: mean_interval([1.0], method="basic"), "unknown method of intervals"),
        (lambda: mean_interval([1.0], resamples=0), "resamples"),
        (lambda: mean_interval([1.0], level=95), "level"),
        (lambda: mean_interval([1.0, 2.0], strata=[0]), "strata"),
        (lambda: paired_interval([1, 0], [1]), "one shape"),
        (lambda: clopper_pearson(4, 3), "impossible"),
        (lambda: mcnemar(-1, 3), "at least 0"),
        (lambda: holm([0.2, 1.2]), "1.2"),
        (lambda: wins(_panel(), "sparse", by="day"), "way to count wins"),
    ],
)
def test_bad_requests_get_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
