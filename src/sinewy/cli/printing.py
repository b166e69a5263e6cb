"""How results and notes reach the terminal."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

WIDE = 170


def out() -> Console:
    """Return the console for results; wide when it is not a terminal, so that tables are not cut."""
    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)


def print_json(document: Any) -> None:
    """Print the one JSON document of a command."""
    print(json.dumps(document, indent=2, default=str, allow_nan=False))


def say(text: str) -> None:
    """Print a line for people to stderr."""
    print(text, file=sys.stderr, flush=True)


def plain_table(headings: list[str]) -> Table:
    """Return an empty table without a frame; headings that are all empty take no line."""
    return Table(*headings, box=None, pad_edge=False, header_style="bold", show_header=any(headings))


def next_command(*words: str) -> None:
    """Print the next command to type."""
    say(f"next: {shlex.join(words)}")


def note_untrained(source: str, weights: Path | None, option: str) -> None:
    """Say that a model which is only named is taken as its builder makes it, without weights from a file."""
    if weights is None and not Path(source).exists() and not source.endswith(".safetensors"):
        say(
            f"note: {source} is taken as it is built; if that is untrained, give its weights: {option} FILE.safetensors"
        )


def typed_command() -> str:
    """Return the command as it was typed."""
    return shlex.join(["sinewy", *sys.argv[1:]])
