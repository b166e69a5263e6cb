"""Provable filter pruning: shares, samples and eps, worked by hand and against brute force."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from torch import nn

from sinewy.structured.choosing import remove_lowest
from sinewy.structured.pfp import (
    ProvableFilterPruning,
    channel_shares,
    expected_distinct,
    largest_eps,
    sample_size,
)
from test_structured_methods import group_of, subject_of, three_hidden


def test_shares_of_a_linear_layer_by_hand():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0, 2.0], [3.0, 0.0, 1.0]]))
    # Row 0: 1 x 1 + 2 x 2 = 5 of its positive weights, all of the negative on input 1. Row 1: 3 x 1 + 1 x 2 = 5.
    assert channel_shares(layer, torch.tensor([[1.0, 2.0, 2.0]])).tolist() == pytest.approx([0.6, 1.0, 0.8])
    # A negative input is an example of its own: alone with a weight of either sign it has the whole sum.
    assert channel_shares(layer, torch.tensor([[-1.0, 0.0, 2.0]])).tolist() == pytest.approx([1.0, 0.0, 1.0])
    assert channel_shares(layer, torch.zeros(1, 3)).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 3, 3, padding=1, stride=2),
        nn.Conv2d(4, 6, (2, 3), groups=2, dilation=2),
        nn.Conv1d(4, 3, 3, padding="same", padding_mode="circular"),
        nn.Linear(4, 5),
    ],
    ids=["stride", "groups", "1-D", "tokens"],
)
def test_shares_against_brute_force(layer):
    torch.manual_seed(0)
    shape = {nn.Linear: (2, 3, 4), nn.Conv1d: (2, 4, 6), nn.Conv2d: (2, 4, 7, 7)}[type(layer)]
    inputs = torch.randn(shape)
    expected = torch.zeros(layer.weight.shape[1])
    groups = getattr(layer, "groups", 1)
    for sign_a, sign_w in itertools.product((1, -1), (1, -1)):
        whole = layer.weight.detach().mul(sign_w).clamp(min=0)
        a = inputs.mul(sign_a).clamp(min=0)
        sums = output(layer, a, whole)
        for j, places in itertools.product(range(whole.shape[1]), itertools.product(*map(range, whole.shape[2:]))):
            one = torch.zeros_like(whole)
            one[(slice(None), j, *places)] = whole[(slice(None), j, *places)]
            share = torch.where(sums > 1e-6, output(layer, a, one) / sums, 0)
            expected[j] = max(expected[j], share.max())
    assert groups * layer.weight.shape[1] == 4
    assert torch.allclose(channel_shares(layer, inputs), expected, atol=1e-5)


def output(layer, inputs, weight):
    if isinstance(layer, nn.Linear):
        return inputs @ weight.T
    return layer._conv_forward(inputs, weight, None)


def test_expected_distinct_and_sample_size_by_hand():
    shares = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)
    assert expected_distinct(shares, torch.tensor([1.0, 2.0, 3.0]).double()).tolist() == [1.0, 1.5, 1.75]
    # K (6 + 2 eps) alpha S / eps^2 with K = 3, alpha = 6 ln(8 / 0.08) and S = 2
    assert float(sample_size(torch.tensor(1.0), 2.0, terms=1, delta=0.08)) == pytest.approx(288 * math.log(100))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.just(0.0) | st.floats(1e-6, 1), min_size=1, max_size=12),
    st.floats(-6, 8),
    st.sampled_from([1, 9 * 65, 1025 * 9]),
)
def test_largest_eps_is_where_the_expected_number_drops(values, log_eps, terms):
    """At any eps the channels whose own eps is no smaller are as many as the published formulas keep."""
    sensitivities = torch.tensor(values, dtype=torch.float64)
    own = largest_eps(sensitivities, terms=terms, delta=1e-16)
    if sensitivities.sum() == 0:
        assert own.eq(0).all()
        return
    eps = torch.tensor(10.0**log_eps, dtype=torch.float64)
    total = float(sensitivities.sum())
    expected = float(expected_distinct(sensitivities / total, sample_size(eps, total, terms=terms, delta=1e-16)))
    if abs(expected % 1 - 0.5) > 1e-6:
        assert int((own >= eps).sum()) == max(round(expected), 1)
    order = sensitivities.argsort(descending=True, stable=True)
    assert own[order][1:].diff().le(1e-12 * own[order][1:2]).all()
    assert own[order[0]] == math.inf


def test_a_channel_that_outweighs_all_others_does_no_harm():
    own = largest_eps(torch.tensor([1.0, 1e-20, 0.0], dtype=torch.float64), terms=9, delta=1e-16)
    assert own[0] == math.inf
    assert 0 < own[1] < 1e-3
    assert own[2] == 0


def test_the_ranking_over_layers_is_the_search_over_eps():
    """Brent's method on eps, as the code of the paper searches it, against one ranking of all channels."""
    generator = torch.Generator().manual_seed(5)
    layers = [torch.rand(size, generator=generator, dtype=torch.float64) ** 3 for size in (8, 16, 32)]
    terms = (1025 * 9, 257 * 9, 1)
    own = [largest_eps(layer, terms=t, delta=1e-16) for layer, t in zip(layers, terms, strict=True)]

    def numbers(log_eps):
        eps = torch.tensor(math.exp(log_eps), dtype=torch.float64)
        return [
            float(expected_distinct(s / s.sum(), sample_size(eps, float(s.sum()), terms=t, delta=1e-16)))
            for s, t in zip(layers, terms, strict=True)
        ]

    for budget in (10, 25, 40):
        found = numbers(brentq(lambda e, b=budget: sum(numbers(e)) - b, -20, 30))
        ranked = remove_lowest(
            {str(i): eps for i, eps in enumerate(own)},
            {str(i): torch.ones(len(eps), dtype=torch.bool) for i, eps in enumerate(own)},
            1 - budget / 56,
            lambda kept: 1 - sum(int(mask.sum()) for mask in kept.values()) / 56,
        )
        kept = [int(ranked[str(i)].sum()) for i in range(3)]
        assert sum(kept) == budget
        assert all(abs(k - f) <= 1 for k, f in zip(kept, found, strict=True))
        for i, layer in enumerate(layers):
            assert layer[ranked[str(i)]].min() >= layer[~ranked[str(i)]].max()


def test_pfp_scores_a_network_by_what_its_readers_see():
    model, group = three_hidden()
    inputs = torch.tensor([[2.0, 1.0]])
    with torch.no_grad():
        model[0].bias.zero_()
    # Hidden activations (2, 3, 2): row 0 reads 2, -6, 1 and row 1 reads 0, 6, -1.
    shares = torch.tensor([2 / 3, 1.0, 1.0], dtype=torch.float64)
    expected = largest_eps(shares, terms=2, delta=1e-16)
    scores = ProvableFilterPruning().scores(subject_of(model, [(inputs, None)]), [group])["0.weight"]
    assert torch.allclose(scores, expected, rtol=1e-6)


def test_pfp_looks_at_the_first_examples_only():
    model, group = three_hidden()
    inputs = torch.randn(8, 2, generator=torch.Generator().manual_seed(0))
    criterion = ProvableFilterPruning(examples=3)
    once = criterion.scores(subject_of(model, [(inputs, None)]), [group])["0.weight"]
    parts = [(inputs[:2], None), (inputs[2:3], None), (inputs[3:], None)]
    assert once.equal(criterion.scores(subject_of(model, parts), [group])["0.weight"])
    everything = ProvableFilterPruning(examples=8).scores(subject_of(model, [(inputs, None)]), [group])["0.weight"]
    assert not once.equal(everything)


def test_pfp_takes_layers_it_cannot_watch_to_read_ones():
    model = nn.Sequential(nn.Linear(2, 3), nn.Unflatten(1, (3, 1)), nn.ConvTranspose1d(3, 2, 1))
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, 3.0], [2.0, 1.0], [-1.0, 0.0]]).unsqueeze(2))
    group = group_of(3, ("0.weight", 0, "out", None), ("2.weight", 0, "in", None))
    scores = ProvableFilterPruning().scores(subject_of(model, [(torch.randn(1, 2), None)]), [group])["0.weight"]
    expected = largest_eps(torch.tensor([3 / 4, 2 / 3, 1.0], dtype=torch.float64), terms=2, delta=1e-16)
    assert torch.allclose(scores, expected)
