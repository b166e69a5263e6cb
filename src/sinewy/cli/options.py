"""Options of any probe from the command line: PROBE.NAME=VALUE."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import yaml

from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve
from sinewy.probes import PROBES


def probe_options(given: Sequence[str], probes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the options by probe; commas make lists where the option is one.

    Raises InputError for text of another form, a probe that was not asked for, or an option that it has not.
    """
    found: dict[str, dict[str, Any]] = {}
    for text in given:
        name, equals, value = text.partition("=")
        probe, dot, option = name.rpartition(".")
        if not (equals and dot and option):
            raise InputError(f"--option reads PROBE.NAME=VALUE, such as features.examples=200; got '{text}'.")
        if probe not in probes:
            raise InputError(f"--option {text} is for the {probe} probe; add it: --probes {probe}")
        parameters = inspect.signature(resolve("probe", probe, PROBES)).parameters
        if option not in parameters:
            raise unknown_name(f"option of the {probe} probe", option, parameters)
        found.setdefault(probe, {})[option] = _value(value, "Sequence" in str(parameters[option].annotation))
    return found


def _value(text: str, several: bool) -> Any:
    if several:
        return [_value(word, several=False) for word in text.split(",") if word.strip()]
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text
