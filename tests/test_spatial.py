"""Maps of kernels and the concentration of channels: by hand, by brute force, and against random masks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sinewy.errors import InputError
from sinewy.metrics.spatial import concentration, gini, kernel_maps, model_maps, relative_entropy


def test_maps_by_hand():
    weight = torch.zeros(2, 3, 2, 2)
    weight[0, 1] = torch.tensor([[1.0, -2.0], [0.0, 0.5]])
    weight[1, 2, 0, 0] = -4
    maps = kernel_maps(weight)
    assert maps.nonzero.tolist() == [[0, 3, 0], [0, 0, 1]]
    assert maps.magnitude.tolist() == [[0, 3.5, 0], [0, 0, 4]]


def test_kernels_of_linear_layers_are_single_weights():
    maps = kernel_maps(torch.tensor([[0.0, -3.0]]))
    assert maps.nonzero.tolist() == [[0, 1]]
    assert maps.magnitude.tolist() == [[0, 3]]


def test_maps_of_a_model_by_name():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, groups=1), nn.Conv1d(4, 2, 5), nn.Linear(2, 2))
    assert {name: maps.nonzero.shape for name, maps in model_maps(model).items()} == {
        "0.weight": (4, 3),
        "1.weight": (2, 4),
        "2.weight": (2, 2),
    }
    assert list(model_maps(model, names=("1.weight",))) == ["1.weight"]


def test_gini_and_entropy_by_hand():
    # channels 1, 1, 2: mean difference (0 + 1 + 1) x 2 / 9 = 4/9, half of it over the mean 4/3 is 1/6
    assert gini([1, 1, 2]) == pytest.approx(1 / 6)
    assert gini([0, 0, 0, 8]) == pytest.approx(0.75)
    assert gini([[5, 5], [0, 0]]).tolist() == [0, 0]
    assert relative_entropy([3, 3, 3]) == pytest.approx(1)
    assert relative_entropy([0, 7, 0]) == 0
    assert relative_entropy([1, 1, 0, 0]) == pytest.approx(0.5)
    assert relative_entropy([4.0]) == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_gini_is_half_the_relative_mean_difference(held):
    values = np.array(held)
    expected = np.abs(values[:, None] - values).mean() / (2 * values.mean()) if values.sum() > 1e-200 else 0
    assert gini(values) == pytest.approx(expected, abs=1e-9)
    assert gini(values[::-1]) == pytest.approx(gini(values))


def test_random_masks_are_within_chance_and_cut_channels_beyond():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 24, 3, 3, generator=generator)
    random = weight * (torch.rand(weight.shape, generator=generator) < 0.2)
    for side in ("input", "output"):
        found = concentration(random, side)
        assert found.low <= found.gini <= found.high
        assert not found.beyond_chance
    cut = random.clone()
    cut[:, :12] = 0
    found = concentration(cut, "input")
    assert found.beyond_chance
    assert found.empty == 0.5
    assert not concentration(cut, "output").beyond_chance


def test_chance_is_that_of_shuffled_weights():
    weight = torch.zeros(6, 5, 2, 2)
    weight.view(-1)[:30] = 1
    found = concentration(weight, "output", draws=4000)
    rng, flat = np.random.default_rng(0), weight.numpy().ravel()
    plain = [float(gini(rng.permutation(flat).reshape(6, -1).sum(1))) for _ in range(2000)]
    assert found.chance == pytest.approx(np.mean(plain), abs=0.005)
    assert (found.low, found.high) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.02)


def test_dense_layers_differ_in_magnitude_only():
    weight = torch.ones(4, 3, 3, 3)
    weight[:, 0] = 10
    counts, sizes = concentration(weight, "input"), concentration(weight, "input", of="magnitude")
    assert counts.gini == counts.high == 0
    assert sizes.gini == pytest.approx(float(gini([1, 1, 10])))
    assert math.isnan(sizes.chance)
    assert not sizes.beyond_chance


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kernel_maps(torch.ones(3)), "outputs, inputs"),
        (lambda: model_maps(nn.Linear(2, 2), names=("bias",)), "unknown weight"),
        (lambda: concentration(torch.ones(2, 2), "left"), "unknown side"),
        (lambda: concentration(torch.ones(2, 2), "input", of="size"), "measure of weights"),
        (lambda: gini([-1, 2]), "at least 0"),
    ],
)
def test_bad_requests_get_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
