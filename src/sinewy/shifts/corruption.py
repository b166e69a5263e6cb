"""Corrupt a batch of images: checks what was asked, and hands it to the kind in blocks of bounded memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve
from sinewy.shifts import PRESETS
from sinewy.shifts.draws import Draws
from sinewy.shifts.names import KINDS, canonical, check_severity

DEFINITIONS = 1
"""Version of the definitions: raised when any kind changes a byte, so that old corrupted sets are not taken for new."""

VALUES_PER_BLOCK = {"cpu": 2**18, "cuda": 2**24}
"""How many pixel values are corrupted at once: on a CPU what stays in its cache, on a GPU what fills it."""

Kind = Callable[..., Tensor]
"""(images, severity, preset, draws) -> images."""


@torch.no_grad()
def corrupt(
    images: Tensor,
    kind: str,
    severity: int,
    *,
    preset: str = "cifar",
    seed: int = 0,
    device: torch.device | str | None = None,
    start: int = 0,
    frost_folder: str | os.PathLike[str] | None = None,
) -> Tensor:
    """Return `images` corrupted by `kind` at `severity`: uint8 (N, 3, H, W) in and out; the input is left as it is.

    `kind` is a name in `CORRUPTIONS`, `C_BAR`, `MNIST_C` or `THREE_D`, or "package.module:function" of your own.
    `severity` is 1 to 5 (of MNIST-C only 1); 0 returns a copy. `preset` picks the published constants: "cifar" (32 px),
    "tiny" (64 px) or "imagenet" (224 px). They are used as they are at any image size, so pick the preset whose size is
    nearest to yours. `device` is where the work is done and where the result lives, by default where `images` are.
    `start` is the number in its set of the first image: the bytes of image number i depend on its own bytes, the kind,
    severity, preset, seed and i, not on the batch it is in. `frost_folder` holds the original frost pictures; by
    default the folder in the environment variable SINEWY_FROST, and without one a procedural texture is used. Raises
    InputError for anything else.

    Definitions: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
    Perturbations" (ICLR 2019), in the variants that made CIFAR-10-C, Tiny-ImageNet-C and ImageNet-C.

    >>> corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "fog", 3).shape
    torch.Size([2, 3, 32, 32])
    """
    _check(images, severity, preset, seed, start)
    kind = canonical(kind)
    function = kind_function(kind, frost_folder)
    target = images.device if device is None else _device(device)
    if severity == 0:
        return images.to(target, copy=True)

    def shift(block: Tensor, first: int) -> Tensor:
        return function(block, severity, preset, Draws(kind, severity, seed, start + first, len(block), target))

    return by_blocks(images, shift, kind, target)


def kind_function(kind: str, frost_folder: str | os.PathLike[str] | None = None) -> Kind:
    """Return the function of a kind, which knows where frost comes from; raises InputError for an unknown name."""
    function: Kind = resolve("corruption", kind, KINDS)
    return partial(function, folder=_frost_folder(frost_folder)) if kind == "frost" else function


def by_blocks(images: Tensor, shift: Callable[[Tensor, int], Tensor], kind: str, target: torch.device) -> Tensor:
    """Return uint8 (N, 3, H, W) on `target`: `shift(block, first)` of block after block, each of bounded memory."""
    result = torch.empty(images.shape, dtype=torch.uint8, device=target)
    size = block_size(images, target)
    for first in range(0, len(images), size):
        block = images[first : first + size].to(target).contiguous()
        result[first : first + size] = _checked(shift(block, first), block, kind)
    return result


def block_size(images: Tensor, target: torch.device) -> int:
    """Return how many of `images` are worked on at once on a device."""
    return max(1, VALUES_PER_BLOCK.get(target.type, VALUES_PER_BLOCK["cuda"]) // max(1, images[0:1].numel()))


def protocol(
    preset: str = "cifar", seed: int = 0, frost_folder: str | os.PathLike[str] | None = None
) -> dict[str, str | int]:
    """Return what must be known to make the same bytes again: definitions, preset, seed, frost source, JPEG codec."""
    _check_preset(preset)
    return {
        "definitions": DEFINITIONS,
        "preset": preset,
        "seed": seed,
        "frost": "procedural texture" if _frost_folder(frost_folder) is None else "original files",
        "jpeg": _jpeg_codec(),
    }


def _jpeg_codec() -> str:
    import PIL
    from PIL import features

    turbo = features.version("libjpeg_turbo")
    library = f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}"
    return f"Pillow {PIL.__version__} with {library}"


def _frost_folder(given: str | os.PathLike[str] | None) -> Path | None:
    folder = os.environ.get("SINEWY_FROST") if given is None else given
    return Path(folder) if folder else None


def _device(name: torch.device | str) -> torch.device:
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError):
        raise InputError(f"device '{name}' is not on this machine. Use 'cpu', or leave device out.") from None


def _check(images: Any, severity: Any, preset: str, seed: Any, start: Any) -> None:
    _check_images(images)
    _check_preset(preset)
    check_severity(severity)
    if not _whole(seed):
        raise InputError(f"seed must be a whole number, got {seed!r}.")
    if not _whole(start) or start < 0:
        raise InputError(
            f"start, the number of the first image in its set, must be a whole number from 0, got {start!r}."
        )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_images(images: Any) -> None:
    if not isinstance(images, Tensor):
        hint = " Use torch.from_numpy(images)." if type(images).__module__ == "numpy" else ""
        raise InputError(f"images must be a uint8 tensor (N, 3, H, W), got {type(images).__name__}.{hint}")
    if images.dtype != torch.uint8:
        hint = " Use (images * 255).round().to(torch.uint8) for [0, 1]." if images.is_floating_point() else ""
        raise InputError(f"images must be uint8 with values 0 to 255, got {images.dtype}.{hint}")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise InputError(f"images must have shape (N, 3, H, W), got {tuple(images.shape)}.{_shape_hint(images)}")


def _shape_hint(images: Tensor) -> str:
    if images.ndim == 3 and images.shape[0] == 3:
        return " Use images[None] for a single image."
    if images.ndim == 4 and images.shape[-1] == 3:
        return " Use images.permute(0, 3, 1, 2) if the channels come last."
    if images.ndim == 4 and images.shape[1] == 1:
        return " Use images.expand(-1, 3, -1, -1) for grey images."
    return ""


def _check_preset(preset: str) -> None:
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)


def _checked(result: Any, block: Tensor, kind: str) -> Tensor:
    """Hold a user's own kind to the contract."""
    if not isinstance(result, Tensor) or result.dtype != torch.uint8 or result.shape != block.shape:
        got = f"{result.dtype} {tuple(result.shape)}" if isinstance(result, Tensor) else type(result).__name__
        raise InputError(f"corruption '{kind}' must return uint8 of shape {tuple(block.shape)}, got {got}.")
    return result
