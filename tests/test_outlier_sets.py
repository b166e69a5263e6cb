"""Sets that serve as anomalies: fetched, read evenly from their official layouts, imitated here, and measured on."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

import sinewy as sw
from data_server import SERVED, serving
from sinewy.cli.main import app
from sinewy.data import ImageSet, cifar100, pictures, svhn
from sinewy.probes import outliers
from sinewy.probes.ood import OODProbe
from sinewy.probes.outlier_sets import SETS, pixels_of_set, read_folder
from sinewy.probes.outliers import anomalies


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        monkeypatch.setenv("SINEWY_MIRROR", server.base)
        for name in SERVED:
            server.files |= SERVED[name](monkeypatch)
        yield server


def like(n: int) -> ImageSet:
    pixels = np.zeros((n, 3, 32, 32), np.uint8)
    return ImageSet(pixels, np.zeros(n, np.int64), "like", "test", ("a",), (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("name", ["svhn", "cifar100"])
def test_test_images_are_taken_evenly(name, server, tmp_path):
    whole = {"svhn": svhn, "cifar100": cifar100}[name].read_test(root=tmp_path)
    found = pixels_of_set(name, str(tmp_path))(like(3))
    assert found.shape == (3, 3, 32, 32)
    assert np.array_equal(found, whole[[0, round((len(whole) - 1) / 2), -1]])
    assert np.array_equal(pixels_of_set(name, str(tmp_path))(like(999)), whole)


@pytest.mark.parametrize("name", ["textures", "omniglot"])
def test_pictures_are_brought_to_size(name, server, tmp_path):
    found = pixels_of_set(name, str(tmp_path))(like(2))
    assert found.shape == (2, 3, 32, 32)
    assert [int(image.max()) for image in found] == [0, 180]  # the first and the last
    folder = tmp_path / pictures.SETS[name].places[0]
    next(folder.rglob("*_*0.*")).unlink()
    with pytest.raises(sw.CorruptFileError, match=f"{folder} holds 3 of the 4 pictures of {name}; delete it"):
        pixels_of_set(name, str(tmp_path))(like(2))


def test_textures_are_found_where_torchvision_has_them(server, tmp_path):
    pictures.textures(root=tmp_path)
    (tmp_path / "dtd").rename(tmp_path / "moved")
    (tmp_path / "dtd").mkdir()
    (tmp_path / "moved").rename(tmp_path / "dtd" / "dtd")
    (tmp_path / pictures.SETS["textures"].archive).unlink()
    assert pictures.textures(root=tmp_path, download=False) == tmp_path / "dtd" / "dtd" / "images"
    assert sw.data.present("textures", tmp_path)


def test_folders_of_images(tmp_path):
    for number in range(4):
        Image.fromarray(np.full((40, 50), 60 * number, np.uint8)).save(tmp_path / f"{number}.png")
    (tmp_path / "._9.png").write_bytes(b"what other systems leave in archives")
    assert [int(image.max()) for image in read_folder(tmp_path, like(2))] == [0, 180]
    for content in (b"no image", (tmp_path / "3.png").read_bytes()[:60]):
        (tmp_path / "4.png").write_bytes(content)
        with pytest.raises(sw.CorruptFileError, match="4.png is no whole image"):
            read_folder(tmp_path, like(9))


def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10)).eval()


def test_an_audit_fetches_each_set_once_and_reads_it_once_for_all_models(server, tmp_path, monkeypatch):
    calls, original = [], outliers.pixels_of_set

    def counted(name, root):
        read = original(name, root)
        return lambda data: (calls.append((name, len(data))), read(data))[1]

    monkeypatch.setattr(outliers, "pixels_of_set", counted)
    data = sw.data.load("digits").test.first(12)
    models = {"a": network(), "b": network()}
    options = {"outliers": [*SETS, "oodom/svhn"], "detectors": ["msp"], "root": str(tmp_path)}
    found = sw.audit(models, data, probes=["ood"], **options)
    scores = found.evidence["ood"].scores["a"]
    sizes = {kind: {key: len(score) for key, score in own.items()} for kind, own in scores.items()}
    assert sizes == {
        "normal": {"msp/1": 12},
        "svhn": {"msp/1": 12},
        "cifar100": {"msp/1": 12},
        "textures": {"msp/1": 4},
        "omniglot": {"msp/1": 4},
        "oodom/svhn": {"msp/1": 12},
    }
    assert sorted(calls) == sorted(
        [(name, n) for name in (*SETS, "svhn") for n in (1, 12)]
    )  # once to check, once to use
    assert sorted(server.asked) == sorted(
        ["/test_32x32.mat", "/cifar-100-binary.tar.gz", "/dtd-r1.0.1.tar.gz", "/omniglot-py/images_evaluation.zip"]
    )


def test_list_and_doctor_say_which_sets_are_there(server, tmp_path):
    archive = tmp_path / pictures.SETS["omniglot"].archive
    archive.parent.mkdir()
    archive.write_bytes(b"put there by hand")
    svhn.read_test(root=tmp_path)
    run = CliRunner().invoke
    listed = [
        " ".join(line.split()) for line in run(app, ["list", "data", "--root", str(tmp_path)]).stdout.splitlines()
    ]
    assert any(line.startswith("digits present Return") for line in listed)
    assert any(line.startswith("svhn fetched on first use, 246 MB Return SVHN") for line in listed)
    listed = run(app, ["list", "outlier-sets", "--root", str(tmp_path)]).stdout
    assert "omniglot  present " in listed
    assert "textures  fetched on first use, 625 MB " in listed
    found = json.loads(run(app, ["doctor", "--json", "--root", str(tmp_path)]).stdout)["data"]
    assert {name for name, there in found.items() if there} == {"digits", "omniglot"}
    svhn.load(root=tmp_path)
    said = run(app, ["doctor", "--root", str(tmp_path)]).stdout
    assert re.search(rf"data svhn +present\s.*data folder +{tmp_path}", said, re.DOTALL)


@pytest.mark.parametrize("name", SETS)
def test_what_cannot_be_had_is_said_before_any_work(name, server, tmp_path, monkeypatch):
    server.files.clear()
    monkeypatch.setattr(svhn, "ADDRESS", f"{server.base}/none")
    monkeypatch.setattr(cifar100, "URLS", [f"{server.base}/none"])
    for known, about in pictures.SETS.items():
        monkeypatch.setitem(pictures.SETS, known, about._replace(urls=[f"{server.base}/none"]))
    for outlier in (name, f"oodom/{name}"):
        probe = OODProbe([outlier], root=str(tmp_path))
        with pytest.raises(
            sw.InputError, match=rf"cannot download .*HTTP 404.* put the file at {tmp_path}/.* yourself"
        ):
            probe.check(("model",), like(3))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("svnh", "Did you mean 'svhn'"),
        ("texture", "Did you mean 'textures'"),
        ("oodom/svnh", "unknown anomaly 'oodom/svnh'"),
        ("shift/fog/2.5", "must end in a whole severity"),
        ("shift/fgo/2", "Did you mean 'fog'"),
        ("shift/fog/9", "got 9"),
        ("attack/fgms/8", "Did you mean 'fgsm'"),
    ],
)
def test_names_are_checked_before_any_work(name, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        anomalies([name], seed=0)
