"""The corruption of a lens that was splashed: with water when mild, with mud when severe."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.draws import Draws
from sinewy.shifts.edges import FARTHEST, canny, distance, equalized, mirrored, shifted, sum_3x3
from sinewy.shifts.filters import ON_THE_EDGE, gaussian, to_uint8

_SPATTER = {
    "cifar": (
        (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
        (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
        (0.65, 0.3, 1.0, 0.69, 0.5, "water"),
        (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
        (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
    ),
    "tiny": (
        (0.62, 0.1, 0.7, 0.7, 0.6, "water"),
        (0.65, 0.1, 0.8, 0.7, 0.6, "water"),
        (0.65, 0.3, 1.0, 0.69, 0.6, "water"),
        (0.65, 0.1, 0.7, 0.68, 0.6, "mud"),
        (0.65, 0.1, 0.5, 0.67, 0.6, "mud"),
    ),
    "imagenet": (
        (0.65, 0.3, 4.0, 0.69, 0.6, "water"),
        (0.65, 0.3, 3.0, 0.68, 0.6, "water"),
        (0.65, 0.3, 2.0, 0.68, 0.5, "water"),
        (0.65, 0.3, 1.0, 0.65, 1.5, "mud"),
        (0.67, 0.4, 1.0, 0.65, 1.5, "mud"),
    ),
}
"""Mean and standard deviation of the noise, sigma that smooths it, threshold of wetness, strength of water or sigma
that smooths mud, and which of the two."""

_WATER = (175.0, 238.0, 238.0)
_MUD = (63.0, 42.0, 20.0)

_EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def spatter(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), seen through drops of water (severity 1 to 3) or mud (4 and 5).

    Where the published code divides by zero, for an image that no drop falls on, the image is left as it is; where its
    8-bit wetness would overflow and start again at 0, it stays at 255.
    Raises InputError for images of less than 2 pixels a side.
    """
    height, width = images.shape[2:]
    if min(height, width) < 2:
        raise InputError(f"spatter needs at least 2 x 2 pixels, got {height} x {width}; use larger images.")
    mean, std, sigma, threshold, last, liquid = _SPATTER[preset][severity - 1]
    wetness = gaussian(draws.normal(height, width).double() * std + mean, sigma)
    if liquid == "water":
        levels = to_uint8(wetness * 255).mul_((wetness >= threshold).view(torch.uint8))
        return _splash(images, levels.permute(1, 2, 0).contiguous(), last)
    cover = gaussian((wetness > threshold).double(), last)[:, None]
    cover.masked_fill_(cover < 0.8, 0)
    return to_uint8((images * (1 - cover)).add_(cover * _colour(_MUD, images.device)).add_(ON_THE_EDGE))


def _splash(images: Tensor, levels: Tensor, strength: float) -> Tensor:
    """Return `images` lit by drops: wetness, uint8 `levels` (H, W, N), times the relief of its edges."""
    shine = (levels * _relief(levels)).permute(2, 0, 1)[:, None].double()
    brightest = shine.amax((2, 3), keepdim=True)
    shine *= strength / brightest.clamp_(min=1)
    return to_uint8((shine * _colour(_WATER, images.device)).add_(images.double()).add_(ON_THE_EDGE))


def _relief(levels: Tensor) -> Tensor:
    """Return the embossed distance from the edges of `levels`, uint8 (H, W, N), in whole grey levels; float32."""
    away = sum_3x3(distance(canny(levels, 50, 150)).double()) * (1 / 9)
    height = mirrored(equalized(away.long(), int(FARTHEST) + 1))
    lit = torch.zeros_like(levels, dtype=torch.float32)
    for row, weights in zip((-1, 0, 1), _EMBOSS, strict=True):
        for column, weight in zip((-1, 0, 1), weights, strict=True):
            if weight:
                lit.add_(shifted(height, row, column), alpha=weight)
    return (sum_3x3(lit.clamp_(0, 255)) / 9).round_()


def _colour(rgb: tuple[float, float, float], device: torch.device) -> Tensor:
    return torch.tensor(rgb, dtype=torch.float64, device=device)[:, None, None]
