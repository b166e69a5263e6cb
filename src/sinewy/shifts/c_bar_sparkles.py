"""The kinds of C-bar that cover the image with glaring light: sparkles, and all but a sparkle."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from sinewy.shifts.c_bar_levels import level, per_image, pixels, shorter_side
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8

_FEWEST, _MOST = 50, 199
"""How many rays a sparkle has."""


def sparkles(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) under five white sparkles of radius 0.01 s S at random places.

    A sparkle has 50 to 199 rays of lengths that vary by a quarter of the radius and are at least 1 pixel; its light
    fades with the square of the distance over the length.
    """
    radius = 0.01 * level("sparkles", severity, preset) * shorter_side(images)
    centres = draws.uniform(5, 2)
    rays = draws.integers(_FEWEST, _MOST + 1, 5)
    lengths = (draws.normal(5, _MOST + 1).double() * 0.25 + 1).mul_(radius).clamp_(min=1)
    dark = torch.ones((), dtype=torch.float64, device=images.device)
    for number in range(5):
        dark = dark * (1 - _light(images, centres[:, number], rays[:, number], lengths[:, number], 1.0))
    return _whitened(images, dark)


def inverse_sparkles(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W), white but for one sparkle of radius 0.25 S near the middle.

    The rays are those of `sparkles`, with no least length; the power by which they fade is 0.13 s.
    """
    power = 0.13 * level("inverse_sparkles", severity, preset)
    centre = draws.uniform(2) * 0.5 + 0.25
    rays = draws.integers(_FEWEST, _MOST + 1)
    lengths = (draws.normal(_MOST + 1).double() * 0.25 + 1).mul_(0.25 * shorter_side(images))
    return _whitened(images, _light(images, centre, rays, lengths, power))


def _whitened(images: Tensor, dark: Tensor) -> Tensor:
    """Return `images` with what is lacking to white multiplied by `dark` (N, H, W) in [0, 1]."""
    return to_uint8(((255 - images) * dark[:, None]).neg_().add_(255 + ON_THE_EDGE))


def _light(images: Tensor, centre: Tensor, rays: Tensor, lengths: Tensor, power: float) -> Tensor:
    """Return the light (N, H, W) in [0, 1] of one sparkle per image.

    `centre` (N, 2) is its place, down and across, as a share of the sides; `rays` (N,) says how many of its `lengths`
    (N, 200) in pixels count.
    """
    down, across = per_image(centre)
    y, x = pixels(images)
    dy, dx = y - down * images.shape[-2], x - across * images.shape[-1]
    turn = torch.atan2(dx, dy).add_(pi).mul_(per_image(rays[:, None])[0] / (2 * pi))
    before = turn.floor()
    share = turn.sub_(before)
    # the lengths once round and two more, so that no ray is past the end
    around = lengths.gather(1, torch.arange(_MOST + 3, device=images.device) % rays[:, None])
    ray = before.long().flatten(1)
    first = around.gather(1, ray).view(share.shape)
    length = around.gather(1, ray.add_(1)).view(share.shape).sub_(first).mul_(share).add_(first)
    light = length.square_().div_((dx * dx).add(dy * dy).add_(1e-4))
    if power != 1:
        light.pow_(power)
    return light.mul_(share.sub_(0.5).square_().neg_().add_(1)).clamp_(0, 1)
