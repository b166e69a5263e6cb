"""The folder of a limit: gone on with after a kill, never mixed, known again by another process."""

from __future__ import annotations

import copy
import functools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from limit_parts import FOG, by_own_loss, load_digits, network, small_study, stamps, start, trained_network, zeros
from sinewy.errors import InputError
from sinewy.limits.describing import described


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def trained():
    return trained_network()


def test_a_folder_is_gone_on_with_and_never_mixed(trained, digits, tmp_path):
    folder = tmp_path / "limit"
    first = sw.limit(trained, digits, grid=[0.5, 0.9], folder=folder, **FOG)
    assert (folder / "levels/0.5/model.safetensors").is_file()
    assert not (folder / "shifted").exists()
    before = stamps(folder)
    again = sw.limit(trained, digits, grid=[0.5, 0.9], folder=folder, margin=5.0, **FOG)
    assert stamps(folder) == before  # another margin asks nothing new of the networks
    assert again.losses("fog") == first.losses("fog")
    wider = sw.limit(trained, digits, grid=[0.5, 0.9], folder=folder, shifts=["fog", "contrast"], first=100)
    assert set(before) < set(stamps(folder))
    assert wider.losses("fog") == first.losses("fog")
    with pytest.raises(InputError, match=r"limit of another grid \(\[0.5, 0.9\], now \[0.5\]\)"):
        sw.limit(trained, digits, grid=[0.5], folder=folder, **FOG)
    with pytest.raises(InputError, match="limit of another method"):
        sw.limit(trained, digits, grid=[0.5, 0.9], method="random", folder=folder, **FOG)
    hotter = copy.deepcopy(trained)
    hotter.temperature = 2.0  # the same tensors
    with pytest.raises(InputError, match="limit of another model"):
        sw.limit(hotter, digits, grid=[0.5, 0.9], folder=folder, **FOG)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="holds other files"):
        sw.limit(trained, digits, grid=[0.5], folder=tmp_path / "mine", **FOG)


def test_another_normalisation_is_another_training(trained, digits, tmp_path):
    """Networks retrained on pixels normalised otherwise are others, although the bytes are the same."""
    train, test = ((part.images[:96], part.labels[:96]) for part in (digits.train, digits.test))
    options = {"retrain": "1ep", "grid": [0.5], "shifts": [], "folder": tmp_path / "limit"}
    sw.limit(trained, train, test, **options)
    for other in ({"mean": (0.5,) * 3}, {"std": (0.5,) * 3}):
        with pytest.raises(InputError, match="holds a limit of another training data"):
            sw.limit(trained, train, test, **options, **other)


def test_a_loss_of_ones_own_is_known_again_by_another_process(tmp_path, request):
    folder = tmp_path / "limit"
    by_own_loss(folder, 1.0)
    made = stamps(folder)
    code = f"import limit_parts; limit_parts.by_own_loss({str(folder)!r}, 1.0)"
    subprocess.run([sys.executable, "-c", code], cwd=request.path.parent, check=True)
    assert stamps(folder) == made
    with pytest.raises(InputError, match="holds a limit of another options"):
        by_own_loss(folder, 3.0)


def test_what_values_are_told_apart_by():
    def closing(factor):
        return lambda outputs, labels: factor * outputs.sum()

    class Circle:
        def __init__(self):
            self.itself = self

    pairs = [
        (torch.zeros(3), torch.ones(3)),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.array(["a"]), np.array(["b"])),
        (closing(1.0), closing(2.0)),
        (lambda x: x + 1, lambda x: x + 2),
        (functools.partial(zeros, 1), functools.partial(zeros, 2)),
        (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
        ([nn.Linear], [nn.Conv2d]),
        ({"a": zeros}, {"a": network}),
        ("local", "global"),
    ]
    for one, other in pairs:
        assert described(one) != described(other)
        for value in (one, other):
            assert described(value) == described(copy.deepcopy(value))
            assert " at 0x" not in described(value)
    assert described(zeros) == "limit_parts:zeros"
    assert described(torch.arange(3.0)) != described(torch.arange(3))
    assert " at 0x" not in described(Circle())


def test_kill_9_and_the_same_call(tmp_path, request):
    """Killed while it retrains the second level; what it ends in is, bit for bit, what an undisturbed run ends in."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    with start(folder, request.path.parent) as killed:
        deadline = time.monotonic() + 120
        while not (folder / "levels/0.3/model.safetensors").is_file():
            assert time.monotonic() < deadline
            assert killed.poll() is None, killed.stderr.read()
            time.sleep(0.005)
        time.sleep(0.2)
        killed.send_signal(signal.SIGKILL)
    done = stamps(folder)
    assert not (folder / "levels/0.7/model.safetensors").is_file()
    small_study(folder)
    assert done.items() <= stamps(folder).items()  # nothing is made twice
    small_study(whole)
    files = sorted(path.relative_to(whole) for path in stamps(whole))
    assert len(files) == 3 + 4 * 3
    for file in files:
        assert (whole / file).read_bytes() == (folder / file).read_bytes()
