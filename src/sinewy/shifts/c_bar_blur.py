"""The kinds of C-bar that blur with cubic splines: a lens that focuses colours apart, and a turn during exposure."""

from __future__ import annotations

import warnings
from functools import lru_cache
from math import pi
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.shifts.c_bar_levels import level
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, separable, to_uint8

_ORDERS = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
"""The ways to give three channels three zooms."""

_TURNS = 21


def transverse_chromatic_abberation(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) whose channels, in random order, are zoomed by 1, 1 + 0.025 s and 1 + 0.05 s.

    Kept from the published generator: the cubic spline is not fitted to the image, so it smooths, even at zoom 1.
    Levels are rounded.
    """
    zoom = 0.05 * level("transverse_chromatic_abberation", severity, preset)
    height, width = images.shape[-2:]
    channel_of = _ORDERS.to(images.device)[draws.integers(0, 6)]
    ordered = images.gather(1, channel_of[:, :, None, None].expand(-1, -1, height, width)).double()
    zoomed = torch.stack(
        [
            separable(ordered[:, number], _spline_zoom(height, factor), _spline_zoom(width, factor))
            for number, factor in enumerate((1.0, 1 + zoom / 2, 1 + zoom))
        ],
        1,
    )
    levels = zoomed.gather(1, channel_of.argsort(1)[:, :, None, None].expand(-1, -1, height, width))
    return to_uint8(levels.add_(0.5 + ON_THE_EDGE))


@lru_cache(maxsize=64)
def _spline_zoom(size: int, zoom: float) -> Tensor:
    """Return the (size, size) matrix of `scipy.ndimage.zoom(column, zoom, prefilter=False)`, cut to its middle."""
    zoomed = round(size * zoom)
    position = (np.arange(size) + (zoomed - size) // 2) * ((size - 1) / max(zoomed - 1, 1))
    places, weights = _spline(position, size)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], places), weights)
    return torch.from_numpy(matrix)


def _spline(position: NDArray[np.floating[Any]], size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the four places (..., 4) on an axis that a cubic spline at `position` (...) depends on, and their weights.

    Places outside are mirrored about the outermost pixels.
    """
    first = np.floor(position).astype(np.int64) - 1
    places = first[..., None] + np.arange(4)
    away = np.abs(position[..., None] - places)
    weights = np.where(away < 1, 2 / 3 - away**2 + away**3 / 2, np.clip(2 - away, 0, None) ** 3 / 6)
    period = max(2 * (size - 1), 1)
    places = np.abs(places) % period
    return np.minimum(places, period - places) if size > 1 else np.zeros_like(places), weights


def circular_motion_blur(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) averaged over 21 rotations about their middle by up to 1.5 s degrees.

    Weights are exp(-2 t^2) for t from -1 to 1. Rotations are by cubic splines, black outside. Nothing is random.
    """
    del draws
    height, width = images.shape[-2:]
    turned = _turned_average(height, width, 1.5 * level("circular_motion_blur", severity, preset)).to(images.device)
    splines = separable(images, _spline_fit(height), _spline_fit(width))
    levels = (turned @ splines.reshape(-1, height * width).T).T.reshape(images.shape)
    return to_uint8(levels + ON_THE_EDGE)


@lru_cache(maxsize=64)
def _spline_fit(size: int) -> Tensor:
    """Return the (size, size) matrix from the pixels of a column to the coefficients of its cubic spline."""
    from scipy.ndimage import spline_filter1d

    return torch.from_numpy(spline_filter1d(np.eye(size), 3, axis=0, mode="mirror") if size > 1 else np.eye(1))


@lru_cache(maxsize=5)
def _turned_average(height: int, width: int, degrees: float) -> Tensor:
    """Return the sparse (H W, H W) matrix from the spline coefficients of an image to the average of its rotations."""
    from scipy.sparse import csr_array

    size = height * width
    total = csr_array((size, size))
    times = np.linspace(-1, 1, _TURNS)
    for share, angle in zip(np.exp(-2 * times**2), times * (degrees * pi / 180), strict=True):
        total = total + share * _turned(height, width, angle)
    average = total / np.exp(-2 * times**2).sum()
    starts, columns = (torch.from_numpy(index.astype(np.int32)) for index in (average.indptr, average.indices))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(
            starts, columns, torch.from_numpy(average.data), average.shape, check_invariants=True
        )


def _turned(height: int, width: int, angle: float) -> Any:
    """Return the sparse (H W, H W) matrix from spline coefficients to the image turned by `angle` radians."""
    from scipy.sparse import csr_array

    y, x = np.mgrid[:height, :width].reshape(2, -1) - np.array([[height - 1], [width - 1]]) / 2
    source_y = np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2
    source_x = np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2
    (rows, by_row), (columns, by_column) = _spline(source_y, height), _spline(source_x, width)
    inside = (source_y >= 0) & (source_y <= height - 1) & (source_x >= 0) & (source_x <= width - 1)
    weights = by_row[:, :, None] * by_column[:, None, :] * inside[:, None, None]
    places = rows[:, :, None] * width + columns[:, None, :]
    starts = np.arange(height * width + 1) * 16
    matrix = csr_array((weights.reshape(-1), places.reshape(-1), starts), (height * width,) * 2)
    matrix.sum_duplicates()
    return matrix
