"""Measurements on disk, one file per model and kind, so that an audit that was stopped goes on from the next kind.

FOLDER/<probe>/<what was measured, of what, by which version>/<kind>.safetensors
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sinewy import __version__
from sinewy.errors import CorruptFileError
from sinewy.files import replacing
from sinewy.layers import unwrap
from sinewy.outcomes import COLUMNS, Outcomes
from sinewy.probes.probe import Measurement

OUTCOME, SCORE = "outcome", "score"


def fingerprint(model: nn.Module) -> str:
    """Return 16 hexadecimal digits that depend on the printed structure of a model and on every stored tensor."""
    model = unwrap(model)
    state = hashlib.sha256(repr(model).encode())
    for name, tensor in model.state_dict().items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.detach().cpu().contiguous().float().numpy().tobytes())
    return state.hexdigest()[:16]


class Stored:
    """The measurements of one probe in a folder, under the protocol that they were made with."""

    def __init__(
        self, folder: Path, probe: str, protocol: Mapping[str, Any], data: str, models: Mapping[str, nn.Module]
    ) -> None:
        said = {"protocol": protocol, "data": data, "sinewy": __version__}
        meaning = json.dumps(said, sort_keys=True, default=str)
        self._folder = folder / probe
        self._ids = {
            name: hashlib.sha256(f"{meaning} {fingerprint(model)}".encode()).hexdigest()[:12]
            for name, model in models.items()
        }

    def path(self, name: str, kind: str) -> Path:
        """Return where the measurement of a model on one kind is."""
        safe = kind.replace("/", "_").replace("%", "_")
        tail = "" if safe == kind else "-" + hashlib.sha256(kind.encode()).hexdigest()[:6]
        return self._folder / self._ids[name] / f"{safe[:80]}{tail}.safetensors"

    def missing(self, kind: str) -> list[str]:
        """Return the models that were not measured on the kind yet."""
        return [name for name in self._ids if not self.path(name, kind).is_file()]

    def save(self, measured: Measurement, names: Sequence[str]) -> None:
        """Write the measurement of these models, each file in one step."""
        from safetensors.numpy import save_file

        for name in names:
            outcomes = measured.outcomes.get(name, {})
            arrays = {f"{OUTCOME}/{s}/{c}": getattr(o, c) for s, o in outcomes.items() for c in COLUMNS}
            arrays |= {f"{SCORE}/{key}": values for key, values in measured.scores.get(name, {}).items()}
            about = json.dumps({"kind": measured.kind, "about": dict(measured.about)})
            path = self.path(name, measured.kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                save_file(arrays, temporary, {"sinewy": about})

    def load(self, kind: str) -> Measurement:
        """Return the measurement of all models on the kind; raises CorruptFileError for a damaged file."""
        outcomes: dict[str, dict[int, Outcomes]] = {}
        scores: dict[str, dict[str, np.ndarray]] = {}
        about: dict[str, Any] = {}
        for name in self._ids:
            own, numbers, said = _read(self.path(name, kind))
            outcomes |= {name: own} if own else {}
            scores |= {name: numbers} if numbers else {}
            about = _merged(about, said)
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


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return what two measurements say of one kind; what they say by model is put together."""
    both = dict(one)
    for key, value in other.items():
        both[key] = {**both.get(key, {}), **value} if isinstance(value, Mapping) else value
    return both
