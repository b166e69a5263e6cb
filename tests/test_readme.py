"""The README's code runs as it stands, in order, as a reader would type it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sinewy.recipe import read_recipe

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


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
