"""What masks leave connected: which neurons have lost their last incoming weight, which inputs their last outgoing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.layers import unwrap
from sinewy.select import count

_MOST = 3
"""How many tensors a warning names before it only counts them."""


class Connectivity(NamedTuple):
    """What the mask of one tensor leaves connected; an output is a neuron or filter, an input a feature or channel."""

    kept: int
    outputs: int
    inputs: int
    dead_outputs: int
    dead_inputs: int

    @property
    def is_cut(self) -> bool:
        """Whether no weight is kept at all: nothing passes through this tensor."""
        return self.kept == 0

    @property
    def is_whole(self) -> bool:
        """Whether every output has an incoming weight and every input an outgoing one."""
        return self.dead_outputs == self.dead_inputs == 0


def connectivity(masks: Mapping[str, Tensor], model: nn.Module | None = None) -> dict[str, Connectivity]:
    """Return what each mask (out, in / groups, *kernel), True = kept, leaves connected, by parameter name.

    `model`, whose parameters the masks are of, tells grouped, depthwise and transposed convolutions, so that their
    inputs and outputs are told apart; without it every mask is taken for that of one ungrouped layer. The count is per
    tensor: what a residual branch, or another of the projections of an attention, still connects is not known here.
    Raises InputError for a mask that is not of the model.
    """
    return {name: _connectivity(mask, *_kind(name, mask, model)) for name, mask in masks.items()}


def disconnected(masks: Mapping[str, Tensor], model: nn.Module | None = None) -> dict[str, Connectivity]:
    """Return those of `connectivity` in which some output or input has lost its last weight."""
    return {name: found for name, found in connectivity(masks, model).items() if not found.is_whole}


def warn_disconnected(masks: Mapping[str, Tensor], model: nn.Module | None = None, *, stacklevel: int = 1) -> None:
    """Warn, once for all tensors, of what `disconnected` finds: layers, numbers, and tensors that are cut through."""
    found = disconnected(masks, model)
    if not found:
        return
    worst_first = sorted(found, key=lambda name: not found[name].is_cut)
    parts = [_sentence(name, found[name], masks[name].ndim) for name in worst_first[:_MOST]]
    if len(found) > _MOST:
        parts.append(f"and {len(found) - _MOST} more")
    warnings.warn(
        f"the masks leave parts unconnected: {'; '.join(parts)}. They take no part in the network; lower the"
        " sparsity, or keep small layers dense.",
        stacklevel=stacklevel + 1,
    )


def _connectivity(mask: Tensor, groups: int, is_transposed: bool) -> Connectivity:
    # (groups, rows of a group, columns of a group, kernel). A transposed convolution has its inputs in the rows.
    blocks = mask.reshape(groups, mask.shape[0] // groups, mask.shape[1], -1)
    linked = blocks.any(3)
    rows, columns = linked.any(2), linked.any(1)
    outputs, inputs = (columns, rows) if is_transposed else (rows, columns)
    return Connectivity(count(mask), outputs.numel(), inputs.numel(), int((~outputs).sum()), int((~inputs).sum()))


def _kind(name: str, mask: Tensor, model: nn.Module | None) -> tuple[int, bool]:
    """Return (groups, whether it is a transposed convolution) of the layer that the parameter belongs to."""
    if model is None:
        return 1, False
    plain = unwrap(model)
    parameter = dict(plain.named_parameters()).get(name)
    if parameter is None or parameter.shape != mask.shape:
        raise InputError(
            f"mask '{name}' of shape {tuple(mask.shape)} is not of this model; pass the model it was made for."
        )
    layer = plain.get_submodule(name.rpartition(".")[0])
    return int(getattr(layer, "groups", 1)), bool(getattr(layer, "transposed", False))


def _sentence(name: str, found: Connectivity, dimensions: int) -> str:
    layer = name.removesuffix(".weight")
    if found.is_cut:
        return f"{layer}: no weight is kept, the network is cut there"
    outputs, inputs = ("neurons", "inputs") if dimensions == 2 else ("filters", "input channels")
    parts = []
    if found.dead_outputs:
        parts.append(f"{found.dead_outputs:,} of {found.outputs:,} {outputs} have no incoming weight")
    if found.dead_inputs:
        parts.append(f"{found.dead_inputs:,} of {found.inputs:,} {inputs} have no outgoing weight")
    return f"{layer}: {' and '.join(parts)}"
