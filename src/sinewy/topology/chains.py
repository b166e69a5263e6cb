"""Links that lead nowhere: into neurons that nothing leaves, or out of neurons that nothing enters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from sinewy.errors import InputError


def remove_chains(masks: Sequence[Tensor]) -> list[Tensor]:
    """Return the masks of consecutive layers without the links that no path from input to output uses.

    Backwards, links into a neuron that has no link into the next layer are dropped; then forwards, links out of a
    neuron that has none from the layer before (Zhang et al. 2024, Cannistraci-Hebb training). Afterwards a hidden
    neuron has links on both sides or on neither. The inputs of the first layer and the outputs of the last are exempt.
    A layer that is cut through leaves no link anywhere.

    `masks` are bool (out, in, *kernel), in the order of the forward pass; they are not changed. A channel is linked if
    any position of a kernel is kept. Where the next layer has r times as many inputs as there are outputs (a flatten),
    each r consecutive ones belong to one output. Raises InputError for masks that are not bool or do not fit.
    """
    kept = [_checked(mask).clone() for mask in masks]
    for first, second in pairwise(kept):
        _check_fit(first, second)
    for first, second in reversed(list(pairwise(kept))):
        leads_on = _by_neuron(second, len(first)).any(dim=0).any(dim=1)
        first[~leads_on] = False
    for first, second in pairwise(kept):
        is_reached = first.flatten(1).any(dim=1)
        second[:, ~is_reached.repeat_interleave(second.shape[1] // len(first))] = False
    return kept


def _by_neuron(mask: Tensor, neurons: int) -> Tensor:
    """Return a mask as (out, neurons of the layer before, links from each of them)."""
    return mask.reshape(len(mask), neurons, -1)


def _checked(mask: Tensor) -> Tensor:
    if mask.dtype is not torch.bool or mask.ndim < 2:
        raise InputError(f"chains need bool masks of shape (out, in, *kernel); got {mask.dtype} of {_size(mask)}.")
    return mask


def _check_fit(first: Tensor, second: Tensor) -> None:
    if not len(first) or second.shape[1] % len(first) or not second.shape[1]:
        raise InputError(
            f"a layer of {_size(first)} cannot be followed by one of {_size(second)}: the second must have as many"
            " inputs as the first has outputs, or a multiple of them. Pass masks of consecutive layers only."
        )


def _size(mask: Tensor) -> str:
    return " x ".join(map(str, mask.shape))
