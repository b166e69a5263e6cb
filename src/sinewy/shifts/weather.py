"""The corruptions of weather and light: snow, fog, brightness. Frost has its own file."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, clipped_zoom_matrices, motion_blur, separable, to_uint8
from sinewy.shifts.hsv import hsv_to_levels, rgb_to_hsv

_SNOW_CIFAR = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0),
)
_SNOW = {
    "cifar": _SNOW_CIFAR,
    "tiny": _SNOW_CIFAR,
    "imagenet": (
        (0.1, 0.3, 3.0, 0.5, 10, 4.0),
        (0.2, 0.3, 2.0, 0.5, 12, 4.0),
        (0.55, 0.3, 4.0, 0.9, 12, 8.0),
        (0.55, 0.3, 4.5, 0.85, 12, 8.0),
        (0.55, 0.3, 2.5, 0.85, 12, 12.0),
    ),
}
"""Mean and standard deviation of the flakes' noise, zoom, threshold, radius and sigma of the fall."""

_SNOW_MIX = {
    "cifar": (0.95, 0.9, 0.9, 0.85, 0.8),
    "tiny": (0.8, 0.8, 0.7, 0.65, 0.6),
    "imagenet": (0.8, 0.7, 0.7, 0.65, 0.55),
}
"""Share of the image that is not whitened."""

_LUMA = (0.299, 0.587, 0.114)
"""Share of red, green and blue in the grey of an image."""

_FOG = {
    "cifar": ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
    "tiny": ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
    "imagenet": ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
}
"""Strength, and how much smoother the fog is at every halving of scale."""

_FOG_MAP = {"cifar": 32, "tiny": 64, "imagenet": 256}
"""Side of the square map of fog."""

_BRIGHTNESS = {
    "cifar": (0.05, 0.1, 0.15, 0.2, 0.3),
    "tiny": (0.1, 0.2, 0.3, 0.4, 0.5),
    "imagenet": (0.1, 0.2, 0.3, 0.4, 0.5),
}
"""What is added to the value of HSV."""


def brightness(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), with the value of every pixel, in HSV, raised by a constant."""
    del draws
    hue, saturation, value = rgb_to_hsv(images)
    return hsv_to_levels(hue, saturation, (value + _BRIGHTNESS[preset][severity - 1]).clamp_(0, 1))


def snow(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), whitened, with blurred streaks of falling flakes, once more upside down."""
    whitening = 1 - _SNOW_MIX[preset][severity - 1]
    flakes = _flakes(images, _SNOW[preset][severity - 1], draws)
    levels = images.double()
    luma = torch.tensor(_LUMA, dtype=torch.float64, device=images.device)[:, None, None]
    grey = (levels * luma).sum(1, keepdim=True)
    lacking = (grey * 1.5 + 0.5 * 255 - levels).clamp_(min=0).mul_(whitening)
    return to_uint8(levels.add_(lacking).add_(flakes + flakes.flip(2, 3) + ON_THE_EDGE))


def _flakes(images: Tensor, constants: tuple[float, float, float, float, int, float], draws: Draws) -> Tensor:
    """Return one layer (N, 1, H, W) of falling flakes, in whole grey levels."""
    mean, std, zoom, threshold, radius, sigma = constants
    height, width = images.shape[2:]
    noise = draws.normal(1, height, width).double() * std + mean
    layer = separable(noise, *clipped_zoom_matrices(height, width, zoom))
    layer = to_uint8(layer.masked_fill_(layer < threshold, 0) * 255).double()
    angles = draws.uniform() * 90 - 135
    return (motion_blur(layer, radius, sigma, angles) + 0.5).floor_()


def fog(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), behind fractal fog; the brightest level of each image stays its brightest.

    The fog is cut from the corner of a square map with the side that the preset used, or the next power of two that
    covers the image.
    """
    strength, decay = _FOG[preset][severity - 1]
    height, width = images.shape[2:]
    side = max(_FOG_MAP[preset], 1 << (max(height, width) - 1).bit_length())
    haze = plasma(side, decay, draws)[:, None, :height, :width]
    brightest = images.amax((1, 2, 3), keepdim=True).double()
    levels = images + haze * (strength * 255)
    return to_uint8(levels.mul_(brightest / (brightest + strength * 255)).add_(ON_THE_EDGE))


def plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """Return fractal noise that tiles the plane, float64 (N, side, side), each map from 0 to 1; `side` is a power of
    two.

    The diamond-square algorithm: midpoints get the mean of their four neighbours plus uniform noise, whose half-range
    is 100^2 at the largest scale and is divided by decay^2 at each halving (as in the benchmark, which squares it).
    """
    noise = draws.uniform(side * side - 1).double() * 2 - 1
    clouds = noise.new_zeros(len(noise), side, side)
    wibble, used, cells = 100.0, 0, 1
    while cells < side:
        step, half = side // cells, side // cells // 2
        added = noise[:, used : used + 3 * cells**2].reshape(-1, 3, cells, cells) * wibble**2
        corners = clouds[:, ::step, ::step]
        middles = _pairs(_pairs(corners, -1, 1), -1, 2) / 4 + added[:, 0]
        clouds[:, ::step, half::step] = (_pairs(corners, -1, 2) + _pairs(middles, 1, 1)) / 4 + added[:, 1]
        clouds[:, half::step, ::step] = (_pairs(corners, -1, 1) + _pairs(middles, 1, 2)) / 4 + added[:, 2]
        clouds[:, half::step, half::step] = middles
        wibble, used, cells = wibble / decay, used + 3 * cells**2, cells * 2
    clouds -= clouds.amin((1, 2), keepdim=True)
    return clouds / clouds.amax((1, 2), keepdim=True)


def _pairs(grid: Tensor, shift: int, axis: int) -> Tensor:
    """Return the sum of every point of `grid` (N, cells, cells) and its neighbour along `axis`, around the edge."""
    return grid + grid.roll(shift, axis)
