"""`sinewy limit` and the data it reads: built-in sets, folders of images, arrays; errors in one sentence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import sinewy as sw
from sinewy.cli.main import app
from sinewy.errors import CorruptFileError, InputError
from sinewy.limits.sources import read_source
from sinewy.modelfile import save_model


def run(*words):
    """Run a command in this process, with its errors as exceptions."""
    done = CliRunner().invoke(app, list(words))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Red, green and blue pictures of several sizes, in train/ and test/ by class."""
    root = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for part, number in (("train", 10), ("test", 4)):
        for channel, name in enumerate(("blue", "green", "red")):
            for index in range(number):
                pixels = generator.integers(0, 90, (20 + index, 24, 3), dtype=np.uint8)
                pixels[..., 2 - channel] += 160
                path = root / part / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    return root


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    digits = sw.data.load("digits")
    path = tmp_path_factory.mktemp("arrays") / "digits.npz"
    np.savez(path, images=digits.test.images, labels=digits.test.labels)
    return path


def test_a_folder_of_images(folder):
    splits = read_source(f"imagefolder:{folder}", size=16)
    assert splits.train.images.shape == (30, 3, 16, 16)
    assert splits.test.images.shape == (12, 3, 16, 16)
    assert splits.train.classes == ("blue", "green", "red")
    assert (splits.test.split, splits.validation) == ("test", None)
    assert (splits.test.images.mean((2, 3)).argmax(1) == 2 - splits.test.labels).all()
    assert splits.train.mean == (0.0, 0.0, 0.0)
    assert read_source(f"imagefolder:{folder}", size=16, mean=(0.5,) * 3, std=(0.2,) * 3).test.std == (0.2,) * 3


def test_one_folder_is_divided_the_same_way_every_time(folder):
    once, again = (read_source(f"imagefolder:{folder / 'train'}", size=8) for _ in range(2))
    assert (len(once.train), len(once.test)) == (24, 6)
    assert np.bincount(once.test.labels).tolist() == [2, 2, 2]
    assert once.test.hash == again.test.hash
    assert read_source(f"imagefolder:{folder / 'train'}", size=8, seed=1).test.hash != once.test.hash


def test_arrays_in_a_file(arrays, tmp_path):
    splits = read_source(f"npz:{arrays}")
    assert (len(splits.train), len(splits.test)) == (400, 100)
    np.savez(
        tmp_path / "both.npz",
        **{f"{part}{name}": getattr(splits.test, name) for part in ("", "test_") for name in ("images", "labels")},
    )
    assert read_source(f"npz:{tmp_path / 'both.npz'}").train.hash == splits.test.hash


def test_built_in_data_is_as_elsewhere():
    assert read_source("digits").test.hash == sw.data.load("digits").test.hash


def test_data_that_cannot_be_read(folder, arrays, tmp_path):
    (tmp_path / "broken" / "a").mkdir(parents=True)
    (tmp_path / "broken" / "a" / "x.png").write_bytes(b"no picture")
    (tmp_path / "cut.npz").write_bytes(arrays.read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "half.npz", images=np.zeros((4, 3, 8, 8), np.uint8))
    np.savez(tmp_path / "objects.npz", images=np.array([{}], dtype=object), labels=np.zeros(1, int))
    np.savez(tmp_path / "floats.npz", images=np.zeros((9, 3, 8, 8)), labels=np.zeros(9, int))
    for source, sentence in (
        ("digts", "Did you mean 'digits'"),
        (f"imagefolder:{tmp_path / 'nowhere'}", "there is no folder"),
        (f"imagefolder:{tmp_path / 'empty'}", "no class folders"),
        (f"imagefolder:{folder}", "bring all to one size: --size"),
        (f"imagefolder:{tmp_path / 'broken'}", "x.png cannot be read as an image"),
        (f"npz:{tmp_path / 'nowhere.npz'}", "there is no file"),
        (f"npz:{tmp_path / 'cut.npz'}", "not a whole .npz file"),
        (f"npz:{tmp_path / 'half.npz'}", "it needs images and labels"),
        (f"npz:{tmp_path / 'objects.npz'}", "not a whole .npz file of plain arrays"),
        (f"npz:{tmp_path / 'floats.npz'}", "pixels are bytes"),
    ):
        with pytest.raises((InputError, CorruptFileError), match=sentence):
            read_source(source)
    with pytest.raises(InputError, match="'digits' has its own"):
        read_source("digits", size=8)


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A run folder as a study leaves it, of a small network."""
    digits = sw.data.load("digits")
    model = sw.models.build("lenet-300-100", classes=10, image_size=32)
    trained = sw.fit(model, digits, epochs=2, lr=0.05, batch=32)
    path = tmp_path_factory.mktemp("cells") / "a1"
    about = {
        "cell": {
            "model": {"name": "lenet-300-100"},
            "data": {"name": "digits"},
            "train": {"epochs": 2, "lr": 0.05, "batch": 32},
            "sparsifier": {"name": "dense"},
            "seed": 0,
        },
        "classes": list(digits.test.classes),
        "image": [3, 32, 32],
    }
    save_model(path / "model.safetensors", trained.model, None, about)
    return path


def test_a_run_folder_needs_nothing_else(cell, tmp_path):
    words = ("limit", str(cell), "--grid", "0.5,0.9", "--shifts", "fog,blur", "--limit", "80", "--out", str(tmp_path))
    done = run(*words)
    assert done.exit_code == 0
    assert "your test set" in done.stdout
    assert "blur (4 kinds)" in done.stdout
    assert f"wrote {tmp_path / 'report.html'}" in done.stdout
    assert "next: sinewy audit" in done.stderr or "next: open" in done.stderr
    found = json.loads(run(*words, "--json").stdout)
    assert [row["group"] for row in found["table"]] == ["clean", "fog", "blur"]
    assert found["partial"] == "only the first 80 of 500 examples"
    level = Path(found["levels"]["0.5"])
    audited = run(
        "audit",
        str(level),
        "--against",
        str(cell),
        "--kinds",
        "fog",
        "--limit",
        "80",
        "--json",
        "--out",
        str(tmp_path / "audit.html"),
    )
    row = json.loads(audited.stdout)["table"][1]
    assert row["sparsity"] == pytest.approx(0.5, abs=1e-3)
    assert row["clean_difference"]["value"] == pytest.approx(-found["curves"]["clean"]["losses"][0]["value"], abs=1e-6)


def test_retraining_takes_the_options_the_model_was_trained_with(cell, tmp_path):
    words = ("limit", str(cell), "--grid", "0.8", "--shifts", "none", "--retrain", "1ep", "--out", str(tmp_path))
    done = run(*words)
    assert "epoch 1/1" in done.stderr
    settings = json.loads((tmp_path / "limit.json").read_text())
    assert (settings["training"]["lr"], settings["training"]["batch"], settings["training"]["epochs"]) == (0.05, 32, 1)
    with pytest.raises(InputError, match="limit of another training"):
        run(*words, "--lr", "0.01")


def test_a_model_of_ones_own_on_arrays(arrays, tmp_path):
    """A real process: a builder in the folder where the command is typed, weights beside it."""
    (tmp_path / "shop.py").write_text(
        "from torch import nn\n\n\ndef build(classes):\n"
        "    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, classes))\n"
    )
    model = torch.nn.Sequential(torch.nn.AvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(48, 10))
    save_model(tmp_path / "shop.safetensors", model)
    command = [sys.executable, "-c", "from sinewy.cli import main; main()"]
    words = ["limit", "shop:build", "--weights", "shop.safetensors", "--data", f"npz:{arrays}", "--grid", "0.5"]
    done = subprocess.run(
        [*command, *words, "--shifts", "fog"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "runs").iterdir()
    assert (made / "levels/0.5/model.safetensors").is_file()
    assert sw.read_model(made / "levels/0.5/model.safetensors").about["cell"]["model"] == {"name": "shop:build"}
    done = subprocess.run(
        [*command, *words, "--margin", "-1"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: margin=-1.0 is in percentage points")
    assert done.stdout == ""


def test_another_normalisation_is_another_folder(cell, arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("limit", str(cell), "--data", f"npz:{arrays}", "--grid", "0.5", "--shifts", "none", "--limit", "20")
    for extra in ((), ("--mean", "0.5,0.5,0.5"), ("--std", "0.5,0.5,0.5"), ("--std", "0.5,0.5,0.5")):
        run(*words, *extra)
    assert len(list((tmp_path / "runs").iterdir())) == 3


def test_a_folder_of_many_models_is_no_model(cell, tmp_path):
    study = tmp_path / "study"
    (study / "cells").mkdir(parents=True)
    (study / "study.json").write_text("{}")
    with pytest.raises(InputError, match=r"study is a whole study, 0 of its cells hold a model; name one: .*/cells/ID"):
        run("limit", str(study))
    shutil.copytree(cell, study / "cells" / "b2")
    with pytest.raises(InputError, match=r"1 of its cells hold a model; name one: .*/cells/b2\."):
        run("limit", str(study))
    (tmp_path / "limit.json").write_text("{}")
    with pytest.raises(InputError, match=r"is a whole limit, .*/levels/ID"):
        run("limit", str(tmp_path), "--data", "digits")
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(InputError, match=r"weights.pt is no .safetensors file"):
        run("limit", str(tmp_path / "weights.pt"), "--data", "digits")
    with pytest.raises(InputError, match="is the run finished"):
        run("limit", str(study / "cells"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["convnet"], "name the data: --data cifar10"),
        (["convnet", "--data", "digts"], "Did you mean 'digits'"),
        (["convnett", "--data", "digits"], "Did you mean 'convnet'"),
        (["nowhere/", "--data", "digits"], "unknown model"),
        (["convnet", "--data", "digits", "--grid", "a,b"], "--grid takes numbers with commas"),
        (["convnet", "--data", "digits", "--lr", "0.1"], "--lr is for retraining"),
        (["convnet", "--data", "digits", "--retrain", "soon"], "write the epochs as '10ep'"),
        (["convnet", "--data", "digits", "--method", "magnitud"], "Did you mean 'magnitude'"),
        (["convnet", "--data", "digits", "--shifts", "fogg"], "Did you mean 'fog'"),
        (["convnet", "--data", "digits", "--severities", "7"], "severities must be among"),
        (["convnet", "--data", "digits", "--severities", "3.7"], "--severities takes whole numbers .* got '3.7'"),
        (["nowhere"], "unknown model 'nowhere'.* There is no such model, folder or file"),
    ],
)
def test_impossible_requests(words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=sentence):
        run("limit", *words)
    assert list(tmp_path.iterdir()) == []


def test_the_next_command_compares_with_the_same_weights(tmp_path, monkeypatch):
    """Without them the reference would be a new, untrained network, and the pruned one would seem to gain."""
    torch.manual_seed(0)
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n\n"
        "def net():\n    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    digits = sw.data.load("digits")
    import mine

    trained = sw.fit(mine.net(), digits, epochs=2, lr=0.1, batch=32).model
    save_model(tmp_path / "w.safetensors", trained, None, {})
    words = (
        "limit",
        "mine:net",
        "--data",
        "digits",
        "--grid",
        "0.2",
        "--shifts",
        "none",
        "--margin",
        "20",
        "--out",
        "l",
    )
    done = run(*words, "--weights", "w.safetensors")
    assert "is taken as it is built" not in done.stderr
    command = done.stderr.strip().splitlines()[-1].removeprefix("next: sinewy ").split()
    assert command[2:] == ["--against", "mine:net", "--against-weights", "w.safetensors"]
    audited = run(*command, "--kinds", "fog", "--limit", "100")
    assert "(reference) (reference)" not in " ".join(audited.stdout.split())
    clean = json.loads(run(*command, "--kinds", "fog", "--limit", "100", "--json").stdout)["table"][0]["clean_accuracy"]
    assert clean["value"] > 0.5
    said = run("audit", command[1], "--against", "mine:net", "--kinds", "fog", "--limit", "50").stderr
    assert "note: mine:net is taken as it is built" in said
    assert "--against-weights FILE.safetensors" in said
