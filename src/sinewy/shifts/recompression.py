"""How a set was stored, as a shift: the JPEG pass that published files have had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.continuous import check_draws
from sinewy.shifts.corruption import corrupt, protocol
from sinewy.shifts.digital import through_jpeg
from sinewy.shifts.values import Device, Shift


@dataclass(frozen=True)
class Recompression(Shift):
    """A pass through a JPEG file, as the published files of ImageNet-C have had: quality 85, after the corruption.

    `Corruption("fog", 3, preset="imagenet") | Recompression()` has the pixels that reading such a file gives.
    """

    quality: int = 85

    def __post_init__(self) -> None:
        if not isinstance(self.quality, int) or not 1 <= self.quality <= 100:
            raise InputError(f"quality must be a whole number from 1 to 100, got {self.quality!r}.")

    @property
    def name(self) -> str:
        """The codec and its quality."""
        return f"jpeg@{self.quality}"

    @property
    def family(self) -> str:
        """Always protocol: it is how a set was stored."""
        return "protocol"

    @property
    def parameters(self) -> dict[str, Any]:
        """The quality."""
        return {"quality": self.quality}

    @property
    def protocol(self) -> str:
        """Quality and codec."""
        return f"JPEG of quality {self.quality} by {protocol()['jpeg']}"

    def __call__(self, images: Tensor, *, seed: int = 0, start: int = 0, device: Device = None) -> Tensor:
        """Return uint8 `images` saved as JPEG and opened again; nothing is random."""
        check_draws(seed, start)
        return self._replayed(images, (), device)

    def _recorded(self, images: Tensor, seed: int, start: int) -> tuple[Tensor, ...]:
        del images, seed, start
        return ()

    def _replayed(self, images: Tensor, given: tuple[Tensor, ...], device: Device) -> Tensor:
        del given
        return through_jpeg(corrupt(images, "brightness", 0, device=device), self.quality)
