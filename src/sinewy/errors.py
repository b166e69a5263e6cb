"""What a user reads when something they asked for cannot be done."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The request cannot be met; the sentence says what was wrong, the value, and the fix."""


class CorruptFileError(InputError):
    """A file is truncated, tampered with, or not what its name says."""


class MissingExtraError(InputError):
    """A capability needs a package that is not installed; the sentence holds the install command."""


def unknown_name(what: str, name: str, known: Iterable[str], hint: str = "") -> InputError:
    """Return the error for a name that is not in a family, with the closest known name.

    `what` is the singular noun of the family ("sparsifier"), `hint` a closing sentence ("sinewy list shows all").
    """
    names = sorted(known)
    close = get_close_matches(name, names, n=1, cutoff=0.5)
    meant = f" Did you mean '{close[0]}'?" if close else f" Known: {', '.join(names)}."
    return InputError(f"unknown {what} '{name}'.{meant}{' ' + hint if hint else ''}")
