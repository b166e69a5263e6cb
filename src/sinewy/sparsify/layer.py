"""What a sparsifier sees of one prunable tensor when it scores its weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.seeds import derive


@dataclass
class SparseLayer:
    """One prunable tensor under training.

    `mask` is True where a weight is kept; `multiplier` is the same as 0 and 1 in the weight's dtype and memory format.
    `group` is the optimizer's parameter group that holds the weight.
    """

    name: str
    parameter: nn.Parameter
    mask: Tensor
    multiplier: Tensor
    group: dict[str, Any]
    seed: int

    @property
    def weight(self) -> Tensor:
        """The weights, detached; pruned ones are exactly 0."""
        return self.parameter.detach()

    def generator(self, purpose: str, step: int) -> torch.Generator:
        """Return a CPU generator that depends on (seed, purpose, name, step) only: the same on every rank."""
        return torch.Generator().manual_seed(derive(purpose, self.seed, self.name, step))


def make_layer(name: str, parameter: nn.Parameter, mask: Tensor, group: dict[str, Any], seed: int) -> SparseLayer:
    """Return the layer, with mask and multiplier on the parameter's device."""
    mask = mask.to(parameter.device)
    return SparseLayer(name, parameter, mask, torch.empty_like(parameter.detach()).copy_(mask), group, seed)
