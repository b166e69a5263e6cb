"""Whether a data set's files are there, and how much is to be fetched if not. Loads no torch."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from sinewy.data import DATASETS, OUTLIER_SETS
from sinewy.data.splits import data_root
from sinewy.data.telling import megabytes
from sinewy.errors import unknown_name


def present(name: str, root: str | Path | None = None) -> bool:
    """Return whether the data set `name` can be read from `root` without a network: its files or archive are there.

    Checksums are checked when it is read. Raises InputError for an unknown name.
    """
    module, place = _home(name), data_root(root)
    instead = getattr(module, "INSTEAD", {}).get(name, ())
    whole = all((place / file).exists() for file in module.FILES[name])
    return whole or any((place / file).exists() for file in instead)


def standing(name: str, root: str | Path | None = None) -> str:
    """Return "present", or how many megabytes of `name` will be fetched when it is first used."""
    if present(name, root):
        return "present"
    return f"fetched on first use, {megabytes(_home(name).BYTES[name])} MB"


def _home(name: str) -> Any:
    """Return the module that knows the files of a data set."""
    known = DATASETS | OUTLIER_SETS
    if name not in known:
        raise unknown_name("data set", name, known)
    return import_module(known[name].partition(":")[0])
