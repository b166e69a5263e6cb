"""Scores of channels: worked by hand, and against brute force, finite differences and explicit derivatives."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sinewy.criteria.criterion import Subject
from sinewy.criteria.losses import cross_entropy
from sinewy.errors import InputError
from sinewy.masks import Masks
from sinewy.structured.channels import ChannelGroup, Slice
from sinewy.structured.choosing import choose_channels, remove_lowest, still_read
from sinewy.structured.criterion import ChannelCriterion, uniform_ranks
from sinewy.structured.filters import (
    ChannelMagnitude,
    FilterThresholding,
    InputFilterThresholding,
    RandomChannels,
)
from sinewy.structured.gates import GateGradient, GateGradientFlow, IteratedGateGradientFlow
from sinewy.structured.kept import channel_masks, kept_axes, remove_, removed_share


def one_each(channels):
    return torch.arange(channels).unsqueeze(1)


def group_of(channels, *slices, name=None):
    parts = tuple(Slice(n, dim, one_each(channels) if index is None else index, role) for n, dim, role, index in slices)
    return ChannelGroup(name or parts[0].name, channels, parts)


def hidden(first, second, channels):
    """Return the group of channels between two layers of a sequential network."""
    return group_of(
        channels,
        (f"{first}.weight", 0, "out", None),
        (f"{first}.bias", 0, "out", None),
        (f"{second}.weight", 1, "in", None),
    )


def subject_of(model, batches=(), *, masks=None, loss=cross_entropy, seed=0):
    parameters = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    kept = masks or Masks({name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()})
    return Subject(model.eval(), parameters, kept, batches, loss, torch.Generator().manual_seed(seed))


def three_hidden():
    """2 inputs, 3 hidden units, 2 outputs, with weights to work by hand."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, -4.0], [1.0, 1.0], [0.0, 2.0]]))
        model[2].weight.copy_(torch.tensor([[1.0, -2.0, 0.5], [0.0, 2.0, -0.5]]))
    return model, hidden(0, 2, 3)


@pytest.mark.parametrize(
    ("criterion", "expected"),
    [
        (FilterThresholding(), [7.0, 2.0, 2.0]),
        (FilterThresholding(norm="l2"), [5.0, math.sqrt(2), 2.0]),
        (InputFilterThresholding(), [1.0, 4.0, 1.0]),
        (ChannelMagnitude(), [3.5, 1.0, 1.0]),
        (ChannelMagnitude(norm="l2"), [math.sqrt(12.5), 1.0, math.sqrt(2)]),
    ],
)
def test_norms_by_hand(criterion, expected):
    model, group = three_hidden()
    scores = criterion.scores(subject_of(model), [group])
    assert scores["0.weight"].tolist() == pytest.approx(expected)


def test_a_coupled_channel_has_the_norm_of_all_its_filters():
    model = nn.ModuleDict({"a": nn.Linear(1, 2), "b": nn.Linear(3, 2)})
    with torch.no_grad():
        model["a"].weight.copy_(torch.tensor([[3.0], [5.0]]))
        model["b"].weight.copy_(torch.tensor([[4.0, 0.0, 0.0], [1.0, 1.0, 1.0]]))
    group = group_of(2, ("a.weight", 0, "out", None), ("b.weight", 0, "out", torch.tensor([[1], [0]])))
    assert FilterThresholding().scores(subject_of(model), [group])["a.weight"].tolist() == [6.0, 9.0]
    assert ChannelMagnitude().scores(subject_of(model), [group])["a.weight"].tolist() == [1.5, 2.25]


def test_a_channel_that_owns_several_entries_is_scored_by_all_of_them():
    model, _ = three_hidden()
    flattened = group_of(1, ("0.weight", 0, "out", torch.tensor([[0, 2]])))
    assert FilterThresholding().scores(subject_of(model), [flattened])["0.weight"].tolist() == [9.0]


def test_unknown_norm():
    with pytest.raises(InputError, match="norm='l3' is not known; use 'l1' or 'l2'."):
        FilterThresholding(norm="l3")


def test_uniform_ranks_by_hand():
    groups = [group_of(4, ("a", 0, "out", None)), group_of(2, ("b", 0, "out", None))]
    ranks = uniform_ranks({"a": torch.tensor([5.0, 1.0, 1.0, 9.0]), "b": torch.tensor([0.0, 100.0])}, groups)
    assert ranks["a"].tolist() == [0.625, 0.375, 0.125, 0.875]  # of the tied, the earlier ranks higher
    assert ranks["b"].tolist() == [0.25, 0.75]


def test_chance_depends_on_the_seed_only():
    model, group = three_hidden()
    draws = [RandomChannels().scores(subject_of(model, seed=seed), [group])["0.weight"] for seed in (0, 0, 1)]
    assert draws[0].equal(draws[1])
    assert not draws[0].equal(draws[2])
    assert draws[0].min() >= 0
    assert draws[0].max() < 1


# Gates


def small_network():
    """Two makers of a residual sum with batch norm between, in float64, and what its channels own."""
    torch.manual_seed(3)

    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2d(2, 4, 3, padding=1)
            self.norm = nn.BatchNorm2d(4)
            self.inner = nn.Conv2d(4, 3, 1)
            self.b = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            x = torch.tanh(self.norm(self.a(x)))
            x = x + self.b(torch.tanh(self.inner(x)))
            return self.head(torch.tanh(x).mean((2, 3)))

    model = Residual().double()
    model.norm.running_mean.uniform_(-1, 1)
    model.norm.running_var.uniform_(0.5, 2)
    stream = group_of(
        4,
        *((f"{layer}.{kind}", 0, "out", None) for layer in ("a", "b") for kind in ("weight", "bias")),
        ("norm.weight", 0, "norm", None),
        ("norm.bias", 0, "norm", None),
        ("inner.weight", 1, "in", None),
        ("head.weight", 1, "in", None),
    )
    inside = group_of(3, ("inner.weight", 0, "out", None), ("inner.bias", 0, "out", None), ("b.weight", 1, "in", None))
    batches = [(torch.randn(4, 2, 5, 5).double(), torch.tensor([0, 1, 2, 0])) for _ in range(2)]
    return model, [stream, inside], batches


def loss_with_gates(model, gates, batches):
    """Return the mean loss with the OUTPUTS of named layers multiplied per channel: an independent way to gate."""
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda _, __, out, c=c: out * c.view(1, -1, 1, 1))
        for name, c in gates.items()
    ]
    losses = [nn.functional.cross_entropy(model(x), y) for x, y in batches]
    for hook in hooks:
        hook.remove()
    return sum(losses) / len(losses)


def test_gate_gradients_are_the_finite_differences_of_the_loss():
    model, groups, batches = small_network()
    scores = GateGradient().scores(subject_of(model, batches), groups)
    makers = {"a.weight": ("a", "b"), "inner.weight": ("inner",)}
    step = 1e-5
    for group in groups:
        for channel in range(group.channels):
            ends = []
            for sign in (1, -1):
                gate = torch.ones(group.channels).double()
                gate[channel] += sign * step
                with torch.no_grad():
                    ends.append(loss_with_gates(model, dict.fromkeys(makers[group.name], gate), batches))
            expected = abs(float(ends[0] - ends[1]) / (2 * step))
            assert float(scores[group.name][channel]) == pytest.approx(expected, rel=1e-6, abs=1e-10)


def test_batch_statistics_would_undo_the_gates():
    """Why scores are taken in evaluation mode: in training mode a norm divides a gate out again."""
    model, _, batches = small_network()
    subject = subject_of(model, batches)
    inner_group = [group_of(4, ("a.weight", 0, "out", None), ("a.bias", 0, "out", None))]
    in_eval = GateGradient().scores(subject, inner_group)["a.weight"]
    model.train()
    in_train = GateGradient().scores(subject, inner_group)["a.weight"]
    assert float(in_train.max()) < 1e-3 * float(in_eval.max())


@pytest.mark.parametrize("with_masks", [False, True])
def test_gate_gradient_flow_against_explicit_derivatives(with_masks):
    """|g^T d(dL/dw)/dc| from the full Jacobian of the gradient by the gates, gates on outputs."""
    model, groups, batches = small_network()
    masks = None
    if with_masks:
        generator = torch.Generator().manual_seed(0)
        masks = Masks(
            {n: torch.rand(p.shape, generator=generator) > 0.3 for n, p in model.named_parameters() if p.ndim > 1}
        )
        masks.apply_(model)
    subject = subject_of(model, batches, masks=masks)
    scores = GateGradientFlow().scores(subject, groups)
    weights = list(subject.parameters.values())

    def gradient(stream, inside):
        loss = loss_with_gates(model, {"a": stream, "b": stream, "inner": inside}, batches)
        return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, create_graph=True)])

    ones = (torch.ones(4).double(), torch.ones(3).double())
    jacobians = torch.autograd.functional.jacobian(gradient, ones)
    kept = torch.cat([subject.masks[name].flatten() for name in subject.parameters])
    g = gradient(*(c.requires_grad_() for c in ones)).detach() * kept
    for group, jacobian in zip(groups, jacobians, strict=True):
        assert torch.allclose(scores[group.name], (g @ jacobian).abs(), rtol=1e-9, atol=1e-14)


def test_stages_of_cropit():
    assert IteratedGateGradientFlow().stages(0.98) == pytest.approx([0.5, 0.74, 0.86, 0.92, 0.95, 0.965, 0.98])
    assert IteratedGateGradientFlow(steps=1).stages(0.4) == pytest.approx([0.25, 0.325, 0.4])
    assert IteratedGateGradientFlow().stages(0.2) == (0.2,)
    assert GateGradientFlow().stages(0.98) == (0.98,)


# What the choice makes of a model


def test_masks_are_the_product_of_what_stays_along_each_dimension():
    parameters = {"a": torch.zeros(2, 1), "b": torch.zeros(3, 2), "c": torch.zeros(1, 3)}
    groups = [
        group_of(2, ("a", 0, "out", None), ("b", 1, "in", None)),
        group_of(3, ("b", 0, "out", None), ("c", 1, "in", None)),
    ]
    kept = {"a": torch.tensor([True, False]), "b": torch.tensor([True, False, True])}
    masks = channel_masks(kept_axes(groups, kept, {n: p.shape for n, p in parameters.items()}), parameters)
    assert masks["a"].tolist() == [[True], [False]]
    assert masks["b"].tolist() == [[True, False], [False, False], [True, False]]
    assert masks["c"].tolist() == [[True, False, True]]
    model = nn.ParameterDict(parameters)
    assert removed_share("weights", groups, model, parameters, {})(kept) == pytest.approx(masks.sparsity)
    assert removed_share("channels", groups, model, parameters, {})(kept) == pytest.approx(2 / 5)
    flops = removed_share("flops", groups, model, parameters, {"b": 60.0, "elsewhere": 40.0})
    assert flops(kept) == pytest.approx(0.4)
    with pytest.raises(InputError, match="of='bytes' is not known; use 'weights', 'channels' or 'flops'."):
        removed_share("bytes", groups, model, parameters, {})


def test_removal_zeroes_biases_and_norms_as_well():
    model, group = three_hidden()
    with torch.no_grad():
        model[0].bias.fill_(1.0)
    kept = {"0.weight": torch.tensor([True, False, True])}
    remove_(model, kept_axes([group], kept, {n: p.shape for n, p in model.named_parameters()}))
    assert model[0].weight.tolist() == [[3.0, -4.0], [0.0, 0.0], [0.0, 2.0]]
    assert model[0].bias.tolist() == [1.0, 0.0, 1.0]
    assert model[2].weight.tolist() == [[1.0, 0.0, 0.5], [0.0, 0.0, -0.5]]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=5), min_size=1, max_size=3),
    st.floats(0, 0.99),
    st.integers(1, 3),
)
def test_the_lowest_ranks_go_and_the_share_is_nearest(ranks, target, least):
    """Against every possible number of channels to remove."""
    given_ranks = {str(i): torch.tensor(r, dtype=torch.float64) for i, r in enumerate(ranks)}
    weight = {name: i + 1.0 for i, name in enumerate(given_ranks)}
    total = sum(weight[name] * len(r) for name, r in given_ranks.items())

    def share(kept):
        return 1 - sum(weight[name] * int(mask.sum()) for name, mask in kept.items()) / total

    everything = {name: torch.ones(len(r), dtype=torch.bool) for name, r in given_ranks.items()}
    found = remove_lowest(given_ranks, everything, target, share, min_channels=least)
    order = sorted(
        (r[c], -int(n), -c) for n, r in ((n, r.tolist()) for n, r in given_ranks.items()) for c in range(len(r))
    )
    allowed = []
    current = {name: mask.clone() for name, mask in everything.items()}
    allowed.append(share(current))
    for _, group, channel in order:
        name = str(-group)
        if int(current[name].sum()) > least:
            current[name][-channel] = False
            allowed.append(share(current))
    assert abs(share(found) - target) == pytest.approx(min(abs(s - target) for s in allowed))
    for name, mask in found.items():
        assert int(mask.sum()) >= min(least, len(mask))
        assert mask.all() or given_ranks[name][mask].min() >= given_ranks[name][~mask].max()


def test_what_nothing_reads_has_gone_before():
    model, group = three_hidden()
    parameters = dict(model.named_parameters())
    assert still_read(group, parameters).all()
    with torch.no_grad():
        model[2].weight[:, 0] = 0
    assert still_read(group, parameters).tolist() == [False, True, True]
    share = removed_share("weights", [group], model, {n: p for n, p in parameters.items() if p.ndim > 1}, {})
    kept = choose_channels(subject_of(model), RandomChannels(), [group], 1 / 3, share)
    assert kept["0.weight"].tolist() == [False, True, True]
    with torch.no_grad():
        model[2].weight.zero_()
    assert still_read(group, parameters).all()  # a layer of zeros tells nothing about its channels


class Constant(ChannelCriterion):
    def __init__(self, values):
        self.values = values

    def scores(self, subject, groups):
        return {group.name: self.values for group in groups}


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (torch.tensor([1.0, math.nan, 2.0]), "Constant gave 1 scores of '0.weight' that are not numbers"),
        (torch.ones(2), r"Constant gave no scores of shape \(3,\) for '0.weight'."),
    ],
)
def test_bad_scores_are_refused(values, sentence):
    model, group = three_hidden()
    with pytest.raises(InputError, match=sentence):
        choose_channels(
            subject_of(model), Constant(values), [group], 0.5, lambda kept: float(np.mean(~kept["0.weight"].numpy()))
        )
