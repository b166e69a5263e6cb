"""Exactly k of n: the one kernel that every mask comes from. No full sort, no threshold that lets ties through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sinewy.errors import InputError

Array = NDArray[Any]

_SAMPLE = 1 << 14
"""Values looked at to guess between which two values the threshold lies, before the exact selection."""

_DEVIATIONS = 4.0
"""How far off the guess may be on either side, in standard deviations; a wrong guess costs time, not exactness."""


def largest(values: Tensor, k: int) -> Tensor:
    """Return the row-major positions of the k largest entries of `values`, ascending; see `largest_mask`.

    Returns int64 of shape (k,) on the same device.
    """
    return positions(largest_mask(values, k))


def largest_mask(values: Tensor, k: int, among: Tensor | None = None) -> Tensor:
    """Return a contiguous bool tensor, True at the k largest entries; among ties the lowest row-major positions win.

    `values` is floating point of any shape and device. Only entries where the bool tensor `among`, of the same shape,
    is True take part; by default all do. Raises InputError for NaN among them, and for k outside [0, their number]. On
    the CPU two guessed thresholds settle most entries by a comparison; what lies between them is partitioned, and
    nothing is ever sorted.
    """
    flat = values.detach().reshape(-1)
    eligible = None if among is None else among.reshape(-1)
    n = flat.numel() if eligible is None else count(eligible)
    if not 0 <= k <= n:
        raise InputError(f"cannot select {k} of {n} weights.")
    if k == 0:
        return torch.zeros(values.shape, dtype=torch.bool, device=values.device)
    if flat.is_cuda:
        mask = _on_device(flat, k, eligible)
    else:
        array = (flat.float() if flat.dtype in (torch.bfloat16, torch.float16) else flat).numpy()
        mask = torch.from_numpy(_on_cpu(array, k, None if eligible is None else eligible.numpy(), k / n))
    return mask.view(values.shape)


def joint_masks(
    values: Sequence[Tensor], k: int, among: Sequence[Tensor] | None = None, *, magnitude: bool = False
) -> list[Tensor]:
    """Return bool tensors that together are True at the k largest entries of all `values`, ranked as one.

    With `magnitude` they are ranked by absolute value. Ties go to the earlier tensor, then the lower position. `among`,
    one bool tensor each, limits the choice; only its entries are gathered and compared. Raises InputError as
    `largest_mask` does.
    """
    if among is None:
        pool = torch.empty(sum(v.numel() for v in values), dtype=values[0].dtype, device=values[0].device)
        parts = torch.split(pool, [v.numel() for v in values])
        for part, v in zip(parts, values, strict=True):
            part.view(v.shape).copy_(v.detach())  # whatever the memory format, in one pass
        chosen = torch.split(largest_mask(pool.abs_() if magnitude else pool, k), [v.numel() for v in values])
        return [part.clone().view(v.shape) for part, v in zip(chosen, values, strict=True)]
    places = [positions(mask) for mask in among]
    pool = torch.cat([v.detach().reshape(-1)[where] for v, where in zip(values, places, strict=True)])
    winners = torch.split(largest_mask(pool.abs_() if magnitude else pool, k), [len(where) for where in places])
    masks = [torch.zeros(v.shape, dtype=torch.bool, device=v.device) for v in values]
    for mask, where, won in zip(masks, places, winners, strict=True):
        mask.view(-1)[where[won]] = True
    return masks


def random_free(taken: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return k positions drawn uniformly without replacement where the 1-D bool tensor `taken` is False.

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
    return _by_rejection(taken, k, free, generator)


def sample_mask(weights: Tensor, k: int, generator: torch.Generator, among: Tensor | None = None) -> Tensor:
    """Return a contiguous bool tensor, True at k entries drawn without replacement in proportion to their weights.

    As if drawn one by one, each with probability proportional to its weight among those still left (Efraimidis and
    Spirakis 2006). `weights` is of any shape and device, finite and at least 0; an entry of weight 0 is never drawn.
    Only entries where the bool tensor `among`, of the same shape, is True take part; by default all do. `generator`
    lives on the CPU, and equal weights draw alike on every device. Raises InputError for weights below 0 or not finite,
    and if fewer than k are positive.
    """
    flat = weights.detach().reshape(-1).cpu()
    if among is not None:
        flat = flat.where(among.reshape(-1).cpu(), 0)
    allowed = (flat >= 0) & (flat < math.inf)
    if not allowed.all():
        refused = int((~allowed).sum())
        raise InputError(f"{refused} weights are negative or not finite; chances must be finite and at least 0.")
    places = positions(flat > 0)
    if not 0 <= k <= len(places):
        raise InputError(f"cannot draw {k} of {len(places)} entries of positive weight.")
    # The first k of a race of exponential clocks, in logarithms so that no ratio of weights is too large.
    clocks = torch.rand(len(places), generator=generator, dtype=torch.float64).log_().neg_().log_()
    mask = torch.zeros(len(flat), dtype=torch.bool)
    mask[places[largest_mask(flat[places].double().log_().sub_(clocks), k)]] = True
    return mask.view(weights.shape).to(weights.device)


def count(mask: Tensor) -> int:
    """Return how many entries of a bool tensor are True."""
    return int(mask.count_nonzero()) if mask.is_cuda else int(np.count_nonzero(mask.numpy()))


def positions(mask: Tensor) -> Tensor:
    """Return the row-major positions (int64, ascending) at which a bool tensor is True."""
    flat = mask.reshape(-1)
    return flat.nonzero().squeeze(1) if flat.is_cuda else torch.from_numpy(np.flatnonzero(flat.numpy()))


def _by_rejection(taken: Tensor, k: int, free: int, generator: torch.Generator) -> Tensor:
    """Draw places until k distinct free ones are found: the first k acceptable draws, whatever the size of a block."""
    n, chosen = taken.numel(), np.empty(0, dtype=np.int64)
    occupied = taken.cpu().numpy()
    first = np.empty(n, dtype=np.int64)
    while len(chosen) < k:
        block = torch.randint(n, (int(1.3 * (k - len(chosen)) * n / free) + 64,), generator=generator).numpy()
        chosen = np.concatenate([chosen, block[~occupied[block]]])
        order = np.arange(len(chosen))
        first[chosen[::-1]] = order[::-1]  # of repeated places the last assignment stands, here the first draw
        chosen = chosen[first[chosen] == order]
    return torch.from_numpy(chosen[:k]).to(taken.device)


def _on_cpu(values: Array, k: int, eligible: Array | None, share: float) -> Array:
    for low, high in (_guess(values, eligible, share), (-math.inf, math.inf)):
        mask, below = values > high, values < low
        if eligible is not None:
            mask &= eligible
        # A NaN is not below anything: it stays in between, to be refused. (For bools, > is "and not".)
        between = np.greater(True if eligible is None else eligible, below)
        between ^= mask
        missing = k - int(np.count_nonzero(mask))
        places = np.flatnonzero(between)
        if 0 <= missing <= len(places):
            break
    candidates = values[places]
    _refuse_nan(torch.from_numpy(candidates))
    # Where both guesses are one value, as with many zeros, everything in between is tied, and a partition slow.
    chosen = slice(missing) if low == high else _top(candidates, missing)
    mask[places[chosen]] = True
    return mask


def _guess(values: Array, eligible: Array | None, share: float) -> tuple[float, float]:
    """Return two values that probably enclose the threshold above which lies this share of the eligible values."""
    stride = len(values) // _SAMPLE
    if stride < 8:
        return -math.inf, math.inf
    block = np.arange(_SAMPLE)
    look = block * stride + (block * 40503) % stride  # not always at the same place of a filter
    sample = values[look] if eligible is None else values[look[eligible[look]]]
    if len(sample) < 256:
        return -math.inf, math.inf
    sample = np.sort(sample)
    middle, reach = len(sample) * (1 - share), _DEVIATIONS * math.sqrt(len(sample) * share * (1 - share)) + 4
    below, above = math.floor(middle - reach), math.ceil(middle + reach)
    return sample[below] if below >= 0 else -math.inf, sample[above] if above < len(sample) else math.inf


def _top(values: Array, k: int) -> Array:
    """Return True at the k largest of a 1-D array; among ties the first win."""
    if k in (0, len(values)):
        return np.full(len(values), k > 0)
    threshold = np.partition(values, len(values) - k)[len(values) - k]
    mask: Array = values > threshold
    ties = np.flatnonzero(values == threshold)
    mask[ties[: k - np.count_nonzero(mask)]] = True
    return mask


def _on_device(values: Tensor, k: int, eligible: Tensor | None) -> Tensor:
    places = None if eligible is None else eligible.nonzero().squeeze(1)
    candidates = values if places is None else values[places]
    _refuse_nan(candidates)
    threshold = torch.kthvalue(candidates, len(candidates) - k + 1).values
    chosen = candidates > threshold
    ties = (candidates == threshold).nonzero().squeeze(1)
    chosen[ties[: k - int(chosen.sum())]] = True
    if places is None:
        return chosen
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[places[chosen]] = True
    return mask


def _refuse_nan(values: Tensor) -> None:
    if values.isnan().any():
        raise InputError(f"{int(values.isnan().sum())} scores are NaN; a mask cannot be chosen by them.")
