"""The kinds of 3DCC that are light and sensor: fog by depth, flash by shading, few colours, low light, ISO noise.

3DCC: Kar, Yeo, Atanov & Zamir, "3D Common Corruptions and Data Augmentation" (CVPR 2022). The constants are theirs; the
published code is not used.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.three_d_inputs import needs_depth, needs_shading

COLOUR_BITS = (5, 4, 3, 2, 1)
"""Bits that are kept of every value."""

ISO_PHOTONS = 25
"""Photons of a white pixel, at every severity."""

ISO_NOISE = (0.056, 0.084, 0.126, 0.182, 0.266)
"""Standard deviation of what the amplifier adds, for pixels in [0, 1]: 0.7 times ImageNet-C's."""

LOW_LIGHT = (0.6, 0.5, 0.4, 0.3, 0.2)
"""What is left of white."""

LOW_LIGHT_PHOTONS, LOW_LIGHT_NOISE = 120, 0.018
"""The noise of the sensor in low light, at every severity."""

FOG = (4.0, 8.0, 12.0, 16.0, 20.0)
"""What fog takes away per unit of depth: exp(-FOG depth) of the light arrives."""

FLASH = (2.4, 1.4, 0.9, 0.6, 0.4)
"""What the shading is divided by."""


def color_quant(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) with the highest 5, 4, 3, 2 or 1 bits of every value; nothing is random."""
    del preset, draws
    return images & (256 - (1 << (8 - COLOUR_BITS[severity - 1])))


def iso_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) as 25 photons at white, cut at white, plus normal noise on every value."""
    del preset
    shape = images.shape[1:]
    light = torch.arange(256, dtype=torch.float64, device=images.device)[None] / 255
    counted = photons(light, images, ISO_PHOTONS, draws.uniform(*shape)).clamp_(max=1)
    return to_uint8((counted + draws.normal(*shape).double() * ISO_NOISE[severity - 1]) * 255 + ON_THE_EDGE)


def low_light(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) stretched over the range, squared, dimmed, and noisy as in little light.

    Darkest and brightest value are those of the whole image; an image of one value becomes black.
    """
    del preset
    low, high = (end.double()[:, None] for end in (images.amin((1, 2, 3)), images.amax((1, 2, 3))))
    levels = torch.arange(256, dtype=torch.float64, device=images.device)
    light = ((levels - low) / (high - low).clamp(min=1)).clamp(0, 1).square() * LOW_LIGHT[severity - 1]
    shape = images.shape[1:]
    counted = photons(light, images, LOW_LIGHT_PHOTONS, draws.uniform(*shape))
    return to_uint8((counted + draws.normal(*shape).double() * LOW_LIGHT_NOISE) * 255 + ON_THE_EDGE)


def photons(light: Tensor, images: Tensor, white: int, chance: Tensor) -> Tensor:
    """Return float64 Poisson(w x) / w, the distribution function inverted at `chance`, float32 in [0, 1).

    x is `light` (N or 1, 256), float64 in [0, 1], at the levels of uint8 `images` (N, 3, H, W); w is `white`.
    """
    mean = light * white
    most = float(mean.max()) if mean.numel() else 0.0
    counts = torch.arange(int(most + 8 * most**0.5 + 12), dtype=torch.float64, device=images.device)
    terms = torch.exp(torch.special.xlogy(counts, mean[..., None]) - mean[..., None] - torch.lgamma(counts + 1))
    # on a grid finer than that of `chance`, so that what is added next leaves every comparison as it is
    reached = (terms.cumsum(2).clamp_(max=1) * 2**26).round_() / 2**26
    row = torch.arange(len(light), device=images.device)[:, None, None, None] * 256 + images
    # one search for all: the function of row r is moved up by r, so that all rows together ascend
    moved = reached + torch.arange(reached[..., 0].numel(), device=images.device).view(*reached.shape[:2], 1)
    found = torch.searchsorted(moved.flatten(), row + chance.double(), right=True)
    return (found - row * len(counts)).double() / white


@needs_depth
def fog_3d(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) in fog: t x + (1 - t) m with t = exp(-a depth) and m the image's mean colour.

    The published code takes the mean over the batch; here it is that of each image, so that its bytes are its own.
    """
    del preset, draws
    clear = torch.exp(-FOG[severity - 1] * depth)
    levels = images.double()
    return to_uint8(clear * levels + (1 - clear) * levels.mean((2, 3), keepdim=True) + ON_THE_EDGE)


@needs_shading
def flash(images: Tensor, severity: int, preset: str, draws: Draws, *, shading: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) lit from the camera: x (1 + shading / k), cut at white."""
    del preset, draws
    return to_uint8(images.double() * (1 + shading / FLASH[severity - 1]) + ON_THE_EDGE)
