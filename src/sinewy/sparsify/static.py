"""Masks that never move: none at all, or fixed from the start."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.sparsify.base import Sparsifier


class Dense(Sparsifier):
    """No sparsity: every weight is kept. The reference that others are compared with, on the same code path."""

    def __init__(self, sparsity: float = 0.0, *, seed: int = 0) -> None:
        if sparsity:
            raise InputError(f"Dense keeps every weight; sparsity must be 0, got {sparsity!r}.")
        super().__init__(0.0, seed=seed)

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        del model
        return {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}


class Static(Sparsifier):
    """Random masks drawn once, exact in count, and kept (Mocanu et al. 2016; Liu et al. 2022).

    Static sparse training, ERK by default ("The unreasonable effectiveness of random pruning"). Options as in
    `Sparsifier`.
    """
