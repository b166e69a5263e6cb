"""Small records made by hand for the tests of figures and tables: a study, an audit and a limit, with hostile names."""

from __future__ import annotations

import numpy as np

from sinewy.analysis import Estimate, Panel
from sinewy.analysis.evidence import Evidence, Finding
from sinewy.analysis.limit_record import Level, LimitRecord
from sinewy.analysis.maps import Map, picture
from sinewy.analysis.shown import Shown
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.records import Cost, Epoch, Layer, LayerMovement, Movement, RunRecord, StudyRecord
from sinewy.report.practice.audit import Audited

HOSTILE = r"100% \textbf{x} & $a_1$ <b>#~^|`*"
METHODS = {"dense": 0.0, "RigL 50 %": 0.5, "RigL 90 %": 0.9, HOSTILE: 0.8}
KINDS = ("gaussian_noise", "fog", "jpeg_compression")
N = 120


def outcomes(rng, right, n=N):
    label = np.arange(n, dtype=np.int32) % 10
    correct = rng.random(n) < right
    confidence = rng.uniform(0.4, 1, n).astype(np.float32)
    true = np.where(correct, confidence, 0.1).astype(np.float32)
    wrong = (label + 1) % 10
    return Outcomes(label, np.where(correct, label, wrong), confidence, true, -np.log(true), (1 - true) ** 2)


def measured(rng, right, severities=(1, 3)):
    found = {CLEAN: outcomes(rng, right)}
    for kind in KINDS:
        found |= {(kind, s): outcomes(rng, right - 0.08 * s) for s in severities}
    return found


def layers(sparsity):
    names = {"conv1.weight": (8, 3, 3, 3), "conv2.weight": (16, 8, 3, 3), "fc.weight": (10, 16)}
    return tuple(Layer(n, s, int(np.prod(s)), int(np.prod(s) * (1 - sparsity))) for n, s in names.items())


def epoch(number, sparsity):
    moved = tuple(LayerMovement(one.name, one.nonzero, 2, 2, 0) for one in layers(sparsity))
    movement = Movement(4, 1 - number / 10, 0.2 + number / 10, 0, moved) if sparsity else None
    return Epoch(number, 2.0 / (1 + number), 0.5, 0.6 + number / 20, 0.1, sparsity, 4, 1.5, movement)


def run(method, seed, sparsity, state="done"):
    rng = np.random.default_rng([seed, list(METHODS).index(method)])
    spent = Cost(1606, round(1606 * (1 - sparsity)), 1e6, 1e6 * (1 - 0.8 * sparsity), 1e10, 1e10 * (1 - 0.7 * sparsity))
    return RunRecord(
        id=f"{seed}{list(METHODS).index(method)}abcdef",
        method=method,
        seed=seed,
        sparsity=sparsity,
        state=state,
        folder=f"study/cells/{seed}{list(METHODS).index(method)}",
        settings={"sparsifier.name": method, "seed": seed},
        layers=layers(sparsity),
        history=tuple(epoch(e, sparsity) for e in range(4)),
        cost=spent,
        outcomes=measured(rng, 0.9 - 0.1 * sparsity) if state == "done" else {},
    )


def findings(methods):
    rows = []
    for index, method in enumerate(methods):
        value = 0.8 - 0.1 * index
        own = Estimate(value, value - 0.02, value + 0.02, N, 1)
        apart = Estimate(-0.1 * index, -0.1 * index - 0.03, -0.1 * index + 0.03, N, 1) if index else None
        rows += [Finding(method, f"eps {x:g}", "accuracy", own, apart, x, "higher", "linf") for x in (1.0, 2.0)]
        rows.append(Finding(method, "as trained", "ECE", own, apart, better="lower"))
    return [row.as_dict() for row in rows]


def maps(methods):
    table = np.linspace(-1, 1, 16).reshape(4, 4)
    table[0, 0] = np.nan
    image = picture((np.arange(192).reshape(3, 8, 8)).astype(np.uint8))
    plain = [Map("Kernels", table, "How to read it.", "weights", method=m, part="conv1", signed=True) for m in methods]
    over = [Map("Regions", np.abs(table), "Likewise.", "share", method=m, part="image 1", image=image) for m in methods]
    names = ("one", "two")
    named = [Map("Pairs", np.eye(2), "Likewise.", "share", rows=names, columns=names, down="of", across="by")]
    return [one.as_dict() for one in (*plain, *over, *named)]


def made_study(**changes):
    """Two seeds of every method; one run failed."""
    runs = [run(method, seed, sparsity) for method, sparsity in METHODS.items() for seed in (0, 1)]
    runs.append(run("RigL 90 %", 2, 0.9, state="failed"))
    facts = {
        "high_frequency": {"gaussian_noise": 0.7, "jpeg_compression": 0.3},
        "findings": {"attack": findings(METHODS)},
    }
    return StudyRecord(f"A study of {HOSTILE}", "dense", tuple(runs), "sinewy run study.yaml", **{**facts, **changes})


def made_audit():
    """One network against another, with scores of anomalies and maps."""
    rng = np.random.default_rng(0)
    names = ("dense", "RigL 90 %")
    runs = tuple(run(name, 0, METHODS[name]) for name in names)
    record = StudyRecord(
        "RigL against dense",
        "dense",
        runs,
        "sinewy audit",
        findings={"attack": findings(names)},
        maps={"kernels": maps(names)},
    )
    scores = {
        name: {
            kind: {"energy/1": rng.normal(shift, 1, N).astype(np.float32)}
            for kind, shift in (("normal", 0), ("noise/uniform", 2))
        }
        for name in names
    }
    evidence = Evidence("dense", {one.method: {CLEAN: one.outcomes[CLEAN]} for one in runs}, scores)
    return Audited(record, Panel.build(runs, "dense"), {"ood": evidence}, Shown(tuple("abcdefghij")))


def made_limit():
    """A network that can lose half of its weights, and not nine tenths."""
    rng = np.random.default_rng(1)
    parent = measured(rng, 0.97, (3,))
    rights = {0.5: 0.97, 0.8: 0.9, 0.9: 0.6}
    levels = tuple(Level(s, layers(s), measured(np.random.default_rng(1), right, (3,))) for s, right in rights.items())
    groups = {"clean": (CLEAN,), "noise": (("gaussian_noise", 3),), "weather_1": (("fog", 3),)}
    return LimitRecord(
        f"How far {HOSTILE} can be pruned", "magnitude", "none", 1.0, 0.05, levels, parent, groups,
        classes=tuple("abcdefghij"),
    )  # fmt: skip
