"""Exactly k of n: the one kernel that every mask comes from. No full sort, no threshold that lets ties through."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.errors import InputError

_SAMPLE = 1 << 14
"""Values looked at to guess a threshold before the exact selection."""


def largest(values: Tensor, k: int) -> Tensor:
    """Return the positions of the k largest entries of a 1-D tensor, in ascending order; among ties the lowest
    positions win.

    `values` is floating point; returns int64 of shape (k,) on the same device. Raises InputError for NaN, and for k
    outside [0, n]. On the CPU it partitions only those values that can be among the k largest; it never sorts.
    """
    n = values.numel()
    if not 0 <= k <= n:
        raise InputError(f"cannot select {k} of {n} weights.")
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=values.device)
    if k == n:
        _refuse_nan(values)
        return torch.arange(n, device=values.device)
    return _largest_on_device(values, k) if values.is_cuda else _largest_on_cpu(values, k)


def random_free(taken: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return k positions drawn uniformly without replacement where the 1-D bool tensor `taken` is False.

    `generator` lives on the CPU, so that every device draws the same numbers. Raises InputError if fewer than k are
    free.
    """
    free = taken.numel() - int(taken.sum())
    if not 0 <= k <= free:
        raise InputError(f"cannot draw {k} of {free} free positions.")
    if k == 0:
        return torch.empty(0, dtype=torch.int64, device=taken.device)
    if 4 * k > free or taken.numel() < 1024:
        places = (~taken).nonzero().squeeze(1)
        return places[torch.randperm(free, generator=generator)[:k].to(taken.device)]
    return _by_rejection(taken, k, free, generator)


def _by_rejection(taken: Tensor, k: int, free: int, generator: torch.Generator) -> Tensor:
    """Draw sites until k distinct free ones are found: the first k acceptable draws, whatever the size of the
    blocks."""
    n, chosen = taken.numel(), torch.empty(0, dtype=torch.int64)
    occupied = taken.cpu()
    while len(chosen) < k:
        block = torch.randint(n, (int(1.3 * (k - len(chosen)) * n / free) + 64,), generator=generator)
        chosen = torch.cat([chosen, block[~occupied[block]]])
        _, first = np.unique(chosen.numpy(), return_index=True)
        chosen = chosen[torch.from_numpy(np.sort(first))]
    return chosen[:k].to(taken.device)


def _largest_on_cpu(values: Tensor, k: int) -> Tensor:
    flat = values.detach()
    array = (flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat).numpy()
    places = _possible(array, k)
    candidates = array if places is None else array[places]
    split = len(candidates) - k
    top = np.partition(candidates, split)[split:]
    _refuse_nan(torch.from_numpy(top))  # NaN sorts last, so any NaN is among the k largest
    chosen = np.flatnonzero(candidates > top[0])
    ties = np.flatnonzero(candidates == top[0])[: k - len(chosen)]
    chosen = np.sort(np.concatenate([chosen, ties]))
    return torch.from_numpy(chosen if places is None else places[chosen])


def _possible(array: NDArray[Any], k: int) -> NDArray[np.intp] | None:
    """Return positions that surely hold the k largest, by a threshold guessed from an even sample; None if it does not
    pay."""
    n = len(array)
    if n < 8 * _SAMPLE or 4 * k > n:
        return None
    sample = np.sort(array[:: n // _SAMPLE])
    rank = int(len(sample) * (1 - 1.2 * k / n)) - 128
    if rank < 0 or np.isnan(sample[-1]):
        return None
    places = np.flatnonzero(~(array <= sample[rank]))  # a NaN is not <= anything: it stays, to be refused later
    return places if len(places) >= k else None


def _largest_on_device(values: Tensor, k: int) -> Tensor:
    _refuse_nan(values)
    threshold = torch.kthvalue(values, values.numel() - k + 1).values
    above = values > threshold
    ties = (values == threshold).nonzero().squeeze(1)
    chosen = torch.cat([above.nonzero().squeeze(1), ties[: k - int(above.sum())]])
    return chosen.sort().values


def _refuse_nan(values: Tensor) -> None:
    if values.isnan().any():
        raise InputError(f"{int(values.isnan().sum())} scores are NaN; a mask cannot be chosen by them.")
