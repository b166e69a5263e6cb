"""The probes of function, features, attention, spectrum and kernels, on networks whose answers are known by hand."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.analysis.evidence import Evidence
from sinewy.cli.options import probe_options
from sinewy.data import ImageSet
from sinewy.metrics.functional_distance import functional_distance
from sinewy.metrics.radius_curves import radius_curves
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.function import FunctionProbe
from sinewy.probes.kernels import KernelsProbe
from sinewy.probes.spectrum import default_radii


def images(pixels: np.ndarray, labels) -> ImageSet:
    """Grey images (N, H, W) as a set that is fed as it is, in [0, 1]."""
    colours = np.repeat(pixels[:, None].astype(np.uint8), 3, axis=1)
    return ImageSet(colours, np.asarray(labels), "grey", "test", ("dark", "bright"), (0.0,) * 3, (1.0,) * 3)


def noisy(n: int = 24, size: int = 8, seed: int = 0) -> ImageSet:
    """Dark and bright images with some texture."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return images(60 + 120 * labels[:, None, None] + generator.integers(-40, 40, (n, size, size)), labels)


def network(seed: int = 0) -> nn.Module:
    """An untrained convolutional network for images of 8 x 8."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(256, 2))


class Reading(nn.Module):
    """Sure of "bright" in proportion to one pixel of the first channel, and of nothing where it is 0."""

    def __init__(self, row: int, column: int, weight: float = 4.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.register_buffer("place", torch.tensor([row, column]))

    def forward(self, x):
        score = self.weight * x[:, 0, self.place[0], self.place[1]]
        return torch.stack([torch.zeros_like(score), score], 1)


class Brightness(nn.Module):
    """ "bright" where the mean is above one half."""

    def __init__(self, sign: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(20.0 * sign))

    def forward(self, x):
        score = self.weight * (x.mean((1, 2, 3)) - 0.47)
        return torch.stack([-score, score], 1)


def rows(found, probe, **wanted):
    chosen = [row for row in found.findings(probe) if all(row[key] == value for key, value in wanted.items())]
    assert chosen, wanted
    return chosen


def value(found, probe, **wanted) -> float:
    [row] = rows(found, probe, **wanted)
    return row["estimate"]["value"]


# function


def test_a_model_is_the_same_function_as_itself_and_nothing_like_its_negative():
    data, dense = noisy(), Brightness()
    models = {"dense": dense, "twin": dense, "negative": Brightness(-1.0)}
    found = sw.audit(models, data, probes=["function"], levels=[0, 0.1], draws=3)
    for row in rows(found, "function", method="twin"):
        assert row["estimate"]["value"] == (1 if row["measure"] == "agreement" else 0)
    assert value(found, "function", method="negative", condition="no noise", measure="agreement") == 0
    means = data.images.astype(np.float64).mean((1, 2, 3)) / 255
    sure = 1 / (1 + np.exp(-2 * 20 * (means - 0.47)))
    distance = value(found, "function", method="negative", condition="no noise", measure="softmax distance")
    assert distance == pytest.approx(np.mean(math.sqrt(2) * np.abs(2 * sure - 1)), abs=1e-5)
    assert {row["x"] for row in found.findings("function")} == {0, 0.1}


def test_function_agrees_with_the_pure_function_and_is_compared_with_the_control():
    data = noisy()
    networks = {f"net {seed}": network(seed) for seed in range(3)}
    inputs = torch.from_numpy(data.images).float() / 255
    parent, *others = networks
    expected = functional_distance(networks[parent], {n: networks[n] for n in others}, inputs, levels=[0.3], draws=4)
    found = sw.audit(networks, data, probes=["function"], levels=[0.3], draws=4, control="net 2")
    for name, similarity in expected.items():
        for measure, values in zip(("agreement", "softmax distance"), similarity, strict=True):
            assert value(found, "function", method=name, measure=measure) == pytest.approx(values.mean(), abs=1e-5)
    [row] = rows(found, "function", method="net 1", measure="softmax distance")
    apart = expected["net 1"].distance.mean() - expected["net 2"].distance.mean()
    assert row["difference"]["value"] == pytest.approx(apart, abs=1e-5)
    assert rows(found, "function", method="net 2")[0]["difference"] is None


# features


def test_confidence_on_another_networks_pixel_is_that_of_a_coin():
    pixels = np.full((6, 4, 4), 150)
    data, weight = images(pixels, [1] * 6), 4.0
    models = {"first": Reading(0, 0), "also first": Reading(0, 0), "last": Reading(3, 3)}
    found = sw.audit(models, data, probes=["features"], corruptions=[], step=1, kept=1 / 16)
    [drawn] = found.record.maps["features"]
    sure = 1 / (1 + math.exp(-weight * 150 / 255))
    assert drawn["rows"] == drawn["columns"] == ["first", "also first", "last"]
    expected = [[sure, sure, 0.5], [sure, sure, 0.5], [0.5, 0.5, sure]]
    np.testing.assert_allclose(drawn["values"], expected, atol=1e-3)
    [row] = rows(found, "features", method="last", condition="as they are: first")
    assert row["difference"]["value"] == pytest.approx(0.5 - sure, abs=1e-5)


def test_features_of_one_more_network_are_measured_with_all(tmp_path):
    data = noisy(8)
    two = {"a": Reading(0, 0), "b": Reading(3, 3)}
    options = {"probes": ["features"], "corruptions": [], "step": 8, "folder": tmp_path}
    sw.audit(two, data, **options)
    one_more = two | {"c": Reading(2, 1)}
    found = sw.audit(one_more, data, **options)
    assert found.record.maps == sw.audit(one_more, data, **options | {"folder": None}).record.maps
    assert not any(value is None for row in found.record.maps["features"][0]["values"] for value in row)
    renamed = {"sea": one_more["c"], "a": one_more["a"], "b": one_more["b"]}
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "features").rglob("*.safetensors")}
    again = sw.audit(renamed, data, **options)  # the same networks under another name and in another order
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "features").rglob("*.safetensors")} == before
    assert again.record.maps["features"][0]["values"][0][0] == found.record.maps["features"][0]["values"][2][2]


# attention


class Square(nn.Module):
    """One feature map, the image itself, summed for "bright"."""

    def __init__(self):
        super().__init__()
        self.look = nn.Conv2d(3, 1, 1, bias=False)
        self.look.weight.data.fill_(1 / 3)

    def forward(self, x):
        score = self.look(x).sum((1, 2, 3))
        return torch.stack([-score, score], 1)


def test_the_region_is_the_square_and_nothing_is_no_region():
    pixels = np.zeros((3, 16, 16))
    pixels[0, 2:6, 3:7] = 250
    pixels[1, :8] = 200
    pixels[1, 0] = 90  # below half of the maximum
    found = sw.audit(Square(), images(pixels, [1, 1, 1]), probes=["attention"], of="label", shown=1)
    assert value(found, "attention", measure="size of the region") == pytest.approx((16 / 256 + 7 / 16) / 2)
    assert value(found, "attention", measure="share without a region") == pytest.approx(1 / 3)
    plain, drawn = found.record.maps["attention"]
    assert plain["image"] == drawn["image"]
    assert plain["values"] == [[None]]
    np.testing.assert_allclose(np.array(drawn["values"]), pixels[0] / 250, atol=1e-3)


def test_a_network_without_feature_maps_is_left_out_with_a_warning():
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    with pytest.warns(UserWarning, match="mlp has no attention map: Sequential runs no convolution"):
        found = sw.audit({"mlp": mlp, "square": nn.Sequential(Square())}, noisy(), probes=["attention"])
    assert {row["method"] for row in found.findings("attention")} == {"square"}
    small = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 2, 1), nn.Flatten())
    with pytest.warns(UserWarning, match="are one place on images of this size"):
        found = sw.audit({"small": small}, noisy(), probes=["attention"])
    assert "attention" not in found.record.findings


# spectrum


def test_brightness_is_gone_with_the_lowest_frequency_only():
    data, model = noisy(), Brightness()
    found = sw.audit(model, data, probes=["spectrum"])
    at = {(row["series"][:3], row["x"]): row["estimate"]["value"] for row in found.findings("spectrum")}
    assert at["low", 0] == at["hig", 0] == at["hig", 3] == 1
    assert at["low", 1] == at["low", 4] == 0.5  # black images: all "dark"
    assert at["hig", 4] == 0.5
    kept = sw.audit(model, data, probes=["spectrum"], keep_mean=True, radii=[1, 4])
    assert {row["estimate"]["value"] for row in kept.findings("spectrum")} == {1}
    assert [row["x"] for row in kept.findings("spectrum") if "low" in row["series"]] == [0, 1, 4]


def test_spectrum_agrees_with_the_pure_function():
    data, networks = noisy(), {f"{s}": network(s) for s in range(2)}
    found = sw.audit(networks, data, probes=["spectrum"], radii=[2, 3.5], examples=10)
    pixels, labels = torch.from_numpy(data.images[:10]), torch.from_numpy(data.labels[:10])
    for kind in ("low", "high"):
        options = {"attenuation": kind, "mean": data.mean, "std": data.std, "radii": [2, 3.5]}
        for name, curve in radius_curves(networks, pixels, labels, **options).items():
            own = [found.evidence["spectrum"].outcomes[name][kind, severity].correct for severity in (1, 2)]
            assert np.array_equal(np.stack(own), curve.correct)
    [row] = rows(found, "spectrum", method="1", measure="mean accuracy over radii", condition="low frequencies")
    assert row["estimate"]["n"] == 10


def test_a_wave_of_no_frequency_is_what_fools_brightness():
    found = sw.audit(
        {"a": Brightness(), "b": Brightness(-1.0)}, noisy(), probes=["spectrum"], radii=[1], fourier=8.0, reach=2
    )
    error, _, apart = (np.array(drawn["values"]) for drawn in found.record.maps["spectrum"])
    assert error[2, 2] > 0.2
    error[2, 2] = 0
    assert (error == 0).all()
    assert (np.delete(apart.ravel(), 12) == 1).all()  # the other one is always wrong
    assert found.record.maps["spectrum"][2]["better"] == "lower"


@pytest.mark.parametrize(("largest", "expected"), [(0, (1,)), (1, (1,)), (4, (1, 2, 3, 4)), (16, tuple(range(1, 17)))])
def test_default_radii(largest, expected):
    assert default_radii(largest) == expected


def test_default_radii_of_large_images_are_few():
    radii = default_radii(112)
    assert (len(radii), radii[0], radii[-1]) == (16, 1, 112)
    assert len(set(np.diff(radii))) <= 2


# kernels


def test_channels_that_are_cut_off_are_beyond_chance():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(32, 16, 3, 3, generator=generator)
    models = {name: nn.Sequential(nn.Conv2d(16, 32, 3)) for name in ("dense", "random", "cut")}
    masks = {"dense": torch.ones_like(weights), "random": torch.rand(weights.shape, generator=generator) < 0.5}
    masks["cut"] = (torch.arange(16) < 8).view(1, 16, 1, 1).expand_as(weights)
    for name, model in models.items():
        model[0].weight.data = weights * masks[name]
    probe = KernelsProbe()
    measured = probe.measure_kind("weights", Evaluator(models, mean=(0.0,), std=(1.0,)), noisy(2))
    evidence = Evidence("dense", {name: {} for name in models}, {n: {"weights": s} for n, s in measured.scores.items()})
    at = {(f.method, f.measure): f.estimate for f in probe.findings(evidence)}
    assert at["cut", "empty input channels"].value == 0.5
    assert at["cut", "Gini, input channels"].value == 0.5  # half of the channels hold all, and as much each
    assert at["cut", "Gini beyond chance, input channels"].low > 0.4
    assert (
        at["random", "Gini beyond chance, input channels"].low
        <= 0
        <= at["random", "Gini beyond chance, input channels"].high
    )
    assert at["dense", "Gini beyond chance, output channels"].value == 0
    assert at["cut", "layers beyond chance, input channels"].value == 1
    counts = {drawn.method: drawn.values for drawn in probe.maps(evidence) if drawn.unit == "weights"}
    assert np.array_equal(counts["cut"], np.tile(np.where(np.arange(16) < 8, 9, 0), (32, 1)))


def test_layers_are_in_model_order_also_when_read_from_disk(tmp_path):
    model = sw.models.build("convnet", classes=2)
    for _ in range(2):
        found = sw.audit(model, noisy(4, 32), probes=["kernels"], folder=tmp_path)
        layers = list(dict.fromkeys(row["condition"] for row in found.findings("kernels")))
        assert layers == [*sw.prunable(model), "all layers"]
    chosen = sw.audit(model, noisy(4, 32), probes=["kernels"], layers=[layers[0]])
    assert {drawn["part"] for drawn in chosen.record.maps["kernels"]} == {layers[0]}


# bad input


@pytest.mark.parametrize(
    ("probe", "options", "sentence"),
    [
        ("function", {"levels": [-0.1]}, "levels of noise must be finite and at least 0"),
        ("function", {"draws": 0}, "draws and examples must be at least 1"),
        ("function", {"control": "spase"}, "unknown model as the control 'spase'. Did you mean 'sparse'"),
        ("function", {"control": "dense"}, "the control 'dense' is the reference"),
        ("features", {"corruptions": ["fog"]}, "must be a corruption with its severity, such as gaussian_noise/3"),
        ("features", {"corruptions": ["fogg/3"]}, "Did you mean 'fog'"),
        ("features", {"form": "exakt"}, "Did you mean 'exact'"),
        ("features", {"step": 65}, "step=65 is more than the 64 pixels"),
        ("features", {"form": "filtered", "candidates": 8}, "candidates=8 must be 16"),
        ("features", {"kept": 1.0}, "kept=1.0 must be a share"),
        ("attention", {"of": "labels"}, "Did you mean 'label'"),
        ("attention", {"above": 0}, "above=0 must be a share"),
        ("spectrum", {"radii": [0]}, "radii must be above 0"),
        ("spectrum", {"radii": [5]}, "radius 5 is beyond 4"),
        ("spectrum", {"fourier": 4.0, "reach": 5}, "reach=5 must be 1 to 4"),
        ("spectrum", {"shape": "dissk"}, "Did you mean 'disk'"),
        ("kernels", {"masks": 1}, "masks=1 must be at least 2"),
        ("kernels", {"layers": ["0.wight"]}, "unknown layer of dense '0.wight'. Did you mean '0.weight'"),
    ],
)
def test_bad_input(probe, options, sentence):
    model = network()
    with pytest.raises(sw.InputError, match=sentence.replace("(", r"\(")):
        sw.audit(model, noisy(), against=model, names=("sparse", "dense"), probes=[probe], **options)


def test_half_and_double_precision_and_one_network_alone():
    models = {"single": network(), "double": network().double(), "half": network().bfloat16()}
    found = sw.audit(models, noisy(), probes=["function", "features", "attention", "spectrum", "kernels"], radii=[2])
    sizes = {row["method"]: row["estimate"]["value"] for row in found.findings("attention")}
    assert sizes["double"] == pytest.approx(sizes["single"], abs=1e-3)
    assert abs(sizes["half"] - sizes["single"]) < 0.2
    for row in found.findings("function"):
        assert row["estimate"]["value"] == pytest.approx(1 if row["measure"] == "agreement" else 0, abs=0.05)
    with pytest.raises(sw.InputError, match="compares networks with a reference"):
        sw.audit(network(), noisy(), probes=["function"])


def test_options_of_the_command_line():
    assert probe_options(["function.levels=0", "function.control=a, b"], ["function"]) == {
        "function": {"levels": [0], "control": "a, b"}
    }
    given = ["spectrum.radii=1, 2.5", "spectrum.fourier=4", "spectrum.keep_mean=true", "features.form=exact"]
    assert probe_options(given, ["spectrum", "features"]) == {
        "spectrum": {"radii": [1, 2.5], "fourier": 4, "keep_mean": True},
        "features": {"form": "exact"},
    }
    for text, sentence in (
        ("levels=3", "reads PROBE.NAME=VALUE"),
        ("function.levels", "reads PROBE.NAME=VALUE"),
        ("kernels.masks=3", "add it: --probes kernels"),
        ("function.leves=3", "unknown option of the function probe 'leves'. Did you mean 'levels'"),
    ):
        with pytest.raises(sw.InputError, match=sentence):
            probe_options([text], ["function"])


def test_one_draw_of_no_noise_is_enough():
    assert FunctionProbe([0, 0.5], draws=4).kinds == ("noise-0", "noise-0.5")
    [first, second] = FunctionProbe([0, 0.5], draws=4).measure({"m": Brightness()}, noisy(5))
    assert first.scores["m"]["probability"].shape == (1, 5, 2)
    assert second.scores["m"]["probability"].shape == (4, 5, 2)


@pytest.mark.slow
def test_the_command_draws_and_prints_them(tmp_path):
    page = tmp_path / "a.html"
    words = ["audit", "lenet5", "convnet", "--data", "digits", "--limit", "30", "--out", str(page)]
    words += ["--probes", "function,features,attention,spectrum,kernels", "--option", "features.examples=4"]
    words += ["--option", "function.levels=0,0.2", "--option", "spectrum.radii=2,", "--json"]
    command = [sys.executable, "-c", "from sinewy.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["findings"]) == ["function", "features", "attention", "spectrum", "kernels"]
    text = page.read_text()
    for key in ("features-map-1", "attention-map-1", "kernels-map-1", "kernels-map-2"):
        assert f'id="data-{key}"' in text
