"""The kind of MNIST-C that puts digits behind fog: of a map of 256 x 256 points, only the corner is ever made whole."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.mnist_c_digits import SIDE, on_digits

_STRENGTH, _DECAY = 3.0, 1.4

_LARGEST = 100.0
"""Square root of the half-range of the noise at the largest scale."""

_HALF_MAP = 128

_AT_ONCE = 8
"""Maps made at once: what stays in the cache of a CPU."""


@on_digits
def fog(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` behind the corner of a fog of 256 x 256 points, hence a smooth one: ImageNet-C's severity 5.

    The same bytes as `sinewy.shifts.weather.fog` at that severity, several times faster.
    """
    noise = draws.uniform(4 * _HALF_MAP**2 - 1)
    haze = torch.cat([_corner(some) for some in torch.split(noise, _AT_ONCE)])
    brightest = digits.amax((1, 2, 3), keepdim=True).double()
    levels = digits + haze[:, None] * (_STRENGTH * 255)
    return to_uint8(levels.mul_(brightest / (brightest + _STRENGTH * 255)).add_(ON_THE_EDGE))


def _corner(noise: Tensor) -> Tensor:
    """Return the corner (N, 28, 28) of maps of fog from 0 to 1, made of `noise` (N, 65535) in [0, 1).

    The diamond-square algorithm as in `sinewy.shifts.weather.plasma`. The finest points, three quarters of all, are not
    put in their places, but looked at for the least and the largest.
    """
    points = noise.new_zeros(len(noise), 1, 1, dtype=torch.float64)
    used, wibble = 0, _LARGEST
    while points.shape[1] < _HALF_MAP:
        added = noise[:, used : used + 3 * points[0].numel()]
        used, points, wibble = used + added.shape[1], _woven(*_finer(points, added, wibble)), wibble / _DECAY
    parts = _finer(points, noise[:, used:], wibble)
    least = torch.stack([part.amin((1, 2)) for part in parts]).amin(0)[:, None, None]
    most = torch.stack([part.amax((1, 2)) for part in parts]).amax(0)[:, None, None]
    return (_woven(*(part[:, : SIDE // 2, : SIDE // 2] for part in parts)) - least) / (most - least)


def _finer(points: Tensor, noise: Tensor, wibble: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return `points` (N, L, L) and the points to the right of them, below, and between four, by `noise` (N, 3 L^2)."""
    added = (noise.view(-1, 3, *points.shape[1:]).double() * 2 - 1).mul_(wibble**2)
    beside, under = points + points.roll(-1, 2), points + points.roll(-1, 1)
    middles = (under + under.roll(-1, 2)).div_(4).add_(added[:, 0])
    right = beside.add_(middles + middles.roll(1, 1)).div_(4).add_(added[:, 1])
    below = under.add_(middles + middles.roll(1, 2)).div_(4).add_(added[:, 2])
    return points, right, below, middles


def _woven(points: Tensor, right: Tensor, below: Tensor, middles: Tensor) -> Tensor:
    """Return the points (N, 2 L, 2 L) of four lattices (N, L, L) in their places."""
    even, odd = torch.stack((points, right), 3).flatten(2), torch.stack((below, middles), 3).flatten(2)
    return torch.stack((even, odd), 2).flatten(1, 2)
