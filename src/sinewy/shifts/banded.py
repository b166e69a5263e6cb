"""Products of images with matrices whose entries lie near the diagonal, as those of filters of short reach do."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

_TILE = 24
"""Rows of a matrix that are multiplied at a time."""


class Tile(NamedTuple):
    """Some rows of a matrix and the columns that are not zero there."""

    rows: slice
    columns: slice
    entries: Tensor


def filter_rows(images: Tensor, matrix: Tensor) -> Tensor:
    """Return images @ matrix^T, (..., H, W) by (V, W) to (..., H, V): every row of pixels filtered.

    On a CPU zeros far from the diagonal are left out, which changes nothing but the time. The matrix must not be
    changed afterwards.
    """
    tiles = _tiles(matrix) if images.device.type == "cpu" else ()
    if len(tiles) < 2:
        return images @ matrix.to(images.device).mT
    flat = images.reshape(-1, images.shape[-1])
    result = flat.new_empty(len(flat), len(matrix))
    for tile in tiles:
        torch.mm(flat[:, tile.columns], tile.entries.mT, out=result[:, tile.rows])
    return result.view(*images.shape[:-1], len(matrix))


def filter_columns(matrix: Tensor, images: Tensor) -> Tensor:
    """Return matrix @ images, (U, H) by (..., H, W) to (..., U, W): columns of pixels filtered; see `filter_rows`."""
    tiles = _tiles(matrix) if images.device.type == "cpu" else ()
    if len(tiles) < 2:
        return matrix.to(images.device) @ images
    flat = images.reshape(-1, *images.shape[-2:])
    result = flat.new_empty(len(flat), len(matrix), flat.shape[2])
    for tile in tiles:
        entries = tile.entries.expand(len(flat), -1, -1)
        torch.bmm(entries, flat[:, tile.columns], out=result[:, tile.rows])
    return result.view(*images.shape[:-2], *result.shape[1:])


@lru_cache(maxsize=512)  # by identity: tensors are compared so, and the matrices are kept by their makers
def _tiles(matrix: Tensor) -> tuple[Tile, ...]:
    """Return the tiles of a matrix, or one for all of it where tiles would save less than a quarter."""
    tiles = [_tile(matrix, first) for first in range(0, len(matrix), _TILE)]
    if sum(tile.entries.numel() for tile in tiles) > 0.75 * matrix.numel():
        return (Tile(slice(0, len(matrix)), slice(0, matrix.shape[1]), matrix),)
    return tuple(tiles)


def _tile(matrix: Tensor, first: int) -> Tile:
    rows = slice(first, min(first + _TILE, len(matrix)))
    used = matrix[rows].abs().amax(0).nonzero().flatten()
    columns = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
    return Tile(rows, columns, matrix[rows, columns].contiguous())
