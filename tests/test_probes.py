"""Auditing: frozen copies answer like the model, every model sees the same bytes, and outcomes are what they say."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import nn

import sinewy as sw
from sinewy.data import ImageSet
from sinewy.models.freeze import freeze
from sinewy.outcomes import CLEAN, Outcomes, load_outcomes, save_outcomes
from sinewy.probes.corruption import CorruptionProbe
from sinewy.probes.evaluate import Evaluator
from sinewy.shifts.corruption import corrupt


def images(count: int = 70, seed: int = 0) -> ImageSet:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    labels = generator.integers(0, 10, count)
    return ImageSet(pixels, labels, "noise", "test", tuple("0123456789"), (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))


def trained(name: str, seed: int = 0) -> nn.Module:
    """A network whose batch norms have seen data, so that folding them means something."""
    model = sw.models.build(name, classes=10, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 3, 32, 32, generator=generator))
    return model.eval()


class Branching(nn.Module):
    """A model that torch.fx cannot trace."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 10)

    def forward(self, x):
        pooled = x.mean(dim=(2, 3))
        return self.head(pooled if pooled.sum() > 0 else -pooled)


@pytest.mark.parametrize("name", ["convnet", "resnet20", "vgg11", "mlp", "lenet5", "torchvision:mobilenet_v2"])
def test_a_frozen_copy_answers_like_the_model(name):
    model = trained(name)
    before = copy.deepcopy(model.state_dict())
    frozen = freeze(model.train())
    batch = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = model.eval()(batch), frozen(batch)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    if name in ("convnet", "resnet20"):
        assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen.modules())


def test_a_model_that_cannot_be_traced_is_copied():
    model, batch = Branching(), torch.randn(4, 3, 8, 8)
    assert torch.equal(freeze(model)(batch), model(batch))


def test_outcomes_are_what_they_say():
    data, model = images(), trained("convnet")
    found = Evaluator({"m": model}, mean=data.mean, std=data.std).outcomes(
        [torch.from_numpy(data.images)], data.labels
    )["m"]
    pixels = torch.from_numpy(data.images).float() / 255
    with torch.no_grad():
        logits = model((pixels - torch.tensor(data.mean)[:, None, None]) / torch.tensor(data.std)[:, None, None])
    probability = logits.double().softmax(1).numpy()
    one_hot = np.eye(10)[data.labels]
    assert np.array_equal(found.label, data.labels)
    assert np.array_equal(found.prediction, probability.argmax(1))
    assert found.confidence == pytest.approx(probability.max(1), abs=1e-5)
    assert found.true_probability == pytest.approx((probability * one_hot).sum(1), abs=1e-5)
    assert found.loss == pytest.approx(
        [entropy(row, base=None) + _kl(row, p) for row, p in zip(one_hot, probability, strict=True)], abs=1e-4
    )
    assert found.brier == pytest.approx(((probability - one_hot) ** 2).sum(1), abs=1e-5)
    assert found.accuracy == np.mean(probability.argmax(1) == data.labels)


def _kl(target: np.ndarray, probability: np.ndarray) -> float:
    return float(entropy(target, probability))


class Mapped(nn.Module):
    """Returns its logits in a mapping, as torchvision's segmentation networks and transformers do."""

    def __init__(self, inner: nn.Module, key: str) -> None:
        super().__init__()
        self.inner, self.key = inner, key

    def forward(self, x):
        return {self.key: self.inner(x), "aux": torch.zeros(())}


def test_logits_are_found_in_a_mapping():
    data, inner = images(), trained("convnet")
    found = sw.audit({"plain": inner, "mapped": Mapped(inner, "logits")}, data, kinds=["fog"], severities=[3])
    plain, mapped = found.outcomes("plain"), found.outcomes("mapped")
    assert all(np.array_equal(plain[c].prediction, mapped[c].prediction) for c in plain)
    assert plain[CLEAN].loss == pytest.approx(mapped[CLEAN].loss, abs=1e-4)
    with pytest.raises(sw.InputError, match="model: the model returned dict, in which no logits .* were found"):
        sw.audit(Mapped(inner, "scores"), data, kinds=["fog"])
    clean = [torch.from_numpy(data.images)]
    evaluator = Evaluator({"m": Mapped(inner, "out")}, mean=data.mean, std=data.std)
    with torch.no_grad():  # the copies that other probes take answer likewise
        logits = [copied("m")(evaluator.inputs(clean[0])) for copied in (evaluator.frozen, evaluator.plain)]
    assert logits[0].shape == logits[1].shape == (70, 10)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_models_of_other_types_take_the_images(kind):
    data, model = images(), trained("convnet")
    evaluator = Evaluator({"single": model, "other": copy.deepcopy(model).to(kind)}, mean=data.mean, std=data.std)
    found = evaluator.outcomes([torch.from_numpy(data.images)], data.labels)
    assert found["other"].true_probability == pytest.approx(
        found["single"].true_probability, abs=1e-5 if kind is torch.float64 else 0.02
    )
    assert evaluator.frozen("other")(evaluator.inputs(torch.from_numpy(data.images[:2]))).dtype is kind


def test_every_model_sees_the_same_bytes_made_once(monkeypatch):
    data, seen, made = images(), {"a": [], "b": []}, []
    from sinewy.shifts import values

    monkeypatch.setattr(
        values, "corrupt", lambda *words, **options: made.append(words[1:3]) or corrupt(*words, **options)
    )

    class Watching(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name, self.head = name, nn.Linear(3, 10)

        def forward(self, x):
            seen[self.name].append(x.sum().item())
            return self.head(x.mean(dim=(2, 3)))

    sw.audit(Watching("a"), data, against=Watching("b"), kinds=["fog", "frost"], severities=[2, 4])
    assert seen["a"] == seen["b"]
    assert len(seen["a"]) == 2 * (1 + 4) + 1  # two batches, clean and four shifts; and one example to count FLOPs
    assert made == [("fog", 2), ("fog", 4), ("frost", 2), ("frost", 4)]


def test_an_audit_tells_both_models_apart(tmp_path, capsys):
    data = images(120)
    model, parent = trained("convnet", 1), trained("convnet", 2)
    found = sw.audit(model, data, against=parent, probes=["corruption"], kinds=["brightness", "jpeg_compression"])
    rows = {row["method"]: row for row in found.table()}
    assert list(rows) == ["parent", "model"]
    own = found.outcomes("model")
    assert set(own) == {CLEAN} | {(kind, s) for kind in ("brightness", "jpeg_compression") for s in range(1, 6)}
    assert rows["model"]["clean_accuracy"]["value"] == own[CLEAN].accuracy
    mean = np.mean([outcome.accuracy for condition, outcome in own.items() if condition != CLEAN])
    assert rows["model"]["corruption_accuracy"]["value"] == pytest.approx(mean)
    found.show()
    assert "brightness" not in capsys.readouterr().err
    assert found.report(tmp_path / "audit.html").stat().st_size > 1e6
    protocol = found.record.protocol
    assert protocol["data"]["hash"] == data.hash
    assert {"preset", "seed", "frost", "jpeg"} <= set(protocol["corruption"])


def test_a_limited_audit_is_marked_partial():
    found = sw.audit(trained("mlp"), images(), kinds=["contrast"], severities=[1], limit=20)
    assert found.record.partial == "only the first 20 of 70 examples"
    assert len(found.outcomes("model")[CLEAN]) == 20


def test_noise_is_of_higher_frequency_than_fog():
    smooth = ImageSet(
        np.full((64, 3, 32, 32), 128, np.uint8), np.zeros(64, np.int64), "grey", "test", ("a",), (0,) * 3, (1,) * 3
    )
    evaluator = Evaluator({"m": Branching()}, mean=smooth.mean, std=smooth.std)
    probe = CorruptionProbe(["gaussian_noise", "fog"])
    shares = {kind: probe.measure_kind(kind, evaluator, smooth).about["high_frequency"] for kind in probe.kinds}
    assert shares["gaussian_noise"] == pytest.approx(0.8, abs=0.03)  # white: the share of the plane outside the disk
    assert shares["fog"] < 0.2


def test_outcomes_round_trip_and_damage(tmp_path):
    data, path = images(), tmp_path / "o.safetensors"
    found = Evaluator({"m": trained("mlp")}, mean=data.mean, std=data.std).outcomes(
        [torch.from_numpy(data.images)], data.labels
    )["m"]
    save_outcomes(path, {3: found, 1: found}, {"kind": "fog"})
    again, about = load_outcomes(path)
    assert list(again) == [1, 3]
    assert about == {"kind": "fog"}
    assert np.array_equal(again[3].loss, found.loss)
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:20], b"", b"not this"):
        path.write_bytes(damaged)
        with pytest.raises(sw.CorruptFileError, match="not a whole outcomes file"):
            load_outcomes(path)
    with pytest.raises(ValueError, match="one value per example"):
        Outcomes(found.label, found.prediction[:3], found.confidence, found.true_probability, found.loss, found.brier)


class TestBadInput:
    def test_outputs_that_are_not_logits(self):
        with pytest.raises(sw.InputError, match=r"parent returns \(64, 4\) for labels up to 9; logits"):
            sw.audit(trained("mlp"), images(), against=sw.models.build("mlp", classes=4), kinds=["fog"])

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_a_diverged_model(self, value):
        model = trained("mlp")
        with torch.no_grad():
            list(model.parameters())[-1].fill_(value)
        with pytest.raises(sw.InputError, match="model returns NaN or infinity"):
            sw.audit(model, images(), kinds=["fog"])

    @pytest.mark.parametrize(
        ("data", "sentence"),
        [
            ((torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)), "uint8"),
            ((torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)), "4"),
            ("cifar", "cannot read str as images"),
        ],
    )
    def test_data(self, data, sentence):
        with pytest.raises(sw.InputError, match=sentence):
            sw.audit(trained("mlp"), data, kinds=["fog"])

    def test_unknown_names(self):
        with pytest.raises(sw.InputError, match="unknown probe 'corruptoin'. Did you mean 'corruption'"):
            sw.audit(trained("mlp"), images(), probes=["corruptoin"])
        with pytest.raises(sw.InputError, match="unknown corruption 'fogg'. Did you mean 'fog'"):
            sw.audit(trained("mlp"), images(), kinds=["fogg"])


def test_no_warning_is_left_in_an_audit():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sw.audit(trained("resnet20"), images(10), kinds=["zoom_blur"], severities=[3])
