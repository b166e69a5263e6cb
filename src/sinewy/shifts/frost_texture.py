"""Pictures of frost on glass that are nobody's photographs: ferns of ice grown from seeds, and lit from one side."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.shifts.draws import Draws

HEIGHT, WIDTH = 420, 640
"""Size of the pictures in pixels; an image of 224 x 224 sees a fifth of one."""

_FORK = np.deg2rad(58.0)
"""Angle between a stroke of ice and its branches: six-fold crystals fork at nearly 60 degrees."""

_BRANCH_SPACING, _TWIG_SPACING = 6.0, 3.5
"""Pixels between one branch and the next on a stem, and between one twig and the next on a branch."""

Floats = NDArray[np.float64]


class _Habit(NamedTuple):
    """How one picture looks: mean colour and standard deviation in grey levels, number and length (pixels) of ferns."""

    colour: tuple[float, float, float]
    contrast: float
    ferns: int
    length: float


_HABITS = (
    _Habit((84.0, 148.0, 164.0), 17.0, 130, 170.0),
    _Habit((201.0, 205.0, 214.0), 22.0, 330, 110.0),
    _Habit((138.0, 152.0, 165.0), 28.0, 520, 60.0),
    _Habit((112.0, 123.0, 135.0), 43.0, 300, 90.0),
)
"""Colours and contrasts are near those of the benchmark's own photographs, so that the corruption is about as hard."""


class _Strokes(NamedTuple):
    """Arcs of ice, one per entry: where they begin, their heading there, how it turns per pixel, length and weight."""

    x: Floats
    y: Floats
    heading: Floats
    turn: Floats
    length: Floats
    weight: float

    def at(self, who: NDArray[np.int64], way: Floats) -> tuple[Floats, Floats, Floats]:
        """Return x, y and heading of stroke `who` after `way` pixels."""
        half = self.turn[who] * way / 2
        chord, direction = way * np.sinc(half / np.pi), self.heading[who] + half
        return self.x[who] + chord * np.cos(direction), self.y[who] + chord * np.sin(direction), direction + half


@cache
def frost_pictures() -> tuple[Tensor, ...]:
    """Return the pictures, uint8 (3, HEIGHT, WIDTH) each: the same ones in every process, made once in each."""
    return tuple(_picture(number, habit) for number, habit in enumerate(_HABITS))


def _picture(number: int, habit: _Habit) -> Tensor:
    from scipy.ndimage import gaussian_filter

    draws = Draws("frost texture", 0, 0, number, 1)
    ice = np.log1p(2 * gaussian_filter(_ferns(habit, draws), 0.6))
    down, right = np.gradient(gaussian_filter(ice, 0.5))
    cover, breath = gaussian_filter(ice, 10.0), gaussian_filter(_floats(draws.normal(HEIGHT, WIDTH)), 28.0)
    look = _standard(_standard(ice) + 0.8 * _standard(down + right) + 0.4 * _standard(cover) + 0.6 * _standard(breath))
    levels = np.array(habit.colour)[:, None, None] + habit.contrast * look
    return torch.from_numpy(levels.clip(0, 255).astype(np.uint8))


def _ferns(habit: _Habit, draws: Draws) -> Floats:
    """Return how much ice lies on each pixel (HEIGHT, WIDTH) when all ferns have grown."""
    x, y, heading, length, turn = _floats(draws.uniform(5, habit.ferns))
    length = habit.length * (0.4 + 1.2 * length**2)
    x, y = (1.2 * x - 0.1) * WIDTH, (1.2 * y - 0.1) * HEIGHT
    stems = _Strokes(x, y, 2 * np.pi * heading, (turn - 0.5) * 1.6 / length, length, 2.0)
    branches = _branches(stems, _BRANCH_SPACING, 0.42, 1.1, draws)
    twigs = _branches(branches, _TWIG_SPACING, 0.34, 0.7, draws)
    return sum((_deposit(strokes) for strokes in (stems, branches, twigs)), np.zeros((HEIGHT, WIDTH)))


def _branches(parents: _Strokes, spacing: float, share: float, weight: float, draws: Draws) -> _Strokes:
    """Return the branches on both sides of `parents`, each at most `share` of what is left of its parent there."""
    who, way = _along(parents.length, spacing)
    who, way, side = np.tile(who, 2), np.tile(way, 2), np.repeat([-1.0, 1.0], len(who))
    vigour, turn, slip = _floats(draws.uniform(3, len(who)))
    way = np.minimum(way + (slip - 0.5) * spacing, parents.length[who])
    x, y, heading = parents.at(who, way)
    length = (parents.length[who] - way) * share * (0.5 + 0.5 * vigour)
    grown = length > 1
    turn = -side * (0.2 + 0.4 * turn) / np.maximum(length, 1)
    heading = heading + side * _FORK
    return _Strokes(x[grown], y[grown], heading[grown], turn[grown], length[grown], weight)


def _along(lengths: Floats, spacing: float) -> tuple[NDArray[np.int64], Floats]:
    """Return points every `spacing` pixels along strokes of `lengths`: which stroke, and how far along it."""
    counts = (lengths / spacing).astype(np.int64)
    who = np.repeat(np.arange(len(lengths), dtype=np.int64), counts)
    rank = np.arange(len(who), dtype=np.float64) - np.repeat(counts.cumsum() - counts, counts)
    way: Floats = (rank + 0.5) * spacing
    return who, way


def _deposit(strokes: _Strokes) -> Floats:
    """Return the ice that `strokes`, which taper towards their ends, leave on each pixel."""
    who, way = _along(strokes.length, 1.0)
    x, y, _ = strokes.at(who, way)
    amount = strokes.weight * (1 - 0.7 * way / strokes.length[who])
    column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
    seen = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    ice = np.zeros((HEIGHT, WIDTH))
    np.add.at(ice, (row[seen], column[seen]), amount[seen])
    return ice


def _standard(values: Floats) -> Floats:
    scaled: Floats = (values - values.mean()) / values.std()
    return scaled


def _floats(drawn: Tensor) -> Floats:
    """Return the numbers drawn for the one and only image."""
    numbers: Floats = drawn[0].double().numpy()
    return numbers
