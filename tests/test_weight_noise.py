"""Perturbed weights: what is drawn, what stays zero, what rounding does, and what is read from it."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

import sinewy as sw
from sinewy.analysis import weight_noise
from sinewy.analysis.evidence import Evidence
from sinewy.data import ImageSet
from sinewy.layers import prunable
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.probes.perturbations import additive, perturbation, relative, rounded
from sinewy.probes.weight_noise import WeightNoiseProbe


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {"a": torch.randn(40, 30, generator=generator), "b": torch.randn(8, 4, 3, 3, generator=generator)}
    found["a"][:, ::2] = 0
    return found


def test_relative_noise():
    own = weights()
    noisy = relative(own, 0.3, seed=0, draw=1)
    xi = (noisy["a"] / own["a"] - 1)[own["a"] != 0] / 0.3
    assert float(xi.mean()) == pytest.approx(0, abs=0.15)
    assert float(xi.std()) == pytest.approx(1, abs=0.1)
    assert not noisy["a"][own["a"] == 0].any()
    assert torch.equal(relative(own, 0.0, seed=0, draw=1)["b"], own["b"])


def test_draws_are_shared_and_named():
    own, other = weights(0), weights(7)
    xi = [relative(w, 1.0, seed=0, draw=2)["b"] / w["b"] - 1 for w in (own, other)]
    assert torch.allclose(*xi, atol=1e-4)  # the same noise for another model
    half = relative(own, 0.5, seed=0, draw=2)["b"] / own["b"] - 1
    assert torch.allclose(2 * half, xi[0], atol=1e-4)  # and for another sigma
    for changed in ({"draw": 3}, {"seed": 1}):
        again = relative(own, 1.0, **({"seed": 0, "draw": 2} | changed))["b"]
        assert not torch.allclose(again / own["b"] - 1, xi[0], atol=1e-2)


def test_additive_noise_is_of_the_tensors_own_size():
    own = weights()
    noisy = additive(own, 0.2, seed=0, draw=0)
    kept = own["a"] != 0
    moved = (noisy["a"] - own["a"])[kept]
    assert float(moved.std()) == pytest.approx(0.2 * float(own["a"][kept].square().mean().sqrt()), rel=0.1)
    assert not noisy["a"][~kept].any()


def test_rounding_by_hand():
    own = {"w": torch.tensor([[7.0, -3.4, 0.6, 0.0], [0.0, 0.0, 0.0, 0.0], [-0.14, 0.065, 0.03, 0.0]])}
    found = rounded(own, 4)["w"]  # seven levels each way: channel 0 in steps of 1, channel 2 in steps of 0.02
    assert found[0].tolist() == [7, -3, 1, 0]
    assert not found[1].any()
    assert found[2, :2].tolist() == pytest.approx([-0.14, 0.06], abs=1e-6)


def test_one_scale_for_a_tensor_by_hand():
    own = {"w": torch.tensor([[7.0, -3.4, 0.6], [0.4, 0.0, -0.6]])}
    assert rounded(own, 4, per_channel=False)["w"].tolist() == [[7, -3, 1], [0, 0, -1]]
    assert torch.equal(
        perturbation("int4-tensor", 0.0, seed=0, draw=0)(own)["w"], rounded(own, 4, per_channel=False)["w"]
    )
    assert rounded(own, 4)["w"][1].tolist() == pytest.approx([0.6 * 5 / 7, 0, -0.6])
    assert not rounded({"w": torch.zeros(2, 2)}, 4, per_channel=False)["w"].any()
    large = weights()["b"]
    scale = float(large.abs().max()) / 127
    theirs = torch.fake_quantize_per_tensor_affine(large, scale, 0, -127, 127)
    assert torch.allclose(rounded({"b": large}, 8, per_channel=False)["b"], theirs, atol=1e-6)


@pytest.mark.parametrize("bits", [4, 8])
def test_rounding_is_to_the_nearest_of_its_levels(bits):
    own = weights()
    for name, found in rounded(own, bits).items():
        largest = own[name].abs().flatten(1).amax(1).view(-1, *[1] * (found.ndim - 1))
        step = largest / (2 ** (bits - 1) - 1)
        assert ((found - own[name]).abs() <= step / 2 * (1 + 1e-5)).all()
        levels = found / step
        assert torch.allclose(levels, levels.round(), atol=1e-4)
        assert len(levels[0].round().unique()) <= 2**bits - 1
        assert torch.allclose(rounded({name: found}, bits)[name], found, atol=1e-6)  # a fixed point


def test_half_precision_is_rounded_on_the_scale_of_single_precision():
    halves = {"a": (weights()["a"] * 1e-5).half()}
    scale = halves["a"].float().abs().amax(1, keepdim=True) / 127
    expected = (halves["a"].float() / scale).round() * scale
    assert torch.equal(rounded(halves, 8)["a"], expected.half())


def test_torch_fake_quantize_agrees():
    own = weights()["b"]
    scale = own.abs().flatten(1).amax(1) / 127
    theirs = torch.fake_quantize_per_channel_affine(own, scale, torch.zeros(8, dtype=torch.int32), 0, -127, 127)
    assert torch.allclose(rounded({"b": own}, 8)["b"], theirs, atol=1e-6)


def data(n: int = 60) -> ImageSet:
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)
    labels = generator.integers(0, 4, n)
    return ImageSet(pixels, labels, "noise", "test", tuple("0123"), (0.5,) * 3, (0.25,) * 3)


def test_the_probe_runs_the_perturbed_model():
    model = sw.models.build("lenet5", classes=4, image_size=16, seed=0).eval()
    before = copy.deepcopy(model.state_dict())
    found = sw.audit(model, data(), probes=["weight-noise"], noises=["relative", "int4"], sigmas=[0.5], draws=2)
    own = found.evidence["weight-noise"].outcomes["model"]
    assert set(own) == {CLEAN, ("relative-0.5", 1), ("relative-0.5", 2), ("int4", 1)}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    by_hand = copy.deepcopy(model)
    with torch.no_grad():
        changed = perturbation("relative", 0.5, seed=0, draw=1)(dict(prunable(by_hand)))
        for name, parameter in prunable(by_hand).items():
            parameter.copy_(changed[name])
    expected = sw.audit(by_hand, data(), probes=[]).outcomes("model")[CLEAN]
    assert own["relative-0.5", 2].loss == pytest.approx(expected.loss, abs=1e-5)
    assert not np.allclose(own["relative-0.5", 1].loss, expected.loss, atol=1e-3)


def test_models_are_measured_under_the_same_draws():
    """A model measured with another, with a sparse copy of itself or alone, meets the same noise."""
    model = sw.models.build("lenet5", classes=4, image_size=16, seed=0).eval()
    other = sw.models.build("lenet5", classes=4, image_size=16, seed=1).eval()
    settings = {"probes": ["weight-noise"], "noises": ["relative"], "sigmas": [0.4], "draws": 2}
    both = sw.audit({"one": model, "two": other, "twin": copy.deepcopy(model)}, data(), **settings)
    alone = sw.audit(model, data(), **settings).evidence["weight-noise"].outcomes["model"]
    own = both.evidence["weight-noise"].outcomes
    for draw in (1, 2):
        key = ("relative-0.4", draw)
        assert np.array_equal(own["one"][key].loss, alone[key].loss)
        assert np.array_equal(own["one"][key].loss, own["twin"][key].loss)
    twin = [row for row in both.findings("weight-noise") if row["method"] == "twin"]
    assert all(row["difference"]["low"] == row["difference"]["high"] == 0 for row in twin)


def test_findings_by_hand():
    label = np.zeros(4, np.int32)

    def outcomes(prediction: list[int], loss: list[float]) -> Outcomes:
        ones = np.ones(4, np.float32)
        return Outcomes(label, np.array(prediction, np.int32), ones, ones, np.array(loss, np.float32), ones)

    own = {
        CLEAN: outcomes([0, 0, 0, 1], [1, 1, 1, 1]),
        ("relative-0.1", 1): outcomes([0, 0, 1, 1], [1, 1, 3, 1]),
        ("relative-0.1", 2): outcomes([0, 1, 1, 1], [1, 2, 3, 1]),
    }
    about = {"relative-0.1": {"noise": "relative", "sigma": 0.1}}
    found = {f.measure: f for f in weight_noise.findings(Evidence("m", {"m": own}, {}, about))}
    assert found["accuracy"].estimate.value == pytest.approx(3 / 8)
    assert found["accuracy drop"].estimate.value == pytest.approx(3 / 8)
    assert found["loss rise"].estimate.value == pytest.approx((2 + 3) / 8)
    assert found["loss rise"].estimate.seeds == 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: WeightNoiseProbe(["relativ"]), "Did you mean 'relative'"),
        (lambda: WeightNoiseProbe(draws=0), "draws=0"),
        (lambda: WeightNoiseProbe(sigmas=[-0.1]), "sigma=-0.1"),
        (lambda: rounded({}, 1), "bits=1"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        call()
