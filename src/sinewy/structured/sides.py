"""The channels that go into and come out of a module, and the entries of its tensors that belong to each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from sinewy.structured.channels import Role
from sinewy.structured.joining import Axis, Indices, Joined

WHOLE = (nn.MultiheadAttention, nn.modules.rnn.RNNBase)
"""Modules of which no channel can be taken: torch's code asserts their sizes, or they feed themselves."""


@dataclass(frozen=True)
class Side:
    """The outputs or inputs of one module: `entries[i]` is what channel i is known by."""

    entries: Indices


class Sides:
    """Makes known, once each, the entries of the modules that the graph names."""

    def __init__(self, model: nn.Module, joined: Joined) -> None:
        self.joined = joined
        self.names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        self.known: dict[tuple[int, bool], Side | None] = {}

    def of(self, module: Any, *, out: bool, dim: int = -1) -> Side | None:
        """Return the outputs or inputs of `module`; None if it holds nothing per channel."""
        if (id(module), out) not in self.known:
            self.known[id(module), out] = self._new(module, out, dim)
        return self.known[id(module), out]

    def _new(self, module: Any, out: bool, dim: int) -> Side | None:
        if isinstance(module, nn.Parameter):
            return self._norm([(module, dim % module.ndim)])
        if isinstance(module, nn.modules.conv._ConvNd):
            return self._conv(module, out)
        if isinstance(module, nn.Linear):
            return self._maker(module, 0) if out else self._reader(module.weight, 1)
        if isinstance(module, nn.Embedding):
            return self._axes([(module.weight, 1)], "out")
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) != 1:
            return None
        if isinstance(module, nn.Module) and not isinstance(module, WHOLE):
            tensors = [t for t in (*module._parameters.values(), *module._buffers.values()) if t is not None]
            side = self._norm([(tensor, 0) for tensor in tensors if tensor.ndim == 1])
            if side is not None and isinstance(module, nn.GroupNorm) and module.num_groups > 1:
                width = module.num_channels // module.num_groups
                self.joined.join_blocks(side.entries, np.arange(module.num_channels) // width)
            return side
        return None

    def _conv(self, conv: Any, out: bool) -> Side | None:
        maker, reader = (1, 0) if conv.transposed else (0, 1)
        if conv.groups == 1:
            return self._maker(conv, maker) if out else self._reader(conv.weight, reader)
        is_depthwise = conv.groups == conv.in_channels == conv.out_channels
        axes = [(conv.weight, 0)] + ([] if conv.bias is None else [(conv.bias, 0)])
        rows = self._axes(axes, "depthwise" if is_depthwise else "out")
        if rows is None:  # a parametrized weight, which is none of the model's tensors
            return None
        if conv.transposed:
            self.joined.mark(f"a grouped transposed convolution ({self.name(conv)})", rows.entries)
            return rows if out else None
        # a group of a grouped convolution leaves as a whole: its rows, and all it reads
        width, read = conv.out_channels // conv.groups, conv.in_channels // conv.groups
        self.joined.join_blocks(rows.entries, np.arange(conv.out_channels) // width)
        return rows if out else Side(rows.entries[np.arange(conv.in_channels) // read * width])

    def _maker(self, layer: Any, dim: int) -> Side | None:
        return self._axes([(layer.weight, dim)] + ([] if layer.bias is None else [(layer.bias, 0)]), "out")

    def _reader(self, weight: Tensor, dim: int) -> Side | None:
        return self._axes([(weight, dim)], "in")

    def _norm(self, tensors: list[tuple[Tensor, int]]) -> Side | None:
        return self._axes(tensors, "norm") if tensors and all(len(t.shape) for t, _ in tensors) else None

    def _axes(self, tensors: list[tuple[Tensor, int]], role: Role) -> Side | None:
        first: Indices | None = None
        for tensor, dim in tensors if all(id(tensor) in self.names for tensor, _ in tensors) else ():
            axis = Axis(self.names[id(tensor)], dim)
            self.joined.add(axis, tensor.shape[dim], role)
            if first is None:
                first = self.joined.entries(axis)
            else:
                self.joined.join(first, self.joined.entries(axis))
        return None if first is None else Side(first)

    def name(self, module: Any) -> str:
        """Return a tensor's name that tells which module is meant."""
        return self.names[id(module.weight)].rpartition(".")[0] or type(module).__name__
