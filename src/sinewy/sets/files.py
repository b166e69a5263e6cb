"""How arrays of images get to the disk and back: streamed, hashed on the way, one writer at a time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import CorruptFileError, InputError
from sinewy.files import replacing


def stream_npy(
    path: Path,
    shape: tuple[int, ...],
    blocks: Iterable[NDArray[Any]],
    *,
    dtype: str = "|u1",
    algorithm: Callable[[], Any] = hashlib.md5,
    sealed: bool = False,
) -> str:
    """Write `blocks`, which together have `shape`, as one .npy file in one step; return the digest of the file.

    `sealed` puts the digest of what comes before behind the array, where readers of .npy do not look; then the digest
    returned is that one. Raises InputError if the disk does not take it.
    """
    state = algorithm()
    with replacing(path) as temporary, temporary.open("wb") as file:
        hashed = _Hashed(file, state)
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(hashed, header)
        for block in blocks:
            hashed.write(np.ascontiguousarray(block).data.cast("B"))
        if sealed:
            file.write(state.digest())
    return str(state.hexdigest())


class _Hashed:
    """A file that hashes what is written to it."""

    def __init__(self, file: Any, state: Any) -> None:
        self._file, self._state = file, state

    def write(self, content: Any) -> int:
        self._state.update(content)
        return int(self._file.write(content))


def map_npy(path: Path, advice: str) -> NDArray[Any]:
    """Return the array in a .npy file, memory-mapped and read-only; `advice` ends the sentence of what is wrong.

    Raises InputError for a file that is not there, CorruptFileError for a truncated one or none that is an array.
    """
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]
    except FileNotFoundError:
        raise InputError(f"{path} is not there; {advice}") from None
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CorruptFileError(f"{path} is not a whole .npy file ({reason}); {advice}") from error


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`; waits for another process that holds it. A killed process lets go at once."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise InputError(f"cannot write {path.parent}: {error.strerror or error}.") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def check_room(folder: Path, needed: int) -> None:
    """Raise InputError unless the disk of `folder` has `needed` bytes free."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise InputError(f"{folder} needs {size(needed)}, but its disk has {size(free)} free; name another folder.")


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove what a killed process left half-written in `folder`; only for whoever holds its lock."""
    for left in folder.glob(f".{name}*.part"):
        left.unlink(missing_ok=True)
