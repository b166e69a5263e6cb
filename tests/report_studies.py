"""Synthetic studies for the tests of the report, and what a browser and a spreadsheet would make of its page."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np

from sinewy.outcomes import CLEAN, Outcomes
from sinewy.records import Cost, Epoch, Layer, LayerMovement, Movement, RunRecord, StudyRecord
from sinewy.report import write_report

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
LIFTS = dict(zip(METHODS, (0.0, 0.12, -0.3, 0.0, 0.03), strict=True))
HOSTILE = "</script><img src=x onerror=alert(1)>"
NAMES = ["conv1", "layer1.conv1", "layer1.conv2", "layer2.conv1", "layer2.conv2", "fc"]


def outcomes(correct, label):
    ones = np.ones(len(label), np.float32)
    return Outcomes(label, np.where(correct, label, (label + 1) % 10).astype(np.int32), ones, ones, ones, ones)


def audited(rng, difficulty, label, lift, severities=range(1, 6)):
    """Outcomes whose accuracy falls with severity and, on the noise kinds, rises by `lift`."""
    found = {CLEAN: outcomes(difficulty + 0.4 * rng.normal(size=len(label)) > -1.5 + lift / 4, label)}
    for index, kind in enumerate(KINDS):
        for severity in severities:
            threshold = -1.4 + 0.12 * severity + 0.05 * (index % 7) * severity - lift * (1.5 if index < 4 else 0.3)
            found[kind, severity] = outcomes(difficulty + 0.5 * rng.normal(size=len(label)) > threshold, label)
    return found


def movement(epoch, layers):
    """What masks that settle down do: fewer and fewer weights come back, more and more were ever kept."""
    grown = 2 ** max(6 - epoch, 0)
    moved = tuple(LayerMovement(layer.name, layer.nonzero, grown, grown, 0) for layer in layers)
    return Movement(2 * grown * len(layers), 0.5 + 0.5 / epoch, 1 - 0.5**epoch, 0, moved)


def training(rng, sparsity, layers, epochs=15):
    pace = 0.8 + 0.05 * sparsity + 0.01 * rng.random()
    return tuple(
        Epoch(
            e,
            2.2 * pace**e + 0.04 * rng.random(),
            1 - pace**e,
            0.95 - 0.7 * pace**e,
            0.1,
            sparsity * min(1, e / 5),
            9,
            3.5,
            movement(e, layers) if sparsity else None,
        )
        for e in range(1, epochs + 1)
    )


def layered(sparsity):
    return tuple(
        Layer(f"{name}.weight", (32, 9 * 2**i), 288 * 2**i, round(288 * 2**i * (1 - sparsity * (0.6 + 0.08 * i))))
        for i, name in enumerate(NAMES)
    )


def one_run(method, sparsity, seed, difficulty, label, lift, *, number=0, severities=range(1, 6), epochs=15):
    rng = np.random.default_rng([seed, number])
    layers = layered(sparsity)
    cost = Cost(
        18144, round(18144 * (1 - sparsity)), 4.1e7, 4.1e7 * (1 - 0.8 * sparsity), 2.4e12, 2.4e12 * (1 - 0.7 * sparsity)
    )
    name = f"{method.split()[0].lower()}{round(100 * sparsity):02d}f9c{seed}"
    settings = {"model.name": "resnet20", "train.epochs": epochs, "sparsifier.name": method.split()[0], "seed": seed}
    return RunRecord(
        name,
        method,
        seed,
        sparsity,
        folder=f"runs/digits/cells/{name}",
        settings=settings,
        layers=layers,
        history=training(rng, sparsity, layers, epochs),
        cost=cost,
        outcomes=audited(rng, difficulty, label, lift, severities),
    )


def population(examples):
    rng = np.random.default_rng(0)
    return rng.normal(size=examples), rng.integers(0, 10, examples).astype(np.int32)


def build_study(examples=200, seeds=3):
    difficulty, label = population(examples)
    runs = tuple(
        one_run(m, s, seed, difficulty, label, LIFTS[m], number=i)
        for i, (m, s) in enumerate(METHODS.items())
        for seed in range(seeds)
    )
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


def large_study(methods=200, seeds=5, examples=100, epochs=160):
    """A study of methods x seeds cells, each audited on 19 kinds at 5 severities and trained for `epochs`."""
    difficulty, label = population(examples)
    names = ["dense", *(f"RigL, every={i}" for i in range(methods - 1))]
    lifts = np.random.default_rng(1).normal(0, 0.1, methods)
    runs = tuple(
        one_run(
            name, 0.0 if i == 0 else 0.5 + 0.4 * i / methods, seed, difficulty, label, lifts[i], number=i, epochs=epochs
        )
        for i, name in enumerate(names)
        for seed in range(seeds)
    )
    runs = tuple(
        replace(
            run,
            id=f"{number:012x}",
            folder=f"runs/large/cells/{number:012x}",
            settings={**run.settings, "sparsifier.every": run.method, "sparsifier.sparsity": run.sparsity},
        )
        for number, run in enumerate(runs)
    )
    frequency = {kind: round(0.95 - 0.045 * i, 3) for i, kind in enumerate(KINDS)}
    return StudyRecord("A large study", "dense", runs, "sinewy run large.yaml", high_frequency=frequency)


def hostile_study():
    """A study whose every text tries to become markup, a script, a template or a formula; one run has failed."""
    plain = build_study(examples=30, seeds=1)
    names = {m: f"{HOSTILE} %{{x}} {m}" for m in METHODS}
    runs = [
        replace(
            r,
            id=f"{HOSTILE}{i}",
            method=names[r.method],
            folder=f"=cmd()|{HOSTILE}/cells/{i}",
            settings={HOSTILE: HOSTILE + r.method},
        )
        for i, r in enumerate(plain.runs)
    ]
    runs.append(RunRecord("bad", names["dense"], 7, 0.0, state="failed", error=f"Traceback\n{HOSTILE} & more\n"))
    layers = tuple(replace(layer, name=HOSTILE + layer.name) for layer in runs[1].layers)
    runs[1] = replace(runs[1], layers=layers)
    texts = {HOSTILE: [HOSTILE, {"a": HOSTILE}]}
    return StudyRecord(
        HOSTILE,
        names["dense"],
        tuple(runs),
        HOSTILE,
        protocol=texts,
        environment=texts,
        partial=f"--limit 30 {HOSTILE}",
    )


class Markup(HTMLParser):
    """What a browser would make of the page: every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self._inside = [], [], ""
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words.append(data)


def csv_files(page):
    links = [a for tag, a in Markup(page).tags if tag == "a" and "download" in a]
    contents = {a["download"]: base64.b64decode(a["href"].partition("base64,")[2]).decode() for a in links}
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in contents.items()}


def figures(page):
    found = re.findall(r'<script type="application/json" id="data-([\w-]+)">(.*?)</script>', page, re.DOTALL)
    return {key: json.loads(document) for key, document in found}


def write(study, tmp_path, **options):
    return write_report(study, tmp_path / "report.html", **options).read_text(encoding="utf-8")
