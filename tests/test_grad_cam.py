"""Grad-CAM by hand and against captum's, and the size of what it highlights."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sinewy.errors import InputError
from sinewy.metrics.grad_cam import grad_cam, last_convolution, region_size


class TwoMaps(nn.Module):
    """Two 1x1 feature maps, logits (sum of the first - sum of the second, 0)."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 2, 1, bias=False)
        self.features.weight.data[:] = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)

    def forward(self, x):
        first, second = self.features(x).sum((2, 3)).T
        return torch.stack([first - second, torch.zeros_like(first)], 1)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 5),
    ).eval()


IMAGES = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(0))


def test_map_by_hand():
    # d logit 0 / d maps = 1 and -1, maps x and 2x: relu(x - 2x); for the class 1 nothing speaks
    x = torch.tensor([[[[1.0, -2.0], [3.0, -4.0]]]])
    assert grad_cam(TwoMaps(), x, "features", classes=torch.tensor([0])).tolist() == [[[0, 2], [0, 4]]]
    assert grad_cam(TwoMaps(), x, "features", classes=torch.tensor([1])).abs().max() == 0


@pytest.mark.parametrize("layer", ["0", "4"])
def test_map_agrees_with_its_definition(layer):
    model = network()
    head, tail = model[: int(layer) + 1], model[int(layer) + 1 :]
    maps = head(IMAGES).detach().requires_grad_()
    scores = tail(maps.clone())
    classes = scores.argmax(1)
    (gradient,) = torch.autograd.grad(scores.gather(1, classes[:, None]).sum(), maps)
    expected = torch.einsum("nk,nkhw->nhw", gradient.mean((2, 3)), maps).relu().detach()
    found = grad_cam(model, IMAGES, layer, resize=False)
    torch.testing.assert_close(found, expected)
    resized = F.interpolate(expected[:, None], size=(12, 12), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(grad_cam(model, IMAGES, layer, batch=4), resized)


def test_map_agrees_with_captum():
    attribution = pytest.importorskip("captum.attr")
    model = network(3)
    classes = torch.tensor([0, 1, 2, 3, 4, 0])
    theirs = attribution.LayerGradCam(model, model[4]).attribute(IMAGES, classes, relu_attributions=True)
    torch.testing.assert_close(grad_cam(model, IMAGES, "4", classes=classes, resize=False), theirs[:, 0].detach())


def test_layer_that_runs_last_is_found_by_running():
    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Conv2d(4, 2, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.second(self.first(x)).mean((2, 3))

    assert last_convolution(Swapped(), IMAGES) == "second"
    assert last_convolution(network(), IMAGES) == "4"


def test_region_size_by_hand():
    maps = torch.tensor([[[4.0, 2.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 3.0]], [[1.0, 1.0], [1.0, 1.0]]])
    assert region_size(maps).tolist() == [0.5, 0.25, 1.0]
    assert region_size(maps, 0.2).tolist() == [1.0, 0.25, 1.0]
    assert region_size(maps, measure="mass").tolist() == [0.25, 0.25, 0.5]
    assert region_size(maps, 0.7, measure="mass").tolist() == [0.5, 0.25, 0.75]
    assert region_size(7 * maps).tolist() == region_size(maps).tolist()


def test_region_of_a_map_of_nothing_is_nan():
    for measure in ("above", "mass"):
        assert math.isnan(region_size(torch.zeros(1, 2, 2), measure=measure).item())


def test_model_is_given_back_as_it_was():
    model = network().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    grad_cam(model, IMAGES, "4")
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: grad_cam(network(), IMAGES, "conv9"), "unknown layer"),
        (lambda: grad_cam(network(), IMAGES, "8"), "feature maps"),
        (lambda: grad_cam(network(), IMAGES, "4", classes=torch.tensor([1])), "one per image"),
        (lambda: grad_cam(network(), IMAGES[0], "4"), "must be floats"),
        (lambda: last_convolution(nn.Sequential(nn.Flatten(), nn.Linear(432, 2)), IMAGES), "no convolution"),
        (lambda: region_size(torch.ones(2, 2)), "maps must be"),
        (lambda: region_size(-torch.ones(1, 2, 2)), "at least 0"),
        (lambda: region_size(torch.ones(1, 2, 2), measure="area"), "measure of regions"),
    ],
)
def test_bad_requests_get_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
