"""The kind of MNIST-C that looks through frosted glass, with what sets it apart from ImageNet-C's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sinewy.shifts import blur
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, gaussian_matrix, to_uint8
from sinewy.shifts.mnist_c_digits import SIDE, on_digits

_SIGMA, _PASSES = 0.7, 2

_VISITED = SIDE - 2
"""Rows and columns that are visited: all but the first two."""

_ROUNDS = (2 * SIDE).bit_length()
"""Doublings that reach the end of any chain of swaps, which goes down or to the right with every link."""


@on_digits
def glass_blur(digits: Tensor, draws: Draws, *, as_published: bool = True) -> Tensor:
    """Return `digits` blurred, their pixels swapped about at random, blurred again.

    As published, three things differ from ImageNet-C's glass_blur of severity 1, whose constants it has: the Gaussian
    (sigma 0.7) runs down the columns only, because scikit-image took the columns of a grey image for channels; pixels
    really swap; and each of them only with probability 1/2. `as_published=False` gives ImageNet-C's kind instead.
    """
    if not as_published:
        return blur.glass_blur(digits.expand(-1, 3, -1, -1), 1, "imagenet", draws)[:, :1]
    down = gaussian_matrix(SIDE, _SIGMA).to(digits.device)
    blurred = to_uint8(down @ digits.double() + ON_THE_EDGE)
    moves = draws.integers(0, 8, _PASSES, _VISITED, _VISITED)
    swapped = blurred.flatten(1).gather(1, _origins(moves)).view_as(digits)
    return to_uint8(down @ swapped.double() + ON_THE_EDGE)


def _origins(moves: Tensor) -> Tensor:
    """Return (N, 784): the flat index of the pixel whose level each pixel has after all passes of swaps.

    `moves` (N, passes, 26, 26), 0 to 7, are for the pixels from row and column 2 on: 4 is added where a pixel swaps at
    all, 2 if with a pixel of the row above, 1 if with one of the column to the left.
    """
    origin = torch.arange(SIDE * SIDE, device=moves.device).expand(len(moves), -1)
    above, left, swaps = (moves >> 1) & 1, moves & 1, moves >> 2
    steps = F.pad(-swaps * (above * SIDE + left), (2, 0, 2, 0)).flatten(2)
    for step in steps.unbind(1):
        origin = origin.gather(1, _sources(step))
    return origin


def _sources(step: Tensor) -> Tensor:
    """Return (N, 784): where the level of each pixel comes from in one pass of swaps with the pixel `step` away.

    Pixels are visited from the last to the first, so before a pixel is visited only the three after it, to the right,
    below, and below to the right, can have swapped with it: in that reverse order. Each of them took away what the
    one before it had left, and left what it held itself.
    """
    here = torch.arange(step.shape[1], device=step.device).expand_as(step)
    after = F.pad(step, (0, SIDE + 1))
    right, below, beyond = (after[:, away:][:, : step.shape[1]] == -away for away in (1, SIDE, SIDE + 1))
    # who left the level that the one below, the one to the right, and the pixel itself find; itself if nobody did
    for_below = torch.where(beyond, here + SIDE + 1, here)
    for_right = torch.where(below, here + SIDE, for_below)
    held = torch.where(right, here + 1, for_right)
    for _ in range(_ROUNDS):
        held = held.gather(1, held)
    partner = here + step
    found = torch.where(step == -1, for_right.gather(1, partner), partner)
    found = torch.where(step == -SIDE, for_below.gather(1, partner), found)
    taken = torch.where(found == partner, partner, held.gather(1, found))
    return torch.where(step == 0, held, taken)
