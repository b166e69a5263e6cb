"""A sparsifier from its name and options, as recipes and the command line give them."""

from __future__ import annotations

from typing import Any

from sinewy.errors import InputError
from sinewy.families import check_options, resolve
from sinewy.sparsify import SPARSIFIERS
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.saved import constructor_options


def make_sparsifier(name: str, **options: Any) -> Sparsifier:
    """Return the sparsifier of that name; raises InputError for an unknown name or option, with the closest."""
    kind = resolve("sparsifier", name, SPARSIFIERS)
    if not (isinstance(kind, type) and issubclass(kind, Sparsifier)):
        raise InputError(f"'{name}' is not a sinewy.Sparsifier class.")
    check_options(name, options, ["sparsity", *constructor_options(kind)])
    return kind(**options)
