"""How a name becomes a class or function: one lookup for every family of things Sinewy knows.

A family is a plain dict from name to "package.module:attribute". Its values are imported only when asked for, so that
listing or validating names costs no torch import. A user's own "package.module:attribute" is accepted wherever a name
is.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sinewy.errors import InputError, unknown_name


def check_name(what: str, name: str, family: Mapping[str, str]) -> None:
    """Raise InputError unless `name` is in `family` or reads "package.module:attribute"."""
    if name not in family and ":" not in name:
        raise unknown_name(what, name, family)


def check_options(name: str, options: Iterable[str], known: Sequence[str]) -> None:
    """Raise InputError for the first of `options` that the member `name` of a family does not have."""
    for option in options:
        if option not in known:
            raise unknown_name(f"option of {name}", option, known)


def resolve(what: str, name: str, family: Mapping[str, str]) -> Any:
    """Return the object that `name` stands for in `family`, or the one at "package.module:attribute".

    Raises InputError for an unknown name, a module that cannot be imported, or an attribute it does not have.
    """
    check_name(what, name, family)
    path = family.get(name, name)
    module_name, _, attribute = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{what} '{name}': cannot import '{error.name}'. Is it installed and on the Python path?"
        ) from None
    if not hasattr(module, attribute):
        public = [entry for entry in vars(module) if not entry.startswith("_")]
        raise unknown_name(f"{what}: module '{module_name}' has no", attribute, public)
    return getattr(module, attribute)
