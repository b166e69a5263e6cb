"""The `sinewy` command: its verbs, its exit codes, and how an error reads."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from sinewy import __version__
from sinewy.cli import auditing, compacting, figures, limiting, looking, planning, shifting, studies
from sinewy.errors import InputError

DONE, IMPOSSIBLE = 0, 2

app = typer.Typer(
    name="sinewy",
    help="Train sparse neural networks, and audit what the sparsity cost or gained beyond test accuracy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    studies.demo,
    planning.plan,
    studies.run,
    planning.status,
    studies.report,
    figures.figure,
    figures.table,
    auditing.audit,
    limiting.limit,
    compacting.compact,
    shifting.shift,
    looking.doctor,
    looking.list_families,
):
    app.command("list" if verb is looking.list_families else None)(verb)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"sinewy {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command; exit 0 done, 1 some cells failed, 2 the request is impossible, 130 interrupted."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported, which is later
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler's notice is heard like Ctrl-C
    sys.path.append(str(Path.cwd()))  # a user's package.module:name is looked up where the command is typed
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(IMPOSSIBLE)
    except BrokenPipeError:  # the reader of our output left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
