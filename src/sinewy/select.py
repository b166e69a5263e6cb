"""Exactly k of n: the one kernel that every mask comes from. No full sort, no threshold that lets ties through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.errors import InputError

Array = NDArray[Any]

_SAMPLE = 1 << 14
"""Values looked at to guess between which two values the threshold lies, before the exact selection."""

_SURE = 5.0
"""Standard deviations of the guess: fails once in a million times, and then costs time, not exactness."""


def largest(values: Tensor, k: int) -> Tensor:
    """Return the row-major positions of the k largest entries of `values`, in ascending order; as `largest_mask`.

    `values` is floating point; returns int64 of shape (k,) on the same device.
    """
    return positions(largest_mask(values, k))


def largest_mask(values: Tensor, k: int, among: Tensor | None = None) -> Tensor:
    """Return a bool tensor that is True at the k largest entries of `values`; among ties the lowest row-major positions
    win.

    Only entries where the bool tensor `among`, of the same shape, is True take part; by default all do. The result has
    the shape, device and memory format of `values` (dense formats other than channels_last become contiguous). Raises
    InputError for NaN among them, and for k outside [0, their number]. On the CPU two guessed thresholds settle most
    entries by one comparison each, and only what lies between is partitioned; nothing is sorted.
    """
    values = _laid_out(values.detach())
    n = values.numel() if among is None else count(among)
    if not 0 <= k <= n:
        raise InputError(f"cannot select {k} of {n} weights.")
    if k == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    if values.is_cuda:
        return _on_device(values, k, among)
    kept = torch.empty_like(values, dtype=torch.bool)
    eligible = None if among is None else _flat(_like(among, kept))
    _select(_flat(values), k, eligible, _flat(kept), _pitch(values))
    return kept


def random_free(taken: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return k row-major positions drawn uniformly without replacement where the bool tensor `taken` is False.

    `generator` lives on the CPU, so that every device draws the same numbers. Raises InputError if fewer than k are
    free.
    """
    free = taken.numel() - count(taken)
    if not 0 <= k <= free:
        raise InputError(f"cannot draw {k} of {free} free positions.")
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=taken.device)
    if 4 * k > free or taken.numel() < 1024:
        places = positions(~taken)
        return places[torch.randperm(free, generator=generator)[:k].to(taken.device)]
    return _by_rejection(taken, k, free, generator).to(taken.device)


def count(mask: Tensor) -> int:
    """Return how many entries of a bool tensor are True."""
    return int(mask.count_nonzero()) if mask.is_cuda else int(np.count_nonzero(mask.numpy()))


def positions(mask: Tensor) -> Tensor:
    """Return the row-major positions (int64, ascending) where a bool tensor is True."""
    flat = mask.reshape(-1)
    return flat.nonzero().squeeze(1) if flat.is_cuda else torch.from_numpy(np.flatnonzero(flat.numpy()))
