"""The corruption that bends an image like a rubber sheet."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, gaussian, to_uint8

_ELASTIC = {
    "cifar": ((0.0, 0.0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
    "tiny": ((0.0, 0.0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)),
    "imagenet": (
        (488.0, 170.8, 24.4),
        (488.0, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ),
}
"""Amplitude and sigma of the displacements, and how far the corners of the affine map are moved, all in pixels.

ImageNet's were made for 244 pixels where 224 were meant; the published sets are kept to.
"""

_SMALLEST = 3


def elastic_transform(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), under a random affine map, then under smooth random displacements.

    Both resample bilinearly and mirror the image at its edges, the first about the middle of the outermost pixels
    (OpenCV's BORDER_REFLECT_101), the second about their outer edges (SciPy's "reflect"). The constants are in pixels
    whatever the size of the image. Raises InputError for images of less than 3 pixels a side.
    """
    height, width = images.shape[2:]
    if min(height, width) < _SMALLEST:
        raise InputError(
            f"elastic_transform needs at least {_SMALLEST} pixels a side, got {height} x {width}; use larger images."
        )
    amplitude, sigma, jitter = _ELASTIC[preset][severity - 1]
    moved = _affine_sources(height, width, (draws.uniform(3, 2).double() * 2 - 1) * jitter)
    bent = _resample(images.double(), *moved, mirror_on_centres=True)
    if amplitude > 0:
        field = (
            gaussian(draws.uniform(2, height, width).double() * 2 - 1, sigma, truncate=3, edge="reflect") * amplitude
        )
        x, y = _pixels(height, width, images.device)
        bent = _resample(bent, x + field[:, 0], y + field[:, 1], mirror_on_centres=False)
    return to_uint8(bent.add_(ON_THE_EDGE))


def _pixels(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the float64 coordinates x (1, W) and y (H, 1) of the pixels."""
    x = torch.arange(width, dtype=torch.float64, device=device)
    y = torch.arange(height, dtype=torch.float64, device=device)
    return x[None, :], y[:, None]


def _affine_sources(height: int, width: int, jitter: Tensor) -> tuple[Tensor, Tensor]:
    """Return where each pixel comes from, x and y (N, H, W), under the affine map that moves three points by `jitter`.

    The points lie at (+s, +s), (+s, -s), (-s, -s) from the centre, where s is a third of the smaller side;
    `jitter` (N, 3, 2) holds pixels in x and y.
    """
    reach = min(height, width) // 3
    fixed = torch.tensor([[1, 1], [1, -1], [-1, -1]], device=jitter.device) * reach
    fixed = fixed + torch.tensor([width // 2, height // 2], device=jitter.device)
    moved = (fixed + jitter)[..., None, None]
    along_y, along_x = (moved[:, 0] - moved[:, 1]) / (2 * reach), (moved[:, 1] - moved[:, 2]) / (2 * reach)
    area = along_x[:, 0] * along_y[:, 1] - along_x[:, 1] * along_y[:, 0]
    x, y = _pixels(height, width, jitter.device)
    right, below = x - moved[:, 1, 0], y - moved[:, 1, 1]
    source_x = fixed[1, 0] + (along_y[:, 1] * right - along_y[:, 0] * below) / area
    source_y = fixed[1, 1] + (along_x[:, 0] * below - along_x[:, 1] * right) / area
    return source_x, source_y


def _resample(images: Tensor, x: Tensor, y: Tensor, *, mirror_on_centres: bool) -> Tensor:
    """Return `images` (N, C, H, W) bilinearly interpolated at pixel coordinates x and y (N, H, W)."""
    height, width = images.shape[2:]
    if mirror_on_centres:
        grid = torch.stack((x * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1), -1)
    else:
        grid = torch.stack(((x * 2 + 1) / width - 1, (y * 2 + 1) / height - 1), -1)
    return F.grid_sample(images, grid, "bilinear", "reflection", align_corners=mirror_on_centres)
