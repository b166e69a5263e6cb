"""What a sparsifier sees of one prunable tensor: its weights, its mask, and what it remembers of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.seeds import derive
from sinewy.select import count


@dataclass
class SparseLayer:
    """One prunable tensor under training.

    `mask` is True where a weight is kept, `kept` is how many are; `multiplier` is the mask as 0 and 1 in the weight's
    dtype and memory format. `group` is the optimizer's parameter group that holds the weight. `fixed` tensors stay
    dense and never move. `first` is the mask that training began with, `explored` is True where a weight was ever kept;
    `grown` and `dropped` count weights so far. `memory` holds what else a method keeps per weight, and is saved with
    its state. `restart` lets an update name weights that begin anew although their mask does not change.
    """

    name: str
    parameter: nn.Parameter
    mask: Tensor
    multiplier: Tensor
    group: dict[str, Any]
    seed: int
    fixed: bool
    first: Tensor
    explored: Tensor
    kept: int
    grown: int = 0
    dropped: int = 0
    memory: dict[str, Tensor] = field(default_factory=dict)
    restart: Tensor | None = None

    @property
    def full(self) -> bool:
        """Whether no weight is pruned, so that nothing need be masked."""
        return self.kept == self.mask.numel()

    @property
    def weight(self) -> Tensor:
        """The weights, detached; pruned ones are exactly 0."""
        return self.parameter.detach()

    def generator(self, purpose: str, step: int) -> torch.Generator:
        """Return a CPU generator that depends on (seed, purpose, name, step) only: the same on every rank."""
        return torch.Generator().manual_seed(derive(purpose, self.seed, self.name, step))

    def set_mask(self, mask: Tensor) -> None:
        """Replace mask and multiplier, whatever device `mask` is on; the weights are left alone."""
        self.mask = mask.to(self.parameter.device)
        self.kept = count(self.mask)
        self.multiplier.copy_(self.mask)


def make_layer(
    name: str, parameter: nn.Parameter, mask: Tensor, group: dict[str, Any], seed: int, *, fixed: bool = False
) -> SparseLayer:
    """Return the layer as it is before the first step, with its masks on the parameter's device."""
    mask = mask.to(parameter.device)
    multiplier = torch.empty_like(parameter.detach()).copy_(mask)
    first, explored = (mask.clone(memory_format=torch.contiguous_format) for _ in range(2))
    return SparseLayer(name, parameter, mask, multiplier, group, seed, fixed, first, explored, count(mask))
