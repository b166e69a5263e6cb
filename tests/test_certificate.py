"""The certificate: an exact test that is exact, a sequence that stops where it must, and its error by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from sinewy.analysis import certify, first_break, potential, prune_potential
from sinewy.analysis.exact_noninferiority import clopper_pearson, constrained_rate, exact_p_value, signed_ratio
from sinewy.analysis.noninferiority import TESTS, examples_needed, p_value, upper_bound
from sinewy.errors import InputError


def outcomes(n):
    """Every (b, c) with b + c at most n."""
    b, c = np.meshgrid(np.arange(n + 1), np.arange(n + 1), indexing="ij")
    return b[b + c <= n], c[b + c <= n]


def probability(b, c, n, q, loss):
    return stats.multinomial.pmf(np.stack([b, c, n - b - c], axis=-1), n, [q + loss, q, 1 - 2 * q - loss])


def size(test, n, margin, alpha=0.05):
    """The largest probability of rejecting a true hypothesis, over nuisances and losses at and above the margin."""
    b, c = outcomes(n)
    p = np.array([p_value(test, i, j, n, margin, alpha) for i, j in zip(b, c, strict=True)])
    rejected = p <= alpha
    truths = [(q, margin + x) for x in (0, 0.01, 0.1) for q in np.linspace(0, (1 - margin - x) / 2, 100)]
    return max(probability(b[rejected], c[rejected], n, q, loss).sum() for q, loss in truths)


@pytest.mark.parametrize(("n", "margin"), [(8, 0.05), (20, 0.1), (20, 0.0), (30, 0.02)])
def test_the_exact_test_never_errs_more_often_than_alpha(n, margin):
    """By enumeration of every outcome, not by simulation; and it wastes little of alpha."""
    assert size("exact", n, margin) <= 0.05
    assert size("exact", n, margin) >= 0.03 or n == 8


def test_the_asymptotic_tests_do():
    """Which is why they are not the default."""
    assert size("score", 25, 0.1) > 0.06
    assert size("wald", 20, 0.05) > 0.2


@pytest.mark.parametrize(
    ("b", "c", "n", "margin"), [(1, 1, 60, 0.05), (0, 0, 40, 0.1), (4, 7, 60, 0.02), (9, 8, 60, 0.15)]
)
def test_the_exact_p_value_by_brute_force(b, c, n, margin):
    everything = outcomes(n)
    extreme = signed_ratio(*map(np.asarray, (everything[0] * 1.0, everything[1] * 1.0)), n, margin)
    extreme = extreme <= signed_ratio(np.float64(b), np.float64(c), n, margin) + 1e-9
    low, high = clopper_pearson(c, n, 1 - 0.001)
    inside = np.linspace(low, min(high, (1 - margin) / 2), 2000)
    brute = max(probability(everything[0][extreme], everything[1][extreme], n, q, margin).sum() for q in inside)
    assert exact_p_value(b, c, n, margin, 0.05) == pytest.approx(brute + 0.001 + 0.0005, abs=1e-5)


def test_a_p_value_worked_by_hand():
    """No discordant answer in 300: the most likely way to lose 1 % is p_c = 0, and 0.99^300 = 0.0490."""
    assert exact_p_value(0, 0, 300, 0.01, 0.05) == pytest.approx(0.99**300 + 0.0015, abs=2e-5)
    assert exact_p_value(5, 2, 300, 0.01, 0.05) == 1  # exactly the margin: nothing speaks for less


@given(st.integers(1, 400), st.data(), st.sampled_from([0.0, 0.005, 0.03, 0.2]))
@settings(max_examples=60, deadline=None)
def test_the_constrained_fit_is_the_most_likely(n, data, margin):
    b = data.draw(st.integers(0, n))
    c = data.draw(st.integers(0, n - b))

    def unlikeliness(q):
        return -(special.xlogy(b, q + margin) + special.xlogy(c, q) + special.xlogy(n - b - c, 1 - 2 * q - margin))

    rate = float(constrained_rate(np.float64(b), np.float64(c), n, margin))
    best = optimize.minimize_scalar(
        unlikeliness, bounds=(0, (1 - margin) / 2), method="bounded", options={"xatol": 1e-9}
    )
    assert unlikeliness(rate) <= best.fun + 1e-6


@given(st.integers(2, 60), st.integers(0, 60), st.sampled_from([0.0, 0.01, 0.1]))
@settings(max_examples=60, deadline=None)
def test_more_examples_lost_are_less_extreme(n, c, margin):
    """The order that the exact test needs, up to the loss at which the ratio turns positive."""
    c = min(c, n - 1)
    ratios = signed_ratio(np.arange(n - c + 1.0), np.full(n - c + 1, float(c)), n, margin)
    below = ratios[np.arange(n - c + 1) - c < n * margin]
    assert (np.diff(below) >= -1e-12).all()


@given(st.integers(50, 3000), st.data(), st.sampled_from(list(TESTS)), st.sampled_from([0.0, 0.005, 0.02]))
@settings(max_examples=25, deadline=None)
def test_a_bound_agrees_with_its_test(n, data, test, margin):
    b = data.draw(st.integers(0, n // 10))
    c = data.draw(st.integers(0, n // 10))
    bound = upper_bound(test, b, c, n, margin, 0.05)
    assert (bound <= margin) == (p_value(test, b, c, n, margin, 0.05) <= 0.05)
    assert bound >= (b - c) / n


def test_examples_needed_do_settle_it():
    """40 of 2 000 lost and 30 won is a loss of half a point; at the number named the test has 80 % power against 1."""
    needed = examples_needed(40, 30, 2000, 0.01, 0.05)
    generator = np.random.default_rng(0)
    draws = generator.multinomial(needed, [0.02, 0.015, 0.965], size=150)
    passed = np.mean([p_value("exact", b, c, needed, 0.01, 0.05) <= 0.05 for b, c, _ in draws])
    assert 0.7 < passed < 0.9
    assert examples_needed(40, 20, 2000, 0.01, 0.05) is None  # the loss seen is the margin
    n = examples_needed(0, 0, 100, 0.01, 0.05)
    assert p_value("exact", 0, 0, n, 0.01, 0.05) <= 0.05 < p_value("exact", 0, 0, n - 5, 0.01, 0.05)


def study(losses, n=1000):
    """Correctness with exactly these numbers of lost examples, (sparsities, shifts); the parent is always right."""
    losses = np.asarray(losses)
    pruned = np.ones((*losses.shape, n), bool)
    for index in np.ndindex(losses.shape):
        pruned[index][: losses[index]] = False
    return np.ones((losses.shape[1], n), bool), pruned


def test_the_sequence_stops_at_the_first_failure():
    """20 % passes, 49 % fails on one shift, 67 % would pass again but is not reached."""
    parent, pruned = study([[0, 1], [1, 15], [0, 0]])
    found = certify(parent, pruned, [0.2, 0.49, 0.67], margin=0.01, shifts=["clean", "fog"])
    assert (found.sparsity, found.stopped) == (0.2, 1)
    assert "stopped at 0.49, where fog failed: a loss of 1.50 points" in found.reason
    assert found.examples_needed is None
    assert [row["verdict"] for row in found.rows()] == ["passed", "passed", "passed", "failed"] + 2 * ["not reached"]
    assert np.isnan(found.bounds[2]).all()
    assert found.losses.tolist() == [[0, 0.001], [0.001, 0.015], [0, 0]]
    assert found.statement.startswith("At sparsity 0.2 these weights lose at most 1 point of accuracy on each of 2")
    assert found.as_dict()["stopped_at"] == 0.49


def test_undecided_all_and_none():
    parent, pruned = study([[5, 6]])
    undecided = certify(parent, pruned, [0.5], margin=0.01)
    assert undecided.sparsity == 0.0
    assert undecided.examples_needed > 1000
    assert f"about {undecided.examples_needed:,} would" in undecided.reason
    everything = certify(*study([[0], [0]]), [0.2, 0.4], margin=0.01)
    assert (everything.sparsity, everything.stopped, everything.examples_needed) == (0.4, None, None)
    assert certify(*study([[50], [0]]), [0.2, 0.4], margin=0.01).sparsity == 0.0


def test_the_order_given_does_not_matter():
    parent, pruned = study([[0, 1], [1, 15], [0, 0]])
    back = certify(parent, pruned[::-1], [0.67, 0.49, 0.2], margin=0.01)
    assert (back.sparsity, back.sparsities) == (0.2, (0.2, 0.49, 0.67))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"margin": 0.5}, "half a percentage point, 0.005"),
        ({"margin": -0.1}, "share of examples"),
        ({"margin": math.nan}, "share of examples"),
        ({"alpha": 0.95}, "between 0 and 0.5"),
        ({"test": "scor"}, "Did you mean 'score'"),
        ({"sparsities": [0.5]}, "has 2 sparsities"),
        ({"sparsities": [0.5, 0.5]}, "must differ"),
        ({"sparsities": [20, 50]}, r"lie in \[0, 1\]"),
        ({"parent_correct": np.ones((3, 9), bool)}, "the same examples"),
        ({"parent_correct": np.ones(10, bool)}, r"shape \(shifts, n\)"),
        ({"parent_correct": np.full((3, 10), 0.5)}, "must be booleans"),
        ({"shifts": ["fog"]}, "1 names were given for 3 shifts"),
    ],
)
def test_bad_input_is_one_sentence(change, sentence):
    arguments = {
        "parent_correct": np.ones((3, 10), bool),
        "pruned_correct": np.ones((2, 3, 10), bool),
        "sparsities": [0.5, 0.9],
        "margin": 0.01,
    } | change
    with pytest.raises(InputError, match=sentence):
        certify(**arguments)


def synthetic(generator, n, losses, discordance, correlation):
    """One study with known truth: mean paired losses `losses` (sparsities, shifts), examples hard or easy everywhere.

    The parent is right with probability 0.8; the pruned model answers otherwise with what the loss and the share of
    discordant answers leave.
    """
    losses = np.asarray(losses)
    hardness = generator.standard_normal((2, n), dtype=np.float32)[[0] + len(losses) * [1], None]
    own = generator.standard_normal((len(losses) + 1, losses.shape[1], n), dtype=np.float32)
    uniform = special.ndtr(math.sqrt(correlation) * hardness + math.sqrt(1 - correlation) * own)
    parent = uniform[0] < 0.8
    lost, won = (discordance + losses) / 2 / 0.8, (discordance - losses) / 2 / 0.2
    return parent, parent ^ (uniform[1:] < np.where(parent, lost[..., None], won[..., None]))


@pytest.mark.parametrize(
    ("n", "losses", "discordance", "correlation"),
    [
        (60, [[0.0, 0.0], [0.05, 0.05]], 0.08, 0.5),  # small n, on the boundary
        (300, [[0.005, 0.01], [0.02, 0.02], [0.02, 0.04]], 0.06, 0.8),
        (300, [[0.0, 0.0], [0.0, 0.02], [0.1, 0.1]], 0.12, 0.0),
        (600, [[0.005], [0.02]], 0.03, 0.0),
    ],
)
def test_certified_too_far_at_most_alpha_of_the_time(n, losses, discordance, correlation):
    """2 000 studies each; three standard errors of Monte-Carlo noise are allowed for."""
    generator = np.random.default_rng(n)
    levels = np.linspace(0.2, 0.8, len(losses))
    margin = 0.05 if n == 60 else 0.02
    safe = [s for s, row in zip(levels, losses, strict=True) if max(row) < margin]
    largest = max(safe, default=0.0)
    wrong = 0
    for _ in range(2000):
        parent, pruned = synthetic(generator, n, losses, discordance, correlation)
        wrong += certify(parent, pruned, levels, margin=margin).sparsity > largest
    assert wrong / 2000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_margin_that_is_kept_is_found():
    """Power: nothing lost and 2 % discordant, 5 000 examples, a margin of 1 point."""
    generator = np.random.default_rng(0)
    found = [
        certify(*synthetic(generator, 5000, [[0.0, 0.0]], 0.02, 0.3), [0.5], margin=0.01).sparsity for _ in range(40)
    ]
    assert np.mean(found) > 0.45


def test_prune_potential_by_hand():
    """The loss dips and recovers: Definition 1 takes the best, the first break says where it first went wrong."""
    losses, sparsities = [0.0, 0.02, 0.004, 0.03], [0.2, 0.36, 0.49, 0.59]
    assert prune_potential(losses, sparsities, 0.005) == 0.49
    assert first_break(losses, sparsities, 0.005) == 0.36
    assert prune_potential(losses, sparsities, 0.05) == 0.59
    assert first_break(losses, sparsities, 0.05) is None
    assert prune_potential([0.1, 0.2], [0.2, 0.4], 0.005) == 0.0
    assert prune_potential([losses, [1, 0, 1, 0]], sparsities, 0.005).tolist() == [0.49, 0.59]
    assert prune_potential([0.005], [0.2], 0.005) == 0.2  # at most the margin


def test_the_potential_of_a_group():
    """Two shifts: 1 % of examples lost on one is half a point on average."""
    parent, pruned = study([[10, 0], [10, 2], [40, 40]])
    found = potential(parent, pruned, [0.2, 0.4, 0.6], margin=0.005)
    assert (found.sparsity, found.first_break) == (0.2, 0.4)
    assert found.break_loss.value == pytest.approx(0.006)
    assert found.low == 0.0
    assert found.high == 0.4
    assert not found.censored
    assert potential(parent, pruned, [0.2, 0.4, 0.6], margin=0.05).censored
    with pytest.raises(InputError, match="must be"):
        potential(parent, pruned, [0.2], margin=0.05)


def test_what_lies_beyond_the_first_failure_changes_nothing():
    rng = np.random.default_rng(0)
    parent, pruned = rng.random((2, 300)) < 0.9, rng.random((4, 2, 300)) < 0.9
    pruned[0] = parent
    whole, short = (certify(parent, pruned, [0.2, 0.4, 0.6, 0.8], margin=0.02, beyond=b) for b in (True, False))
    assert (short.sparsity, short.stopped, short.reason) == (whole.sparsity, whole.stopped, whole.reason)
    assert short.stopped == 1
    np.testing.assert_array_equal(short.p_values[:2], whole.p_values[:2])
    assert np.isnan(short.p_values[2:]).all()
    assert not np.isnan(whole.p_values).any()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"margin": None}, "margin must be a number, got None"),
        ({"margin": "1"}, "margin must be a number, got '1'"),
        ({"margin": True}, "margin must be a number"),
        ({"alpha": None}, "alpha must be a number"),
        ({"parent_correct": [[True], [True, False]]}, "its rows differ in length"),
    ],
)
def test_what_is_no_number_or_no_table_is_one_sentence(change, sentence):
    right = {"parent_correct": [[True]], "pruned_correct": [[[True]]], "sparsities": [0.5], "margin": 0.1}
    with pytest.raises(InputError, match=sentence):
        certify(**{**right, **change})


def test_numbers_of_numpy_are_numbers():
    assert certify([[True]], [[[True]]], [0.5], margin=np.float32(0.1), alpha=np.float64(0.05)).sparsity == 0.0


def test_one_example_is_one_example():
    assert "but 1 example cannot show it; about 14 would." in certify([[True]], [[[True]]], [0.5], margin=0.2).reason


def test_a_gain_is_not_called_a_negative_loss():
    pruned = np.ones((1, 1, 60), bool)
    parent = pruned[0].copy()
    parent[0, 0] = False
    assert "a gain of 1.67 points is within the margin" in certify(parent, pruned, [0.5], margin=0.005).reason
