"""Which shifts a name stands for: kinds, groups of kinds, published suites, strengths. Loads no torch."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from sinewy.errors import InputError, unknown_name
from sinewy.shifts import BENCHMARK, C_BAR, CONTINUOUS, CORRUPTIONS, MNIST_C, PRESETS, SEVERITIES, THREE_D
from sinewy.shifts.c_bar_constants import LEVELS

KINDS: dict[str, str] = CORRUPTIONS | C_BAR | MNIST_C | THREE_D
"""Every kind that has severities, by the name that results are stored under."""

FAMILIES: dict[str, dict[str, str]] = {
    "cifar-c": CORRUPTIONS,
    "c-bar": C_BAR,
    "mnist-c": MNIST_C,
    "3dcc": THREE_D,
    "continuous": CONTINUOUS,
}
"""The families of kinds."""

_OF_BENCHMARK = {
    "noise": BENCHMARK[:3],
    "blur": BENCHMARK[3:7],
    "weather": BENCHMARK[7:11],
    "digital": BENCHMARK[11:],
    "benchmark": BENCHMARK,
    "held-out": tuple(CORRUPTIONS)[15:],
    "cifar-c": tuple(CORRUPTIONS),
    "mnist-c": tuple(MNIST_C),
    "3dcc": ("3dcc/color_quant", "3dcc/iso_noise", "3dcc/low_light"),
}

GROUPS: tuple[str, ...] = (*_OF_BENCHMARK, "c-bar")
"""Names that stand for several kinds; "c-bar" for the ten published for the preset, "3dcc" for those without depth."""


class Suite(NamedTuple):
    """A set as published: the constants it was made with, and its kinds."""

    preset: str
    kinds: tuple[str, ...]


SUITES: dict[str, Suite] = {
    "cifar10-c": Suite("cifar", tuple(CORRUPTIONS)),
    "cifar100-c": Suite("cifar", tuple(CORRUPTIONS)),
    "tiny-imagenet-c": Suite("tiny", tuple(CORRUPTIONS)),
    "imagenet-c": Suite("imagenet", tuple(CORRUPTIONS)),
    "cifar10-c-bar": Suite("cifar", tuple(LEVELS["cifar"])),
    "imagenet-c-bar": Suite("imagenet", tuple(LEVELS["imagenet"])),
    "mnist-c": Suite("cifar", tuple(MNIST_C)),
    "fashion-mnist-c": Suite("cifar", tuple(MNIST_C)),
    "imagenet-3dcc": Suite("imagenet", tuple(THREE_D)),
}
"""The published sets that Sinewy can make, by name."""

_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class Strength(NamedTuple):
    """A shift of continuous strength as a name holds it."""

    kind: str
    strength: float
    options: dict[str, Any]


def canonical(name: str) -> str:
    """Return the name that results are stored under: "c-bar/lines" is "lines", "uniform_noise/0.10" is ".../0.1".

    Raises InputError for a name that is no kind and no "package.module:function".
    """
    first, _, rest = name.partition("/")
    if first in CONTINUOUS:
        return spelled(parse_strength(name))
    if first in ("cifar-c", "c-bar") and rest in FAMILIES[first]:
        return rest
    if name not in KINDS and not _OWN.fullmatch(name):
        raise unknown_name("corruption", name, (*KINDS, *CONTINUOUS, *GROUPS))
    return name


def expand(names: Iterable[str], preset: str = "cifar") -> tuple[str, ...]:
    """Return the kinds that `names` stand for, groups written out, in order and without repetition."""
    found: list[str] = []
    for name in names:
        found += group(name, preset) if name in GROUPS else [canonical(name)]
    return tuple(dict.fromkeys(found))


def group(name: str, preset: str) -> tuple[str, ...]:
    """Return the kinds of a group; raises InputError for "c-bar" at a preset that none were published for."""
    if name != "c-bar":
        return _OF_BENCHMARK[name]
    if preset not in LEVELS:
        known = " or ".join(repr(each) for each in LEVELS)
        raise InputError(f"C-bar has no published constants for preset '{preset}'; use preset {known}.")
    return tuple(LEVELS[preset])


def family(kind: str) -> str:
    """Return the family of a kind: a key of FAMILIES, or "own" for a user's own function."""
    first = kind.partition("/")[0]
    plain = first if first in CONTINUOUS else kind
    return next((name for name, members in FAMILIES.items() if plain in members), "own")


def severities_of(kind: str, wanted: Iterable[int]) -> tuple[int, ...]:
    """Return those of `wanted` that `kind` has; a kind of one strength is measured once, as severity 1."""
    return (1,) if family(kind) in ("mnist-c", "continuous") else tuple(wanted)


def parse_strength(name: str) -> Strength:
    """Return what "KIND/STRENGTH" says, with what may follow it.

    Noise may name its space ("uniform_noise/0.1/pixel"), an attenuation its shape
    ("low_frequency_attenuation/4/square"), and Fourier basis noise has its frequency ("fourier_basis_noise/2/3/-5").
    Raises InputError for anything else.
    """
    kind, *rest = name.split("/")
    if kind not in CONTINUOUS:
        raise unknown_name("continuous shift", kind, CONTINUOUS)
    if not rest:
        raise InputError(f"'{name}' has no strength; write it as in {kind}/{'2/3/5' if 'fourier' in kind else '0.1'}.")
    return Strength(kind, _number(name, rest[0]), _options(name, kind, rest[1:]))


def spelled(shift: Strength) -> str:
    """Return the name of a shift of continuous strength in its one spelling."""
    value = {"fourier_basis_noise": "frequency"}.get(shift.kind)
    extra = shift.options[value] if value else [v for v in shift.options.values() if v not in ("normalised", "disk")]
    return "/".join([shift.kind, f"{shift.strength:.12g}", *map(str, extra)])


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise InputError(f"'{name}': the strength must be a finite number of at least 0, got '{text}'.")
    return value


def _options(name: str, kind: str, rest: list[str]) -> dict[str, Any]:
    choices: Mapping[str, tuple[str, tuple[str, ...]]] = {
        "uniform_noise": ("space", ("normalised", "pixel")),
        "normal_noise": ("space", ("normalised", "pixel")),
        "low_frequency_attenuation": ("shape", ("disk", "square")),
        "high_frequency_attenuation": ("shape", ("disk", "square")),
    }
    if kind == "fourier_basis_noise":
        if len(rest) != 2 or not all(re.fullmatch(r"-?\d+", part) for part in rest):
            raise InputError(f"'{name}' needs a frequency, two whole numbers after the norm: {kind}/2/3/-5.")
        return {"frequency": (int(rest[0]), int(rest[1]))}
    if kind not in choices or not rest:
        if rest:
            raise InputError(f"'{name}': nothing can follow the strength of {kind}.")
        return {choices[kind][0]: choices[kind][1][0]} if kind in choices else {}
    option, allowed = choices[kind]
    if len(rest) > 1 or rest[0] not in allowed:
        raise InputError(f"'{name}': after the strength comes {' or '.join(allowed)}, got '{'/'.join(rest)}'.")
    return {option: rest[0]}


def preset_for(side: int) -> str:
    """Return the preset made for images of this side; raises InputError, naming the nearest, where there is none."""
    for name, size in PRESETS.items():
        if size == side:
            return name
    nearest = min(PRESETS, key=lambda name: abs(math.log(PRESETS[name] / side)))
    raise InputError(
        f"no severity constants were published for images of {side} pixels; choose some: "
        f"--preset {nearest} (made for {PRESETS[nearest]} pixels) is nearest."
    )


def check_severity(severity: Any) -> None:
    """Raise InputError unless `severity` is 0 or a published severity."""
    whole = isinstance(severity, int) and not isinstance(severity, bool)
    if not whole or not 0 <= severity <= SEVERITIES[-1]:
        raise InputError(f"severity must be a whole number from 1 to 5 (0 returns a copy), got {severity!r}.")
