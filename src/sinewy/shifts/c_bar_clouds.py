"""The kinds of C-bar that mix the image with procedural clouds: plasma and Perlin noise."""

from __future__ import annotations

from functools import lru_cache
from math import pi

import numpy as np
import torch
from torch import Tensor

from sinewy.shifts.c_bar_levels import level, per_image, pixels, shorter_side
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8

_OCTAVES = (1, 2, 4, 8, 16)

_PERIOD = 256


def plasma_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) darkened to 1 - I / 255, plus I times colourful plasma, where I = 6.4 s.

    The plasma is a sine of coordinates that were stirred 4 to 6 times by sines of each other, ever finer; its mean
    is about 0, so the image darkens on the whole.
    """
    share = 6.4 * level("plasma_noise", severity, preset)
    stirs = draws.integers(4, 7)[:, None, None]
    time, sharpness, scale = per_image(draws.uniform(3))
    time = time * (6 * pi)
    y, x = (axis / ((0.075 + 0.125 * scale) * shorter_side(images)) for axis in pixels(images))
    x, y = x.expand(-1, *images.shape[-2:]).clone(), y.expand(-1, *images.shape[-2:]).clone()
    for step in range(6):
        moved = (1.75 - 0.5 * sharpness) ** -step * (step < stirs)
        across = (y * 1.93**step).add_(time / 1.15**step).cos_().mul_(moved)
        down = (x * 1.93**step).add_(time / 1.15**step).sin_().mul_(moved)
        x.add_(across).sub_(down * 0.3)
        y.add_(down).add_(across * 0.3)
    plasma = torch.stack(((x - time).sin_(), ((x + y + time.sin()) * 0.5).sin_(), (y + time).sin_()), 1)
    return to_uint8((images * (1 - share / 255)).add_(plasma.mul_(share)).add_(ON_THE_EDGE))


def perlin_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) mixed with grey Perlin turbulence, whose share is 0.05 s.

    Five octaves from 7 cells across S, each the size of a gradient noise times 1.5 over its frequency (Perlin 1985).
    Gradients are drawn from 256 random ones by a random order of them. Where the published generator shuffles that
    order by swaps that are not quite uniform, ours is uniform; its gradients of length 0, which spoil a pixel now and
    then, are harmless here.
    """
    share = 0.05 * level("perlin_noise", severity, preset)
    order = draws.uniform(_PERIOD).argsort(stable=True, dim=1)
    gradients = draws.integers(-_PERIOD, _PERIOD, _PERIOD, 2).double()
    gradients /= gradients.square().sum(2, keepdim=True).sqrt_().clamp_(min=1)
    # in the order of their use, twice over, so that sums of two places need no remainder
    down, across = gradients.gather(1, order.repeat(1, 2)[:, :, None].expand(-1, -1, 2)).unbind(2)
    height, width = images.shape[-2:]
    turbulence = images.new_zeros(len(images), height, width, dtype=torch.float64)
    for octave in _OCTAVES:
        step = octave * 7 / shorter_side(images)
        rows, by_row, off_row = (part.to(images.device) for part in _grid(height, step))
        columns, by_column, off_column = (part.to(images.device) for part in _grid(width, step))
        node = (order[:, rows, None] + columns).flatten(1)
        shape = (-1, len(rows), len(columns))
        noise = off_row @ (down.gather(1, node).view(shape) @ by_column.mT)
        noise += by_row @ (across.gather(1, node).view(shape) @ off_column.mT)
        turbulence += noise.abs_().mul_(1.5 / octave)
    cloud = turbulence.mul_(0.5).add_(0.5).clamp_(0, 1)[:, None]
    return to_uint8((images * (1 - share)).add_(cloud.mul_(255 * share)).add_(ON_THE_EDGE))


@lru_cache(maxsize=64)
def _grid(size: int, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return which lattice nodes (k,) the pixels of an axis lie between, `step` nodes apart, and two float64 matrices.

    The matrices (size, k) hold the weight that a pixel gives its two nodes, 3 t^2 - 2 t^3 of the farther one, and that
    weight times the way from the node to the pixel.
    """
    position = np.arange(size) * step
    before = np.floor(position).astype(np.int64)
    share = position - before
    farther = share**2 * (3 - 2 * share)
    nodes = np.unique(np.concatenate((before, before + 1)))
    weight = np.zeros((size, len(nodes)))
    weight[np.arange(size), np.searchsorted(nodes, before)] = 1 - farther
    weight[np.arange(size), np.searchsorted(nodes, before + 1)] = farther
    way = weight * (position[:, None] - nodes)
    return torch.from_numpy(nodes % _PERIOD), torch.from_numpy(weight), torch.from_numpy(way)
