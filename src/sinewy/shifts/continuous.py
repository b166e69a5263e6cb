"""What the shifts of continuous strength share: their input, float32 pixels in [0, 1], and blocks of bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.corruption import VALUES_PER_BLOCK

_ROUNDING = 1e-5
"""How far past 0 and 1 a pixel may be: what undoing a normalisation in float32 leaves behind, and more."""


def shifted(images: Tensor, shift: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Return float32 (N, 3, H, W): `shift(pixels, first)` of block after block, `first` the block's first image.

    `images` are uint8 levels 0 to 255 or floats in [0, 1], (N, 3, H, W) on any device; `shift` gets float32 pixels in
    [0, 1] that it may overwrite, and returns float32 of their shape. Raises InputError for other images.
    """
    check_images(images)
    result = torch.empty(images.shape, dtype=torch.float32, device=images.device)
    size = max(1, VALUES_PER_BLOCK.get(images.device.type, VALUES_PER_BLOCK["cuda"]) // max(1, images[0:1].numel()))
    for first in range(0, len(images), size):
        block = images[first : first + size]
        result[first : first + size] = shift(_pixels(block), first)
    return result


def _pixels(images: Tensor) -> Tensor:
    pixels = images.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    return pixels if images.is_floating_point() else pixels.div_(255)


def per_channel(values: Sequence[float], like: Tensor) -> Tensor:
    """Return the three `values` as a float32 (1, 3, 1, 1) beside `like`."""
    return torch.tensor(tuple(values), dtype=torch.float32, device=like.device).view(1, 3, 1, 1)


def check_images(images: Any) -> None:
    """Raise InputError unless `images` are (N, 3, H, W), uint8 or floats in [0, 1]."""
    if not isinstance(images, Tensor):
        hint = " Use torch.from_numpy(images)." if type(images).__module__ == "numpy" else ""
        raise InputError(f"images must be a tensor (N, 3, H, W), got {type(images).__name__}.{hint}")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise InputError(
            f"images must have shape (N, 3, H, W), got {tuple(images.shape)}. Use images[None] for a single image."
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError(f"images must be uint8 (0 to 255) or floats in [0, 1], got {images.dtype}.")
    if images.is_floating_point() and images.numel():
        _check_range(*(float(end) for end in images.detach().aminmax()))


def _check_range(low: float, high: float) -> None:
    if math.isnan(low) or math.isnan(high):
        raise InputError("images hold NaN. Replace these values, or leave the images out.")
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        undo = "Divide levels by 255" if low >= 0 else "Undo a normalisation with images * std + mean"
        raise InputError(f"float images must be pixels in [0, 1], got {low:.3g} to {high:.3g}. {undo}.")


def check_strength(name: str, value: Any, high: float = math.inf) -> None:
    """Raise InputError unless `value` is a finite number from 0 to `high`."""
    if not _real(value) or not 0 <= value <= high:
        bound = "of at least 0" if high == math.inf else f"from 0 to {high:g}"
        raise InputError(f"{name} must be a finite number {bound}, got {value!r}.")


def check_statistics(mean: Any, std: Any) -> None:
    """Raise InputError unless `mean` and `std` are those of three channels in units of [0, 1] pixels."""
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, Sequence) or len(values) != 3 or not all(_real(value) for value in values):
            raise InputError(f"{name} must be three finite numbers, one per channel, got {values!r}.")
    if max(map(abs, mean)) > 2 or max(std) > 2:
        raise InputError(f"mean {tuple(mean)} and std {tuple(std)} look like 0-255 units. Divide them by 255.")
    if min(std) <= 0:
        raise InputError(f"std must be above 0 in every channel, got {tuple(std)}. Use 1 for a constant channel.")


def check_draws(seed: Any, start: Any) -> None:
    """Raise InputError unless `seed` is a whole number and `start` the number of an image in its set."""
    if not is_whole(seed):
        raise InputError(f"seed must be a whole number, got {seed!r}.")
    if not is_whole(start) or start < 0:
        raise InputError(
            f"start, the number of the first image in its set, must be a whole number from 0, got {start!r}."
        )


def is_whole(value: Any) -> bool:
    """Return whether `value` is an int, and not a truth value."""
    return isinstance(value, int) and not isinstance(value, bool)


def _real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
