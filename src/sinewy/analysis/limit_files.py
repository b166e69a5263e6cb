"""A limit on disk: its record beside the outcomes that are there already, so that it can be read without the networks.

FOLDER/record.json   everything of the record but outcomes, and where those lie
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sinewy.analysis.limit_record import Level, LimitRecord
from sinewy.analysis.shown import Left
from sinewy.errors import CorruptFileError, InputError
from sinewy.files import read_json, write_json
from sinewy.outcomes import Condition, Outcomes, load_outcomes
from sinewy.records import Cost, Layer

FILE, FORMAT = "record.json", 1

PLAIN = ("title", "method", "retrain", "margin", "alpha", "command", "partial", "classes", "protocol", "environment")
"""Fields that are JSON as they are."""


def write_limit(home: Path, record: LimitRecord, files: Mapping[str, str], folders: Sequence[str]) -> Path:
    """Write the record of a limit into its folder, and return the file.

    `files` say where the outcomes of a kind lie within the folder of a network, "parent" or one of `folders`, which are
    those of the levels; all relative.
    """
    levels = [
        {
            "sparsity": level.sparsity,
            "folder": folder,
            "layers": [vars(layer) for layer in level.layers],
            "left": [vars(left) for left in level.left],
        }
        for level, folder in zip(record.levels, folders, strict=True)
    ]
    document = {
        "format": FORMAT,
        **{name: getattr(record, name) for name in PLAIN},
        "groups": {name: list(map(list, conditions)) for name, conditions in record.groups.items()},
        "cost": vars(record.cost) if record.cost is not None else None,
        "outcomes": dict(files),
        "levels": levels,
    }
    write_json(home / FILE, json.loads(json.dumps(document, default=str)))
    return home / FILE


def read_limit(home: Path) -> LimitRecord:
    """Return the record of a limit from its folder.

    Raises InputError for a folder without one, CorruptFileError for files that are not whole.
    """
    path = home / FILE
    if not path.is_file():
        raise InputError(f"{home} holds no finished limit ({FILE} is missing); run sinewy limit with --out {home}.")
    document = read_json(path)
    try:
        return _record(home, document)
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(f"{path} is not the record of a limit ({error}); run the same limit again.") from error


def _record(home: Path, document: Mapping[str, Any]) -> LimitRecord:
    groups = {name: tuple((str(k), int(s)) for k, s in found) for name, found in document["groups"].items()}
    files = document["outcomes"]
    levels = [
        Level(
            part["sparsity"],
            tuple(Layer(**{**layer, "shape": tuple(layer["shape"])}) for layer in part["layers"]),
            _outcomes(home / part["folder"], files),
            tuple(Left(**left) for left in part["left"]),
        )
        for part in document["levels"]
    ]
    plain = {name: document[name] for name in PLAIN} | {"classes": tuple(document["classes"])}
    cost = Cost(**document["cost"]) if document["cost"] else None
    parent = _outcomes(home / "parent", files)
    return LimitRecord(levels=tuple(levels), parent=parent, groups=groups, cost=cost, folder=str(home), **plain)


def _outcomes(folder: Path, files: Mapping[str, str]) -> dict[Condition, Outcomes]:
    found: dict[Condition, Outcomes] = {}
    for kind, file in files.items():
        by_severity, _ = load_outcomes(folder / file)
        found |= {(kind, severity): outcomes for severity, outcomes in by_severity.items()}
    return found
