"""Shifts as values: a corruption with its severity, and what shifts make together."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.seeds import derive
from sinewy.shifts import PRESETS
from sinewy.shifts.continuous import check_draws
from sinewy.shifts.corruption import DEFINITIONS, block_size, by_blocks, corrupt, kind_function, protocol
from sinewy.shifts.names import canonical, check_severity, family, severities_of
from sinewy.shifts.replay import Drawn, Recorder, Replayed
from sinewy.shifts.spectrum import high_frequency

Device = torch.device | str | None


class Shift(ABC):
    """A change of the input as a value: call it on images, join two with `|`.

    `first | second` applies `first`, then `second`.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What results under this shift are stored as."""

    @property
    @abstractmethod
    def family(self) -> str:
        """The family it is from: cifar-c, c-bar, mnist-c, 3dcc, continuous, or own."""

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """Everything it was made with, as JSON-able values."""

    @property
    @abstractmethod
    def protocol(self) -> str:
        """All that the bytes depend on besides the images, their numbers in the set, and the seed, in one line."""

    @abstractmethod
    def __call__(self, images: Tensor, *, seed: int = 0, start: int = 0, device: Device = None) -> Tensor:
        """Return `images` (N, 3, H, W) shifted; image i gets the numbers of (seed, start + i), whatever its batch."""

    def __or__(self, other: Shift) -> Composition:
        if not isinstance(other, Shift):
            return NotImplemented
        return Composition((*_parts(self), *_parts(other)))

    def high_frequency(self, images: Tensor, *, seed: int = 0) -> float:
        """Return the share of high frequencies in what this shift does to uint8 `images` (see `high_frequency`)."""
        shifted = self(images, seed=seed)
        return high_frequency(images if shifted.dtype == images.dtype else images.float() / 255, shifted)

    def draw(self, images: Tensor, *, seed: int = 0, start: int = 0) -> Drawn:
        """Return the random numbers that this shift of `images`, of which only the shape counts, uses.

        Raises InputError for a shift of continuous strength, which draws as it computes.
        """
        parts = tuple(part._recorded(images, part_seed, start) for part, part_seed in _seeded(self, seed))
        return Drawn(self.name, (images.shape[-2], images.shape[-1]), len(images), parts)

    def replay(self, images: Tensor, drawn: Drawn, *, device: Device = None) -> Tensor:
        """Return `images` shifted with numbers that were drawn before; raises InputError where they do not fit."""
        drawn.check(self.name, images)
        for part, given in zip(_parts(self), drawn.parts, strict=True):
            images = part._replayed(images, given, device)
        return images

    def _recorded(self, images: Tensor, seed: int, start: int) -> tuple[Tensor, ...]:
        del images, seed, start
        raise InputError(f"{self.name} draws as it computes; to repeat it, pass the same seed and start.")

    def _replayed(self, images: Tensor, given: tuple[Tensor, ...], device: Device) -> Tensor:
        del given, device, images
        raise InputError(f"{self.name} draws as it computes; to repeat it, pass the same seed and start.")


@dataclass(frozen=True)
class Corruption(Shift):
    """A kind of corruption at a severity: uint8 (N, 3, H, W) in and out; see `corrupt` for kinds and presets.

    Raises InputError for an unknown kind, preset or severity.

    >>> foggy = Corruption("fog", 3)
    >>> foggy.name, (foggy | Corruption("snow", 1)).name
    ('fog/3', 'fog/3|snow/1')
    """

    kind: str
    severity: int
    preset: str = "cifar"
    frost_folder: str | os.PathLike[str] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", canonical(self.kind))
        if family(self.kind) == "continuous":
            raise InputError(f"'{self.kind}' has no severity; use Continuous('{self.kind}').")
        check_severity(self.severity)
        if self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        if self.severity and self.severity not in severities_of(self.kind, range(1, 6)):
            raise InputError(f"{self.kind} was published at one severity, which is 1 here, got {self.severity}.")
        kind_function(self.kind)

    @property
    def name(self) -> str:
        """The kind and its severity."""
        return f"{self.kind}/{self.severity}"

    @property
    def family(self) -> str:
        """The family of the kind."""
        return family(self.kind)

    @property
    def parameters(self) -> dict[str, Any]:
        """Kind, severity and preset."""
        return {"kind": self.kind, "severity": self.severity, "preset": self.preset}

    @cached_property
    def protocol(self) -> str:
        """Kind, severity, preset, version of the definitions, and what else its bytes depend on."""
        said = protocol(self.preset, frost_folder=self.frost_folder)
        extra = [f"frost {said['frost']}"] if self.kind == "frost" else []
        extra += [str(said["jpeg"])] if self.kind == "jpeg_compression" else []
        base = f"generated by sinewy, definitions {DEFINITIONS}: {self.name}, preset {self.preset}"
        return ", ".join([base, *extra])

    def __call__(self, images: Tensor, *, seed: int = 0, start: int = 0, device: Device = None) -> Tensor:
        """Return `images` corrupted, on `device`; see `corrupt`."""
        return corrupt(
            images,
            self.kind,
            self.severity,
            preset=self.preset,
            seed=seed,
            start=start,
            device=device,
            frost_folder=self.frost_folder,
        )

    @torch.no_grad()
    def _recorded(self, images: Tensor, seed: int, start: int) -> tuple[Tensor, ...]:
        check_draws(seed, start)
        function, target, found = kind_function(self.kind, self.frost_folder), torch.device("cpu"), []
        size = block_size(images, target) if self.severity else max(1, len(images))
        for first in range(0, len(images) if self.severity else 0, size):
            # what a kind draws depends on the shape of the images only, so black ones do
            black = torch.zeros((len(images[first : first + size]), *images.shape[1:]), dtype=torch.uint8)
            recorder = Recorder(self.kind, self.severity, seed, start + first, len(black))
            function(black, self.severity, self.preset, recorder)
            found.append(recorder.given)
        return tuple(torch.cat(draws) for draws in zip(*found, strict=True))

    @torch.no_grad()
    def _replayed(self, images: Tensor, given: tuple[Tensor, ...], device: Device) -> Tensor:
        clean = corrupt(images, self.kind, 0, device=device)  # checks the images
        if self.severity == 0:
            return clean
        function = kind_function(self.kind, self.frost_folder)

        def shift(block: Tensor, first: int) -> Tensor:
            draws = Replayed(tuple(draw[first : first + len(block)] for draw in given), clean.device)
            return function(block, self.severity, self.preset, draws)

        return by_blocks(clean, shift, self.kind, clean.device)


@dataclass(frozen=True)
class Composition(Shift):
    """Shifts applied one after the other; made by `first | second`.

    Each part draws with the seed given, so that (a | b)(x) is b(a(x)); a part that occurs again draws with another seed
    derived from it, so that noise | noise is noise twice, and not the same noise doubled.
    """

    parts: tuple[Shift, ...]

    @property
    def name(self) -> str:
        """The names of the parts."""
        return "|".join(part.name for part in self.parts)

    @property
    def family(self) -> str:
        """The families of the parts, each once."""
        return "|".join(dict.fromkeys(part.family for part in self.parts))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the parts, in order."""
        return {"parts": [part.parameters for part in self.parts]}

    @property
    def protocol(self) -> str:
        """The protocols of the parts, in order."""
        return "; then ".join(part.protocol for part in self.parts)

    def __call__(self, images: Tensor, *, seed: int = 0, start: int = 0, device: Device = None) -> Tensor:
        """Return `images` after all parts."""
        for part, part_seed in _seeded(self, seed):
            images = part(images, seed=part_seed, start=start, device=device)
        return images


def _parts(shift: Shift) -> tuple[Shift, ...]:
    return shift.parts if isinstance(shift, Composition) else (shift,)


def _seeded(shift: Shift, seed: int) -> list[tuple[Shift, int]]:
    """Return the parts of a shift with the seed of each."""
    seen: Counter[str] = Counter()
    found = []
    for part in _parts(shift):
        again = seen[part.name]
        found.append((part, derive("again", seed, again) if again else seed))
        seen[part.name] += 1
    return found
