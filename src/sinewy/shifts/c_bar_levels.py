"""What the recipes of C-bar take their strength, lengths and noise from.

C-bar is a set of corruptions chosen to look unlike those of CIFAR-10-C and ImageNet-C: Mintun, Kirillov & Xie, "On
Interaction between Augmentations and Corruptions in Natural Corruption Robustness" (NeurIPS 2021). Names keep the
published spelling. In the recipes S is the side of the image; of images that are not square it is the shorter side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.c_bar_constants import LEVELS as LEVELS


def level(kind: str, severity: int, preset: str) -> float:
    """Return the number from 0 to 10 that `severity` stands for; raises InputError where none was published."""
    levels = LEVELS.get(preset, {}).get(kind)
    if levels is None:
        known = [name for name, kinds in LEVELS.items() if kind in kinds]
        raise InputError(
            f"{kind} of C-bar has no published constants for preset '{preset}'; "
            f"use preset {' or '.join(repr(name) for name in known)} (lengths scale with the image)."
        )
    return levels[severity - 1]


def shorter_side(images: Tensor) -> int:
    """Return S, in pixels, of `images` (..., H, W)."""
    return min(images.shape[-2:])


def pixels(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the float64 coordinates y (H, 1) and x (1, W) of the pixels of `images` (..., H, W)."""
    height, width = images.shape[-2:]
    y = torch.arange(height, dtype=torch.float64, device=images.device)
    x = torch.arange(width, dtype=torch.float64, device=images.device)
    return y[:, None], x[None, :]


def per_image(values: Tensor) -> tuple[Tensor, ...]:
    """Return the columns of `values` (N, k) as k tensors (N, 1, 1) in float64, ready to meet pixels."""
    return tuple(values.double()[:, :, None, None].unbind(1))


def plus(images: Tensor, noise: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) plus `noise` in grey levels (N, 1 or 3, H, W), clipped and truncated."""
    # images are whole levels, so truncating the sum is the same as adding the floor of the noise
    return (images + noise.floor().to(torch.int16)).clamp_(0, 255).to(torch.uint8)
