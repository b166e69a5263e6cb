"""The kinds of C-bar that take pixels from elsewhere: pinch and twirl, ripple, and refraction through caustics."""

from __future__ import annotations

from functools import lru_cache
from math import pi

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sinewy.shifts.c_bar_levels import level, per_image, pixels, shorter_side
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, gaussian, to_uint8

_CELLS = 3
"""Whirls along each side, at the 32 pixels that pinch_and_twirl was made for."""

_FLAT = 1 - 1e-3
"""Where the surface is flatter than this (the upright part of its normal), caustics do not refract."""


def sampled(images: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return `images` (N, C, H, W), in float64, bilinearly interpolated at pixel coordinates y and x (N, H, W).

    Outside of the image all is 0.
    """
    height, width = images.shape[-2:]
    grid = torch.stack((x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1), -1)
    return F.grid_sample(images.double(), grid, "bilinear", "zeros", align_corners=True)


def pinch_and_twirl(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) with nine whirls, each turned by s pi / 20 at its middle, one way or the
    other.

    The whirls fill 3 x 3 squares of int(S / 3) pixels; inside, what lies at a share d of the radius comes from
    d sin(pi d / 2)^-(0.04 s + 0.1), turned by (1 - d)^2 of the angle.
    """
    amount = level("pinch_and_twirl", severity, preset)
    height, width = images.shape[-2:]
    one_way, other_way = (sources.to(images.device) for sources in _whirls(height, width, amount))
    cell = shorter_side(images) // _CELLS
    turned = (draws.uniform(_CELLS, _CELLS) < 0.5).repeat_interleave(cell, 1).repeat_interleave(cell, 2)
    turned = F.pad(turned, (0, width - _CELLS * cell, 0, height - _CELLS * cell))
    y, x = torch.where(turned, one_way[:, None], other_way[:, None])
    return to_uint8(sampled(images, y, x) + ON_THE_EDGE)


@lru_cache(maxsize=8)
def _whirls(height: int, width: int, amount: float) -> tuple[Tensor, Tensor]:
    """Return where pixels come from, y and x (2, H, W), if all whirls turn one way, and if all turn the other."""
    cell = min(height, width) // _CELLS
    y, x = np.mgrid[:height, :width].astype(np.float64)
    dy, dx = y % max(cell, 1) - cell / 2, x % max(cell, 1) - cell / 2
    far = np.hypot(dy, dx) * 2 / max(cell, 1)
    still = (far > 1) | (far == 0) | (y >= _CELLS * cell) | (x >= _CELLS * cell)
    far = np.where(still, 1, far)
    stretch = np.sin(pi / 2 * far) ** -(0.04 * amount + 0.1)
    turn = amount * pi / 20 * (1 - far) ** 2

    def sources(turn: NDArray[np.float64]) -> Tensor:
        down = stretch * (dy * np.cos(turn) - dx * np.sin(turn)) - dy
        across = stretch * (dy * np.sin(turn) + dx * np.cos(turn)) - dx
        return torch.from_numpy(np.stack((y + down * ~still, x + across * ~still)))

    return sources(turn), sources(-turn)


def ripple(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) whose rows and columns are moved by waves of 0.0025 s S pixels.

    Wavelengths, from 0.1 to 0.3 S, and phases are random for each axis; what comes from outside is black.
    """
    side = shorter_side(images)
    amplitude = 0.0025 * level("ripple", severity, preset) * side
    wavelength = (draws.uniform(2).double() * 0.2 + 0.1) * side
    phase = draws.uniform(2).double() * (2 * pi)
    rows, columns = (
        _tents(axis + amplitude * torch.sin(2 * pi * axis / wavelength[:, index, None] + phase[:, index, None]))
        for index, axis in enumerate(part.flatten() for part in pixels(images))
    )
    # with the channels between rows and columns, both products are of plain matrices
    count, channels, height, width = images.shape
    levels = (rows @ images.transpose(1, 2).double().flatten(2)).view(count, height * channels, width)
    levels = (levels @ columns.mT).view(count, height, channels, width)
    return to_uint8(levels.add_(ON_THE_EDGE)).transpose(1, 2).contiguous()


def _tents(sources: Tensor) -> Tensor:
    """Return the matrices (N, L, L) that interpolate columns of L pixels linearly at `sources` (N, L)."""
    places = torch.arange(sources.shape[1], device=sources.device)
    return (1 - (sources[:, :, None] - places).abs()).clamp_(min=0)


def caustic_refraction(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) at the bottom of water whose surface is a map of caustics.

    The slope of the caustics refracts (index 4, lens of 0.05 s S pixels) and lights (0.2 s) what is below; what comes
    from outside is black. Kept from the published generator: places that are nearly flat do not refract, displacements
    are rounded to 0.001 pixels, and light falls along rows on one side and along columns on the other.
    """
    strength = level("caustic_refraction", severity, preset)
    caustics = gaussian(_caustics(images, draws), 1.0, edge="reflect")
    around = F.pad(caustics, (1, 1, 1, 1))
    down = around[:, 2:, 1:-1] - around[:, :-2, 1:-1]
    across = around[:, 1:-1, 2:] - around[:, 1:-1, :-2]
    slope = down * down + across * across
    upright = (slope + 1).rsqrt()
    tilt = (slope * upright * upright / 16).neg_().add_(1).sqrt_().sub_(upright / 4).mul_(upright)
    tilt.masked_fill_(upright >= _FLAT, 0).mul_(0.05 * strength * shorter_side(images))
    y, x = pixels(images)
    source_y, source_x = y + (down * tilt).round(decimals=3), x + (across * tilt).round(decimals=3)
    light = (down - across).mul_(0.2 * strength * 255)[:, None]
    return to_uint8(sampled(images, source_y, source_x) + light + ON_THE_EDGE)


def _caustics(images: Tensor, draws: Draws) -> Tensor:
    """Return a map of caustics (N, H, W) from 0 to 1: light bent five times by sines of where it was bent before."""
    time, scale = per_image(draws.uniform(2))
    time, size = 0.5 + 1.5 * time, (0.75 + 0.5 * scale) * shorter_side(images)
    start_y, start_x = ((axis / size).remainder_(1) * (2 * pi) - 250 for axis in pixels(images))
    sin_y, cos_y, sin_x, cos_x = start_y.sin(), start_y.cos(), start_x.sin(), start_x.cos()
    total = torch.ones((), dtype=torch.float64, device=images.device)
    for bend in range(1, 6):
        moment = time * (1 - 3.5 / bend)
        sin, cos = moment.sin(), moment.cos()
        bent_y = start_y + (cos * cos_y + sin * sin_y) + (sin * cos_x + cos * sin_x)
        bent_x = start_x + (sin * cos_x - cos * sin_x) + (cos * cos_y - sin * sin_y)
        sin_y, cos_y, sin_x, cos_x = bent_y.sin(), bent_y.cos(), bent_x.sin(), bent_x.cos()
        first, second = sin_y * cos + cos_y * sin, cos_x * cos - sin_x * sin
        spread = (start_y * second).square_().add_((start_x * first).square_()).sqrt_().clamp_(min=1e-300)
        total = total + (first * second).abs_().div_(spread * 0.005)
    return ((total / 5).pow_(1.4) - 1.17).square_().square_().square_().clamp_(0, 1)
