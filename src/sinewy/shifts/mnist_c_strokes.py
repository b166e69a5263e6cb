"""The kinds of MNIST-C that draw over the digit: a dotted line and a zigzag."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.mnist_c_digits import SIDE, on_digits

_REACH = 2.3
"""Distance in pixels from the middle of a stroke at which its brightness, 1 + ln(1 - distance / reach), is cut."""

_FROM, _TO = 2, 25
"""First and last column of the zigzag."""

_PEAKS = (2, 6, 10, 14, 18, 22)
"""How far along its middle line the zigzag turns, in pixels: 2 above and below the line in turn."""

_HEIGHT = 2


@on_digits
def dotted_line(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` crossed by a line from the left to the right edge at random rows, every other two columns off."""
    rows = draws.integers(0, SIDE - 1, 2).double()
    edges = torch.tensor([0.0, SIDE - 1], dtype=torch.float64, device=digits.device).expand_as(rows)
    on = torch.arange(SIDE, device=digits.device) % 4 >= 2
    return _drawn(digits, _strokes(edges, rows) * on)


@on_digits
def zigzag(digits: Tensor, draws: Draws) -> Tensor:
    """Return `digits` crossed by a zigzag from column 2 to 25 about a line that begins at a random row.

    The line ends 5 rows higher to 4 rows lower. Kept from the published generator: the last stroke ends at
    -1 / (length - 20), and not on the line.
    """
    row = draws.integers(0, SIDE - 1).double()[:, None]
    rise = draws.integers(-5, 5).double()[:, None]
    length = (rise * rise + (_TO - _FROM) ** 2).sqrt()
    cos, sin = (_TO - _FROM) / length, rise / length
    along = torch.tensor([0, *_PEAKS], dtype=torch.float64, device=digits.device).expand(len(row), -1)
    height = torch.tensor([0, *(_HEIGHT, -_HEIGHT) * 3], dtype=torch.float64, device=digits.device).expand_as(along)
    along = torch.cat((along, length), 1)
    height = torch.cat((height, -_HEIGHT / (2 * (length - 20))), 1)
    return _drawn(digits, _strokes(along * cos - height * sin + _FROM, along * sin + height * cos + row))


def _drawn(digits: Tensor, strokes: Tensor) -> Tensor:
    """Return `digits` plus `strokes` (N, 28, 28), 1 being white."""
    return to_uint8(digits + strokes[:, None] * 255 + ON_THE_EDGE)


def _strokes(columns: Tensor, rows: Tensor) -> Tensor:
    """Return the brightness (N, 28, 28) of strokes through the points at `columns` and `rows` (N, points), left to
    right, added up where they meet."""
    first, last = columns[:, :-1, None, None], columns[:, 1:, None, None]
    slope = (rows[:, 1:] - rows[:, :-1])[:, :, None, None] / (last - first)
    place = torch.arange(SIDE, dtype=torch.float64, device=rows.device)
    away = (place[:, None] - (slope * (place - first) + rows[:, :-1, None, None])).abs().clamp_(max=_REACH - 1e-10)
    bright = (1 - away / _REACH).log_().add_(1).clamp_(0, 1)
    return (bright * ((place >= first.floor()) & (place < last.ceil()))).sum(1)
