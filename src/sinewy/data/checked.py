"""How a data file on the disk is read: only with the bytes its publisher made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sinewy.errors import CorruptFileError, InputError
from sinewy.files import digest


def read_checked(path: Path, md5: str, address: str = "") -> bytes:
    """Return the bytes of `path`; raises CorruptFileError unless their MD5 is `md5`, InputError if there are none.

    `address` is where the file is published, for the sentence that it is not there.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise absent(path, address) from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    _compare(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), md5)
    return content


def check_file(path: Path, md5: str) -> None:
    """Raise CorruptFileError unless the MD5 of `path` is `md5`, InputError if it cannot be read; reads it in blocks."""
    try:
        found = digest(path, lambda: hashlib.md5(usedforsecurity=False))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    _compare(path, found, md5)


def absent(path: Path, address: str = "") -> InputError:
    """Return the error for a file that is not there and may not be fetched, from `address` or somewhere."""
    return InputError(
        f"{path} is not there; allow downloads, or get {address or 'the official file'} elsewhere and put it there "
        "yourself."
    )


def damaged(path: Path, why: str) -> CorruptFileError:
    """Return the error for a file that is there and is not what it should be."""
    return CorruptFileError(f"{path} is damaged ({why}); delete it and run the same command again.")


def _compare(path: Path, found: str, md5: str) -> None:
    if found != md5:
        raise damaged(path, f"md5 {found}, expected {md5}")
