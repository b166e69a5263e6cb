"""How files are written so that nothing half-written is ever seen, and hashed so that nothing changed goes unseen."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sinewy.errors import CorruptFileError, InputError

_unfinished: set[Path] = set()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; on success it takes the place of `path` in one step.

    On any error, a full disk included, the temporary file is removed and the earlier file stays as it was.
    Raises InputError if the folder cannot be written or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    _unfinished.add(temporary)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch(exist_ok=False)  # says now, and in the system's words, if the folder cannot be written
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}. What was there before is untouched."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        _unfinished.discard(temporary)


def drop_unfinished() -> None:
    """Remove the temporary files of every write under way, for a process that ends without unwinding."""
    for temporary in tuple(_unfinished):
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` in one step (see `replacing`)."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8 in one step (see `replacing`)."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` as indented JSON in one step; NaN is refused, since it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the JSON document in `path`; raises CorruptFileError if it is not one, InputError if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValueError as error:
        raise CorruptFileError(
            f"{path} is not valid JSON ({error}); delete it and run the same command again."
        ) from error


def file_name(text: str) -> str:
    """Return a name for a file that stands for `text` alone: itself where it can be, else shortened and hashed."""
    safe = text.replace("/", "_").replace("%", "_")[:80]
    return safe if safe == text else f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def digest(path: Path, algorithm: Callable[[], Any] = hashlib.sha256) -> str:
    """Return the hexadecimal digest of the bytes of `path`, read in blocks."""
    state = algorithm()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            state.update(block)
    return str(state.hexdigest())
