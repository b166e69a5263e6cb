"""The kind of MNIST-C that leaves nothing of a digit but its edges.

Maps are (28, 28, N): with the images last, a map shifted by a pixel is a view of long contiguous runs.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.edges import joined, shifted
from sinewy.shifts.filters import gaussian_weights
from sinewy.shifts.mnist_c_digits import SIDE, on_digits

_SIGMA, _LOW, _HIGH = 1.0, float(np.float32(0.1)), 0.2


@on_digits
def canny_edges(digits: Tensor, draws: Draws) -> Tensor:
    """Return the Canny edges of `digits`, white on black; nothing is random.

    Those of `skimage.feature.canny` at its defaults: Gaussian of sigma 1 that ends at the edge of the image, Sobel
    gradients, maxima across the edge between interpolated neighbours from 0.1 on, if joined to one from 0.2 on. The
    operations and their order are scikit-image's, and so are the bits: neighbours are often equal, and then the last
    bit decides.
    """
    del draws
    smooth = _blurred(digits[:, 0].permute(1, 2, 0).double() / 255) / _covered().to(digits.device)
    down, right = _sobel(smooth), _sobel(smooth.transpose(0, 1)).transpose(0, 1)
    strength = _root(down * down + right * right)
    candidates = _across_maximum(down, right, strength) & (strength >= _LOW)
    for edge in (candidates[:1], candidates[-1:], candidates[:, :1], candidates[:, -1:]):
        edge.zero_()
    edges = joined((candidates & (strength >= _HIGH)).to(torch.uint8), candidates.to(torch.uint8))
    return (edges * 255).permute(2, 0, 1)[:, None].contiguous()


def _blurred(maps: Tensor) -> Tensor:
    """Return `maps` filtered down, then across, by a Gaussian; 0 outside. Summed as `scipy.ndimage` does."""
    weights = gaussian_weights(_SIGMA).tolist()
    reach = len(weights) // 2
    for _ in range(2):
        padded = F.pad(maps, (0, 0, 0, 0, reach, reach))
        maps = maps * weights[reach]
        for away in range(reach, 0, -1):
            before, after = (padded[reach + step :][:SIDE] for step in (-away, away))
            maps += (before + after) * weights[reach - away]
        maps = maps.transpose(0, 1)
    return maps


@cache
def _covered() -> Tensor:
    """Return the share (28, 28, 1) of the Gaussian about each pixel that lies in the image."""
    return _blurred(torch.ones(SIDE, SIDE, 1, dtype=torch.float64)) + np.finfo(np.float64).eps


def _sobel(maps: Tensor) -> Tensor:
    """Return the derivative down of `maps`, smoothed across; edges are repeated."""
    slope = torch.cat((maps[1:], maps[-1:])) - torch.cat((maps[:1], maps[:-1]))
    beside = torch.cat((slope[:, :1], slope[:, :-1]), 1) + torch.cat((slope[:, 1:], slope[:, -1:]), 1)
    return slope * 2 + beside


def _root(squares: Tensor) -> Tensor:
    """Return the correctly rounded square root, which torch's is not on every CPU."""
    return torch.from_numpy(np.sqrt(squares.cpu().numpy())).to(squares.device)


def _across_maximum(down: Tensor, right: Tensor, strength: Tensor) -> Tensor:
    """Return where `strength` is at least that of both neighbours across the edge, interpolated between pixels."""
    around = F.pad(strength, (0, 0, 1, 1, 1, 1))
    falling, steep = (down > 0) == (right > 0), down.abs() > right.abs()
    least, most = torch.minimum(down.abs(), right.abs()), torch.maximum(down.abs(), right.abs())
    share = least / most
    largest = torch.ones_like(steep)
    for side in (-1, 1):
        corner = torch.where(falling, shifted(around, side, side), shifted(around, -side, side))
        upright = torch.where(falling, shifted(around, side, 0), shifted(around, -side, 0))
        straight = torch.where(steep, upright, shifted(around, 0, side))
        largest &= corner * share + straight * (1 - share) <= strength
    return largest
