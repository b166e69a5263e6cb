"""How many weights stay in which tensors, and the choice by scores that meets it exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sinewy.allocation import ALLOCATIONS, allocate_among, counts, stay_dense
from sinewy.criteria.paths import Paths
from sinewy.errors import unknown_name
from sinewy.select import count, joint_masks

Tensors = Mapping[str, Tensor]

NEAR = 0.005
"""How far the real count may be from the one asked for, as a share of it (torchprune's tolerance)."""

_TRIES = 32
"""Halvings of the search for the real count, which ends before where one weight decides."""


class Plan:
    """What a scope asks of each tensor: `scope`, `dense` as in `choose`."""

    def __init__(self, parameters: Tensors, scope: str, dense: Sequence[str]) -> None:
        if scope not in ("global", "local") and scope not in ALLOCATIONS and ":" not in scope:
            raise unknown_name("scope", scope, ["local", *ALLOCATIONS])
        self.parameters, self.dense, self.joint = parameters, dense, scope == "global"
        self.allocation = "uniform" if scope in ("global", "local") else scope
        kept = stay_dense(parameters, dense)
        self.free = [name for name in parameters if name not in kept]
        self.total = sum(p.numel() for p in parameters.values())

    def quota(self, sparsity: float) -> dict[str, int]:
        """Return how many weights each tensor keeps; ranked together, only their sum counts."""
        shares = allocate_among(self.parameters, sparsity, self.allocation, dense=self.dense)
        return counts(shares, {name: p.shape for name, p in self.parameters.items()})

    def pick(self, scores: Tensors, present: Tensors, sparsity: float) -> tuple[dict[str, Tensor], list[str]]:
        """Return a mask for every tensor, and the names of those that would have kept nothing.

        Weights in `present` come before any other, larger scores before smaller ones, earlier before later.
        """
        wanted = self.quota(sparsity)
        masks = {name: torch.ones_like(mask) for name, mask in present.items()}
        if not self.joint:
            for name in self.free:
                masks[name] = _best([scores[name]], wanted[name], [present[name]])[0]
            return masks, []
        chosen, emptied = _jointly(
            [scores[name] for name in self.free],
            sum(wanted[name] for name in self.free),
            [present[name] for name in self.free],
        )
        masks |= dict(zip(self.free, chosen, strict=True))
        return masks, [self.free[i] for i in emptied]

    def pick_live(
        self, scores: Tensors, present: Tensors, sparsity: float, paths: Paths
    ) -> tuple[dict[str, Tensor], list[str]]:
        """Do what `pick` does at the lower sparsity whose masks, less their dead weights, come nearest to `sparsity`.

        Dead weights go out of the masks, but for those of tensors that stay dense.
        """
        target = sum(self.quota(sparsity).values())
        low, high = 1 - _kept(present) / self.total, sparsity
        inner, best, least = sparsity, self.pick(scores, present, sparsity), float("inf")
        for _ in range(_TRIES):
            chosen, emptied = self.pick(scores, present, inner)
            live = paths.live(chosen)
            masks = {name: live[name] if name in self.free else mask for name, mask in chosen.items()}
            missing = target - _kept(masks)
            if abs(missing) < least:
                best, least = (masks, emptied), abs(missing)
            if least <= NEAR * target or high - low < 1 / self.total:
                break
            low, high = (low, inner) if missing > 0 else (inner, high)
            inner = (low + high) / 2
        return best


def _kept(masks: Tensors) -> int:
    return sum(map(count, masks.values()))


def _jointly(values: Sequence[Tensor], k: int, first: Sequence[Tensor]) -> tuple[list[Tensor], list[int]]:
    """Return the masks of the k best of all, at least one in each tensor, and which tensors owe it to that."""
    masks = _best(values, k, first)
    emptied = [i for i, mask in enumerate(masks) if not mask.any()]
    if emptied:
        # The best of every tensor, then the best of the rest: the same choice, but for those emptied.
        heads = [_best([value], 1, [where])[0] for value, where in zip(values, first, strict=True)]
        rest = _best(values, k - len(heads), first, heads)
        masks = [head | mask for head, mask in zip(heads, rest, strict=True)]
    return masks, emptied


def _best(
    values: Sequence[Tensor], k: int, first: Sequence[Tensor], without: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return the k best of all entries but those in `without`; those in `first` come before any other."""
    among = list(first) if without is None else [mask & ~taken for mask, taken in zip(first, without, strict=True)]
    missing = k - sum(map(count, among))
    if missing <= 0:
        return joint_masks(values, k, None if all(bool(mask.all()) for mask in among) else among)
    others = [~mask for mask in first] if without is None else [~(f | w) for f, w in zip(first, without, strict=True)]
    return [a | b for a, b in zip(among, joint_masks(values, missing, others), strict=True)]
