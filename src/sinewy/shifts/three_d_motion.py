"""The kinds of 3DCC that are a moving camera: what is near moves more than what is far.

3DCC renders 60 frames along a camera path from image and depth, paints in what comes into view, and takes the mean of
the first 20 to 60. Here the frames are made by looking up, for every pixel, where in the image it comes from at its own
depth; what comes into view is drawn from its surroundings. The path is Sinewy's own, so results are not comparable
with the published files.
"""

from __future__ import annotations

from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.three_d_inputs import NEAREST, needs_depth

FRAMES = (20, 30, 40, 50, 60)
"""Frames that are averaged."""

SIDEWAYS = 0.1
"""Share of the shorter side that the nearest pixel moves over 60 frames."""

FORWARD = 0.2
"""Share that the nearest pixel grows by over 60 frames."""


@needs_depth
def xy_motion_blur(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) as a camera sees them that moves sideways, in a random direction."""
    del preset
    angle = draws.uniform().double() * (2 * pi)
    way = torch.stack([angle.cos(), angle.sin()], 1)
    return _mean(images, depth, FRAMES[severity - 1], way * SIDEWAYS, 0.0)


@needs_depth
def z_motion_blur(images: Tensor, severity: int, preset: str, draws: Draws, *, depth: Tensor) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) as a camera sees them that moves forward; nothing is random."""
    del preset, draws
    return _mean(images, depth, FRAMES[severity - 1], None, FORWARD)


def _mean(images: Tensor, depth: Tensor, frames: int, way: Tensor | None, forward: float) -> Tensor:
    total = torch.zeros_like(images, dtype=torch.float64)
    for frame in range(frames):
        total += moved(images, depth, frame / FRAMES[-1], way, forward)
    return to_uint8(total / frames + ON_THE_EDGE)


def moved(images: Tensor, depth: Tensor, time: float, way: Tensor | None, forward: float) -> Tensor:
    """Return float64 `images` (N, 3, H, W) seen from where the camera is at `time` in [0, 1] of its path.

    `way` (N, 2) is the sideways motion (x, y) of the nearest pixel as a share of the shorter side, None for none;
    `forward` its growth. A pixel moves in proportion to the inverse of its depth. Edges are replicated.
    """
    height, width = images.shape[-2:]
    nearness = NEAREST / depth.clamp(min=NEAREST)
    nearness = nearness / nearness.amax((2, 3), keepdim=True).clamp(min=1e-12)  # 1 at the nearest pixel
    y = torch.arange(height, dtype=torch.float64, device=images.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64, device=images.device)[None] - (width - 1) / 2
    shrunk = 1 / (1 + forward * time * nearness[:, 0])
    sx, sy = x * shrunk, y * shrunk
    if way is not None:
        step = way.to(images.device) * (time * min(height, width))
        sx, sy = sx - step[:, 0, None, None] * nearness[:, 0], sy - step[:, 1, None, None] * nearness[:, 0]
    grid = torch.stack([sx * 2 / width, sy * 2 / height], 3)
    return F.grid_sample(images.double(), grid, mode="bilinear", padding_mode="border", align_corners=False)
