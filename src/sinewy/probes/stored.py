"""Measurements on disk, one file per model and kind, so that an audit that was stopped goes on from the next kind.

FOLDER/<probe>/<what was measured, of what, by which version>/<kind>.safetensors
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sinewy import __version__
from sinewy.data import ImageSet
from sinewy.errors import CorruptFileError
from sinewy.files import file_name, replacing
from sinewy.identity import fingerprint
from sinewy.outcomes import COLUMNS, Outcomes
from sinewy.probes.probe import Measurement

OUTCOME, SCORE = "outcome", "score"


def image_fingerprint(data: ImageSet) -> str:
    """Return what tells images as a model is fed them from others: their hash, and the statistics that normalise."""
    return f"{data.hash} mean {tuple(map(float, data.mean))} std {tuple(map(float, data.std))}"


class Stored:
    """The measurements of one probe in a folder, under the protocol that they were made with.

    `together` says that a measurement of one model depends on all `models`, whatever their names and order.
    """

    def __init__(
        self,
        folder: Path,
        probe: str,
        protocol: Mapping[str, Any],
        data: ImageSet,
        models: Mapping[str, nn.Module],
        *,
        together: bool = False,
    ) -> None:
        prints = {name: fingerprint(model) for name, model in models.items()}
        said = {"protocol": protocol, "data": image_fingerprint(data), "sinewy": __version__}
        meaning = json.dumps(
            said | ({"with": sorted(prints.values())} if together else {}), sort_keys=True, default=str
        )
        self._folder = folder / probe
        self._ids = {name: hashlib.sha256(f"{meaning} {own}".encode()).hexdigest()[:12] for name, own in prints.items()}

    def path(self, name: str, kind: str) -> Path:
        """Return where the measurement of a model on one kind is."""
        return self._folder / self._ids[name] / f"{file_name(kind)}.safetensors"

    def parts(self, name: str, kind: str) -> Path:
        """Return the folder where parts of that measurement may be kept until it is whole."""
        return parts_folder(self.path(name, kind))

    def missing(self, kind: str) -> list[str]:
        """Return the models that were not measured on the kind yet."""
        return [name for name in self._ids if not self.path(name, kind).is_file()]

    def save(self, measured: Measurement, names: Sequence[str]) -> None:
        """Write the measurement of these models, each file in one step."""
        for name in names:
            write_measured(self.path(name, measured.kind), measured, name)

    def load(self, kind: str) -> Measurement:
        """Return the measurement of all models on the kind; raises CorruptFileError for a damaged file."""
        return read_measured(kind, {name: self.path(name, kind) for name in self._ids})


def write_measured(path: Path, measured: Measurement, name: str) -> None:
    """Write what was measured of one model on one kind, in one step."""
    from safetensors.numpy import save_file

    outcomes = measured.outcomes.get(name, {})
    arrays = {f"{OUTCOME}/{s}/{c}": getattr(o, c) for s, o in outcomes.items() for c in COLUMNS}
    arrays |= {f"{SCORE}/{key}": values for key, values in measured.scores.get(name, {}).items()}
    about = json.dumps({"kind": measured.kind, "about": dict(measured.about)})
    with replacing(path) as temporary:
        save_file(arrays, temporary, {"sinewy": about})
    shutil.rmtree(parts_folder(path), ignore_errors=True)


def parts_folder(path: Path) -> Path:
    """Return the folder for parts of a measurement that will be written to `path`."""
    return path.with_suffix(".parts")


def read_measured(kind: str, paths: Mapping[str, Path], names: Mapping[str, str] | None = None) -> Measurement:
    """Return what files say of the models that `paths` names; raises CorruptFileError for a damaged one.

    `names` maps names that models had when they were measured to those they have now.
    """
    outcomes: dict[str, dict[int, Outcomes]] = {}
    scores: dict[str, dict[str, np.ndarray]] = {}
    about: dict[str, Any] = {}
    for name, path in paths.items():
        own, numbers, said = _read(path)
        outcomes |= {name: own} if own else {}
        scores |= {name: numbers} if numbers else {}
        about = _merged(about, _renamed(said, names or {}))
    return Measurement(kind, outcomes, about, scores)


def _read(path: Path) -> tuple[dict[int, Outcomes], dict[str, np.ndarray], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            said = json.loads(file.metadata()["sinewy"])["about"]
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise CorruptFileError(f"{path} is not a whole measurement ({error}); delete it and audit again.") from error
    columns: dict[int, dict[str, Any]] = {}
    for key, values in arrays.items():
        kind, _, rest = key.partition("/")
        if kind == OUTCOME:
            severity, _, column = rest.partition("/")
            columns.setdefault(int(severity), {})[column] = values
    numbers = {key.removeprefix(f"{SCORE}/"): v for key, v in arrays.items() if key.startswith(f"{SCORE}/")}
    return {s: Outcomes(**found) for s, found in sorted(columns.items())}, numbers, said


def _renamed(said: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return what a measurement says, what it says by model under the models' present names."""
    return {
        key: {names.get(name, name): own for name, own in value.items()} if isinstance(value, Mapping) else value
        for key, value in said.items()
    }


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two measurements say of one kind; what they say by model is put together."""
    both = dict(one)
    for key, value in other.items():
        both[key] = {**both.get(key, {}), **value} if isinstance(value, Mapping) else value
    return both
