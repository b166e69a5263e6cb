"""The kinds of MNIST-C that are affine maps: shear, scale, rotate and translate."""

from __future__ import annotations

from math import cos, sin, tan

import torch
from torch import Tensor

from sinewy.shifts.c_bar_levels import per_image, pixels
from sinewy.shifts.c_bar_warp import sampled
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.mnist_c_digits import SIDE, on_digits

_RADIANS = 0.4

_SHRUNK = 0.7

_PIXELS = 3

_CENTRE = (SIDE - 1) / 2


@on_digits
def shear(digits: Tensor, draws: Draws, *, as_published: bool = True) -> Tensor:
    """Return `digits` sheared by 0.4 radians to the left or right, at random.

    As published, what is at (x, y) from the centre comes from (x - y sin a, y cos a): the shear of scikit-image until
    2023, which also stretches upright by 1 / cos a. `as_published=False` gives a plain shear, from (x - y tan a, y).
    """
    (sign,) = _signs(draws, 1)
    if not as_published:
        return _pulled(digits, (1, sign * -tan(_RADIANS)), (0, 1))
    return _pulled(digits, (1, sign * -sin(_RADIANS)), (0, cos(_RADIANS)))


@on_digits
def scale(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` shrunk to 0.7 of their size, black around; nothing is random."""
    del draws
    return _pulled(digits, (1 / _SHRUNK, 0), (0, 1 / _SHRUNK))


@on_digits
def rotate(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` rotated by 0.4 radians about their centre, to the left or right, at random."""
    (sign,) = _signs(draws, 1)
    return _pulled(digits, (cos(_RADIANS), sign * -sin(_RADIANS)), (sign * sin(_RADIANS), cos(_RADIANS)))


@on_digits
def translate(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` moved by 3 pixels along each axis, to one side or the other at random; black moves in."""
    across, down = _signs(draws, 2)
    return _pulled(digits, (1, 0), (0, 1), across * _PIXELS, down * _PIXELS)


def _signs(draws: Draws, count: int) -> tuple[Tensor, ...]:
    """Return `count` random signs per image, -1 or 1, float64 (N, 1, 1)."""
    return per_image(draws.integers(0, 2, count) * 2 - 1)


def _pulled(
    digits: Tensor,
    row_x: tuple[Tensor | float, Tensor | float],
    row_y: tuple[Tensor | float, Tensor | float],
    move_x: Tensor | float = 0,
    move_y: Tensor | float = 0,
) -> Tensor:
    """Return `digits` where each pixel comes from the matrix (row_x, row_y) times its place from the centre, moved.

    Entries are numbers or (N, 1, 1). Bilinear, black outside, truncated.
    """
    y, x = (axis - _CENTRE for axis in pixels(digits))
    zero = torch.zeros(len(digits), SIDE, SIDE, dtype=torch.float64, device=digits.device)
    source_x = zero + (row_x[0] * x + row_x[1] * y + (_CENTRE + move_x))
    source_y = zero + (row_y[0] * x + row_y[1] * y + (_CENTRE + move_y))
    return to_uint8(sampled(digits, source_y, source_x).add_(ON_THE_EDGE))
