"""Linear filters shared by the corruptions: Gaussian and zoom as small cached matrices, motion blur as shifted sums."""

from __future__ import annotations

from functools import lru_cache
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sinewy.shifts.banded import filter_columns, filter_rows

ON_THE_EDGE = 1e-9
"""Added to float64 grey levels before truncation, so that a sum that is exactly a whole number is not cut short."""


def to_uint8(levels: Tensor) -> Tensor:
    """Return `levels` (floating, in grey levels) clipped to 0..255 and truncated, not rounded, to uint8.

    `levels` themselves are clipped too: a copy would take as long as the rest.
    """
    return whole(levels.clamp_(0, 255))


def whole(levels: Tensor) -> Tensor:
    """Return `levels` (floating, 0..255) truncated to uint8; by way of int16 that takes half the time on a CPU."""
    return levels.to(torch.int16).to(torch.uint8)


def gaussian_weights(sigma: float, truncate: float = 4.0) -> NDArray[np.float64]:
    """Return the 2r + 1 weights exp(-i^2 / 2 sigma^2) / sum, where r = int(truncate * sigma + 0.5) (SciPy's radius)."""
    radius = int(truncate * sigma + 0.5)
    weights: NDArray[np.float64] = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    return weights


@lru_cache(maxsize=256)
def gaussian_matrix(size: int, sigma: float, truncate: float = 4.0, edge: str = "nearest") -> Tensor:
    """Return the (size, size) float64 matrix that filters a column of `size` pixels.

    Equal to `scipy.ndimage.gaussian_filter1d(column, sigma, truncate=truncate, mode=edge)`, so `edge` is SciPy's name
    of the border rule: "nearest" (replicate), "reflect" (half-sample), "mirror" (whole-sample).
    """
    from scipy.ndimage import correlate1d

    return torch.from_numpy(correlate1d(np.eye(size), gaussian_weights(sigma, truncate), axis=0, mode=edge))


def gaussian(images: Tensor, sigma: float, truncate: float = 4.0, edge: str = "nearest") -> Tensor:
    """Return floating `images` (..., H, W) filtered along both axes in float64; see `gaussian_matrix`."""
    height, width = images.shape[-2:]
    return separable(
        images, gaussian_matrix(height, sigma, truncate, edge), gaussian_matrix(width, sigma, truncate, edge)
    )


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Return rows @ image @ columns^T for `images` (..., H, W), in the dtype of the matrices.

    The matrices of this module are float64: the order of summation in a matrix product depends on the batch size, and
    only float64 keeps that below what truncation to grey levels can see.
    """
    return filter_columns(rows, filter_rows(images.to(columns.dtype), columns))


@lru_cache(maxsize=512)
def _clipped_zoom_matrix(size: int, zoom: float) -> Tensor:
    """Return the (size, size) matrix that magnifies the middle of a column by `zoom` >= 1, linearly interpolated."""
    crop = ceil(size / zoom)
    zoomed = round(crop * zoom)
    top, trim = (size - crop) // 2, (zoomed - size) // 2
    position = (np.arange(size) + trim) * ((crop - 1) / max(zoomed - 1, 1))
    below = np.minimum(position.astype(np.int64), max(crop - 2, 0))
    share = position - below
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size), top + below), 1 - share)
    np.add.at(matrix, (np.arange(size), top + np.minimum(below + 1, crop - 1)), share)
    return torch.from_numpy(matrix)


def clipped_zoom_matrices(height: int, width: int, zoom: float) -> tuple[Tensor, Tensor]:
    """Return the float64 matrices (rows, columns) for `separable` that magnify the middle of an image by `zoom` >= 1.

    Per axis: crop the middle ceil(size / zoom) pixels, interpolate linearly (end points on end points, like
    `scipy.ndimage.zoom(order=1)`) to round(crop * zoom), trim the middle `size` of them.
    """
    return _clipped_zoom_matrix(height, zoom), _clipped_zoom_matrix(width, zoom)


def one_sided_gaussian(radius: int, sigma: float) -> list[float]:
    """Return the 2 * radius + 1 weights exp(-j^2 / 2 sigma^2), j = 0, 1, ..., divided by their sum."""
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    return [float(weight) for weight in weights / weights.sum()]


def motion_blur(images: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    """Return `images` (N, C, H, W), floating, smeared along a line at `angles` (N,), in degrees; edges are replicated.

    ImageMagick's MotionBlurImage: out(y, x) = sum_j k_j in(y + ceil(j sin a - 1/2), x + ceil(j cos a - 1/2)) with the
    one-sided weights k. ImageMagick then rounds to the nearest grey level; that is left to the caller.
    """
    weights = one_sided_gaussian(radius, sigma)
    down, right = _steps(angles.to(images.device), len(weights))
    top, left = -int(down.min()), -int(right.min())
    padded = F.pad(images, (left, int(right.max()), top, int(down.max())), mode="replicate")
    height, width = images.shape[-2:]
    # copying whole rows out of the padded images is several times faster than indexing their values
    places = torch.arange(padded.numel(), device=images.device).view(padded.shape)[..., :height, 0]
    rows = padded.flatten().unfold(0, width, 1)
    total = torch.zeros_like(images)
    for weight, step in zip(weights, (down + top) * padded.shape[-1] + right + left, strict=True):
        moved = rows.index_select(0, (places + step[:, None, None]).flatten())
        total += moved.view(images.shape).mul_(weight)  # two roundings: a fused one would depend on the batch
    return total


def _steps(angles: Tensor, taps: int) -> tuple[Tensor, Tensor]:
    """Return the (taps, N) vertical and horizontal offsets in pixels along lines at `angles` degrees."""
    radians = angles.double().deg2rad()
    along = torch.arange(taps, device=angles.device)[:, None]
    down, right = (torch.ceil(along * direction - 0.5).long() for direction in (radians.sin(), radians.cos()))
    return down, right
