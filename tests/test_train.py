"""Training: it learns, it resumes to the bit after any kill, and it refuses what cannot work."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.data import ImageSet, Splits
from sinewy.errors import InputError
from sinewy.recipe import TrainOptions
from sinewy.train import Interrupted
from sinewy.train.checkpoint import load_checkpoint, save_checkpoint
from sinewy.train.optimizer import learning_rate


def stripes(count: int, split: str, seed: int) -> ImageSet:
    """Horizontal against vertical stripes, in noise: learnable in a few steps."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    images = generator.integers(0, 120, (count, 3, 16, 16), dtype=np.uint8)
    images[labels == 0, :, ::4, :] += 120
    images[labels == 1, :, :, ::4] += 120
    return ImageSet(images, labels.astype(np.int64), "stripes", split, ("rows", "columns"), (0.3,) * 3, (0.2,) * 3)


@pytest.fixture(scope="module")
def data() -> Splits:
    return Splits(stripes(128, "train", 0), stripes(32, "validation", 1), stripes(40, "test", 2))


def network(dropout: float = 0.2) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 16, 5),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(16, 2),
        )


OPTIONS = {"epochs": 4, "batch": 16, "lr": 0.1, "augment": "crop-flip", "warmup": 1, "label_smoothing": 0.1}


def after(times: int) -> Callable[[], bool]:
    """Return a question whose answer is yes after it was asked so many times."""
    asked = iter(range(1000))
    return lambda: next(asked) == times


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}


def test_it_learns_and_tells_what_it_did(data):
    events = []
    run = sw.fit(network(), data, sw.RigL(0.7, every=5), on_event=events.append, **OPTIONS)
    assert run.validation_accuracy > 0.9
    assert [row.epoch for row in run.history] == [0, 1, 2, 3] == [event["epoch"] for event in events]
    assert run.history[-1].loss < run.history[0].loss
    assert sum(row.moved for row in run.history) == run.sparsifier.moved > 0
    assert run.masks.sparsity == pytest.approx(0.7, abs=1e-3)
    run.masks.check(run.model)


@pytest.mark.parametrize("method", [None, sw.Static(0.7), sw.SET(0.7, every=5), sw.RigL(0.7, every=5)], ids=str)
def test_training_flops_are_counted_step_by_step(data, method):
    cost = sw.fit(network(), data, method, **OPTIONS).cost
    steps = 4 * 8
    assert cost.dense_training_flops == pytest.approx(3 * cost.dense_inference_flops * 16 * steps)
    updates = sum(step % 5 == 0 for step in range(1, int(0.75 * steps) + 1)) if isinstance(method, sw.RigL) else 0
    dense_gradients = updates * 16 * (cost.dense_inference_flops - cost.inference_flops)
    assert cost.training_flops == pytest.approx(3 * cost.inference_flops * 16 * steps + dense_gradients)


def test_same_seed_same_bits_and_the_callers_random_numbers_are_left_alone(data):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first = sw.fit(network(), data, sw.SET(0.7, every=5), **OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(7)
    again = sw.fit(network(), data, sw.SET(0.7, every=5), **OPTIONS)
    other = sw.fit(network(), data, sw.SET(0.7, every=5), seed=1, **OPTIONS)
    assert bits(first.model) == bits(again.model) != bits(other.model)


@pytest.mark.parametrize(
    "extra", [{}, {"optimizer": "adamw", "lr": 0.01}, {"ema": 0.9}, {"clip": 0.5, "nesterov": True}], ids=str
)
@pytest.mark.parametrize("stop_after", [3, 7, 8, 21])
def test_stop_and_go_on_is_bit_equal(data, tmp_path, extra, stop_after):
    options = OPTIONS | extra
    whole = sw.fit(network(), data, sw.RigL(0.7, every=5), **options)
    with pytest.raises(Interrupted):
        sw.fit(network(), data, sw.RigL(0.7, every=5), folder=tmp_path, should_stop=after(stop_after), **options)
    resumed = sw.fit(network(), data, sw.RigL(0.7, every=5), folder=tmp_path, **options)
    assert bits(resumed.model) == bits(whole.model)
    assert resumed.masks.hash == whole.masks.hash
    assert resumed.cost == whole.cost
    assert [(r.loss, r.moved, r.validation_accuracy) for r in resumed.history] == [
        (r.loss, r.moved, r.validation_accuracy) for r in whole.history
    ]


@pytest.mark.parametrize("extra", [{}, {"ema": 0.9}], ids=str)
def test_networks_of_epochs_are_kept(data, tmp_path, extra):
    options, keep = OPTIONS | extra, (1, 3)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    trained = sw.fit(network(), data, sw.RigL(0.7, every=5), folder=whole, keep_epochs=keep, **options)
    assert [file.name for file in sorted((whole / "epochs").iterdir())] == ["0001.safetensors", "0003.safetensors"]
    how = {"folder": stopped, "keep_epochs": keep, **options}
    with pytest.raises(Interrupted):
        sw.fit(network(), data, sw.RigL(0.7, every=5), should_stop=after(11), **how)
    assert [file.name for file in (stopped / "epochs").iterdir()] == ["0001.safetensors"]
    sw.fit(network(), data, sw.RigL(0.7, every=5), **how)
    for epoch in keep:
        file = f"epochs/{epoch:04d}.safetensors"
        assert (stopped / file).read_bytes() == (whole / file).read_bytes()
        model = network()
        masks = sw.load_model(whole / file, model)
        about = sw.read_model(whole / file).about
        assert about["epochs"] == epoch
        assert about["validation_accuracy"] == trained.history[epoch - 1].validation_accuracy
        assert masks.sparsity == pytest.approx(0.7, abs=0.01)
        assert bits(model) != bits(trained.model)


@pytest.mark.parametrize("epoch", [0, 5])
def test_only_epochs_of_the_training_can_be_kept(data, tmp_path, epoch):
    with pytest.raises(InputError, match=f"keep_epochs: {epoch} is not an epoch of this training, which has 1 to 4"):
        sw.fit(network(), data, folder=tmp_path, keep_epochs=[epoch], **OPTIONS)
    with pytest.raises(InputError, match="keep_epochs needs a folder"):
        sw.fit(network(), data, keep_epochs=[1], **OPTIONS)


@pytest.mark.parametrize("method", ["RigL(0.7, every=5)", "IMP(0.7, fraction=0.5, rewind=3)"])
def test_kill_9_at_any_moment_then_the_same_command(tmp_path, method):
    """A process that checkpoints at every step is killed several times; the final weights are those of a quiet run."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, torch
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            torch.set_num_threads(1)
            import sinewy as sw
            from test_train import OPTIONS, network, stripes
            from sinewy.data import Splits
            data = Splits(stripes(128, "train", 0), stripes(32, "validation", 1), stripes(40, "test", 2))
            run = sw.fit(network(), data, sw.{method}, folder=sys.argv[1], checkpoint_seconds=0, **OPTIONS)
            sw.save_model(sys.argv[2], run.model, run.masks)
            """
        )
    )
    quiet, killed = tmp_path / "quiet.safetensors", tmp_path / "killed.safetensors"
    subprocess.run([sys.executable, script, tmp_path / "a", quiet], check=True)
    checkpoint = tmp_path / "b" / "checkpoint.pt"
    for kill in range(3):
        process = subprocess.Popen([sys.executable, script, tmp_path / "b", killed])
        seen = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns <= seen):
            time.sleep(0.002)
        time.sleep(0.004 * kill)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, script, tmp_path / "b", killed], check=True)
    first, second = (sw.read_model(path) for path in (quiet, killed))
    assert first.masks.hash == second.masks.hash
    assert all(torch.equal(value, second.weights[name]) for name, value in first.weights.items())


def test_a_damaged_checkpoint_is_not_taken_for_a_whole_one(data, tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 3, "weights": torch.arange(4)})
    assert load_checkpoint(path)["step"] == 3
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole[:10], whole[:50] + b"x" + whole[51:], b""):
        path.write_bytes(damaged)
        with pytest.raises(sw.CorruptFileError, match="truncated or was changed"):
            sw.fit(network(), data, folder=tmp_path, **OPTIONS)


def test_a_full_disk_keeps_the_earlier_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(sw.InputError, match=r"cannot write .*checkpoint\.pt: No space left on device"):
        save_checkpoint(path, {"step": 2})
    assert load_checkpoint(path) == {"step": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_of_another_run_is_refused(data, tmp_path):
    with pytest.raises(Interrupted):
        sw.fit(network(), data, folder=tmp_path, should_stop=lambda: True, **OPTIONS)
    with pytest.raises(sw.InputError, match="made with other seed"):
        sw.fit(network(), data, folder=tmp_path, seed=5, **OPTIONS)
    with pytest.raises(sw.InputError, match="made with other options"):
        sw.fit(network(), data, folder=tmp_path, **(OPTIONS | {"lr": 0.2}))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochz": 3}, "unknown field 'epochz'. Did you mean 'epochs'"),
        ({"epochs": 0}, "epochs: input should be greater than or equal to 1; got 0"),
        ({"precision": "fp16"}, "needs a GPU"),
        ({"schedule": "cosin"}, "schedule: input should be 'cosine', 'step' or 'constant'"),
    ],
)
def test_bad_options(data, options, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        sw.fit(network(), data, device="cpu", **options)


def test_divergence_says_what_to_do(data):
    with pytest.raises(sw.InputError, match="loss became .*lower lr"):
        sw.fit(network(), data, **(OPTIONS | {"lr": 1e18, "warmup": 0}))


def test_learning_rates():
    cosine = TrainOptions(epochs=10, lr=1.0, warmup=2)
    rates = [learning_rate(cosine, step, 5) for step in range(50)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1.0
    assert rates[30] == pytest.approx(0.5)
    assert sorted(rates[10:], reverse=True) == rates[10:]
    steps = TrainOptions(epochs=4, lr=1.0, schedule="step", milestones=(0.5, 0.75), gamma=0.1)
    assert [learning_rate(steps, 10 * epoch, 10) for epoch in range(4)] == pytest.approx([1, 1, 0.1, 0.01])
