"""What a page shows of networks that outcomes do not hold: the images they err on, and what is left of their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.analysis import breaking
from sinewy.analysis.breaking import Example
from sinewy.analysis.shown import Left
from sinewy.data import ImageSet
from sinewy.outcomes import CLEAN, Condition, Outcomes
from sinewy.probes.corruption import CorruptionProbe

ByCondition = Mapping[Condition, Outcomes]


def filters_left(masks: Mapping[str, Tensor]) -> tuple[Left, ...]:
    """Return how many filters and kernels of each tensor (outputs, inputs, ...) hold a kept weight."""
    return tuple(_left(name, mask.detach()) for name, mask in masks.items() if mask.ndim > 1)


def examples_lost(
    parent: ByCondition, pruned: ByCondition, data: ImageSet, probes: Sequence[CorruptionProbe]
) -> tuple[Example, ...]:
    """Return up to 12 images that only the parent gets right: half as they are, half under the shift that costs most.

    Which ones depends on the outcomes alone; a shift that none of `probes` can make again is left out.
    """
    shifts = {kind: probe for probe in probes for kind in probe.kinds}
    known = {condition: o for condition, o in parent.items() if condition == CLEAN or condition[0] in shifts}
    worst = breaking.worst_condition(known, pruned)
    chosen = breaking.choose(known, pruned, worst, breaking.SHOWN)
    return tuple(
        breaking.example(c, index, _pixels(c, index, data, shifts), parent[c], pruned[c]) for c, index in chosen
    )


def _pixels(
    condition: Condition, index: int, data: ImageSet, shifts: Mapping[str, CorruptionProbe]
) -> NDArray[np.uint8]:
    if condition == CLEAN:
        return np.asarray(data.images[index])
    return shifts[condition[0]].picture(*condition, data, index)


def _left(name: str, mask: Tensor) -> Left:
    kernels = mask.flatten(2).any(2) if mask.ndim > 2 else torch.empty(0)
    filters = mask.flatten(1).any(1)
    return Left(name, len(filters), int(filters.sum()), kernels.numel(), int(kernels.sum()))
