"""Objectives: each against its formula, deterministic by step, and trained with through a resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sinewy as sw
from sinewy.data.batches import batches, corrupted
from sinewy.objectives import OBJECTIVES
from sinewy.objectives.plain import Objective, make_objective
from sinewy.train import Interrupted
from test_train import OPTIONS, bits, network, stripes

OPTIONS_OF = {
    "adversarial": {"steps": 2},
    "outliers": {"outliers": torch.from_numpy(stripes(40, "train", 9).images)},
}


@pytest.fixture(scope="module")
def data():
    return sw.data.Splits(stripes(128, "train", 0), stripes(32, "validation", 1), stripes(40, "test", 2))


@pytest.fixture
def batch(data):
    return next(iter(batches(data.train, batch=32, seed=0, epoch=0)))


def objective(name, data, **options) -> Objective:
    return make_objective(name, data.train, label_smoothing=0.0, seed=3, **{**OPTIONS_OF.get(name, {}), **options})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_same_step_same_loss_and_gradients_reach_all_weights(name, data, batch):
    model, made = network(0.0).eval(), objective(name, data)
    loss, logits = made(model, *batch, step=5)
    again, _ = made(model, *batch, step=5)
    assert torch.equal(loss, again)
    assert logits.shape == (32, 2)
    other, _ = made(model, *batch, step=6)
    assert torch.equal(loss, other) == (name == "cross-entropy")
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_adversarial_is_cross_entropy_plus_six_times_the_divergence(data, batch):
    model, (images, labels) = network(0.0).eval(), batch
    made = objective("adversarial", data, attack="fgsm", steps=None, eps=4 / 255)
    loss, _ = made(model, images, labels, step=0)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (data.train.mean, data.train.std))
    pixels = (images * std + mean).requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model((pixels - mean) / std), labels, reduction="sum"), pixels)
    attacked = ((pixels + 4 / 255 * slope.sign()).clamp(0, 1).detach() - mean) / std
    clean, moved = model(images).softmax(1), model(attacked).softmax(1)
    divergence = (clean * (clean.log() - moved.log())).sum(1).mean()
    expected = F.cross_entropy(model(images), labels) + 6 * divergence
    assert divergence > 0
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_noise_is_in_units_of_pixels(data, batch):
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, images):
            seen.append(images)
            return images.mean((2, 3))[:, :2]

    objective("noise", data, deviation=0.05)(Spy(), *batch, step=1)
    added = (seen[0] - batch[0]) * torch.tensor(data.train.std).view(1, 3, 1, 1)
    assert float(added.std()) == pytest.approx(0.05, rel=0.03)
    assert float(added.mean()) == pytest.approx(0, abs=0.002)


def test_outliers_are_pushed_to_the_uniform_distribution(data, batch):
    model, (images, labels) = network(0.0).eval(), batch
    one = stripes(1, "train", 4)
    made = objective("outliers", data, outliers=torch.from_numpy(one.images), weight=0.5)
    loss, _ = made(model, images, labels, step=0)
    outlier = (torch.from_numpy(one.images).float() / 255 - 0.3) / 0.2
    uniform = -model(outlier).log_softmax(1).mean()
    torch.testing.assert_close(loss, F.cross_entropy(model(images), labels) + 0.5 * uniform)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name != "outliers"])
def test_edge_popup_trains_for_a_goal_and_goes_on_after_a_stop(name, data, tmp_path):
    options = OPTIONS | {"epochs": 1, "objective": {"name": name, **OPTIONS_OF.get(name, {})}}
    whole = sw.fit(network(), data, sw.EdgePopup(0.5), **options)
    asked = iter(range(100))
    with pytest.raises(Interrupted):
        sw.fit(network(), data, sw.EdgePopup(0.5), folder=tmp_path, should_stop=lambda: next(asked) == 4, **options)
    resumed = sw.fit(network(), data, sw.EdgePopup(0.5), folder=tmp_path, **options)
    assert bits(resumed.model) == bits(whole.model)


class Mine(Objective):
    """A user's own: the mean of the logits."""

    def __call__(self, model, images, labels, step):
        logits = model(images)
        return logits.mean(), logits


def test_ones_own_objective_by_its_path(data):
    assert isinstance(make_objective("test_objectives:Mine", data.train, label_smoothing=0, seed=0), Mine)


def test_bad_input(data):
    with pytest.raises(sw.InputError, match="unknown option of noise 'sigma'"):
        objective("noise", data, sigma=1)
    with pytest.raises(sw.InputError, match="deviation must be above 0; got 0"):
        objective("noise", data, deviation=0)
    with pytest.raises(sw.InputError, match=r"objective 'outliers' needs outliers: \{name: outliers"):
        make_objective("outliers", data.train, label_smoothing=0, seed=0)
    with pytest.raises(sw.InputError, match="bring them to the same size"):
        objective("outliers", data, outliers=torch.zeros(3, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(sw.InputError, match="is not a sinewy"):
        make_objective("test_train:network", data.train, label_smoothing=0, seed=0)


class TestCorruptedTraining:
    """Robust training of Liebenwein et al. 2021, section 6."""

    KINDS = ("contrast", "pixelate", "impulse_noise")

    def test_each_image_is_left_alone_or_corrupted_by_one_kind_all_alike(self):
        images = np.repeat(stripes(1, "train", 0).images, 4000, 0)
        found = corrupted(images, self.KINDS, seed=1)
        ways = {kind: sw.shifts.corrupt(torch.from_numpy(images[:1]), kind, 3).numpy()[0] for kind in self.KINDS[:2]}
        untouched = (found == images).all((1, 2, 3))
        shares = [untouched.mean(), *((found == ways[kind]).all((1, 2, 3)).mean() for kind in self.KINDS[:2])]
        assert shares == pytest.approx([0.25] * 3, abs=0.03)
        assert (images == images[0]).all()

    def test_the_same_batch_again_whatever_came_before(self, data):
        def second(start):
            stream = batches(data.train, batch=16, seed=0, epoch=2, start=start, corruptions=self.KINDS)
            return list(stream)[2 - start][0]

        assert torch.equal(second(0), second(2))
        plain = list(batches(data.train, batch=16, seed=0, epoch=2))[2][0]
        assert not torch.equal(second(0), plain)
