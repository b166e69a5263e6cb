"""`sinewy figure` and `sinewy table` as real processes, on what a study, a limit and an audit leave on the disk."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from made_records import made_audit, made_limit
from sinewy.analysis.limit_files import write_limit
from sinewy.cli.figures import _inches, figure, read_record, table
from sinewy.errors import CorruptFileError, InputError
from sinewy.outcomes import save_outcomes
from sinewy.report.contents import figures
from sinewy.report.practice.kept_audit import FILE, read_audit, write_audit

pytest.importorskip("matplotlib")


def sinewy(*words: str, code: int = 0, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from sinewy.cli import main; main()", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The folder of an audit."""
    audit, folder = made_audit(), tmp_path_factory.mktemp("kept")
    write_audit(folder, audit.record, audit.evidence, audit.shown.classes)
    return folder


@pytest.fixture(scope="module")
def limit(tmp_path_factory):
    """The folder of a limit."""
    record, home = made_limit(), tmp_path_factory.mktemp("limit")
    folders = [f"levels/{level.sparsity:g}" for level in record.levels]
    kinds = list(dict.fromkeys(kind for kind, _ in record.parent))
    networks = [("parent", record.parent), *zip(folders, (level.outcomes for level in record.levels), strict=True)]
    for folder, found in networks:
        for kind in kinds:
            save_outcomes(home / folder / f"{kind}.safetensors", {s: o for (k, s), o in found.items() if k == kind}, {})
    write_limit(home, record, {kind: f"{kind}.safetensors" for kind in kinds}, folders)
    return home


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study of two networks that were hardly trained."""
    folder = tmp_path_factory.mktemp("studies") / "small"
    settings = ["audit.kinds=[brightness]", "grid.seed=[0]", "train.epochs=1", "audit.limit=60"]
    settings += ["grid.sparsifier=[dense, {name: static, sparsity: 0.9}]"]
    sinewy("run", "demo", *(w for s in settings for w in ("-o", s)), "--jobs", "1", "--out", str(folder))
    return folder


def test_a_figure_of_a_study(study, tmp_path):
    listed = sinewy("figure", str(study))
    assert "Robustness versus sparsity" in listed.stdout
    assert f"next: sinewy figure sparsity {study}" in listed.stderr
    done = sinewy("figure", "sparsity", str(study), "--width", "12cm", "--format", "svg", cwd=tmp_path)
    assert done.stdout == "wrote sparsity.svg\n"
    assert "Robustness versus sparsity. Higher is better" in done.stderr
    assert 'width="340.15748pt"' in (tmp_path / "sparsity.svg").read_text()


def test_a_table_of_a_study(study, tmp_path):
    file = tmp_path / "r.tex"
    done = sinewy("table", "results", str(study), "--columns", "method,clean_accuracy", "-o", str(file))
    assert done.stdout == f"wrote {file}\n"
    assert file.read_text().count(r"\\") == 4
    assert json.loads(sinewy("table", "severity", str(study), "--json").stdout)["rows"][0]["method"] == "dense"


def test_impossible_requests_say_so(study, tmp_path):
    said = sinewy("figure", "results", str(study), code=2).stderr
    assert said == f"error: 'results' is a table: sinewy table results {study}\n"
    for message, call in {
        "Did you mean 'severity'": lambda: figure("severty", str(study)),
        "no table 'potentials' here: No method was run at two": lambda: table("potentials", str(study)),
        "3.25in, 8.5cm or 240pt; got 'wide'": lambda: figure("gains", str(study), width="wide"),
        "holds no study": lambda: figure("gains", str(tmp_path)),
        "is not there": lambda: table("gains", str(tmp_path / "x")),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_a_limit_is_read_from_its_folder_or_from_what_it_printed(limit, tmp_path):
    assert list(figures(read_record(str(limit)))) == list(figures(made_limit()))
    document = tmp_path / "limit.json"
    document.write_text(json.dumps({"folder": str(limit)}))
    figure("curves", str(document), tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
    document.write_text(json.dumps({"folder": None}))
    with pytest.raises(InputError, match="names no folder"):
        figure("curves", str(document))
    assert "safe sparsity" in sinewy("table", "limit", str(limit)).stdout


def test_an_audit_is_read_from_the_folder_it_kept(kept, tmp_path):
    sinewy("figure", "scores", str(kept), "-o", str(tmp_path / "s.pdf"))
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")


def test_what_an_audit_keeps_is_what_it_found(kept):
    before, after = made_audit(), read_audit(kept)
    drawn, again_drawn = figures(before), figures(after)
    assert list(again_drawn) == list(drawn)
    for key, one in drawn.items():
        assert again_drawn[key].plot.to_json() == one.plot.to_json()
    for run, again in zip(before.record.runs, after.record.runs, strict=True):
        assert again.layers == run.layers
        assert again.history == run.history
        assert again.cost == run.cost
        for condition, found in run.outcomes.items():
            np.testing.assert_array_equal(again.outcomes[condition].loss, found.loss)


def test_equal_arrays_are_kept_once(kept):
    audit = made_audit()
    outcomes = [o for run in audit.record.runs for o in run.outcomes.values()]
    columns = sum(5 * o.loss.nbytes for o in outcomes)  # labels are the same in all
    scores = sum(
        v.nbytes for own in audit.evidence["ood"].scores.values() for kind in own.values() for v in kind.values()
    )
    arrays = columns + scores + outcomes[0].label.nbytes
    assert (kept / FILE).stat().st_size < arrays + 80_000


def test_a_damaged_audit_is_said(kept, tmp_path):
    (tmp_path / FILE).write_bytes((kept / FILE).read_bytes()[:5000])
    with pytest.raises(CorruptFileError, match="not a whole audit"):
        read_record(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "inches"), [("3.25in", 3.25), ("2.54cm", 1.0), ("72.27pt", 1.0), ("4", 4.0), ("254mm", 10.0)]
)
def test_lengths(text, inches):
    assert _inches("--width", text) == pytest.approx(inches)


def test_a_length_that_is_none():
    assert _inches("--width", None) is None
    with pytest.raises(InputError, match="--width reads a length"):
        _inches("--width", "3 feet")
