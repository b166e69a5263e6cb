"""An audit in one file beside its measurements, so that its figures and tables can be written without the networks.

FOLDER/audit.safetensors   the record and the evidence that pages read: arrays once each, everything else as JSON
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.analysis.evidence import Evidence
from sinewy.analysis.shown import Shown
from sinewy.errors import CorruptFileError, InputError
from sinewy.files import replacing
from sinewy.outcomes import Outcomes
from sinewy.records import Cost, Epoch, Layer, LayerMovement, Movement, RunRecord, StudyRecord
from sinewy.report.practice.audit import Audited
from sinewy.report.sentences import compare

FILE, FORMAT = "audit.safetensors", 1

READ = ("ood",)
"""Probes whose evidence the page draws; that of the others stands in the findings."""

KNOWN: dict[str, type] = {
    kind.__name__: kind
    for kind in (StudyRecord, RunRecord, Layer, Cost, Epoch, Movement, LayerMovement, Outcomes, Evidence, Shown)
}
"""What the file may hold: reading it makes nothing else."""


def write_audit(
    folder: Path, record: StudyRecord, evidence: Mapping[str, Evidence], classes: Sequence[str] = ()
) -> Path:
    """Write an audit into the folder of its measurements, in one step, and return the file."""
    from safetensors.numpy import save_file

    arrays: dict[str, NDArray[Any]] = {}
    read = {probe: found for probe, found in evidence.items() if probe in READ}
    document = {"record": record, "evidence": read, "shown": Shown(tuple(classes))}
    packed = json.dumps({"format": FORMAT, "audit": _packed(document, arrays)})
    path = folder / FILE
    with replacing(path) as temporary:
        save_file(arrays, temporary, {"sinewy": packed})
    return path


def read_audit(folder: Path) -> Audited:
    """Return the audit in a folder.

    Raises InputError for a folder without one, or whose networks cannot be compared, CorruptFileError for a file that
    is not whole.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / FILE
    if not path.is_file():
        raise InputError(
            f"{folder} holds no finished audit ({FILE} is missing); run sinewy audit with --keep {folder}."
        )
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads(file.metadata()["sinewy"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a mapping
        if header["format"] != FORMAT:
            raise InputError(f"{path} is of format {header['format']}; this sinewy reads format {FORMAT}.")
        found = _unpacked(header["audit"], arrays)
        record = found["record"]
        panel, reason = compare(record)
    except (SafetensorError, KeyError, TypeError, AttributeError, OSError) as error:
        raise CorruptFileError(f"{path} is not a whole audit ({error}); run the same audit again.") from error
    if panel is None:
        raise InputError(reason)
    return Audited(record, panel, found["evidence"], found["shown"])


def _packed(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return a value as JSON; arrays are put aside, equal ones once."""
    if isinstance(value, np.ndarray):
        plain = np.ascontiguousarray(value)
        key = hashlib.sha256(f"{plain.dtype.str} {plain.shape}".encode() + plain.tobytes()).hexdigest()[:24]
        arrays[key] = plain
        return {"array": key}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value):
        own = {field.name: _packed(getattr(value, field.name), arrays) for field in fields(value)}
        return {"type": type(value).__name__, "fields": own}
    if isinstance(value, Mapping):
        return {"map": [[_packed(name, arrays), _packed(entry, arrays)] for name, entry in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_packed(entry, arrays) for entry in value]}
    if isinstance(value, list):
        return [_packed(entry, arrays) for entry in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _unpacked(value: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    if isinstance(value, list):
        return [_unpacked(entry, arrays) for entry in value]
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "tuple" in value:
        return tuple(_unpacked(entry, arrays) for entry in value["tuple"])
    if "map" in value:
        return {_unpacked(name, arrays): _unpacked(entry, arrays) for name, entry in value["map"]}
    own = {name: _unpacked(entry, arrays) for name, entry in value["fields"].items()}
    return KNOWN[value["type"]](**own)
