"""The kinds of C-bar that lay grey over the image: squares of a tilted checkerboard, and lines."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor

from sinewy.shifts.c_bar_levels import level, per_image, pixels, shorter_side
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE

_GREY = 128

_CELLS = 40
"""Most cells along a side of the published checkerboard of 4 S pixels, of which the image shows a part."""


def checkerboard_cutout(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) with squares of a checkerboard at a random angle replaced by grey 128.

    Cells are S/10 to S/4 wide. Of the cells of one colour, each is replaced with probability 0.1 s; the one at the top
    left corner, where coordinates are truncated towards 0, is larger.
    """
    chance = 0.1 * level("checkerboard_cutout", severity, preset)
    angle, scale = per_image(draws.uniform(2))
    angle, cell = angle * (2 * pi), ((0.1 + 0.15 * scale) * shorter_side(images)).clamp_(min=1)
    grey = (draws.uniform(_CELLS, _CELLS) < chance).flatten(1)
    y, x = pixels(images)
    down = (angle.cos() * y + angle.sin() * x) / cell
    across = (angle.cos() * x - angle.sin() * y) / cell
    same_colour = (down.floor() + across.floor()).remainder_(2) == 0
    place = down.trunc_().remainder_(_CELLS).mul_(_CELLS).add_(across.trunc_().remainder_(_CELLS))
    chosen = grey.gather(1, place.long().flatten(1)).view(place.shape)
    return images.masked_fill((same_colour & chosen)[:, None], _GREY)


def lines(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) crossed out by int(0.1 s S) antialiased lines of grey 128 and length 2 S.

    Lines have random middles and directions within a random part, a tenth to all, of the circle. They are drawn one
    after another, each truncated to whole levels.
    """
    side = shorter_side(images)
    count = int(0.1 * level("lines", severity, preset) * side)
    angle, variation = draws.uniform(2).double().unbind(1)
    middle_y, middle_x, turn = draws.uniform(count, 3).double().unbind(2)
    angles = angle[:, None] * (2 * pi) + (0.1 + 0.9 * variation[:, None]) * (2 * pi) * (turn - 0.5)
    middle_y, middle_x = middle_y * images.shape[-2], middle_x * images.shape[-1]
    half_y, half_x = angles.cos() * side, angles.sin() * side
    ends = torch.stack((middle_y - half_y, middle_x - half_x, middle_y + half_y, middle_x + half_x)).trunc_()
    levels = images.double()
    for number in range(count):
        cover = _antialiased(images, *ends[:, :, number, None, None])[:, None]
        levels = levels.mul_(1 - cover).add_(cover * _GREY).add_(ON_THE_EDGE).floor_()
    return levels.to(torch.uint8)


def _antialiased(images: Tensor, y0: Tensor, x0: Tensor, y1: Tensor, x1: Tensor) -> Tensor:
    """Return how far one line per image covers each pixel, float64 (N, H, W) in [0, 1]; ends (N, 1, 1) are pixels.

    Equal to `skimage.draw.line_aa` (Zingl, "A Rasterizing Algorithm for Drawing Curves", 2012), of which this is the
    closed form: 1 - distance from the line, between the ends; the pixels beside an end that lie outward are left out.
    """
    y, x = pixels(images)
    dy, dx = (y1 - y0).abs(), (x1 - x0).abs()
    down, right = torch.where(y0 < y1, 1.0, -1.0) * (y - y0), torch.where(x0 < x1, 1.0, -1.0) * (x - x0)
    flat = dx >= dy
    longer, shorter = torch.maximum(dx, dy), torch.minimum(dx, dy)
    off = (down * dx - right * dy) * torch.where(flat, 1.0, -1.0)  # distance from the line, times its length
    along = torch.where(flat, right, down)
    length = (dx * dx + dy * dy).sqrt()
    within = (along > 0) & (along < longer)
    within |= (along == 0) & (off > shorter / 2 - longer) | (along == longer) & (off <= shorter / 2)
    return (1 - off.abs() / length).clamp_(min=0) * within
