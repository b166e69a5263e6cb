"""Canny edges, distances to them, and equalised histograms of many maps at once, as OpenCV makes them of one.

Maps are (H, W, N): with the images last, a map shifted by a pixel is a view of long contiguous runs.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TAN_22 = 13573
"""tan(22.5 degrees) in units of 2^-15, OpenCV's integer."""

_STRAIGHT = tuple(
    (down * times, right * times, torch.tensor(times, dtype=torch.uint8))
    for down, right in ((0, 1), (1, 0))
    for times in (1, 2, 4, 8, 16)
)
_SLANTED = tuple(
    (down * times, right * times, torch.tensor(cost * times, dtype=torch.float32))
    for cost, directions in ((1.4, ((1, 1), (1, -1))), (2.1969, ((1, 2), (2, 1), (1, -2), (2, -1))))
    for down, right in directions
    for times in (1, 2, 4, 8)
)
"""Steps of OpenCV's 5 x 5 distance, doubled and doubled again, with their costs; together they go beyond FARTHEST."""

FARTHEST = 20.0
"""Distances, in pixels, are cut off here."""


def shifted(padded: Tensor, down: int, right: int, reach: int = 1) -> Tensor:
    """Return the view of `padded` (H + 2 reach, W + 2 reach, N) that is shifted by `down` and `right` pixels."""
    height, width = padded.shape[0] - 2 * reach, padded.shape[1] - 2 * reach
    return padded[reach + down : reach + down + height, reach + right : reach + right + width]


def mirrored(maps: Tensor) -> Tensor:
    """Return `maps` with one more pixel on each side, the image mirrored about its outermost pixels."""
    padded = _framed(maps)
    padded[0, 1:-1], padded[-1, 1:-1] = maps[1], maps[-2]
    padded[:, 0], padded[:, -1] = padded[:, 2], padded[:, -3]
    return padded


def _framed(maps: Tensor) -> Tensor:
    """Return `maps` with room for one more pixel on each side; several times faster than `torch.cat` on a CPU."""
    padded = maps.new_empty(maps.shape[0] + 2, maps.shape[1] + 2, maps.shape[2])
    padded[1:-1, 1:-1] = maps
    return padded


def sum_3x3(maps: Tensor) -> Tensor:
    """Return the sum of the nine pixels around each; the image is mirrored at its edges."""
    padded = mirrored(maps)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def canny(levels: Tensor, low: int, high: int) -> Tensor:
    """Return the edges of integer grey `levels` (H, W, N), uint8 of 0 and 1: `cv2.Canny(levels, low, high)`.

    3 x 3 Sobel gradients, |dx| + |dy|, the maxima across the edge that exceed `low`, and of those the ones joined to
    one that exceeds `high`. Canny, "A Computational Approach to Edge Detection" (1986), in OpenCV's variant.
    """
    dx, dy = _sobel(levels.int())
    strength = dx.abs() + dy.abs()
    candidates = _across_maximum(dx, dy, strength) & _less(low, strength)
    return joined((candidates & _less(high, strength)).to(torch.uint8), candidates.to(torch.uint8)) & 1


def _less(first: Tensor | int, second: Tensor) -> Tensor:
    """Return all ones where first < second, else 0, for int32: several times faster than bool, and `where`, on a
    CPU."""
    return (first - second) >> 31


def _sobel(levels: Tensor) -> tuple[Tensor, Tensor]:
    padded = _framed(levels)
    padded[0, 1:-1], padded[-1, 1:-1] = levels[0], levels[-1]
    padded[:, 0], padded[:, -1] = padded[:, 1], padded[:, -2]
    down, right = padded[2:] - padded[:-2], padded[:, 2:] - padded[:, :-2]
    return right[:-2] + 2 * right[1:-1] + right[2:], down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]


def _across_maximum(dx: Tensor, dy: Tensor, strength: Tensor) -> Tensor:
    """Return all ones where `strength` is largest along the gradient, rounded to 45 degrees, else 0; ties as in
    OpenCV."""
    around = strength.new_zeros(strength.shape[0] + 2, strength.shape[1] + 2, strength.shape[2])
    shifted(around, 0, 0).copy_(strength)
    level = torch.maximum(shifted(around, 0, -1), shifted(around, 0, 1) - 1)
    upright = torch.maximum(shifted(around, -1, 0), shifted(around, 1, 0) - 1)
    falling = torch.maximum(shifted(around, -1, -1), shifted(around, 1, 1))
    rising = torch.maximum(shifted(around, -1, 1), shifted(around, 1, -1))
    x, y = dx.abs(), dy.abs() << 15
    is_level, is_upright = _less(y, x * _TAN_22), _less(x * (_TAN_22 + (1 << 16)), y)
    rival = _chosen(rising, falling, (dx ^ dy) >> 31)
    rival = _chosen(level, _chosen(upright, rival, is_upright), is_level)
    return _less(rival, strength)


def _chosen(first: Tensor, second: Tensor, which: Tensor) -> Tensor:
    """Return `first` where `which` is all ones, `second` where it is 0, for int32."""
    return second ^ ((first ^ second) & which)


def joined(sure: Tensor, candidates: Tensor) -> Tensor:
    """Return the `candidates` that a chain of neighbouring candidates joins to a `sure` one.

    Every round walks one pixel along all chains of all images; looking for the end costs a wait on a GPU, so that is
    done only every few rounds.
    """
    height, width, count = sure.shape
    around = sure.new_zeros(height + 2, width + 2, count)
    inside = shifted(around, 0, 0)
    inside.copy_(sure)
    before = -1
    while (now := int(inside.sum())) != before:
        before = now
        for _ in range(4):
            rows = around[:-2] | around[1:-1] | around[2:]
            torch.bitwise_and(rows[:, :-2] | rows[:, 1:-1] | rows[:, 2:], candidates, out=inside)
    return inside


def distance(edges: Tensor) -> Tensor:
    """Return the distance to the nearest of `edges` (0 or 1), float32 (H, W, N) in pixels, at most `FARTHEST`.

    The chamfer distance of `cv2.distanceTransform(1 - edges, cv2.DIST_L2, 5)`: the cheapest walk of king's and knight's
    moves at 1, 1.4 and 2.1969. A cheapest walk is a run of each move in any order, so one pass for each direction
    finds it, and doubled strides make a pass of k steps log2(k) steps long.
    """
    steps = (edges == 0).to(torch.uint8) * int(FARTHEST)  # bytes do as long as moves are straight: whole steps
    for down, right, cost in _STRAIGHT:
        _relax(steps, down, right, cost)
    far = steps.float()
    for down, right, cost in _SLANTED:
        _relax(far, down, right, cost)
    return far


def _relax(far: Tensor, down: int, right: int, cost: Tensor) -> None:
    """Lower `far` in place to `cost` above the values (down, right) pixels away, on both sides."""
    height, width = far.shape[:2]
    if down >= height or abs(right) >= width:
        return
    first = far[: height - down, max(0, -right) : width - max(0, right)]
    second = far[down:, max(0, right) : width - max(0, -right)]
    torch.minimum(second, first + cost, out=second)
    torch.minimum(first, second + cost, out=first)


def equalized(levels: Tensor, count: int) -> Tensor:
    """Return `levels`, int64 (H, W, N) below `count`, spread over 0..255 by rank as by `cv2.equalizeHist`; float32.

    A map of one level only is left as it is.
    """
    images = levels.shape[2]
    places = (levels + torch.arange(images, device=levels.device) * count).flatten()
    histogram = torch.bincount(places, minlength=images * count).view(images, count)
    ranks = histogram.cumsum(1)
    total = ranks[:, -1:]
    darkest = histogram.gather(1, (histogram > 0).int().argmax(1, keepdim=True))
    scale = 255 / (total - darkest).clamp(min=1).float()
    spread = ((ranks - darkest).clamp(min=0).float() * scale).round_().clamp_(max=255)
    same = torch.arange(count, device=levels.device, dtype=torch.float32)
    spread = torch.where(total == darkest, same, spread)
    return spread.flatten().index_select(0, places).view(levels.shape)
