"""What the tests of `limit` share: a network that reads the digits, records made by hand, studies that are killed."""

from __future__ import annotations

import functools
import subprocess
import sys

import numpy as np
import torch
from torch import nn

import sinewy as sw
from sinewy.analysis.limit_record import Level, LimitRecord
from sinewy.layers import prunable
from sinewy.masks import Masks
from sinewy.outcomes import CLEAN, Outcomes

FOG = {"shifts": ["fog"], "first": 100}


@functools.cache
def load_digits():
    return sw.data.load("digits")


@functools.cache
def trained_network():
    """A network of two layers that reads the digits well."""
    torch.manual_seed(0)
    return sw.fit(network(), load_digits(), epochs=12, lr=0.1, batch=32, weight_decay=0.0).model


def network(width=24):
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10))


def correct(model, images):
    pixels = torch.from_numpy(images.images).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (images.mean, images.std))
    with torch.no_grad():
        return (model((pixels - mean) / std).argmax(1).numpy() == images.labels).mean()


def zeros(model):
    return Masks.of_zeros(prunable(model)).sparsity


def outcomes(wrong, n=200):
    """Outcomes of a model that errs on the first `wrong` of n examples."""
    label, column = np.zeros(n, np.int32), np.zeros(n, np.float32)
    prediction = label.copy()
    prediction[:wrong] = 1
    return Outcomes(label, prediction, column, column, column, column)


def record(curves, margin=1.0, n=200, *, parent_errors=0, retrain="none"):
    """A record whose parent is always right (or errs), and whose levels err as often as `curves` says, per kind."""
    conditions = {kind: (CLEAN if kind == "clean" else (kind, 3)) for kind in curves}
    levels = [
        Level(s, (), {conditions[kind]: outcomes(curve[i], n) for kind, curve in curves.items()})
        for i, s in enumerate((0.2, 0.36, 0.49, 0.59))
    ]
    parent = {condition: outcomes(parent_errors, n) for condition in conditions.values()}
    groups = {"clean": (CLEAN,)} | {kind: (conditions[kind],) for kind in curves if kind != "clean"}
    return LimitRecord("t", "magnitude", retrain, margin, 0.05, tuple(levels), parent, groups)


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def scaled(outputs, labels, factor):
    return factor * nn.functional.cross_entropy(outputs, labels)


class Weighted:
    """A loss whose text, as Python prints it, is another in every process."""

    def __init__(self, weight):
        self.weight, self.scaled = torch.tensor(weight), functools.partial(scaled, factor=2.0)

    def __call__(self, outputs, labels):
        return self.scaled(outputs * self.weight, labels)


def by_own_loss(folder, weight):
    torch.manual_seed(0)
    options = {"method": "snip", "grid": [0.5], "shifts": [], "first": 20, "folder": folder}
    sw.limit(network(), sw.data.load("digits"), loss=Weighted(weight), **options)


def small_study(folder):
    """A limit that takes long enough to be killed in its middle."""
    torch.manual_seed(0)
    data = sw.data.load("digits")
    options = {"retrain": "3ep", "training": {"batch": 8}, "shifts": ["fog", "contrast"], "first": 100}
    sw.limit(network(), data, grid=[0.3, 0.5, 0.7], folder=folder, **options)


def start(folder, tests):
    code = "import sys, torch, limit_parts; torch.set_num_threads(1); limit_parts.small_study(sys.argv[1])"
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=tests, stderr=subprocess.PIPE, text=True)
