"""Likeness under noise: by hand, by a plain loop, and the same whatever the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sinewy.analysis.curves import paired_curves
from sinewy.errors import InputError
from sinewy.metrics.functional_distance import LEVELS, functional_distance
from sinewy.shifts.draws import Draws


def network(seed, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, classes)).eval()


IMAGES = torch.randn(7, 2, 4, 4, generator=torch.Generator().manual_seed(0))


class Constant(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return self.logits.expand(len(x), -1) + 0 * x.mean()


def test_networks_of_known_outputs():
    even, sure = Constant([0.0, 0.0]), Constant([0.0, 100.0])
    found = functional_distance(even, {"even": even, "sure": sure}, IMAGES, levels=[0, 0.5], draws=3)
    assert (found["even"].agreement == 1).all()
    assert (found["even"].distance == 0).all()
    assert (found["sure"].agreement == 0).all()  # of equal logits the first class is predicted
    assert found["sure"].distance == pytest.approx(np.full((2, 7), math.sqrt(0.5)))


def test_distance_agrees_with_a_plain_loop():
    parent, other = network(0), network(1)
    found = functional_distance(parent, {"other": other}, IMAGES, levels=[0.3], draws=4, seed=5)["other"]
    draws = Draws("functional distance", 0, 5, 0, len(IMAGES))
    agreement, distance = [], []
    with torch.no_grad():
        for _ in range(4):
            noisy = IMAGES + 0.3 * (2 * draws.uniform(2, 4, 4) - 1)
            one, two = parent(noisy).double().softmax(1), other(noisy).double().softmax(1)
            agreement.append((one.argmax(1) == two.argmax(1)).double())
            distance.append((one - two).square().sum(1).sqrt())
    assert found.agreement[0] == pytest.approx(torch.stack(agreement).mean(0).numpy())
    assert found.distance[0] == pytest.approx(torch.stack(distance).mean(0).numpy())


def test_batches_do_not_change_the_draws_and_seeds_do():
    parent, others = network(0), {"a": network(1)}
    runs = [functional_distance(parent, others, IMAGES, levels=[0.2, 0.7], draws=2, **o)["a"].distance
            for o in ({}, {"batch": 3}, {"seed": 1})]  # fmt: skip
    assert runs[0] == pytest.approx(runs[1], abs=1e-6)
    assert np.abs(runs[0] - runs[2]).max() > 1e-4


def test_a_child_is_nearer_than_a_network_trained_apart():
    torch.manual_seed(0)
    parent, child, apart = network(0), network(0), network(9)
    with torch.no_grad():
        for weight in child.parameters():
            weight.mul_(1 + 0.05 * torch.randn_like(weight))
    images = torch.randn(200, 2, 4, 4)
    found = functional_distance(parent, {"child": child, "control": apart}, images, levels=LEVELS[::7], draws=3)
    agreement = {name: own.agreement for name, own in found.items()}
    points = paired_curves(agreement, LEVELS[::7], reference="control", resamples=500)
    child_points = [p for p in points if p.method == "child"]
    assert all(p.difference.low > 0 and p.p < 0.01 for p in child_points)
    assert [p.method for p in points[:3]] == ["control"] * 3
    assert points[0].difference is None


def test_models_are_given_back_as_they_were():
    parent, other = network(0).train(), network(1)
    other[0].weight.requires_grad_(False)
    before = {k: v.clone() for k, v in parent.state_dict().items()}
    functional_distance(parent, {"o": other}, IMAGES, levels=[0.1], draws=1)
    assert parent.training
    assert not other.training
    assert parent[0].weight.requires_grad
    assert not other[0].weight.requires_grad
    assert all(torch.equal(v, before[k]) for k, v in parent.state_dict().items())


def test_curves_of_verdicts_by_hand():
    base = np.zeros((2, 12), bool)
    better = base.copy()
    better[0, :9] = True  # 9 against 0: 2 / 512, times 2
    points = paired_curves({"sparse": better, "dense": base}, [1, 2], reference="dense", resamples=400)
    assert [(p.method, p.x, p.value.value) for p in points] == [
        ("dense", 1, 0), ("dense", 2, 0), ("sparse", 1, 0.75), ("sparse", 2, 0),
    ]  # fmt: skip
    assert [p.p for p in points] == pytest.approx([1, 1, 4 / 512, 1])
    assert points[2].difference.value == 0.75
    assert points[2].as_dict()["better"] == "higher"


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: functional_distance(network(0), {}, IMAGES), "at least 1 model"),
        (lambda: functional_distance(network(0), {"a": network(1, classes=4)}, IMAGES, draws=1), "4 classes"),
        (lambda: functional_distance(network(0), {"a": network(1)}, IMAGES.byte()), "must be floats"),
        (lambda: functional_distance(network(0), {"a": network(1)}, IMAGES * math.nan), "NaN"),
        (lambda: functional_distance(network(0), {"a": network(1)}, IMAGES, levels=[-0.1]), "levels of noise"),
        (lambda: functional_distance(network(0), {"a": network(1)}, IMAGES, draws=0), "draws"),
        (lambda: functional_distance(network(0), {"a": nn.Flatten(0)}, IMAGES, draws=1), "logits"),
        (lambda: paired_curves({"a": np.ones((2, 3))}, [1], reference="a"), "needs values"),
        (lambda: paired_curves({"a": np.ones((1, 3))}, [1], reference="b"), "unknown reference"),
    ],
)
def test_bad_requests_get_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
