"""Parts of one measurement on disk, so that a probe that was stopped goes on within a kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from sinewy.files import replacing


def kept(path: Path | None, compute: Callable[[], list[Tensor]]) -> list[Tensor]:
    """Return what `compute` returns, or what it returned the last time if `path` holds that; None keeps nothing.

    A file that is not whole is made anew. The folder is named by what is measured, so a file is never another's.
    """
    found = None if path is None else _read(path)
    if found is None:
        found = compute()
        if path is not None:
            with replacing(path) as temporary:
                save_file({str(number): part.contiguous() for number, part in enumerate(found)}, temporary)
    return found


def _read(path: Path) -> list[Tensor] | None:
    try:
        arrays = load_file(path)
        return [arrays[str(number)] for number in range(len(arrays))]
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
