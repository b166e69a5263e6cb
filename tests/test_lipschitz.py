"""Lipschitz bounds against explicit matrices and brute force, and their order: lower, SeqLip, AutoLip."""

from __future__ import annotations

import copy
import math
from itertools import pairwise, product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import sinewy as sw
from sinewy.metrics.lipschitz import jacobian_norms, lower_bound, upper_bound
from sinewy.metrics.operators import layer_norm, linear_part, matrix_of, spectral_norm
from sinewy.metrics.seqlip import largest_gated_norm, seqlip
from sinewy.models.freeze import freeze


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mlp(*widths: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).double()


CONVOLUTIONS = [
    nn.Conv2d(3, 5, 3),
    nn.Conv2d(3, 4, 3, padding=1),
    nn.Conv2d(3, 6, 3, stride=2, padding=1),
    nn.Conv2d(3, 6, 3, groups=3),
    nn.Conv2d(3, 4, 3, padding=2, dilation=2),
    nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"),
    nn.AvgPool2d(2),
    nn.AvgPool2d(3, 2, padding=1),
    nn.AdaptiveAvgPool2d(2),
]


@pytest.mark.parametrize("layer", CONVOLUTIONS, ids=str)
def test_a_convolution_is_its_matrix_on_the_real_input(layer):
    shape = torch.Size((1, 3, 8, 9))
    # The matrix from the layer's own answers, one unit image at a time.
    plain = copy.deepcopy(layer)
    bias = plain(torch.zeros(shape)).flatten()
    columns = [plain(unit.view(shape)).flatten() - bias for unit in torch.eye(3 * 72)]
    explicit = torch.stack(columns, 1).detach().double()
    assert torch.allclose(matrix_of(linear_part(layer), shape), explicit, atol=1e-6)
    norm = np.linalg.norm(explicit.numpy(), 2)
    assert layer_norm(layer, shape) == pytest.approx(norm, rel=1e-5)
    assert spectral_norm(linear_part(layer, torch.float32), shape) == pytest.approx(norm, rel=3e-5)


def test_the_norm_of_a_convolution_depends_on_the_image():
    layer = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    layer.weight.data.fill_(1.0)
    small, large = (layer_norm(layer, torch.Size((1, 1, n, n))) for n in (4, 16))
    assert small < large < 9  # 9 is the sum of the kernel, reached on an endless image
    assert large > 8.7


def test_other_layers():
    norm = nn.BatchNorm2d(2)
    norm.weight.data, norm.running_var = torch.tensor([1.0, -3.0]), torch.tensor([4.0, 0.25])
    assert layer_norm(norm, torch.Size((1, 2, 4, 4))) == pytest.approx(6, rel=1e-4)
    assert layer_norm(nn.MaxPool2d(2), torch.Size((1, 2, 4, 4))) == 1
    assert layer_norm(nn.MaxPool2d(3, 2), torch.Size((1, 2, 9, 9))) == 2
    assert layer_norm(nn.Sigmoid(), torch.Size((1, 2))) == 0.25
    with pytest.raises(sw.InputError, match="type LSTM"):
        layer_norm(nn.LSTM(2, 2), torch.Size((1, 2, 2)))


class Residual(nn.Module):
    """A shortcut around one layer, and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.relu(self.one(x))
        return torch.cat([self.two(x), x], dim=1)


def test_the_product_follows_the_graph():
    torch.manual_seed(0)
    model = Residual()
    one, two = (float(torch.linalg.matrix_norm(layer.weight.detach(), 2)) for layer in (model.one, model.two))
    assert upper_bound(model, torch.rand(2, 4)) == pytest.approx((1 + one) * math.hypot(two, 1), rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_lower_seqlip_upper(seed):
    model = mlp(6, 9, 8, 4, seed=seed)
    inputs = torch.randn(32, 6, generator=seeded(seed)).double()
    at_points, lower = lower_bound(model, inputs, ascent=60)
    found, upper = seqlip(model, inputs), upper_bound(model, inputs)
    assert (at_points <= lower).all()
    assert lower.max() <= found * (1 + 1e-9)
    assert found <= upper * (1 + 1e-9)
    assert lower.max() > at_points.max() * 0.999
    assert found < 0.95 * upper  # it is worth its trouble


@pytest.mark.parametrize(("name", "size"), [("lenet5", 32), ("resnet20", 8), ("convnet", 16)])
def test_real_networks(name, size):
    model = sw.models.build(name, classes=10, seed=0, image_size=size).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(2.0)
    frozen, inputs = freeze(model), torch.rand(2, 3, size, size, generator=seeded(0))
    upper = upper_bound(frozen, inputs)
    assert float(lower_bound(frozen, inputs, steps=10, ascent=5)[1].max()) < upper
    assert upper < upper_bound(model, inputs) * 1.0001  # norms folded into convolutions are no worse
    if name == "lenet5":
        assert seqlip(model, inputs) < upper


def test_jacobian_norms_are_those_of_the_jacobian():
    model = mlp(5, 7, 3)
    inputs = torch.randn(6, 5, generator=seeded(1)).double()
    norms, directions = jacobian_norms(model, inputs, steps=200)
    for x, norm, direction in zip(inputs, norms, directions, strict=True):
        jacobian = torch.autograd.functional.jacobian(model, x)
        assert float(norm) == pytest.approx(float(torch.linalg.matrix_norm(jacobian, 2)), rel=1e-6)
        assert float((jacobian @ direction).norm()) == pytest.approx(float(norm), rel=1e-5)
    # In a batch an image's norm is its own.
    assert torch.allclose(jacobian_norms(model, inputs[:2], steps=200)[0], norms[:2])


def test_a_linear_network_is_known_exactly():
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 5), nn.Linear(5, 3)).double()
    exact = float(torch.linalg.matrix_norm((model[2].weight @ model[1].weight).detach(), 2))
    inputs = torch.rand(3, 6).double()
    assert seqlip(model, inputs) == pytest.approx(exact)
    assert float(lower_bound(model, inputs, steps=300, ascent=3)[1].max()) == pytest.approx(exact, rel=1e-6)
    assert upper_bound(model, inputs) >= exact


@given(st.integers(1, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_gated_norm_is_the_largest_of_all_patterns(neurons, rows, columns, seed):
    left = torch.randn(rows, neurons, generator=seeded(seed)).double()
    right = torch.randn(neurons, columns, generator=seeded(seed + 1)).double()
    patterns = (np.diag(gates) for gates in product([0.0, 1.0], repeat=neurons))
    best = max(np.linalg.norm(left.numpy() @ gates @ right.numpy(), 2) for gates in patterns)
    assert largest_gated_norm(left, right, seeded(0)) == pytest.approx(best)


def test_the_search_finds_what_all_patterns_find(monkeypatch):
    from sinewy.metrics import seqlip as module

    close = 0
    for seed in range(10):
        left = torch.randn(5, 12, generator=seeded(seed)).double()
        right = torch.randn(12, 6, generator=seeded(seed + 50)).double()
        exact = largest_gated_norm(left, right, seeded(0))
        monkeypatch.setattr(module, "EXACT", 0)
        found = largest_gated_norm(left, right, seeded(0))
        monkeypatch.undo()
        assert found <= exact * (1 + 1e-9)
        close += found > 0.97 * exact
    assert close >= 8


def test_models_without_a_bound():
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    class Squaring(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * x

    with pytest.raises(sw.InputError, match="torch.fx can trace"):
        upper_bound(Branching(), torch.rand(1, 3))
    with pytest.raises(sw.InputError, match="no Lipschitz bound is known for the operation 'mul'"):
        upper_bound(Squaring(), torch.rand(1, 3))
    with pytest.raises(sw.InputError, match="nn.Sequential of layers, got Squaring"):
        seqlip(Squaring(), torch.rand(1, 3))


def test_batch_norms_are_folded_in_both_upper_bounds():
    """Else SeqLip would pay for a norm's largest gain, and stand above AutoLip, which sees it folded."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(216, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 3),
    )
    images = torch.rand(64, 3, 8, 8)
    for _ in range(20):
        model.train()(images)
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([5.0, 0.1, 0.2, 0.1, 3.0, 0.5]))
    model.eval()
    lower = lower_bound(model, images[:8], steps=20, ascent=10)[1].max()
    upper = upper_bound(freeze(model), images)
    assert float(lower) <= seqlip(model, images) * (1 + 1e-4) <= upper * (1 + 2e-4)


class Doing(nn.Module):
    """A model that is one function of its input."""

    def __init__(self, function, answer=lambda x: x) -> None:
        super().__init__()
        self.function, self.answer = function, answer

    def forward(self, x: Tensor) -> Tensor:
        return self.answer(self.function(x).flatten(1))


STRETCHES = {
    "twice the same": (lambda x: x + x, 2.0),
    "with a factor": (lambda x: torch.add(x, F.relu(x), alpha=3), 4.0),
    "difference": (lambda x: x - F.relu(x), 2.0),
    "wider": (lambda x: x + x.mean(1, keepdim=True), 2.0),
    "joined": (lambda x: torch.cat([x, x], 1), math.sqrt(2)),
    "steep": (lambda x: F.elu(x, alpha=4.0), 4.0),
    "leaky": (lambda x: F.leaky_relu(x, 3.0), 3.0),
    "sigmoid": (torch.sigmoid, 0.25),
    "windows with gaps": (lambda x: F.max_pool2d(x, 2, stride=2, dilation=2), 2.0),
    "overlapping maxima": (lambda x: F.max_pool2d(x, 3, 2, 1), 2.0),
    "padded": (lambda x: F.pad(x[:, :, ::2], (1, 1, 0, 0)), 1.0),
    "shape asked": (lambda x: x.reshape(x.shape[0], -1), 1.0),
}


@pytest.mark.parametrize("name", STRETCHES)
def test_operations_are_bounded_by_what_they_can_do(name):
    function, expected = STRETCHES[name]
    model, inputs = Doing(function), torch.randn(20, 3, 9, 9, generator=seeded(0))
    bound = upper_bound(model, inputs)
    assert bound == pytest.approx(expected)
    assert float(jacobian_norms(model, inputs, steps=60)[0].max()) <= bound * (1 + 1e-5)


@pytest.mark.parametrize("function", [lambda x: F.adaptive_avg_pool2d(x, 7), lambda x: F.avg_pool2d(x, 3, 1, 1)])
def test_means_over_windows_that_overlap_are_measured(function):
    shape = torch.Size((1, 3, 10, 10))
    norm = torch.linalg.matrix_norm(matrix_of(function, shape), 2)
    assert upper_bound(Doing(function), torch.zeros(shape)) == pytest.approx(float(norm))


@pytest.mark.parametrize("function", [lambda x: F.pad(x, (3, 3, 3, 3), mode="reflect"), lambda x: x[:, [0, 0, 0]]])
def test_what_shows_a_value_twice_has_no_bound(function):
    with pytest.raises(sw.InputError, match="no Lipschitz bound is known"):
        upper_bound(Doing(function), torch.zeros(1, 3, 8, 8))


def test_the_slope_of_a_steep_activation_counts():
    model = nn.Sequential(nn.Linear(6, 5), nn.ELU(3.0), nn.Linear(5, 2)).requires_grad_(requires_grad=False)
    gentle = nn.Sequential(model[0], nn.ELU(), model[2])
    example = torch.zeros(1, 6)
    for bound in (seqlip, upper_bound):
        assert bound(model, example) == pytest.approx(3 * bound(gentle, example))
    assert jacobian_norms(model, torch.randn(50, 6, generator=seeded(1)))[0].max() <= seqlip(model, example)


def test_a_model_in_training_mode_is_left_alone():
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).train()
    before = copy.deepcopy(model.state_dict())
    folded = seqlip(copy.deepcopy(model).eval(), torch.randn(4, 6, generator=seeded(0)))
    assert seqlip(model, torch.randn(4, 6, generator=seeded(0))) == folded
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_bound_is_that_of_the_logits():
    model = Doing(lambda x: x + x, answer=lambda x: {"aux": x, "out": x + x + x})
    assert upper_bound(model, torch.zeros(1, 1, 2, 2)) == pytest.approx(6.0)
