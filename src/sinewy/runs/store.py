"""The ledger: a study is a folder, a cell is a folder in it named by the hash of what it means. No torch.

    STORE/study.json                      the recipe and the command
    STORE/audit.json                      what the check found: protocols and probes, and the environment
    STORE/cells/<id>/cell.json            what the cell means
    STORE/cells/<id>/checkpoint.pt        while it trains
    STORE/cells/<id>/model.safetensors    weights and masks
    STORE/cells/<id>/epochs/<epoch>.safetensors    the same after earlier epochs, where the recipe keeps them
    STORE/cells/<id>/training.json        history, cost, layers: written last, so its presence means trained
    STORE/cells/<id>/environment.json     what it was made with
    STORE/cells/<id>/error.txt            the traceback, if it failed
    STORE/cells/<id>/outcomes/<protocol>/<kind>.safetensors   per-example outcomes of one shift
    STORE/cells/<id>/probes/<probe>/<protocol>/<kind>.safetensors   what a further probe measured
    STORE/findings/<probe>/<protocol>/seed-<seed>.json   what is read from these; may be deleted, and is made again

Nothing records a state that files do not show; every file is written in one step.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sinewy.errors import InputError
from sinewy.files import file_name, read_json, write_json, write_text
from sinewy.recipe import CellSpec, Recipe, parse
from sinewy.records import Cost, Epoch, Layer

FORMAT = 1


class Store:
    """One study on disk."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @classmethod
    def create(cls, folder: Path | str, recipe: Recipe, command: str) -> Store:
        """Make the folders of a study, or update those of an earlier run; finished cells stay.


        Raises InputError if the folder cannot be written, or holds something else.
        """
        store = cls(folder)
        if store.folder.exists() and not store.folder.is_dir():
            raise InputError(f"{folder} is a file; --out needs a folder.")
        if store.folder.is_dir() and any(store.folder.iterdir()) and not store._study_file.exists():
            raise InputError(f"{folder} holds other files than a study; give --out an empty or new folder.")
        for cell in recipe.cells():
            path = store.cell_folder(cell.id) / "cell.json"
            if not path.exists():
                write_json(path, cell.model_dump(mode="json"))
        write_json(
            store._study_file,
            {"format": FORMAT, "recipe": recipe.model_dump(mode="json"), "command": command},
        )
        return store

    @classmethod
    def open(cls, folder: Path | str) -> Store:
        """Return the study in `folder`; raises InputError if there is none, or it is of a newer format."""
        store = cls(folder)
        if not store._study_file.is_file():
            raise InputError(
                f"{folder} holds no study (no study.json); make one with: sinewy run RECIPE --out {folder}"
            )
        version = read_json(store._study_file).get("format")
        if version != FORMAT:
            raise InputError(f"{folder} is a study of format {version}; this sinewy reads format {FORMAT}.")
        return store

    @property
    def _study_file(self) -> Path:
        return self.folder / "study.json"

    @property
    def recipe(self) -> Recipe:
        """The recipe the study was last run with."""
        return parse(Recipe, read_json(self._study_file)["recipe"], str(self._study_file))

    @property
    def command(self) -> str:
        """The command the study was last run with."""
        return str(read_json(self._study_file)["command"])

    @property
    def checked(self) -> dict[str, Any]:
        """What the check before the last run found; empty if there was none."""
        path = self.folder / "audit.json"
        return dict(read_json(path)) if path.is_file() else {}

    def cell_folder(self, cell: str) -> Path:
        """Return the folder of the cell with this id."""
        return self.folder / "cells" / cell

    def epoch_files(self, cell: str) -> dict[int, Path]:
        """Return the networks of earlier epochs that a cell has kept, by epoch."""
        return {int(file.stem): file for file in sorted(self.cell_folder(cell).glob("epochs/*.safetensors"))}

    def outcomes_file(self, cell: str, protocol: str, kind: str) -> Path:
        """Return where a cell's outcomes on one shift are."""
        return self.cell_folder(cell) / "outcomes" / protocol / f"{kind}.safetensors"

    def measured_file(self, cell: str, probe: str, protocol: str, kind: str) -> Path:
        """Return where a further probe's measurement of a cell is."""
        return self.cell_folder(cell) / "probes" / file_name(probe) / protocol / f"{file_name(kind)}.safetensors"

    def findings_file(self, probe: str, protocol: str, seed: int) -> Path:
        """Return where the findings of a further probe on the cells of one seed are."""
        return self.folder / "findings" / file_name(probe) / protocol / f"seed-{seed}.json"

    def is_trained(self, cell: str) -> bool:
        """Return whether the cell's model is finished."""
        return (self.cell_folder(cell) / "training.json").is_file()

    def error(self, cell: str) -> str | None:
        """Return the traceback of a failed cell, or None."""
        path = self.cell_folder(cell) / "error.txt"
        return path.read_text(encoding="utf-8") if path.is_file() else None

    def state(self, cell: str) -> str:
        """Return "trained", "running", "failed", "started" (a checkpoint waits) or "waiting"."""
        folder = self.cell_folder(cell)
        if self.is_trained(cell):
            return "trained"
        if _is_locked(folder / "lock"):
            return "running"
        if self.error(cell) is not None:
            return "failed"
        return "started" if (folder / "checkpoint.pt").is_file() else "waiting"

    def foreign_cells(self, cells: Iterable[CellSpec]) -> list[str]:
        """Return the cells on disk that the present recipe does not mean."""
        wanted = {cell.id for cell in cells}
        return sorted(path.name for path in (self.folder / "cells").glob("*") if path.name not in wanted)

    def write_training(self, cell: str, training: Mapping[str, Any]) -> None:
        """Mark a cell as trained, with its history, cost and layers."""
        write_json(self.cell_folder(cell) / "training.json", training)
        (self.cell_folder(cell) / "checkpoint.pt").unlink(missing_ok=True)

    def write_error(self, cell: str, traceback: str) -> None:
        """Record that a cell failed; the next run tries it again."""
        write_text(self.cell_folder(cell) / "error.txt", traceback)

    def clear_error(self, cell: str) -> None:
        """Forget an earlier failure."""
        (self.cell_folder(cell) / "error.txt").unlink(missing_ok=True)


def protocol_id(protocol: Mapping[str, Any]) -> str:
    """Return the name of an audit protocol: outcomes measured under different ones never share a folder."""
    return hashlib.sha256(json.dumps(protocol, sort_keys=True).encode()).hexdigest()[:10]


def training_document(history: Iterable[Epoch], cost: Cost, layers: Iterable[Layer]) -> dict[str, Any]:
    """Return the content of training.json."""
    return {
        "history": [asdict(row) for row in history],
        "cost": asdict(cost),
        "layers": [asdict(layer) for layer in layers],
    }


def read_training(document: Mapping[str, Any]) -> tuple[tuple[Epoch, ...], Cost, tuple[Layer, ...]]:
    """Return what `training_document` wrote."""
    layers = tuple(
        Layer(entry["name"], tuple(entry["shape"]), entry["weights"], entry["nonzero"]) for entry in document["layers"]
    )
    return tuple(Epoch.from_dict(row) for row in document["history"]), Cost(**document["cost"]), layers


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; waits for another process that holds it. A killed process lets go at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with path.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
