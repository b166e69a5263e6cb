"""How strong each kind of C-bar is at each severity, and what its recipes measure lengths and add noise with.

C-bar is a set of corruptions chosen to look unlike those of CIFAR-10-C and ImageNet-C: Mintun, Kirillov & Xie, "On
Interaction between Augmentations and Corruptions in Natural Corruption Robustness" (NeurIPS 2021). Names keep the
published spelling. In the recipes S is the side of the image; of images that are not square it is the shorter side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import InputError

LEVELS: dict[str, dict[str, tuple[float, ...]]] = {
    "cifar": {
        "blue_noise_sample": (0.7, 1.4, 2.1, 3.5, 4.2),
        "brownish_noise": (2.5, 4.0, 5.5, 6.5, 7.0),
        "checkerboard_cutout": (1.0, 2.0, 3.0, 4.0, 5.0),
        "circular_motion_blur": (2.8, 3.6, 4.4, 5.2, 6.0),
        "inverse_sparkles": (1.0, 1.5, 2.5, 4.5, 5.0),
        "lines": (0.5, 1.0, 1.5, 2.0, 2.5),
        "pinch_and_twirl": (5.5, 6.0, 6.5, 8.5, 10.0),
        "ripple": (5.5, 6.0, 6.5, 7.5, 8.0),
        "sparkles": (0.7, 3.5, 5.6, 6.3, 7.0),
        "transverse_chromatic_abberation": (1.0, 2.0, 5.0, 9.0, 10.0),
    },
    "imagenet": {
        "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
        "brownish_noise": (1.0, 2.0, 3.0, 4.0, 5.0),
        "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
        "checkerboard_cutout": (2.0, 3.0, 4.0, 5.0, 6.0),
        "cocentric_sine_waves": (3.0, 5.0, 8.0, 9.0, 10.0),
        "inverse_sparkles": (1.0, 2.0, 4.0, 9.0, 10.0),
        "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
        "plasma_noise": (4.75, 7.0, 8.5, 9.25, 10.0),
        "single_frequency_greyscale": (1.0, 1.5, 2.0, 4.5, 5.0),
        "sparkles": (1.0, 2.0, 3.0, 5.0, 6.0),
    },
}
"""By preset and kind: the number from 0 to 10 that stands for each severity (`cifar10_c_bar.csv`,
`imagenet_c_bar.csv`). Kinds that only one of the two sets has, have no constants for the other."""


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
