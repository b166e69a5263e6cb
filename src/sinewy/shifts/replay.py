"""What a shift drew, as a value: recorded without images, kept in a file, and applied later."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import CorruptFileError, InputError
from sinewy.files import replacing
from sinewy.shifts.draws import Draws


@dataclass(frozen=True, eq=False)
class Drawn:
    """The random numbers of one shift of some images: per part of the shift, its draws in order, each (N, ...).

    `shift` is the name of the shift they were drawn for, `size` the (height, width) of the images. A shift that is not
    random has no draws.
    """

    shift: str
    size: tuple[int, int]
    count: int
    parts: tuple[tuple[Tensor, ...], ...]

    def __len__(self) -> int:
        return self.count

    def select(self, index: Tensor | slice) -> Drawn:
        """Return the draws of the images at `index`, in that order."""
        count = len(torch.arange(self.count)[index])
        return Drawn(self.shift, self.size, count, tuple(tuple(draw[index] for draw in part) for part in self.parts))

    def save(self, path: Path | str) -> None:
        """Write the draws to a .safetensors file in one step."""
        from safetensors.torch import save_file

        tensors = {f"{i}.{j}": draw.contiguous() for i, part in enumerate(self.parts) for j, draw in enumerate(part)}
        about = {"shift": self.shift, "size": self.size, "count": self.count, "parts": [len(p) for p in self.parts]}
        with replacing(Path(path)) as temporary:
            save_file(tensors, temporary, {"sinewy": json.dumps(about)})

    @classmethod
    def open(cls, path: Path | str) -> Drawn:
        """Return what `save` wrote; raises CorruptFileError for anything else."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                about: dict[str, Any] = json.loads(file.metadata()["sinewy"])
                parts = tuple(
                    tuple(file.get_tensor(f"{i}.{j}") for j in range(draws)) for i, draws in enumerate(about["parts"])
                )
        except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
            raise CorruptFileError(f"{path} is not a whole file of draws ({error}); draw again.") from error
        return cls(about["shift"], tuple(about["size"]), about["count"], parts)

    def check(self, shift: str, images: Tensor) -> None:
        """Raise InputError unless these are draws of this shift for as many images of this size."""
        if self.shift != shift:
            raise InputError(f"these numbers were drawn for {self.shift}, not for {shift}; draw them with this shift.")
        if len(images) != self.count or tuple(images.shape[-2:]) != self.size:
            raise InputError(
                f"these numbers were drawn for {self.count} images of {self.size[0]} x {self.size[1]} pixels, got "
                f"{len(images)} of {images.shape[-2]} x {images.shape[-1]}; use select, or draw for these images."
            )


class Recorder(Draws):
    """Draws that remember what they gave."""

    def __init__(self, kind: str, severity: int, seed: int, start: int, count: int) -> None:
        super().__init__(kind, severity, seed, start, count)
        self.given: list[Tensor] = []

    def uniform(self, *shape: int) -> Tensor:
        """Return and remember uniform numbers."""
        return self._remembered(super().uniform(*shape))

    def normal(self, *shape: int) -> Tensor:
        """Return and remember normal numbers."""
        return self._remembered(super().normal(*shape))

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Return and remember whole numbers."""
        return self._remembered(super().integers(low, high, *shape))

    def bits16(self, *shape: int) -> Tensor:
        """Return and remember 16-bit numbers."""
        return self._remembered(super().bits16(*shape))

    def _remembered(self, values: Tensor) -> Tensor:
        self.given.append(values.clone())  # a kind may overwrite what it is given
        return values


class Replayed(Draws):
    """Draws that give again, in order, what was recorded."""

    def __init__(self, recorded: tuple[Tensor, ...], device: torch.device) -> None:
        count = len(recorded[0]) if recorded else 0
        super().__init__("replay", 0, 0, 0, count, device)
        self._left = iter(recorded)

    def _next(self, *_: int) -> Tensor:
        draw = next(self._left, None)
        if draw is None:
            raise InputError("the recorded numbers are too few for this shift; draw them again with this version.")
        return draw.to(self.device, copy=True)

    uniform: Callable[..., Tensor] = _next
    normal: Callable[..., Tensor] = _next
    integers: Callable[..., Tensor] = _next
    bits16: Callable[..., Tensor] = _next
