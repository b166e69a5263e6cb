"""Dead weights: those that no path of kept weights leads to, or on from."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sinewy as sw
from sinewy.criteria.paths import Paths
from sinewy.criteria.subject import private
from sinewy.errors import InputError
from sinewy.models import build


def live_of(model: nn.Module, masks: dict[str, Tensor], inputs: Tensor) -> dict[str, Tensor]:
    parameters = sw.prunable(model)
    with private(model, parameters) as subject:
        return Paths(subject.model, subject.parameters, inputs).live(masks)


def drawn(model: nn.Module, density: float, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(p.shape, generator=generator) < density for name, p in sw.prunable(model).items()}


def test_a_chain_by_hand():
    """Hidden neuron 1 has nothing outgoing, neuron 2 nothing incoming: their other weights are dead."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    masks = {
        "0.weight": torch.tensor([[True, False], [True, True], [False, False]]),
        "2.weight": torch.tensor([[True, False, True]]),
    }
    live = live_of(model, masks, torch.zeros(1, 2))
    assert live["0.weight"].tolist() == [[True, False], [False, False], [False, False]]
    assert live["2.weight"].tolist() == [[True, False, False]]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(4, 1)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        branch = self.norm(self.inner(x)).relu()
        return self.last(torch.cat([x, x + branch], 1))


def test_a_residual_and_a_concatenation_by_hand():
    """The branch writes to channel 1 only, which `last` reads in its second half only."""
    masks = {
        "first.weight": torch.eye(2, dtype=torch.bool),
        "inner.weight": torch.tensor([[True, True], [True, False]]),
        "last.weight": torch.tensor([[True, False, False, True]]),
    }
    live = live_of(Residual(), masks, torch.zeros(1, 2))
    assert live["inner.weight"].tolist() == [[False, False], [True, False]]
    assert torch.equal(live["first.weight"], masks["first.weight"])
    masks["last.weight"] = torch.tensor([[False, True, False, False]])
    live = live_of(Residual(), masks, torch.zeros(1, 2))
    assert not live["inner.weight"].any()
    assert live["first.weight"].tolist() == [[False, False], [False, True]]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), density=st.floats(0.05, 0.9))
def test_a_chain_agrees_with_reachability(seed, density):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU6(), nn.Linear(5, 5), nn.Hardswish(), nn.Linear(5, 3))
    masks = drawn(model, density, seed)
    first, second, third = masks.values()
    forward, backward = [torch.ones(4, dtype=torch.bool)], [torch.ones(3, dtype=torch.bool)]
    for mask in (first, second):
        forward.append((mask & forward[-1]).any(1))
    for mask in (third, second):
        backward.append((mask & backward[-1][:, None]).any(0))
    expected = [m & f & b[:, None] for m, f, b in zip(masks.values(), forward, reversed(backward), strict=True)]
    found = live_of(model, masks, torch.zeros(1, 4))
    assert all(torch.equal(a, b) for a, b in zip(found.values(), expected, strict=True))


@pytest.mark.parametrize("name", ["resnet20", "convnet"])
def test_removing_dead_weights_changes_no_output_where_no_bias_speaks(name):
    model = build(name, classes=4).eval()
    masks = drawn(model, 0.02, 0)
    inputs = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    live = live_of(model, masks, inputs)
    assert sum(int(mask.sum()) for mask in live.values()) < 0.98 * sum(int(mask.sum()) for mask in masks.values())
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("bias"):
                parameter.zero_()
        sw.Masks(masks).apply_(model)
        before = model.double()(inputs.double())
        sw.Masks(live).apply_(model)
        assert float(before.abs().max()) > 0
        assert torch.equal(model(inputs.double()), before)


def test_kernel_corners_that_only_see_padding_are_not_dead():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2))
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in sw.prunable(model).items()}
    live = live_of(model, masks, torch.zeros(1, 2, 1, 1))
    assert all(mask.all() for mask in live.values())


@pytest.mark.filterwarnings("ignore:no weight of")
@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("name", ["magnitude", "snip", "cropit"])
def test_the_real_count_meets_the_sparsity(name, scope):
    model = build("convnet", classes=4, width=32)
    data = torch.randn(16, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(16) % 4
    options = {"steps": 2, "batches": 1} if name == "cropit" else {}
    plain = sw.prune(copy.deepcopy(model), name, sparsity=0.92, scope=scope, data=data, **options)
    masks = sw.prune(model, name, sparsity=0.92, scope=scope, data=data, count="real", **options)
    masks.check(model)
    assert masks.nonzero == pytest.approx(0.08 * masks.total, rel=0.005)
    for mask, live in ((plain, False), (masks, True)):
        found = live_of(model, dict(mask), data[0])
        assert all(torch.equal(found[key], mask[key]) for key in mask) is live


def test_a_real_count_out_of_reach_is_said():
    """Of 24 weights, 12 are to stay; with 2 readers of the hidden neurons 10 are on a path, with 3 it is 15."""
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    model[0].weight.data = torch.arange(1.0, 17).view(4, 4)
    model[1].weight.data = torch.linspace(0.1, 0.8, 8).view(2, 4)
    with pytest.warns(UserWarning, match=r"the real sparsity is 0\.5833 instead of 0\.5: removing one weight more"):
        masks = sw.prune(copy.deepcopy(model), "magnitude", sparsity=0.5, count="real", example_input=torch.zeros(1, 4))
    assert masks.counts == {"0.weight": 8, "1.weight": 2}
    with pytest.raises(InputError, match="count must be 'kept' or 'real'"):
        sw.prune(model, "magnitude", sparsity=0.5, count="all")
    with pytest.raises(InputError, match="follows paths through the network; pass example_input= or data="):
        sw.prune(model, "magnitude", sparsity=0.5, count="real")


def test_a_layer_that_no_path_leads_through_is_named():
    model = Residual()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model.inner.weight.copy_(torch.tensor([[0.1, 0.11], [0.12, 0.13]]))
        model.last.weight.copy_(torch.tensor([[1.0, 1.0, 0.01, 0.02]]))
    with pytest.warns(UserWarning, match=r"no path of kept weights leads through inner\.weight"):
        masks = sw.prune(model, "magnitude", sparsity=0.5, count="real", example_input=torch.zeros(1, 2))
    assert masks.counts == {"first.weight": 4, "inner.weight": 0, "last.weight": 2}
