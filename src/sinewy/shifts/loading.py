"""A shift by the name of its set: "cifar10-c/fog/3" is made here, or read where the published files are."""

from __future__ import annotations

import os
from typing import Any

from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve
from sinewy.shifts import CONTINUOUS
from sinewy.shifts.names import SUITES, severities_of
from sinewy.shifts.strengths import Continuous
from sinewy.shifts.values import Corruption, Shift

_PUBLISHED = {"published set": "sinewy.sets.published:open_part"}
"""By name, since published sets live in a room above this one."""


def load(name: str, *, root: str | os.PathLike[str] | None = None) -> Any:
    """Return the shift that `name` stands for; with `root`, that part of the published files there.

    `name` is SUITE/KIND/SEVERITY, as in "cifar10-c/fog/3" or "imagenet-c-bar/sparkles/2", SUITE/KIND where there is one
    severity ("mnist-c/zigzag"), a shift of continuous strength ("uniform_noise/0.1"), or several joined by "|". The
    suite says which constants are meant (see SUITES in `sinewy.shifts.names`). Without `root` the result is a `Shift`,
    to be called on images. With `root` it is a `sinewy.sets.PublishedPart`: images and labels of the published files,
    whose protocol differs. Raises InputError for a name that says less or something else.

    >>> load("tiny-imagenet-c/fog/3")
    Corruption(kind='fog', severity=3, preset='tiny', frost_folder=None)
    """
    if root is not None:
        return resolve("published set", "published set", _PUBLISHED)(name, root)
    first, *others = [_one(part.strip()) for part in str(name).split("|")]
    shift: Shift = first
    for other in others:
        shift = shift | other
    return shift


def _one(name: str) -> Shift:
    if name.partition("/")[0] in CONTINUOUS:
        return Continuous(name)
    suite, kind, severity = split(name)
    preset, kinds = SUITES[suite]
    full = next((known for known in kinds if kind in (known, known.rpartition("/")[2])), None)
    if full is None:
        raise unknown_name(f"kind of {suite}", kind, [known.rpartition("/")[2] for known in kinds])
    return Corruption(full, severity, preset=preset)


def split(name: str) -> tuple[str, str, int]:
    """Return suite, kind and severity of a name; raises InputError where one is missing or no severity."""
    suite, *rest = name.split("/")
    if suite not in SUITES:
        raise unknown_name("suite", suite, SUITES, hint="A name reads SUITE/KIND/SEVERITY, as in cifar10-c/fog/3.")
    one = suite in ("mnist-c", "fashion-mnist-c")
    if len(rest) == 1 and one:
        rest = [*rest, "1"]
    if len(rest) != 2 or not rest[1].isdigit():
        raise InputError(f"'{name}' must read {suite}/KIND{'' if one else '/SEVERITY'}, as in cifar10-c/fog/3.")
    if int(rest[1]) not in severities_of(f"mnist-c/{rest[0]}" if one else rest[0], range(1, 6)):
        raise InputError(f"'{name}': the severity must be {'1' if one else '1 to 5'}, got {rest[1]}.")
    return suite, rest[0], int(rest[1])
