"""The certificate about training: its variance by hand, its bound and its p-value agree, its error by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sinewy.analysis import certify, certify_training
from sinewy.errors import InputError


def studies(rng, seeds, n, loss, discordant, spread):
    """Verdicts of parents and pruned networks, (seeds, n): independent answers, losses that differ between seeds."""
    losses = (loss + spread * rng.standard_normal((seeds, 1))).clip(-discordant, discordant)
    parent = rng.random((seeds, n)) < 0.8
    flips = np.where(parent, (discordant + losses) / 1.6, (discordant - losses) / 0.4)
    return parent, parent ^ (rng.random((seeds, n)) < flips)


def test_the_variance_by_hand():
    """Seed 0 loses examples 0 and 1, seed 1 wins example 2: losses 2/4 and -1/4, by example 1/2, 1/2, -1/2, 0."""
    parent = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)[:, None]
    pruned = np.array([[0, 0, 0, 0], [1, 1, 1, 0]], bool)[None, :, None]
    found = certify_training(parent, pruned, [0.5], margin=0.2)
    assert found.losses[0, 0] == pytest.approx(1 / 8)
    assert found.of_seeds[0, 0] == pytest.approx((3 / 8) ** 2 * 2 / 1 / 2)
    by_example = np.array([0.5, 0.5, -0.5, 0.0])
    assert found.of_examples[0, 0] == pytest.approx(((by_example - 1 / 8) ** 2).sum() / 3 / 4)
    reach = np.sqrt(stats.t.isf(0.05, 1) ** 2 * found.of_seeds + stats.t.isf(0.05, 3) ** 2 * found.of_examples)
    assert found.bounds[0, 0] == pytest.approx(min(1, 1 / 8 + reach[0, 0]))
    assert found.sparsity == 0
    assert (found.only_parent[0, 0], found.only_pruned[0, 0]) == (2, 1)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    seeds=st.integers(2, 6),
    margin=st.sampled_from([0.01, 0.05, 0.1]),
    loss=st.sampled_from([-0.05, 0.0, 0.03, 0.1]),
)
def test_a_test_passes_exactly_where_its_bound_is_within_the_margin(seed, seeds, margin, loss):
    parent, pruned = studies(np.random.default_rng(seed), seeds, 150, loss, 0.15, 0.02)
    found = certify_training(parent[:, None], pruned[None, :, None], [0.5], margin=margin)
    assert (found.p_values[0, 0] <= 0.05) == (found.bounds[0, 0] <= margin) == (found.sparsity == 0.5)


def test_the_order_of_seeds_examples_and_sparsities_does_not_matter():
    rng = np.random.default_rng(0)
    parent, pruned = rng.random((3, 2, 60)) < 0.8, rng.random((4, 3, 2, 60)) < 0.8
    levels = [0.2, 0.4, 0.6, 0.8]
    found = certify_training(parent, pruned, levels, margin=0.1)
    examples, seeds = rng.permutation(60), [2, 0, 1]
    other = certify_training(parent[seeds][..., examples], pruned[::-1, seeds][..., examples], levels[::-1], margin=0.1)
    np.testing.assert_allclose(other.p_values, found.p_values, rtol=1e-9)
    assert other.sparsity == found.sparsity


def test_equal_answers_are_no_proof_by_themselves():
    """Without one difference, 100 examples say nothing of a margin of 1 %, and 1 000 do: (1 - 0.01)^1000 is 4e-5."""
    for n, certified in ((100, 0.0), (1000, 0.5)):
        answers = np.ones((3, 1, n), bool)
        assert certify_training(answers, answers[None], [0.5], margin=0.01).sparsity == certified


def test_seeds_that_differ_are_not_certified_where_each_by_itself_is():
    """Three seeds that lose 0, 0 and 4 of 1 000 points, margin 3: the mean is safe in these, not in training."""
    parent = np.ones((3, 1, 2000), bool)
    pruned = parent[None].copy()
    pruned[0, 2, 0, :80] = False
    assert all(certify(parent[s], pruned[:, s], [0.5], margin=0.05).sparsity == 0.5 for s in range(3))
    found = certify_training(parent, pruned, [0.5], margin=0.03)
    assert found.losses[0, 0] == pytest.approx(0.04 / 3)
    assert found.sparsity == 0
    assert "more seeds would settle most of it" in found.reason


def test_the_sequence_stops_at_the_first_failure():
    parent = np.ones((3, 2, 3000), bool)
    pruned = np.repeat(parent[None], 3, axis=0)
    pruned[1, :, 1, :600] = False
    found = certify_training(parent, pruned, [0.5, 0.7, 0.9], margin=0.01, shifts=["clean", "fog 3"])
    assert found.sparsity == 0.5
    assert found.stopped == 1
    assert [row["verdict"] for row in found.rows()] == ["passed"] * 3 + ["failed"] + ["not reached"] * 2
    assert "fog 3" in found.reason
    assert found.statement.startswith("Networks trained like these 3 lose on average at most 1 point")
    assert np.isnan(found.bounds[2]).all()


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.01), (3, 0.0), (5, 0.01)])
def test_it_errs_no_more_often_than_alpha(seeds, spread):
    """400 studies whose mean loss is the margin; three standard errors above 5 % are 8.3 %."""
    rng = np.random.default_rng(seeds)
    wrong = 0
    for _ in range(400):
        parent, pruned = studies(rng, seeds, 1000, 0.02, 0.06, spread)
        wrong += certify_training(parent[:, None], pruned[None, :, None], [0.5], margin=0.02).sparsity > 0
    assert wrong / 400 <= 0.083


def test_it_has_power():
    """Five seeds that lose nothing, 2 000 examples of which 4 % change: 2 points are all but always shown."""
    rng = np.random.default_rng(0)
    found = [studies(rng, 5, 2000, 0.0, 0.04, 0.001) for _ in range(50)]
    shown = [certify_training(a[:, None], b[None, :, None], [0.5], margin=0.02).sparsity > 0 for a, b in found]
    assert np.mean(shown) > 0.9


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 5), "one seed says nothing of another training"),
        ((2, 5), r"parent_correct must have shape \(seeds, shifts, n\)"),
    ],
)
def test_bad_input_is_said(shape, message):
    parent = np.ones(shape, bool)
    with pytest.raises(InputError, match=message):
        certify_training(parent, parent[None], [0.5], margin=0.01)
