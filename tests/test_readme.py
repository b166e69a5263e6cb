"""The code of the README and of the docs runs as it stands, in order, as a reader would type it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sinewy.criteria import CRITERIA
from sinewy.recipe import Recipe, parse, read_recipe
from sinewy.sparsify import SPARSIFIERS
from sinewy.structured import STRUCTURED

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
WRITING = ROOT / "docs" / "writing-a-sparsifier.md"
METHODS = ROOT / "docs" / "sparsifiers.md"
PRUNING = ROOT / "docs" / "pruning.md"


def blocks(language: str, page: Path = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.slow
def test_the_python_snippets(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "audit.html").exists()
    assert (tmp_path / "rigl.safetensors").exists()


def test_the_recipe(tmp_path):
    (tmp_path / "study.yaml").write_text(blocks("yaml")[0])
    assert len(read_recipe(tmp_path / "study.yaml").cells()) == 15


@pytest.mark.slow
def test_a_sparsifier_of_ones_own_runs_from_a_recipe(tmp_path):
    for name, block in zip(("mylab.py", "mylab2.py"), blocks("python", WRITING), strict=True):
        (tmp_path / name).write_text(block)
    (tmp_path / "even.yaml").write_text(blocks("yaml", WRITING)[0])
    assert "\nsinewy run even.yaml\n" in WRITING.read_text()
    command = [str(Path(sys.executable).with_name("sinewy")), "run", "even.yaml"]
    overrides = ["-o", "sparsifier={name: 'mylab2:Shuffle', sparsity: 0.9}"]
    for extra in ([], [*overrides, "--out", "other"]):
        done = subprocess.run(
            [*command, *extra, "--json", "--jobs", "1"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        runs = json.loads(done.stdout)["runs"]
        assert {run["state"] for run in runs} == {"done"}
        assert {run["sparsity"] for run in runs} == {"0.0 %", "90.0 %"}


@pytest.mark.slow
def test_the_snippets_on_pruning_and_rounds(capsys):
    names: dict[str, object] = {}
    for block in blocks("python", PRUNING):
        exec(compile(block, str(PRUNING), "exec"), names)
    assert "18,733 of 93,664 weights kept, sparsity 0.8000" in capsys.readouterr().out
    exec("model = sw.models.build('convnet', classes=10)\noptimizer = torch.optim.SGD(model.parameters(), 0.1)", names)
    for block in blocks("python", METHODS):
        exec(compile(block, str(METHODS), "exec"), names)
    assert names["total"] == 3 * 17 + 17


def test_the_recipe_for_a_goal():
    goal = yaml.safe_load(blocks("yaml", METHODS)[0])
    cells = parse(Recipe, {"model": "convnet", "data": "digits", **goal}, "docs").cells()
    assert [cell.sparsifier.name for cell in cells] == ["dense", "edge-popup-after"]


def test_the_tables_of_criteria_are_complete():
    listed = re.findall(r"^\| (`.*?`) \|", PRUNING.read_text(), re.MULTILINE)
    assert {name for row in listed for name in re.findall(r"`([a-z-]+)`", row)} == {*CRITERIA, *STRUCTURED}


def test_the_table_of_methods_is_complete():
    table = re.findall(r"^\| `([a-z-]+)` \| `(\w+)` \|", METHODS.read_text(), re.MULTILINE)
    classes = {name: path.rpartition(":")[2] for name, path in SPARSIFIERS.items() if name != "dense"}
    assert dict(table) == classes
