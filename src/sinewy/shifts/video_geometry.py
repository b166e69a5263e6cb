"""How frames are turned and moved, pixel by pixel as Pillow does it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

STATIC_ANGLES = (7.5, 15.0, 30.0, 45.0, 90.0)
"""Degrees, counterclockwise, of "static_rotate"."""


def rotate(frames: Tensor, degrees: Tensor) -> Tensor:
    """Return uint8 `frames` (N, 3, H, W) turned counterclockwise by `degrees` (N,) about their middle, black around.

    Pillow's `Image.rotate` with nearest pixels: source coordinates in 16.16 fixed point.
    """
    height, width = frames.shape[-2:]
    angle = -torch.deg2rad(degrees.double().remainder(360))
    cos, sin = _to_15_digits(angle.cos()), _to_15_digits(angle.sin())
    right = _source(cos, sin, width, height, width / 2)
    down = _source(-sin, cos, width, height, height / 2)
    inside = (right >= 0) & (right < width) & (down >= 0) & (down < height)
    places = (down.clamp(0, height - 1) * width + right.clamp(0, width - 1)).flatten(1)
    turned = frames.flatten(2).gather(2, places[:, None].expand(-1, 3, -1)).view_as(frames)
    return turned * inside[:, None]


def _source(a: Tensor, b: Tensor, width: int, height: int, middle: float) -> Tensor:
    """Return the whole source coordinate (N, H, W) of each pixel (x, y): floor of a (x + 1/2) + b (y + 1/2) + c."""
    c = a * (-width / 2) + b * (-height / 2) + middle
    x = torch.arange(width, device=a.device)
    y = torch.arange(height, device=a.device)[:, None]
    first, across, down = (_fixed(value)[:, None, None] for value in (c + a * 0.5 + b * 0.5, a, b))
    return (first + across * x + down * y) >> 16


def _fixed(value: Tensor) -> Tensor:
    return (value * 65536 + torch.where(value < 0, -0.5, 0.5)).trunc().long()


def _to_15_digits(value: Tensor) -> Tensor:
    return torch.round(value, decimals=15)


def translated(clips: Tensor, offsets: Tensor, crop: int | None) -> Tensor:
    """Return `clips` (N, T, 3, H, W) cut from `offsets` (N, 2), (down, right), on: `crop` a side, black beyond."""
    height, width = clips.shape[-2:]
    tall, wide = (crop, crop) if crop else (height, width)
    short = [
        max(0, int(offsets.max()) + size - side) if len(clips) else 0 for size, side in ((tall, height), (wide, width))
    ]
    padded = F.pad(clips, (0, short[1], 0, short[0]))
    rows = offsets[:, 0, None] + torch.arange(tall, device=clips.device)
    columns = offsets[:, 1, None] + torch.arange(wide, device=clips.device)
    each = torch.arange(len(clips), device=clips.device)[:, None, None]
    cut = padded.permute(0, 3, 4, 1, 2)[each, rows[:, :, None], columns[:, None]]
    return cut.permute(0, 3, 4, 1, 2).contiguous()
