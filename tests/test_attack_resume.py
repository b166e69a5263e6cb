"""An attack that is killed goes on with the next batch, as if nothing had happened."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.attacks import kept
from sinewy.attacks.running import run
from sinewy.data import ImageSet
from sinewy.errors import InputError

SLOW = """
    import time
    from pathlib import Path
    import torch
    from sinewy.attacks.examples import Examples

    def slow(*, norm, stop_when_fooled, log, pause=0.0):
        def attack(victim, examples, eps):
            time.sleep(pause)
            with Path(log).open("a") as file:
                file.write(f"{int(examples.numbers[0])} {eps}\\n")
            moved = (examples.images + eps * torch.sign(examples.images - 0.5)).clamp(0, 1)
            return moved, examples.fooled(victim.logits(moved))
        return attack
"""

ATTACKED = """
    import sys, torch
    from torch import nn
    from sinewy.attacks.running import run

    def attacked(folder, log):
        torch.manual_seed(0)
        images, model = torch.rand(32, 3, 4, 4), nn.Sequential(nn.Flatten(), nn.Linear(48, 4))
        labels = model(images).argmax(1)
        options = {"log": log, "pause": 0.25, "batch": 8, "eps": [0.1, 0.3]}
        return run("slow_attack:slow", model, images, labels, folder=folder, **options)

    if __name__ == "__main__":
        torch.save(attacked(sys.argv[1], sys.argv[2]), sys.argv[3])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    (tmp_path / "slow_attack.py").write_text(textwrap.dedent(SLOW))
    (tmp_path / "attacked.py").write_text(textwrap.dedent(ATTACKED))
    return tmp_path / "attacked.py"


def start(script: Path, *arguments: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(script.parent), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(script), *map(str, arguments)], env=environment)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def test_a_killed_attack_goes_on_with_the_next_batch(script, tmp_path, monkeypatch):
    folder, log, out = tmp_path / "kept", tmp_path / "log", tmp_path / "found.pt"
    first = start(script, folder, log, out)
    deadline = time.monotonic() + 60
    while len(lines(log)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = len(lines(log))
    assert not out.exists()
    assert start(script, folder, log, out).wait() == 0
    monkeypatch.syspath_prepend(tmp_path)
    uninterrupted = importlib.import_module("attacked").attacked(None, tmp_path / "whole")
    again, whole = len(lines(log)) - before, len(lines(tmp_path / "whole"))
    assert again <= whole - 2  # what was in the works when it was killed is attacked again, and nothing else
    for ours, theirs in zip(torch.load(out), uninterrupted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def batch() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(48, 4)), torch.rand(20, 3, 4, 4)
    return model, images, model(images).argmax(1)


def test_only_the_same_attack_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "PATIENCE", 0.0)
    model, images, labels = batch()

    def folders(**changed) -> int:
        run("pgd", model, images, labels, **{"eps": 0.1, "folder": tmp_path, "batch": 8, "steps": 2} | changed)
        return len(list(tmp_path.iterdir()))

    assert [folders(), folders(), folders(seed=1), folders(steps=3), folders(eps=[0.1, 0.2])] == [1, 1, 2, 3, 4]
    with torch.no_grad():
        model[1].bias[0] += 1e-3
    assert folders() == 5
    with pytest.raises(InputError, match="cannot be kept with the attack's batches; give it by name"):
        folders(loss=lambda logits, labels, targets: logits.sum(1))


def test_a_model_of_other_settings_is_attacked_anew():
    class Hotter(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

    named = [kept.meaning(model, {}, {}) for model in (Hotter(1.0), Hotter(1.0).eval(), Hotter(2.0))]
    assert named[0] == named[1] != named[2]


def test_damaged_parts_are_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "PATIENCE", 0.0)
    model, images, labels = batch()
    settings = {"eps": [0.05, 0.2], "batch": 8}
    [*first] = run("pgd", model, images, labels, folder=tmp_path, **settings)
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:-3])
    for found in (
        run("pgd", model, images, labels, **settings),
        run("pgd", model, images, labels, folder=tmp_path, **settings),
    ):
        assert all(
            torch.equal(a, b) for ours, own in zip(first, found, strict=True) for a, b in zip(ours, own, strict=True)
        )


def test_a_quick_batch_leaves_no_file(tmp_path):
    model, images, labels = batch()
    run("fgsm", model, images, labels, eps=0.1, folder=tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_an_audit_goes_on_within_an_attack(tmp_path, monkeypatch):
    """The probe keeps a block's logits until the kind is whole; then the parts are gone."""
    generator = np.random.default_rng(0)
    examples = ImageSet(
        generator.integers(0, 256, (30, 3, 8, 8), dtype=np.uint8),
        generator.integers(0, 4, 30),
        "noise",
        "test",
        ("a", "b", "c", "d"),
        (0.5,) * 3,
        (0.5,) * 3,
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4)).eval()
    monkeypatch.setattr("sinewy.probes.attack.pixel_blocks", lambda data: torch.from_numpy(data.images).split(10))
    attacked: list[int] = []

    def stopping(*arguments, start, **options):
        if start == 20 and len(attacked) == 2:
            attacked.append(-1)
            raise KeyboardInterrupt
        attacked.append(start)
        return run(*arguments, start=start, **options)

    monkeypatch.setattr("sinewy.probes.attack.run", stopping)
    settings = {"probes": ["attack"], "attacks": ["pgd"], "eps": [8, 32]}
    with pytest.raises(KeyboardInterrupt):
        sw.audit(model, examples, folder=tmp_path, **settings)
    assert len(list(tmp_path.rglob("*.parts/*.safetensors"))) == 2
    found = sw.audit(model, examples, folder=tmp_path, **settings)
    assert attacked == [0, 10, -1, 20]
    assert not list(tmp_path.rglob("*.parts"))
    assert found.findings("attack") == sw.audit(model, examples, **settings).findings("attack")
