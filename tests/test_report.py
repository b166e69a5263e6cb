"""The report says what was found, draws it, keeps hostile text inert, and fetches nothing."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from sinewy.analysis import Estimate, Panel
from sinewy.errors import InputError
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.records import Cost, Epoch, Layer, RunRecord, StudyRecord
from sinewy.report import answer, summary, write_report
from sinewy.report.escaping import csv_text, figure_text, script_json
from sinewy.report.gains import by_frequency
from sinewy.report.numbers import flat, flops, points
from sinewy.report.style import family, styles
from sinewy.report.tables import differing_settings

KINDS = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "defocus_blur",
    "gaussian_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "spatter",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "saturate",
]
METHODS = {"dense": 0.0, "SET 50 %": 0.5, "SET 90 %": 0.9, "RigL 50 %": 0.5, "GraNet 80 %": 0.8}
HOSTILE = "</script><img src=x onerror=alert(1)>"


def _outcomes(correct, label):
    ones = np.ones(len(label), np.float32)
    return Outcomes(label, np.where(correct, label, (label + 1) % 10).astype(np.int32), ones, ones, ones, ones)


def _audit(rng, difficulty, label, lift):
    """Outcomes whose accuracy falls with severity and, on the noise kinds, rises by `lift`."""
    found = {CLEAN: _outcomes(difficulty + 0.4 * rng.normal(size=len(label)) > -1.5 + lift / 4, label)}
    for index, kind in enumerate(KINDS):
        for severity in range(1, 6):
            threshold = -1.4 + 0.12 * severity + 0.05 * (index % 7) * severity - lift * (1.5 if index < 4 else 0.3)
            found[kind, severity] = _outcomes(difficulty + 0.5 * rng.normal(size=len(label)) > threshold, label)
    return found


def _run(method, sparsity, seed, difficulty, label, lift):
    rng = np.random.default_rng([seed, list(METHODS).index(method)])
    names = ["conv1", "layer1.conv1", "layer1.conv2", "layer2.conv1", "layer2.conv2", "fc"]
    layers = tuple(
        Layer(f"{name}.weight", (32, 9 * 2**i), 288 * 2**i, round(288 * 2**i * (1 - sparsity * (0.6 + 0.08 * i))))
        for i, name in enumerate(names)
    )
    pace = 0.8 + 0.05 * sparsity + 0.01 * rng.random()
    history = tuple(
        Epoch(
            e,
            2.2 * pace**e + 0.04 * rng.random(),
            1 - pace**e,
            0.95 - 0.7 * pace**e,
            0.1,
            sparsity * min(1, e / 5),
            9,
            3.5,
        )
        for e in range(1, 16)
    )
    cost = Cost(
        18144, round(18144 * (1 - sparsity)), 4.1e7, 4.1e7 * (1 - 0.8 * sparsity), 2.4e12, 2.4e12 * (1 - 0.7 * sparsity)
    )
    settings = {"model.name": "resnet20", "train.epochs": 15, "sparsifier.name": method.split()[0], "seed": seed}
    outcomes = _audit(rng, difficulty, label, lift)
    folder = f"runs/{method.split()[0].lower()}-{seed}"
    return RunRecord(
        f"{method.split()[0].lower()}{round(100 * sparsity):02d}f9c{seed}",
        method,
        seed,
        sparsity,
        folder=folder,
        settings=settings,
        layers=layers,
        history=history,
        cost=cost,
        outcomes=outcomes,
    )


def build_study(examples=200, seeds=3):
    rng = np.random.default_rng(0)
    difficulty, label = rng.normal(size=examples), rng.integers(0, 10, examples).astype(np.int32)
    lifts = dict(zip(METHODS, (0.0, 0.12, -0.3, 0.0, 0.03), strict=True))
    runs = tuple(_run(m, s, seed, difficulty, label, lifts[m]) for m, s in METHODS.items() for seed in range(seeds))
    return StudyRecord(
        "Dynamic sparse training on digits-C",
        "dense",
        runs,
        "sinewy run digits-c.yaml",
        protocol={
            "data": "digits",
            "severities": [1, 2, 3, 4, 5],
            "preset": "mnist",
            "normaliser": {"mean": 0.13, "std": 0.31},
        },
        environment={"sinewy": "0.1.0", "torch": "2.15.0", "device": "cpu"},
        high_frequency={kind: round(0.95 - 0.045 * i, 3) for i, kind in enumerate(KINDS)},
    )


@pytest.fixture(scope="module")
def study():
    return build_study()


@pytest.fixture(scope="module")
def panel(study):
    return Panel.build(study.done, study.reference, resamples=400)


@pytest.fixture(scope="module")
def page(study, panel, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(study, path, panel=panel) == path
    return path.read_text(encoding="utf-8")


def hostile_study():
    """A study whose every text tries to become markup, a script, a template or a formula; one run has failed."""
    plain = build_study(examples=30, seeds=1)
    names = {m: f"{HOSTILE} %{{x}} {m}" for m in METHODS}
    runs = [
        replace(r, id=f"{HOSTILE}{i}", method=names[r.method], folder=f"=cmd()|{HOSTILE}", settings={HOSTILE: HOSTILE + r.method})
        for i, r in enumerate(plain.runs)
    ]
    runs.append(RunRecord("bad", names["dense"], 7, 0.0, state="failed", error=f"Traceback\n{HOSTILE} & more\n"))
    layers = tuple(replace(layer, name=HOSTILE + layer.name) for layer in runs[1].layers)
    runs[1] = replace(runs[1], layers=layers)
    texts = {HOSTILE: [HOSTILE, {"a": HOSTILE}]}
    return StudyRecord(
        HOSTILE, names["dense"], tuple(runs), HOSTILE, protocol=texts, environment=texts, partial=f"--limit 30 {HOSTILE}"
    )
