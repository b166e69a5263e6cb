"""How a data file on the disk is read: only with the bytes its publisher made."""

from __future__ import annotations

import hashlib
from pathlib import Path

from sinewy.errors import CorruptFileError, InputError


def read_checked(path: Path, md5: str) -> bytes:
    """Return the bytes of `path`; raises CorruptFileError unless their MD5 is `md5`, InputError if there are none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is not there; allow downloads, or put the official file there yourself.") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise CorruptFileError(
            f"{path} is damaged (md5 {found}, expected {md5}); delete it and run the same command again."
        )
    return content
