"""That the ranks of a distributed run hold the same masks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from sinewy.errors import InputError


def of_first_rank(masks: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return rank 0's masks on every rank of the default group; outside of one, the masks as they are."""
    if not _together():
        return masks
    for mask in masks.values():
        bits = mask.to(torch.uint8)
        dist.broadcast(bits, src=0)
        mask.copy_(bits)
    return masks


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def compare_masks(masks: Mapping[str, Tensor], step: int) -> None:
    """Raise InputError on every rank, naming the first tensor, unless all ranks of the default group agree.

    Does nothing outside of a process group. Two small all-reduces, whatever the size of the masks.
    """
    if not _together() or not masks:
        return
    device = next(iter(masks.values())).device
    digests = torch.tensor([_digest(mask) for mask in masks.values()], dtype=torch.int64, device=device)
    low, high = digests.clone(), digests.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    for name, differs in zip(masks, (low != high).tolist(), strict=True):
        if differs:
            raise InputError(
                f"the ranks hold different masks for '{name}' at step {step}; start them from the same weights and"
                " seed, attach after wrapping in DistributedDataParallel, and let it average the gradients."
            )


def _digest(mask: Tensor) -> int:
    packed = np.packbits(mask.cpu().numpy().ravel())
    return int.from_bytes(hashlib.blake2b(packed.tobytes(), digest_size=8).digest(), "big", signed=True)
