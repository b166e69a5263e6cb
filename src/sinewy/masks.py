"""Masks: which weights of a model are kept, with exact counts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sinewy.errors import CorruptFileError, InputError
from sinewy.layers import unwrap
from sinewy.records import Layer
from sinewy.seeds import derive
from sinewy.select import random_free


class Masks(Mapping[str, Tensor]):
    """A bool tensor per prunable parameter, True where the weight is kept; keys are the plain model's parameter names.

    Raises InputError for an entry that is not bool.
    """

    def __init__(self, masks: Mapping[str, Tensor]) -> None:
        for name, mask in masks.items():
            if mask.dtype is not torch.bool:
                raise InputError(
                    f"mask '{name}' has dtype {mask.dtype}; masks are torch.bool, True where a weight is kept."
                )
        self._masks = dict(masks)

    def __getitem__(self, name: str) -> Tensor:
        return self._masks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    def __repr__(self) -> str:
        return (
            f"Masks({len(self)} tensors, {self.nonzero:,} of {self.total:,} weights kept, sparsity {self.sparsity:.4f})"
        )

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(mask.numel() for mask in self.values())

    @property
    def nonzero(self) -> int:
        """Number of kept weights."""
        return sum(self.counts.values())

    @property
    def counts(self) -> dict[str, int]:
        """Kept weights per tensor."""
        return {name: int(mask.sum()) for name, mask in self.items()}

    @property
    def sparsity(self) -> float:
        """Fraction of pruned weights among the prunable, in [0, 1]."""
        return 1 - self.nonzero / self.total

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Shape and counts per tensor, in model order."""
        return tuple(Layer(n, tuple(m.shape), m.numel(), int(m.sum())) for n, m in self.items())

    @property
    def hash(self) -> str:
        """Hexadecimal digest of names, shapes and bits: equal if the masks are, on any device, in any order."""
        state = hashlib.sha256()
        for name, packed in sorted(self.pack().items()):
            state.update(f"{name}{tuple(self[name].shape)}".encode())
            state.update(packed.numpy().tobytes())
        return state.hexdigest()[:16]

    def distance(self, other: Mapping[str, Tensor]) -> int:
        """Return the Hamming distance to `other`: how many weights are kept in one and pruned in the other."""
        return sum(int((mask != other[name]).sum()) for name, mask in self.items())

    @torch.no_grad()
    def apply_(self, module: nn.Module) -> None:
        """Set the pruned weights of `module` to exactly 0, in place; wrappers (EMA, DDP, compile) are looked through.

        Raises InputError for a parameter that is missing or has another shape.
        """
        for parameter, mask in self._pairs(module):
            parameter.masked_fill_(~mask.to(parameter.device), 0)

    def check(self, module: nn.Module) -> None:
        """Raise CorruptFileError unless every pruned weight of `module` is exactly 0."""
        for (name, mask), (parameter, _) in zip(self.items(), self._pairs(module), strict=True):
            alive = int((parameter.detach()[~mask.to(parameter.device)] != 0).sum())
            if alive:
                raise CorruptFileError(
                    f"{name}: {alive} pruned weights are not zero; the weights do not belong to these masks."
                )

    def pack(self) -> dict[str, Tensor]:
        """Return each mask as uint8 with 8 weights a byte, in row-major order (shapes are the parameters')."""
        return {name: torch.from_numpy(np.packbits(mask.cpu().numpy().ravel())) for name, mask in self.items()}

    @classmethod
    def unpack(cls, packed: Mapping[str, Tensor], shapes: Mapping[str, torch.Size | tuple[int, ...]]) -> Masks:
        """Return the masks that `pack` packed; raises CorruptFileError if a size does not fit its shape."""
        masks = {}
        for name, bits in packed.items():
            size = int(np.prod(shapes[name]))
            if bits.dtype is not torch.uint8 or bits.numel() != -(-size // 8):
                raise CorruptFileError(
                    f"mask '{name}' holds {bits.numel()} bytes, its shape {tuple(shapes[name])} needs {-(-size // 8)}."
                )
            array = np.unpackbits(bits.cpu().numpy(), count=size).astype(bool)
            masks[name] = torch.from_numpy(array).reshape(tuple(shapes[name]))
        return cls(masks)

    @classmethod
    def random(cls, shapes: Mapping[str, Any], counts: Mapping[str, int], *, seed: int) -> Masks:
        """Return masks that keep exactly `counts[name]` weights at random places; each tensor has its own stream."""
        masks = {}
        for name, count in counts.items():
            generator = torch.Generator().manual_seed(derive("mask", seed, name))
            mask = torch.zeros(int(np.prod(shapes[name])), dtype=torch.bool)
            mask[random_free(mask, count, generator)] = True
            masks[name] = mask.reshape(tuple(shapes[name]))
        return cls(masks)

    @classmethod
    def of_zeros(cls, parameters: Mapping[str, Tensor]) -> Masks:
        """Return the masks of a model that is already sparse: kept is what is not exactly 0."""
        return cls({name: parameter.detach() != 0 for name, parameter in parameters.items()})

    def _pairs(self, module: nn.Module) -> list[tuple[nn.Parameter, Tensor]]:
        parameters = dict(unwrap(module).named_parameters())
        for name, mask in self.items():
            if name not in parameters or parameters[name].shape != mask.shape:
                found = tuple(parameters[name].shape) if name in parameters else "nothing by that name"
                raise InputError(
                    f"mask '{name}' of shape {tuple(mask.shape)} does not fit the model, which has {found}."
                )
        return [(parameters[name], mask) for name, mask in self.items()]
