"""The command line as real processes: results on stdout, progress on stderr, exit codes, and studies that survive a
kill."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sinewy.cli.studies import _all_methods
from sinewy.sparsify import SPARSIFIERS

SMALL = [
    *("-o", "audit.kinds=[brightness, gaussian_noise]", "-o", "grid.seed=[0, 1]", "-o", "train.epochs=3"),
    *("-o", "grid.sparsifier=[dense, {name: rigl, sparsity: 0.9, every: 10}]", "--jobs", "2", "-o", "keep_epochs=[1]"),
]


def command(*words: str) -> list[str]:
    return [sys.executable, "-c", "from sinewy.cli import main; main()", *words]


def sinewy(*words: str, code: int = 0, **options) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*words), capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stderr + done.stdout
    return done


@contextlib.contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    """A command in its own process, deaf to no signal whatever the tests were started from, and gone afterwards."""
    foreground = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(
        command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, preexec_fn=foreground
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A small finished study."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    done = sinewy("run", "demo", *SMALL, "--out", str(folder))
    assert "✓ RigL 90 %  seed 1" in done.stderr
    assert "next: sinewy audit" in done.stderr
    assert "RigL 90 %" in done.stdout
    return folder


def test_a_study_on_disk(study):
    cells = list((study / "cells").iterdir())
    assert len(cells) == 4
    for cell in cells:
        assert {"cell.json", "training.json", "model.safetensors", "environment.json", "outcomes"} <= {
            f.name for f in cell.iterdir()
        }
        assert not (cell / "checkpoint.pt").exists()
        assert len(list(cell.glob("outcomes/*/*.safetensors"))) == 3
        assert [file.name for file in (cell / "epochs").iterdir()] == ["0001.safetensors"]
    assert (study / "report.html").stat().st_size > 1e6
    assert not list(study.rglob("*.part"))


def test_report_as_data(study):
    document = json.loads(sinewy("report", str(study), "--json").stdout)
    rows = {row["method"]: row for row in document["table"]}
    assert list(rows) == ["dense", "RigL 90 %"]
    assert rows["RigL 90 %"]["sparsity"] == pytest.approx(0.9, abs=1e-4)
    estimate = rows["RigL 90 %"]["corruption_difference"]
    assert estimate["low"] <= estimate["value"] <= estimate["high"]
    assert rows["dense"]["n"] == 500
    assert rows["RigL 90 %"]["training_flops"] < rows["dense"]["training_flops"]
    assert document["partial"] is None


def test_running_again_does_nothing_new(study):
    before = {path: path.stat().st_mtime_ns for path in study.rglob("*.safetensors")}
    done = sinewy("run", "demo", *SMALL, "--out", str(study))
    assert "training" not in done.stderr
    assert {path: path.stat().st_mtime_ns for path in study.rglob("*.safetensors")} == before


def test_networks_of_epochs_that_a_finished_cell_has_not_kept(study, tmp_path):
    shutil.copytree(study, tmp_path / "more")
    done = sinewy("run", "demo", *SMALL, "-o", "keep_epochs=[1, 2]", "--out", "more", cwd=tmp_path)
    assert "4 cells were trained before, and without all networks of keep_epochs; to have these too" in done.stderr
    assert "training" not in done.stderr
    done = sinewy("run", "demo", *SMALL, "-o", "keep_epochs=[4]", "--out", "more", code=2, cwd=tmp_path)
    assert "keep_epochs: 4 is not an epoch of this training, which has 1 to 3" in done.stderr


def test_status(study):
    document = json.loads(sinewy("status", str(study), "--json").stdout)
    assert [cell["state"] for cell in document["cells"]] == ["trained"] * 4
    assert "trained" in sinewy("status", str(study)).stdout


def test_audit_of_two_run_folders(study, tmp_path):
    states = json.loads(sinewy("status", str(study), "--json").stdout)["cells"]
    dense, rigl = (next(c["id"] for c in states if c["method"] == method) for method in ("dense", "RigL 90 %"))
    page, cell = tmp_path / "audit.html", study / "cells" / rigl
    done = sinewy(
        *("audit", str(cell / "epochs" / "0001.safetensors"), str(cell), "--against", str(study / "cells" / dense)),
        *("--kinds", "brightness", "--limit", "100", "--out", str(page), "--json"),
    )
    document = json.loads(done.stdout)
    assert page.exists()
    assert "first 100 of 500" in document["partial"]
    rows = {row["method"]: row for row in document["table"]}
    assert list(rows) == ["dense, seed 0 (reference)", "rigl 90 %, seed 0, epoch 1", "rigl 90 %, seed 0"]
    assert [row["n"] for row in rows.values()] == [100, 100, 100]
    assert rows["rigl 90 %, seed 0"]["sparsity"] == pytest.approx(0.9, abs=1e-4)


def test_the_audit_of_a_cell_agrees_with_the_study(study, tmp_path):
    """One model measured twice, in the study and alone: the same bytes, so the same number."""
    states = json.loads(sinewy("status", str(study), "--json").stdout)["cells"]
    cell = next(c["id"] for c in states if c["method"] == "dense" and c["seed"] == 0)
    words = (
        "audit",
        str(study / "cells" / cell),
        "--kinds",
        "gaussian_noise",
        "--out",
        str(tmp_path / "a.html"),
        "--json",
    )
    alone = json.loads(sinewy(*words).stdout)["table"][0]
    from sinewy.outcomes import load_outcomes

    (path,) = (study / "cells" / cell).glob("outcomes/*/gaussian_noise.safetensors")
    by_severity, about = load_outcomes(path)
    mean = sum(outcome.accuracy for outcome in by_severity.values()) / len(by_severity)
    assert alone["corruption_accuracy"]["value"] == pytest.approx(mean, abs=1e-9)
    assert 0.5 < about["high_frequency"] <= 1  # noise is


def test_kill_9_and_the_same_command(study, tmp_path):
    """Parent and workers are killed in the middle; the same command ends in the same bits as the undisturbed study."""
    folder = tmp_path / "killed"
    for sign in ("cells/*/lock", "cells/*/model.safetensors"):
        with running("run", "demo", *SMALL, "--out", str(folder)) as process:
            wait_for(lambda sign=sign: list(folder.glob(sign)))
            workers = children(process.pid)
            process.kill()
            process.wait()
            for worker in workers:
                with contextlib.suppress(ProcessLookupError):  # it may have seen its parent die already
                    os.kill(worker, signal.SIGKILL)
    sinewy("run", "demo", *SMALL, "--out", str(folder))
    for path in study.glob("cells/*/model.safetensors"):
        assert path.read_bytes() == (folder / path.relative_to(study)).read_bytes()
    for path in study.glob("cells/*/outcomes/*/*.safetensors"):
        assert path.read_bytes() == (folder / path.relative_to(study)).read_bytes()


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_workers_do_not_outlive_a_killed_parent(tmp_path):
    with running("run", "demo", *SMALL, "--out", str(tmp_path / "s")) as process:
        wait_for((tmp_path / "s" / "cells").exists)
        workers = children(process.pid)
        assert len(workers) == 2
        process.kill()
        process.wait()
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), seconds=10)


def test_a_killed_worker_fails_its_cell_only_and_the_next_run_mends_it(tmp_path):
    folder = tmp_path / "s"
    with running("run", "demo", *SMALL, "--out", str(folder)) as process:
        wait_for(lambda: list(folder.glob("cells/*/lock")))
        os.kill(children(process.pid)[0], signal.SIGKILL)
        _, progress = process.communicate(timeout=100)
    assert process.returncode == 1
    assert "the worker was killed (signal 9)" in progress
    states = [cell["state"] for cell in json.loads(sinewy("status", str(folder), "--json").stdout)["cells"]]
    assert sorted(states) == ["failed", "trained", "trained", "trained"]
    assert "1 of 4 runs" in sinewy("report", str(folder)).stdout
    sinewy("run", "demo", *SMALL, "--out", str(folder))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, number):
    folder = tmp_path / "s"
    with running("run", "demo", *SMALL, "-o", "train.epochs=200", "--out", str(folder)) as process:
        wait_for(lambda: list(folder.glob("cells/*/lock")))
        time.sleep(0.5)
        process.send_signal(number)
        _, progress = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command continues" in progress
    assert list(folder.glob("cells/*/checkpoint.pt"))
    states = [cell["state"] for cell in json.loads(sinewy("status", str(folder), "--json").stdout)["cells"]]
    assert "started" in states


IMPOSSIBLE = [
    (["run", "nothing.yaml"], "there is no recipe file nothing.yaml"),
    (["run", "demo", "-o", "sparsifer=rigl"], "unknown field 'sparsifer'. Did you mean 'sparsifier'"),
    (["demo", "--data", "cifar11"], "unknown demo data set 'cifar11'. Did you mean 'cifar10'"),
    (["report", "nowhere"], "nowhere holds no study"),
    (["status", "nowhere"], "nowhere holds no study"),
    (["audit", "nowhere", "--data", "digits"], "unknown model 'nowhere'"),
    (["audit", "resnet20"], "name the data: --data cifar10"),
    (["audit", "convnet", "--data", "digits", "--kinds", "fogg"], "unknown corruption 'fogg'. Did you mean 'fog'"),
    (
        ["audit", "convnet", "--data", "digits", "--probes", "corupt"],
        "unknown probe 'corupt'. Did you mean 'corruption'",
    ),
    (["list", "modles"], "unknown family 'modles'. Did you mean 'models'"),
]


EACH = """
import json, sys
from sinewy.cli import main

for words in json.loads(sys.argv[1]):
    sys.argv[1:] = words
    try:
        main()
    except SystemExit as end:
        print(f"exit {end.code}", file=sys.stderr)
"""


def test_impossible_requests_exit_2_with_one_sentence(tmp_path):
    every = json.dumps([words for words, _ in IMPOSSIBLE])
    done = subprocess.run(
        [sys.executable, "-c", EACH, every], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    said = done.stderr.split("exit 2\n")
    assert said.pop() == ""
    for (words, sentence), text in zip(IMPOSSIBLE, said, strict=True):
        assert sentence in text, words
        assert text.startswith("error: "), words
        assert text.count("\n") == 1, words
    assert "there is no recipe file" in sinewy("run", "nothing.yaml", code=2, cwd=tmp_path).stderr


def test_a_wrong_option_is_found_before_any_training(tmp_path):
    done = sinewy(
        *("run", "demo", "-o", "grid.sparsifier=[{name: rigl, sparsity: 0.9, evry: 10}]", "--out", "s", "--jobs", "1"),
        code=2,
        cwd=tmp_path,
    )
    assert "unknown option of rigl 'evry'. Did you mean 'every'" in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_method_of_ones_own_in_a_recipe(tmp_path):
    (tmp_path / "mylab.py").write_text(
        "import sinewy\n\n\n"
        "class Smallest(sinewy.SET):\n"
        '    """Drop the largest weights, to see what happens."""\n\n'
        "    def __init__(self, sparsity=0.0, **options):\n"
        "        super().__init__(sparsity, drop=lambda layer, gradient: -layer.weight.abs(), **options)\n"
    )
    grid = "grid.sparsifier=[{name: 'mylab:Smallest', sparsity: 0.8, every: 10}]"
    words = ("run", "demo", "-o", grid, "-o", "grid.seed=[0]", "-o", "train.epochs=1", "-o", "audit.kinds=[contrast]")
    done = sinewy(*words, "--out", "s", "--jobs", "1", "--json", cwd=tmp_path)
    assert [row["method"] for row in json.loads(done.stdout)["table"]] == ["dense", "Smallest 80 %"]


def test_an_output_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert "file is a file; --out needs a folder" in sinewy("demo", "--out", "file", code=2, cwd=tmp_path).stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    done = sinewy("demo", "--out", "mine", "--jobs", "1", code=2, cwd=tmp_path)
    assert "holds other files than a study" in done.stderr
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_damaged_outcomes_file_is_named(study, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(study, folder)
    path = next(folder.glob("cells/*/outcomes/*/brightness.safetensors"))
    path.write_bytes(path.read_bytes()[:-50])
    done = sinewy("report", str(folder), code=2)
    assert str(path) in done.stderr
    assert "delete it and run the same command again" in done.stderr


def test_doctor_and_list():
    found = json.loads(sinewy("doctor", "--json").stdout)
    assert found["data"]["digits"] is True
    assert found["packages"]["torch"]
    assert "next: sinewy demo" in sinewy("doctor").stderr
    families = json.loads(sinewy("list", "--json").stdout)
    assert {"dense", "static", "set", "rigl"} <= set(families["sparsifiers"])
    assert len(families["corruptions"]) == 19
    assert "Evci et al. 2020" in sinewy("list", "sparsifiers").stdout


def test_help_and_import_load_no_torch():
    code = (
        "import sys; sys.argv = ['sinewy', '--help']\nfrom sinewy.cli import main\n"
        "try:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "audit" in done.stdout


@pytest.mark.slow
def test_every_method_runs_from_a_recipe(tmp_path):
    options = ["train.epochs=3", "grid.seed=[0]", "audit.kinds=[fog]", "audit.severities=[1]"]
    overrides = [word for option in options for word in ("-o", option)]
    words = ("run", "demo-methods", *overrides, "--limit", "20", "--out", str(tmp_path), "--json")
    document = json.loads(sinewy(*words).stdout)
    assert len(document["runs"]) == len(SPARSIFIERS)
    assert {run["state"] for run in document["runs"]} == {"done"}
    for run in document["runs"][1:]:
        expected = 50 if run["method"].startswith("EdgePopup") else 90
        assert float(run["sparsity"].split()[0]) == pytest.approx(expected, abs=0.2)
    for line in (tmp_path / "cells").glob("*/training.json"):
        training = json.loads(line.read_text())
        assert training["cost"]["closed_form_training_flops"] > 0
        assert len(training["history"][-1]["movement"]["layers"]) == len(training["layers"])


def test_the_methods_of_a_demo():
    assert "unknown method 'rigel'. Did you mean 'rigl'" in sinewy("demo", "--methods", "set,rigel", code=2).stderr
    offered = {entry if isinstance(entry, str) else entry["name"] for entry in _all_methods()}
    assert offered == set(SPARSIFIERS)
