"""Every probe keeps one contract: seeded, pure, resumable, names checked, models untouched, findings as data."""

from __future__ import annotations

import copy
import dataclasses
import importlib
import json
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.attacks.running import run
from sinewy.data import ImageSet
from sinewy.identity import fingerprint
from sinewy.outcomes import CLEAN
from sinewy.probes import PROBES
from sinewy.probes.attack import AttackProbe
from sinewy.probes.audit import make_probes
from sinewy.probes.calibration import CalibrationProbe
from sinewy.probes.ood import OODProbe
from sinewy.probes.outliers import evenly


def data(n: int = 40, seed: int = 0, classes: int = 4) -> ImageSet:
    """Images whose brighter channel says the class, more or less."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, n)
    pixels = generator.integers(0, 120, (n, 3, 16, 16))
    pixels[np.arange(n), labels % 3, :, : 4 * (1 + labels.max() // 3)] += 100
    names = tuple(str(i) for i in range(classes))
    return ImageSet(pixels.astype(np.uint8), labels, "bright", "test", names, (0.3,) * 3, (0.2,) * 3)


SMALL = {
    "corruption": {"kinds": ["fog", "gaussian_noise"], "severities": [2], "seed": 3},
    "attack": {"attacks": ["fgsm", "pgd"], "eps": [4, 16], "attack_options": {"steps": 3}, "seed": 3},
    "weight-noise": {"noises": ["relative", "int4"], "sigmas": [0.3], "draws": 2, "seed": 3},
    "ood": {
        "outliers": ["noise/uniform", "noise/gaussian", "attack/fgsm/8", "shift/fog/3", "oodom/digits"],
        "detectors": ["msp", "sensnorm"],
        "sizes": [1, 5],
        "train": data(40, 5),
        "seed": 3,
    },
    "calibration": {"validation": data(50, 6)},
    "classes": {},
    "lipschitz": {"examples": 2, "steps": 3, "ascent": 1},
    "function": {"levels": [0, 0.5], "draws": 2, "seed": 3},
    "features": {"corruptions": ["impulse_noise/2"], "examples": 6, "step": 32, "seed": 3},
    "attention": {"examples": 20, "shown": 2, "above": 0.4},
    "spectrum": {"radii": [1, 4.5, 8], "fourier": 4.0, "reach": 1, "fourier_examples": 8, "seed": 3},
    "kernels": {"masks": 50, "seed": 3},
}
"""The options that each probe is tried with."""

WITH_KINDS = [name for name in PROBES if name != "classes"]


def made(name: str, **more):
    [probe] = make_probes([name], SMALL[name] | more)
    return probe


@pytest.fixture(scope="module")
def models() -> dict[str, nn.Module]:
    """Two small trained networks, the second with half of its weights zero."""
    train = data(128, 9)
    inputs = (torch.from_numpy(train.images).float() / 255 - 0.3) / 0.2
    found = {}
    for seed, name in enumerate(("dense", "sparse")):
        model = sw.models.build("lenet5", classes=4, image_size=16, seed=seed)
        adam = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(25):
            adam.zero_grad()
            nn.functional.cross_entropy(model(inputs), torch.from_numpy(train.labels)).backward()
            adam.step()
        found[name] = model.eval()
    with torch.no_grad():
        for weight in sw.prunable(found["sparse"]).values():
            weight[weight.abs() < weight.abs().median()] = 0
    return found


def same(one, other) -> bool:
    """Whether two measurements hold the same numbers."""
    if one.outcomes.keys() != other.outcomes.keys() or one.scores.keys() != other.scores.keys():
        return False
    pairs = [
        (getattr(o, column), getattr(other.outcomes[name][s], column))
        for name, by_severity in one.outcomes.items()
        for s, o in by_severity.items()
        for column in ("prediction", "loss", "brier")
    ]
    pairs += [(v, other.scores[name][key]) for name, own in one.scores.items() for key, v in own.items()]
    return all(np.array_equal(a, b) for a, b in pairs) and json.dumps(one.about) == json.dumps(other.about)


@pytest.mark.parametrize("name", PROBES)
def test_names_and_protocol(name):
    probe = made(name)
    assert probe.name == name
    assert json.loads(json.dumps(probe.protocol(), allow_nan=False)) == json.loads(json.dumps(made(name).protocol()))
    assert len(set(probe.kinds)) == len(probe.kinds)
    assert (probe.__class__.__doc__ or "").strip()
    if "seed" in SMALL[name]:
        assert made(name, seed=4).protocol() != probe.protocol()


@pytest.mark.parametrize("name", WITH_KINDS)
def test_the_same_again_and_models_untouched(name, models):
    before = {key: copy.deepcopy(model.state_dict()) for key, model in models.items()}
    modes = {key: model.training for key, model in models.items()}
    torch.manual_seed(11)
    random = torch.get_rng_state()
    first = list(made(name).measure(models, data()))
    assert torch.equal(random, torch.get_rng_state())
    torch.manual_seed(12)
    second = list(made(name).measure(models, data()))
    assert [m.kind for m in first] == list(made(name).kinds)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    for key, model in models.items():
        assert all(torch.equal(value, before[key][entry]) for entry, value in model.state_dict().items())
        assert model.training == modes[key]
        assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", WITH_KINDS)
def test_a_kind_by_itself_and_a_model_by_itself(name, models):
    """What was measured with others is what is measured alone: so an audit may stop and go on anywhere."""
    whole = {m.kind: m for m in made(name).measure(models, data())}
    last = made(name).kinds[-1]
    probe = made(name)
    alone = probe.measure_kind(last, probe.evaluator(models, data()), data())
    assert same(alone, whole[last])
    single = probe.measure_kind(last, probe.evaluator({"sparse": models["sparse"]}, data()), data())
    for severity, outcomes in single.outcomes.get("sparse", {}).items():
        assert np.array_equal(outcomes.loss, whole[last].outcomes["sparse"][severity].loss)
    for key, values in single.scores.get("sparse", {}).items():
        assert np.array_equal(values, whole[last].scores["sparse"][key])


@pytest.mark.parametrize("name", PROBES)
def test_an_audit_keeps_reads_and_reports(name, models, tmp_path, capsys):
    settings = {"probes": [name], "against": models["dense"], "names": ("sparse", "dense"), **SMALL[name]}
    events: list[dict] = []
    first = sw.audit(models["sparse"], data(), folder=tmp_path / "kept", on_event=events.append, **settings)
    files = sorted((tmp_path / "kept").glob("*/*/*.safetensors"))
    assert len(files) == 2 * (1 + len(made(name).kinds))
    times = {file: file.stat().st_mtime_ns for file in files}
    files[-1].unlink()
    again = sw.audit(models["sparse"], data(), folder=tmp_path / "kept", **settings)
    assert {f for f in files if f.stat().st_mtime_ns != times[f]} == {files[-1]}
    assert again.record.findings == first.record.findings
    assert [event["probe"] for event in events] == ["clean"] + [name] * len(made(name).kinds)
    plain = sw.audit(models["sparse"], data(), **settings)
    assert plain.record.findings == first.record.findings
    json.dumps(plain.record.findings, allow_nan=False)
    if name == "corruption":
        return
    for finding in plain.findings(name):
        estimate = finding["estimate"]
        assert estimate["low"] <= estimate["value"] <= estimate["high"]
        assert finding["method"] in models
        assert finding["difference"] is None or finding["method"] == "sparse"
    plain.show()
    assert plain.report(tmp_path / "audit.html").read_text().count(f'id="data-{name}"') == 1
    assert capsys.readouterr().out


def test_a_changed_model_or_protocol_is_measured_again(models, tmp_path):
    def files(model: nn.Module, **options) -> int:
        sw.audit(model, data(), probes=["attack"], folder=tmp_path, attacks=["fgsm"], **options)
        return len(list(tmp_path.rglob("fgsm*.safetensors")))

    assert [files(models["dense"], eps=[4]), files(models["dense"], eps=[4]), files(models["dense"], eps=[8])] == [
        1,
        1,
        2,
    ]
    assert files(models["sparse"], eps=[4]) == 3
    other = copy.deepcopy(models["dense"])
    assert fingerprint(other) == fingerprint(models["dense"])
    with torch.no_grad():
        next(other.parameters())[0, 0, 0, 0] += 1e-3
    assert fingerprint(other) != fingerprint(models["dense"])


def test_other_normalisation_or_settings_of_a_model_are_measured_again(models, tmp_path):
    def loss(model: nn.Module, images: ImageSet) -> float:
        return float(sw.audit(model, images, probes=[], folder=tmp_path).outcomes("model")[CLEAN].loss.mean())

    plain = dataclasses.replace(data(), mean=(0.0,) * 3, std=(1.0,) * 3)
    kept = [loss(models["dense"], images) for images in (data(), plain)]
    assert kept[0] != kept[1] == float(sw.audit(models["dense"], plain, probes=[]).outcomes("model")[CLEAN].loss.mean())

    said = sw.audit(models["dense"], data(), probes=[]).record.protocol["data"]
    assert (said["mean"], said["std"]) == ([0.3] * 3, [0.2] * 3)

    class Hotter(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.model, self.factor = models["dense"], factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.factor * self.model(x)

    assert loss(Hotter(1.0), data()) == kept[0] != loss(Hotter(3.0), data())
    assert fingerprint(Hotter(2.0)) == fingerprint(Hotter(2.0).eval())
    wide = copy.deepcopy(models["dense"]).double()
    before = fingerprint(wide)
    with torch.no_grad():
        next(wide.parameters())[0, 0, 0, 0] *= 1 + 1e-12
    assert fingerprint(wide) != before


def test_a_damaged_file_is_said(models, tmp_path):
    settings = {"probes": ["weight-noise"], "folder": tmp_path, **SMALL["weight-noise"]}
    sw.audit(models["dense"], data(), **settings)
    file = next(tmp_path.rglob("int4.safetensors"))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(sw.CorruptFileError, match="not a whole measurement"):
        sw.audit(models["dense"], data(), **settings)


def test_many_models_many_probes_and_a_table_that_stays_that_of_corruptions(models):
    options = {key: value for name in ("corruption", "attack", "weight-noise") for key, value in SMALL[name].items()}
    found = sw.audit(models, data(), probes=["corruption", "attack", "weight-noise", "classes"], **options)
    assert [row["method"] for row in found.table()] == ["dense", "sparse"]
    assert found.panel.kinds == ("fog", "gaussian_noise")
    assert set(found.outcomes("sparse")) == {CLEAN, ("fog", 2), ("gaussian_noise", 2)}
    assert list(found.record.findings) == ["attack", "weight-noise", "classes"]
    with pytest.raises(sw.InputError, match="unknown probe with findings 'atack'. Did you mean 'attack'"):
        found.findings("atack")


def test_attacked_outcomes_are_those_of_the_adversarial_images(models):
    examples, model = data(), models["dense"]
    found = sw.audit(model, examples, probes=["attack"], attacks=["fgsm"], eps=[4, 16])
    own = found.evidence["attack"].outcomes["model"]
    images, labels = torch.from_numpy(examples.images).float() / 255, torch.from_numpy(examples.labels)
    results = run("fgsm", model, images, labels, eps=[4 / 255, 16 / 255], mean=[0.3] * 3, std=[0.2] * 3)
    for severity, (_, fooled) in enumerate(results, start=1):
        assert np.array_equal(own["fgsm-linf", severity].correct, ~fooled.numpy())
    assert own["fgsm-linf", 2].accuracy < own["fgsm-linf", 1].accuracy <= own[CLEAN].accuracy
    found_of = {
        m: [r["estimate"]["value"] for r in found.findings("attack") if r["measure"] == m]
        for m in ("accuracy", "Brier")
    }
    conditions = (CLEAN, ("fgsm-linf", 1), ("fgsm-linf", 2))
    assert found_of["Brier"] == pytest.approx([float(own[c].brier.mean()) for c in conditions], abs=1e-6)
    assert found_of["accuracy"] == pytest.approx([own[c].accuracy for c in (CLEAN, ("fgsm-linf", 1), ("fgsm-linf", 2))])


def test_temperature_changes_no_prediction_and_lowers_the_validation_loss(models):
    probe = made("calibration")
    [measured] = probe.measure(models, data())
    clean = sw.audit(models, data(), probes=[]).outcomes("dense")[CLEAN]
    scaled = measured.outcomes["dense"][1]
    assert np.array_equal(scaled.prediction, clean.prediction)
    assert measured.about["temperature"]["dense"] != 1
    on_itself = CalibrationProbe(validation=data())
    [measured] = on_itself.measure(models, data())
    assert measured.outcomes["dense"][1].loss.mean() <= clean.loss.mean() + 1e-6
    with pytest.raises(sw.InputError, match="100% of the validation images are among the audited ones"):
        sw.audit(models, data(), probes=[on_itself])
    other, some = data(50, 6), data().images[:3]
    other.images[:3] = some  # 6 % of 50
    with pytest.raises(sw.InputError, match="6% of the validation images are among the audited ones"):
        sw.audit(models, data(), probes=["calibration"], validation=other)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_models_of_other_types_are_measured_too(kind, models):
    """Every probe that may compute in another type; numbers are those of the model in float32, to its precision."""
    other = copy.deepcopy(models["dense"]).to(kind)
    options = {"detectors": ["msp", "gradnorm", "sensnorm"], "outliers": ["noise/uniform"], "sizes": [1]}
    for name in ("attack", "weight-noise", "ood", "calibration", "classes", "lipschitz"):
        probe = made(name, **(options if name == "ood" else {}))
        found = sw.audit({"own": models["dense"], "other": other}, data(), probes=[probe]).findings(name)
        values = {m: [r["estimate"]["value"] for r in found if r["method"] == m] for m in ("own", "other")}
        assert len(values["own"]) <= len(values["other"]), name
        if name == "lipschitz":
            assert values["other"] == pytest.approx(values["own"], abs=0.02)


def test_outliers_of_ones_own(models, tmp_path):
    from PIL import Image

    for number in range(9):
        Image.fromarray(np.full((20, 30, 3), 25 * number, np.uint8)).save(tmp_path / f"{number}.png")
    folder = made("ood", outliers=[str(tmp_path)], sizes=[1])
    assert {m.kind: len(m.scores["dense"]["msp/1"]) for m in folder.measure(models, data())} == {
        "normal": 40,
        str(tmp_path): 9,
    }
    before = folder.protocol()["outliers"]
    assert before == made("ood", outliers=[str(tmp_path)]).protocol()["outliers"] != [str(tmp_path)]
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "0.png")
    assert made("ood", outliers=[str(tmp_path)]).protocol()["outliers"] != before
    with pytest.raises(sw.InputError, match=r"groups of 10 need as many images; '.*' has 9"):
        sw.audit(models, data(), probes=[made("ood", outliers=[str(tmp_path)], sizes=[1, 10])])
    arrays = {"mine": np.zeros((12, 3, 28, 28), np.uint8), "set": data(10, 8)}
    sets = made("ood", outliers=arrays, sizes=[1])
    counts = [len(m.scores["dense"]["msp/1"]) for m in sets.measure(models, data())]
    assert counts == [40, 12, 10]
    assert sets.protocol()["outliers"][1] == f"set {arrays['set'].hash}"
    assert evenly(10, 4) == [0, 3, 6, 9]
    assert evenly(3, 9) == [0, 1, 2]


def test_networks_that_answer_in_a_mapping_have_a_lower_bound(models):
    class Named(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.model(x)}

    probe, both = made("lipschitz"), {"own": Named(models["dense"]), "plain": models["dense"]}
    found = probe.measure_kind("lower", probe.evaluator(both, data()), data()).scores
    assert found["own"]["stretch"] == pytest.approx(found["plain"]["stretch"], rel=1e-4)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: made("attack", attacks=["fsgm"]), "unknown attack 'fsgm'"),
        (lambda: made("attack", norm="l3"), "unknown norm 'l3'"),
        (lambda: made("attack", attack_options={"stepz": 1}), "none of fgsm, pgd has the option 'stepz'"),
        (lambda: made("attack", eps=[300]), "more than all of"),
        (lambda: made("ood", outliers=["minst"]), "Did you mean 'mnist'"),
        (lambda: made("ood", outliers=["attack/fgsm"]), "must end in a number"),
        (lambda: made("ood", detectors=["msq"]), "unknown detector 'msq'"),
        (lambda: made("ood", train=None), "'sensnorm' learns from training images"),
        (lambda: made("ood", sizes=[0]), "a group of 0"),
        (lambda: made("lipschitz", examples=0), "examples=0"),
        (lambda: make_probes(["attack"], {"epz": 1}), "unknown option of these probes 'epz'. Did you mean 'eps'"),
        (lambda: make_probes(["attack", "attack"], {}), "probes must differ"),
        (lambda: sw.audit({}, data(), probes=[]), "no model to audit"),
        (lambda: list(OODProbe(sizes=[99]).measure({"m": nn.Flatten()}, data())), "groups of 99 need as many images"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        call()


def test_a_missing_package_is_said_before_any_work(monkeypatch):
    def absent(name: str, *_):
        raise ModuleNotFoundError(name)

    for module in ("attacks.external", "detectors.external"):
        monkeypatch.setattr(importlib.import_module(f"sinewy.{module}"), "import_module", absent)
    with pytest.raises(sw.MissingExtraError, match=r"pip install 'sinewy\[attacks\]'"):
        AttackProbe(["fgsm", "autoattack"])
    with pytest.raises(sw.MissingExtraError, match=r"pip install 'sinewy\[ood\]'"):
        OODProbe(detectors=["msp", "odin"])


def test_no_warning_of_an_audit_is_left(models):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sw.audit(models["dense"], data(), probes=["attack", "lipschitz"], attacks=["fgsm"], examples=4, ascent=2)


@pytest.mark.slow
def test_the_command(tmp_path):
    def sinewy(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from sinewy.cli import main; main()", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == code, done.stderr + done.stdout
        return done

    common = ["audit", "lenet5", "--data", "digits", "--limit", "60", "--out", str(tmp_path / "a.html")]
    probes = ["--probes", "attack,weight-noise,ood,calibration,classes"]
    options = ["--attacks", "fgsm", "--eps", "2,8", "--sigmas", "0.1", "--draws", "2", "--keep", str(tmp_path / "kept")]
    detect = ["--outliers", "noise/uniform,attack/fgsm/8", "--detectors", "msp,gradnorm", "--sizes", "1,5"]
    document = json.loads(sinewy(*common, *probes, *options, *detect, "--json").stdout)
    assert list(document["findings"]) == ["attack", "weight-noise", "ood", "calibration", "classes"]
    assert document["protocol"]["attack"]["eps"] == pytest.approx([2 / 255, 8 / 255])
    assert len(list((tmp_path / "kept").glob("*/*/*.safetensors"))) == 1 + 1 + 3 + 3 + 1
    assert "--eps is an option of the attack probe" in sinewy(*common, "--eps", "3", code=2).stderr
    assert "reads numbers" in sinewy(*common, "--probes", "attack", "--eps", "a", code=2).stderr
    assert "Did you mean 'weight-noise'" in sinewy(*common, "--probes", "weight_noise", code=2).stderr


def test_the_page_on_probes_names_them_all():
    from pathlib import Path

    from sinewy.detectors import DETECTORS

    page = (Path(__file__).parents[1] / "docs" / "probes.md").read_text()
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", page, re.MULTILINE))
    assert rows == {name: path.rpartition(":")[2] for name, path in PROBES.items()}
    assert all(f"`{name}`" in page for name in DETECTORS)
