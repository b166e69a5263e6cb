"""Noise of the sensor: Gaussian, shot, impulse and speckle."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import to_uint8

GAUSSIAN_NOISE = {  # standard deviation, for images in [0, 1]
    "cifar": (0.04, 0.06, 0.08, 0.09, 0.10),
    "tiny": (0.04, 0.08, 0.12, 0.15, 0.18),
    "imagenet": (0.08, 0.12, 0.18, 0.26, 0.38),
}

SHOT_NOISE = {  # photons that a white pixel receives on average
    "cifar": (500, 250, 100, 75, 50),
    "tiny": (250, 100, 50, 30, 15),
    "imagenet": (60, 25, 12, 5, 3),
}

IMPULSE_NOISE = {  # share of values replaced by black or white
    "cifar": (0.01, 0.02, 0.03, 0.05, 0.07),
    "tiny": (0.01, 0.02, 0.05, 0.08, 0.14),
    "imagenet": (0.03, 0.06, 0.09, 0.17, 0.27),
}

SPECKLE_NOISE = {  # standard deviation, relative to the value
    "cifar": (0.06, 0.10, 0.12, 0.16, 0.20),
    "tiny": (0.15, 0.20, 0.25, 0.30, 0.35),
    "imagenet": (0.15, 0.20, 0.35, 0.45, 0.60),
}


def gaussian_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) plus independent normal noise on every value."""
    deviation = 255 * GAUSSIAN_NOISE[preset][severity - 1]
    # images are whole levels, so truncating the sum is the same as adding the floor of the noise
    noise = (draws.normal(*images.shape[1:]) * deviation).floor_().to(torch.int16)
    return (images + noise).clamp_(0, 255).to(torch.uint8)


def shot_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) as counted photons: Poisson(x c) / c on every value x in [0, 1], cut at white.

    The Poisson distribution is inverted on 2^16 equally likely points, so outcomes rarer than 2^-16 do not occur.
    """
    outcomes = _poisson_levels(SHOT_NOISE[preset][severity - 1]).to(images.device)
    return outcomes.take((images.long() << 16).bitwise_or_(draws.bits16(*images.shape[1:])))


@lru_cache(maxsize=5)
def _poisson_levels(photons: int) -> Tensor:
    """Return uint8 (256, 65536): for each grey level, its noisy grey levels at equally likely points, ascending."""
    from scipy.special import pdtr

    points = 2**16
    counts = np.arange(photons + 1)
    levels = (np.clip(counts / photons, 0, 1) * 255).astype(np.uint8)
    mean = np.arange(256)[:, None] / 255 * photons
    reached = np.floor(pdtr(counts[:-1], mean) * points + 0.5).astype(np.int64)
    repeats = np.diff(reached, axis=1, prepend=0, append=points)
    table = np.repeat(np.tile(levels, 256), repeats.reshape(-1))
    return torch.from_numpy(table.reshape(256, points))


def impulse_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) with a share of the values, half each, replaced by white and black.

    Every channel of a pixel is hit on its own, as in scikit-image's "s&p" noise that the benchmark uses.
    """
    amount = IMPULSE_NOISE[preset][severity - 1]
    chance = draws.uniform(*images.shape[1:])
    return images.masked_fill(chance < amount, 0).masked_fill_(chance < amount / 2, 255)


def speckle_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) plus normal noise on every value, in proportion to the value."""
    deviation = SPECKLE_NOISE[preset][severity - 1]
    levels = images.float()
    return to_uint8(levels + levels * (draws.normal(*images.shape[1:]) * deviation))
