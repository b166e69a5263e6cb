"""What is said on stderr of a download that nobody else shows: a line when it begins, and one every ten seconds."""

from __future__ import annotations

import sys
import time
from pathlib import Path

EVERY = 10.0
"""Seconds between two lines."""


class Teller:
    """A line "fetching NAME into FOLDER: 125 of 625 MB" when a download begins, and while it lasts."""

    def __init__(self, path: Path) -> None:
        self._folder, self._next = path.parent, 0.0

    def __call__(self, name: str, received: int, total: int | None) -> None:
        """Say how far it is, unless that was said lately."""
        now = time.monotonic()
        if now >= self._next and received != total:
            self._next = now + EVERY
            size = f"{megabytes(received)} of {megabytes(total)} MB" if total else f"{megabytes(received)} MB"
            print(f"fetching {name} into {self._folder}: {size}", file=sys.stderr, flush=True)


def megabytes(count: int) -> str:
    """Return a number of bytes in millions, as short as it says something."""
    return f"{count / 1e6:,.0f}" if count >= 1e7 or not count else f"{count / 1e6:.2g}"
