"""The house rules that a machine can check: who may import whom, what stays free of torch, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "sinewy"

LEVELS = (
    {"errors", "seeds", "environment"},
    {"families", "files"},
    {"outcomes", "records"},
    {"select", "layers"},
    {"identity"},
    {"masks", "schedules", "connectivity", "topology"},
    {"allocation", "capacity", "modelfile"},
    {"shifts"},
    {"metrics", "models", "data"},
    {"criteria", "sets"},
    {"structured"},
    {"pruning"},
    {"sparsify", "attacks", "detectors"},
    {"objectives"},
    {"analysis", "recipe"},
    {"report"},
    {"train", "probes"},
    {"limits"},
    {"runs"},
    {"cli"},
)
"""Rooms from the ground up; a room imports from its own and from lower levels' rooms only."""

SIDEWAYS = {("modelfile", "masks"), ("records", "outcomes")}

NO_TORCH = (
    "errors",
    "families",
    "files",
    "seeds",
    "outcomes",
    "records",
    "recipe",
    "analysis",
    "report",
    "cli",
    "environment",
)
NO_TORCH_MODULES = (
    "runs.store",
    "runs.study",
    "runs.local",
    "runs.reading",
    "runs.labels",
    "runs.probed",
    "runs.standing",
    "topology",
    "criteria",
    "structured",
    "objectives",
    "sparsify",
    "models",
    "data",
    "shifts",
    "sets",
    "attacks",
    "detectors",
    "probes",
    "runs",
)


def level(room: str) -> int:
    return next(index for index, rooms in enumerate(LEVELS) if room in rooms)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Return the rooms of Sinewy that a file imports, type-checking imports left out."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sinewy."):
            found.append(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "sinewy":
            found += [alias.name for alias in node.names if (SOURCE / alias.name).exists()]
    return found


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down(path):
    own = room_of(path)
    if own == "__init__":
        return
    for room in imports(path):
        allowed = room == own or level(room) < level(own) or (own, room) in SIDEWAYS
        assert allowed, f"{own} must not import {room}"


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_holds_too_much(path):
    assert len(path.read_text().splitlines()) <= 400


def modules_without_torch() -> list[str]:
    found = list(NO_TORCH_MODULES)
    for room in NO_TORCH:
        path = SOURCE / room
        files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
        found += [".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for file in files]
    return sorted(set(found))


def test_results_are_read_without_torch():
    """Everything that only reads results, and `import sinewy`, works without importing torch."""
    names = ", ".join(f"sinewy.{name}" for name in modules_without_torch())
    code = f"import sys, sinewy, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_public_name_can_be_imported():
    import sinewy

    for name in sinewy.__all__:
        assert getattr(sinewy, name) is not None
    assert set(sinewy.__all__) <= set(dir(sinewy))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sinewy.nothing
