"""Further probes in studies: checked first, measured once, resumed after a kill, and read like an audit's."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml

import sinewy as sw
from sinewy.errors import InputError, MissingExtraError
from sinewy.models.opened import open_model
from sinewy.recipe import Recipe, parse
from sinewy.runs.labels import peers
from sinewy.runs.measuring import make_probes
from sinewy.runs.probed import check_names
from sinewy.runs.tasks import Tasks
from test_cli import children, running, sinewy, wait_for

PROBES = [
    "calibration",
    "classes",
    {"name": "attack", "attacks": ["fgsm"], "eps": [2, 8]},
    {"name": "attack", "attacks": "fgsm", "eps": 128, "norm": "l2"},
    {"name": "weight-noise", "noises": ["relative"], "sigmas": [0.3], "draws": 2},
    {"name": "ood", "detectors": ["msp", "sensnorm"], "outliers": ["noise/uniform"], "sizes": [1, 5]},
    {"name": "features", "examples": 2, "corruptions": [], "step": 64},
]

MYLAB = '''
import contextlib
import time
from pathlib import Path

import torch

from sinewy.analysis.estimate import Estimate
from sinewy.analysis.evidence import Finding
from sinewy.errors import MissingExtraError
from sinewy.files import replacing
from sinewy.outcomes import CLEAN
from sinewy.probes.probe import Measurement, Probe, pixel_blocks


class Slow(Probe):
    """Darker images, slowly; they count in the main table."""

    name = "slow"

    def __init__(self, *, levels: tuple[int, ...] = (1, 2, 3, 4), pause: float = 0.0, seed: int = 0) -> None:
        self.levels, self.pause = levels, pause

    @property
    def kinds(self):
        return tuple(f"darker-{level}" for level in self.levels)

    def protocol(self):
        return {"levels": list(self.levels)}

    def measure_kind(self, kind, evaluator, data):
        time.sleep(self.pause)
        blocks = (block // (1 + int(kind[-1])) for block in pixel_blocks(data))
        return Measurement(kind, {n: {1: o} for n, o in evaluator.outcomes(blocks, data.labels).items()})


class Alone(Slow):
    """The same, one model at a time, and not in the main table."""

    name, shifts = "alone", False

    def findings(self, evidence):
        return [
            Finding(m, kind, "accuracy", Estimate(evidence.outcomes[m][kind, 1].accuracy, 0, 1, 1, 1))
            for m in evidence.methods
            for kind in self.kinds
        ]


class Deaf(Alone):
    """One that no exception gets out of, while a file is half-written."""

    name = "deaf"

    def measure_kind(self, kind, evaluator, data):
        with replacing(Path("stopped/cells/half")):
            while True:
                with contextlib.suppress(BaseException):
                    time.sleep(self.pause)


class Needs(Slow):
    """A probe of something that is not installed."""

    def __init__(self):
        raise MissingExtraError("slowness needs slowlib; install it with: pip install sinewy[slow]")
'''


def recipe(probes: list, **more) -> dict:
    return {
        "name": "probed",
        "model": "convnet",
        "data": "digits",
        "train": {"epochs": 1, "batch": 64},
        "grid": {"sparsifier": ["dense", {"name": "rigl", "sparsity": 0.9, "every": 10}], "seed": [0, 1]},
        "audit": {"kinds": ["brightness"], "severities": [3], "limit": 60, "probes": probes, **more},
    }


def write(path: Path, probes: list) -> str:
    path.write_text(yaml.safe_dump(recipe(probes)))
    return str(path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with probes of one's own, and a finished study without further probes."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "mylab.py").write_text(MYLAB)
    sinewy("run", write(folder / "plain.yaml", []), "--out", "plain", "--jobs", "2", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def probed(lab) -> tuple[Path, dict, str]:
    """The same study after probes were added to its recipe, what it printed, and its progress."""
    shutil.copytree(lab / "plain", lab / "probed")
    done = sinewy("run", write(lab / "a.yaml", PROBES), "--out", "probed", "--jobs", "1", "--json", cwd=lab)
    return lab / "probed", json.loads(done.stdout), done.stderr


def contents(folder: Path, pattern: str) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob(pattern) if path.is_file()}


def test_probes_do_not_change_what_cells_are_called():
    with_probes, without = (parse(Recipe, recipe(probes), "test") for probes in (PROBES, []))
    assert [c.id for c in with_probes.cells()] == [c.id for c in without.cells()]
    assert [(p.name, p.options) for p in with_probes.audit.probes][0:3:2] == [
        ("calibration", {}),
        ("attack", {"attacks": ["fgsm"], "eps": [2, 8]}),
    ]
    assert parse(Recipe, recipe("calibration"), "test").audit.probes[0].name == "calibration"  # one needs no list


def test_added_probes_are_measured_and_nothing_else(lab, probed):
    folder, _, progress = probed
    assert contents(lab / "plain", "cells/*/*.safetensors") == contents(folder, "cells/*/*.safetensors")
    assert contents(lab / "plain", "cells/*/outcomes/**/*") == contents(folder, "cells/*/outcomes/**/*")
    assert "training" not in progress
    assert "auditing" not in progress
    before = contents(folder, "**/*.safetensors") | contents(folder, "findings/**/*")
    again = sinewy("run", "a.yaml", "--out", "probed", "--jobs", "1", cwd=lab)
    assert "probing" not in again.stderr
    assert "reading" not in again.stderr
    assert contents(folder, "**/*.safetensors") | contents(folder, "findings/**/*") == before


def test_findings_are_those_of_an_audit_seed_by_seed(probed):
    """The cells of seed 0 in an audit of their own: the same numbers to the last digit."""
    folder, document, _ = probed
    study = parse(Recipe, recipe(PROBES), "test")
    group = peers(study.cells(), study)[0]
    models = {label: open_model(folder / "cells" / cell).model for cell, label in group.labels.items()}
    splits = sw.data.load("digits")
    probes = [probe for i, probe in enumerate(make_probes(study.audit, splits, None)) if i != 3]  # one attack only
    alone = sw.audit(models, splits.test, probes=probes, limit=60)
    assert set(document["findings"]) == {probe.name for probe in probes}
    for probe in probes:
        of_seed = {
            (row["method"], row["condition"], row["measure"]): part
            for row in document["findings"][probe.name]
            for part in row.get("by_seed", ())  # what is read of all seeds at once has none
            if part["seed"] == 0
        }
        for row in json.loads(json.dumps(alone.findings(probe.name))):
            part = of_seed[row["method"], row["condition"], row["measure"]]
            assert part == {"seed": 0, **{name: row[name] for name in ("estimate", "difference", "x")}}
    assert {row["condition"] for row in document["findings"]["attack"]} >= {
        "fgsm-linf, eps 0.007843",
        "fgsm-l2, eps 0.502",
    }
    assert all(row["estimate"]["seeds"] == 2 for row in document["findings"]["attack"])


def test_status_page_and_table_show_them(lab, probed):
    folder, document, _ = probed
    rows = json.loads(sinewy("status", str(folder), "--json").stdout)["cells"]
    assert rows[0]["probes"]["attack"] == {"measured": 2, "of": 2}
    assert "trained  2/2" in sinewy("status", str(folder)).stdout
    page = (folder / "report.html").read_text()
    printed = sinewy("report", str(folder), "--out", str(lab / "page.html")).stdout
    for title in ("Calibration", "Accuracy under attack", "Noise on the weights", "Detection of anomalies"):
        assert title in page
        assert title in printed
    assert "by Student's t" in printed
    assert document["protocol"]["attack (4)"]["norm"] == "l2"
    assert document["partial"] == "audited on at most 60 test examples"


@pytest.mark.parametrize(
    ("probes", "sentence"),
    [
        (["calibratoin"], "audit.probes: unknown probe 'calibratoin'. Did you mean 'calibration'"),
        (["corruption"], "name them under audit.kinds"),
        ([{"name": "attack", "epss": [1]}], "attack: unknown option of attack 'epss'. Did you mean 'eps'"),
        ([{"name": "attack", "eps": "big"}], "audit.probes: attack cannot be made with {'eps': 'big'}"),
        ([{"name": "attack", "norm": "l7"}], "audit.probes: attack: unknown norm 'l7'"),
        ([{"name": "ood", "train": 1}], "ood: the study itself gives 'train'; leave it out"),
        (["attack", {"name": "attack", "attacks": ["pgd"]}], "attack is asked for twice on pgd-linf"),
        ([{"name": "ood", "outliers": ["nosie/uniform"]}], "unknown anomaly 'nosie/uniform'. Did you mean"),
        ([{"name": "ood", "outliers": ["mnist"]}], "put the file at"),
        ([{"name": "ood", "sizes": [100]}], "groups of 100 need as many images; there are 60"),
        ([{"name": "function", "control": "RigL 9 %"}], "unknown model as the control 'RigL 9 %'"),
    ],
)
def test_what_cannot_be_probed(probes, sentence, tmp_path, monkeypatch):
    """Names without a worker, the rest in the check, which comes before any training."""
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there
    tasks = Tasks(lambda event: None, lambda: False, root=str(tmp_path), device="cpu")
    with pytest.raises(InputError) as caught:
        check(tasks, recipe(probes))
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("probes", "sentence"),
    [
        (["calibratoin"], "audit.probes: unknown probe 'calibratoin'. Did you mean 'calibration'"),
        (["mylab:Needs"], "slowness needs slowlib; install it with: pip install sinewy[slow]"),
    ],
)
def test_it_is_said_before_any_training(lab, probes, sentence, tmp_path):
    words = ("run", write(tmp_path / "r.yaml", probes), "--out", str(tmp_path / "s"), "--jobs", "1")
    done = sinewy(*words, code=2, cwd=lab)
    assert sentence in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "s").exists()


def test_plan_checks_counts_and_writes_nothing(lab, probed, tmp_path):
    words = ("plan", str(lab / "a.yaml"), "--limit", "60", "--json")
    document = json.loads(sinewy(*words, cwd=tmp_path).stdout)
    assert list(tmp_path.iterdir()) == []
    left = {"train": 4, "audit": 8, "calibration": 4, "attack": 8, "weight-noise": 4, "ood": 8, "features": 4}
    assert document["left"] == left
    assert document["training_seconds_left"] is None
    done = sinewy(*words[:4], "--out", str(probed[0]), "-o", "grid.seed=[0, 1, 2]")
    assert "6 cells of 2 methods; left: train 2 models and make 18 measurements (audit 4, calibration 2" in done.stdout
    assert "training takes about" in done.stdout
    assert "unknown probe" in sinewy("plan", write(tmp_path / "r.yaml", ["clases"]), code=2).stderr


def test_report_check_says_what_a_study_lacks(lab, probed):
    copy = lab / "checked"
    shutil.copytree(probed[0], copy)
    limited = sinewy("report", str(copy), "--check", code=1).stdout
    assert limited == "✗ Only the first 60 test examples were measured (audit.limit).\n"
    document = json.loads((copy / "study.json").read_text())
    document["recipe"]["audit"]["limit"] = None
    (copy / "study.json").write_text(json.dumps(document))
    assert sinewy("report", str(copy), "--check").stdout.startswith("whole: 4 cells")
    next(copy.glob("cells/*/probes/attack/*/fgsm-l2.safetensors")).unlink()
    next(copy.glob("cells/*/outcomes/*/brightness.safetensors")).unlink()
    found = json.loads(sinewy("report", str(copy), "--check", "--json", code=1).stdout)
    assert found["whole"] is False
    assert found["problems"][1] == "Probe attack lacks 1 measurement."
    assert found["problems"][0].endswith("is trained, but not audited on every shift.")
    (copy / "audit.json").unlink()
    assert (
        "was stopped before its recipe was checked; go on with: sinewy run"
        in sinewy("report", str(copy), code=2).stderr
    )


@pytest.mark.slow
def test_kill_9_while_probing_and_the_same_command(lab):
    """Parent and workers are killed between two measurements; the same command ends in the same bytes."""
    slow = [
        {"name": "mylab:Alone", "levels": [1, 2, 3], "pause": 0.3},
        "classes",
        {"name": "mylab:Slow", "levels": [4]},
    ]
    shutil.copytree(lab / "plain", lab / "killed")
    words = ("run", write(lab / "slow.yaml", slow), "--out", "killed", "--jobs", "2")
    with in_folder(lab), running(*words) as process:
        wait_for(lambda: len(list((lab / "killed").glob("cells/*/probes/alone/*/*.safetensors"))) > 2)
        workers = children(process.pid)
        process.kill()
        process.wait()
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
    kept = contents(lab / "killed", "cells/*/probes/**/*.safetensors")
    assert 2 < len(kept) < 12
    assert "has not measured" in json.loads(sinewy("report", str(lab / "killed"), "--json").stdout)["partial"]
    again = sinewy(*words[:-1], "1", "--json", cwd=lab)
    assert f"probing {12 + 1 - len(kept)} measurements" in again.stderr
    shutil.copytree(lab / "plain", lab / "whole")
    whole = sinewy(*words[:3], "whole", "--jobs", "1", "--json", cwd=lab)
    for pattern in ("cells/*/probes/**/*.safetensors", "findings/**/*.json"):
        assert contents(lab / "killed", pattern) == contents(lab / "whole", pattern)
    killed, undisturbed = json.loads(again.stdout), json.loads(whole.stdout)
    assert killed["findings"] == undisturbed["findings"]
    assert killed["table"] == undisturbed["table"]
    assert list(killed["findings"]) == ["alone", "classes"]
    rows = {row["method"]: row for row in killed["table"]}
    plain = json.loads(sinewy("report", str(lab / "plain"), "--json").stdout)["table"]
    assert rows["dense"]["corruption_accuracy"] != plain[0]["corruption_accuracy"]  # "slow" shifts images: it counts


@pytest.mark.slow
def test_a_killed_worker_costs_one_measurement(lab):
    slow = [{"name": "mylab:Alone", "levels": [1, 2], "pause": 0.5}]
    shutil.copytree(lab / "plain", lab / "one")
    words = ("run", write(lab / "one.yaml", slow), "--out", "one", "--jobs", "2")
    with in_folder(lab), running(*words) as process:
        wait_for(lambda: list((lab / "one").glob("cells/*/probes/alone/*/*.safetensors")))
        os.kill(children(process.pid)[0], signal.SIGKILL)
        _, progress = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "the worker was killed (signal 9)" in progress
    rows = json.loads(sinewy("status", str(lab / "one"), "--json").stdout)["cells"]
    assert sorted(row["probes"]["alone"]["measured"] for row in rows) == [1, 2, 2, 2]
    sinewy(*words, cwd=lab)


@pytest.mark.slow
@pytest.mark.parametrize(("probe", "begun"), [("Alone", "locks/*darker*"), ("Deaf", "cells/.half.*")])
def test_ctrl_c_drops_a_measurement_at_once(lab, probe, begun):
    slow = [{"name": f"mylab:{probe}", "levels": [1, 2, 3], "pause": 250}]
    stopped = lab / "stopped"
    shutil.copytree(lab / "plain", stopped)
    with in_folder(lab), running("run", write(lab / "stop.yaml", slow), "--out", "stopped", "--jobs", "1") as process:
        wait_for(lambda: list(stopped.glob(begun)))
        process.send_signal(signal.SIGINT)
        _, progress = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in progress
    assert not list(stopped.rglob("*.part"))
    shutil.rmtree(stopped)


def test_missing_extras_keep_their_kind():
    from sinewy.recipe import AuditSpec

    splits = sw.data.load("digits")
    spec = parse(AuditSpec, {"probes": [f"{__name__}:NotInstalled"]}, "test")
    with pytest.raises(MissingExtraError, match=r"audit\.probes: .*NotInstalled: install it with: pip install x"):
        make_probes(spec, splits, None)
    with pytest.raises(InputError, match="unknown probe"):
        check_names(parse(Recipe, recipe(["atack"]), "test"))


def check(tasks: Tasks, raw: dict) -> None:
    check_names(parse(Recipe, raw, "test"))
    tasks.check(raw)


class NotInstalled:
    """A probe that cannot be made here."""

    def __init__(self) -> None:
        raise MissingExtraError("install it with: pip install x")


@contextlib.contextmanager
def in_folder(folder: Path):
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
