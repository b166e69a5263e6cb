"""Which channels a network does without, provably and exactly, whatever made their weights zero."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.models.removal import add_bias
from sinewy.structured.channels import ChannelGroup, Slice
from sinewy.structured.groups import silence
from sinewy.structured.observing import Extremes, observed, perturbed, readers, variations

_CONSTANT = 1e-6
"""Relative spread below which a channel that has no way to depend on the input is one number: rounding."""


@dataclass
class Irrelevant:
    """What was found: channels that can go, by group, bool (channels,), and the numbers of channels by reason.

    `model` is the full model with what constant channels added to their readers already in the readers' biases;
    `biases` names the layers that got a bias for it. `constant` channels do not depend on the input, but reach a padded
    convolution or something unknown, and stay.
    """

    model: nn.Module
    removed: dict[str, Tensor]
    biases: list[str] = field(default_factory=list)
    unread: int = 0
    zero: int = 0
    folded: int = 0
    constant: int = 0


@torch.no_grad()
def find_irrelevant(model: nn.Module, example_input: Any, groups: Sequence[ChannelGroup]) -> Irrelevant:
    """Return which channels of `groups` have no part in what `model` gives; the model is in eval mode, and stays as is.

    A channel goes if no reader has a weight for it; or if all that makes it is zero, and what reaches its readers is
    one number: zero, or a number that can be added to the readers' biases. Each that goes may free others, until none
    is left. Groups that reach the output or pass a norm over channels are not considered.
    """
    groups = [group for group in groups if not group.is_output and not group.mixes]
    found = Irrelevant(copy.deepcopy(model), {group.name: _none(group) for group in groups})
    work = copy.deepcopy(model)  # what is found is silenced here, and so frees what only it read
    while True:
        unread = {group.name: _unread(work, group) & ~found.removed[group.name] for group in groups}
        if _remove(found, work, groups, unread):
            found.unread += sum(int(flags.sum()) for flags in unread.values())
            continue
        constants = _constants(work, example_input, groups, found.removed)
        zero = {group.name: constants[group.name].is_zero for group in groups}
        if _remove(found, work, groups, zero):
            found.zero += sum(int(flags.sum()) for flags in zero.values())
            continue
        folded = _fold(found, work, groups, constants)
        if not _remove(found, work, groups, folded):
            found.constant = sum(int(constants[group.name].is_constant.sum()) for group in groups)
            return found
        found.folded += sum(int(flags.sum()) for flags in folded.values())


@dataclass(frozen=True)
class _Constants:
    """Channels of a group that do not depend on the input: those that are zero, those that are not, and their values.

    `values` are by the name of the reading weight, (channels, width), as they reach it.
    """

    is_zero: Tensor
    is_constant: Tensor
    values: Mapping[str, Tensor]


def _none(group: ChannelGroup) -> Tensor:
    return torch.zeros(group.channels, dtype=torch.bool)


def _remove(found: Irrelevant, work: nn.Module, groups: Sequence[ChannelGroup], new: Mapping[str, Tensor]) -> bool:
    if not any(flags.any() for flags in new.values()):
        return False
    silence(work, groups, new)
    for name, flags in new.items():
        found.removed[name] |= flags
    return True


def _unread(model: nn.Module, group: ChannelGroup) -> Tensor:
    """Return the channels of which every reader's weights are zero."""
    parameters = dict(model.named_parameters())
    unread = ~_none(group)
    for part in group.slices:
        if part.role == "in":
            unread &= _is_zero(parameters[part.name], part)
    return unread


def _is_zero(tensor: Tensor, part: Slice) -> Tensor:
    """Return, per channel, whether all its entries of the tensor are zero."""
    zero = (tensor.detach() == 0).transpose(0, part.dim).flatten(1).all(1).cpu()
    return zero[part.index].all(1)


def _constants(
    work: nn.Module, example_input: Any, groups: Sequence[ChannelGroup], removed: Mapping[str, Tensor]
) -> dict[str, _Constants]:
    """Return the constant channels among those that something of zeros makes, from what their readers see.

    Proof that such a channel does not depend on the input: every maker's weights are zero; or, where it is a product (a
    squeeze-excite gate), the others' weights are drawn anew, twice, and it still does not move.
    """
    parameters = dict(work.named_parameters())
    candidates = {group.name: _suspects(parameters, group) & ~removed[group.name] for group in groups}
    asked = [group for group in groups if candidates[group.name].any()]
    layers = {group.name: readers(work, group) for group in asked}
    empty = {group.name: _Constants(_none(group), _none(group), {}) for group in groups}
    if not asked:
        return empty
    runs = []
    for number, inputs in enumerate(variations(work, example_input)):
        subject = work if number < 2 else perturbed(work, asked, candidates, draw=number // 2)
        runs.append(observed(subject, inputs, {layer for found in layers.values() for layer in found.values()}))
    return empty | {group.name: _judged(group, candidates[group.name], layers[group.name], runs) for group in asked}


def _suspects(parameters: Mapping[str, Tensor], group: ChannelGroup) -> Tensor:
    """Return the channels that some maker makes with weights that are all zero."""
    found = _none(group)
    for part in group.slices:
        if part.role in ("out", "depthwise") and parameters[part.name].ndim > 1:
            found |= _is_zero(parameters[part.name], part)
    return found


def _judged(group: ChannelGroup, candidates: Tensor, layers: Mapping[str, str], runs: Sequence[Extremes]) -> _Constants:
    """Return the verdict on a group; `layers` names the layer by its weight, `runs` hold the extremes of its inputs."""
    constant, zero, values = candidates.clone(), candidates.clone(), {}
    for part in group.slices:
        if part.role != "in":
            continue
        layer = layers.get(part.name)
        if layer is None or any(layer not in run for run in runs):  # read behind our back
            return _Constants(_none(group), _none(group), {})
        values[part.name] = runs[0][layer][0][part.index]
        for run in runs:
            low, high = (extreme[part.index] for extreme in run[layer])
            spread = (high - low).abs() <= _CONSTANT * high.abs().clamp_min(low.abs())
            constant &= spread.all(1)
            zero &= ((low == 0) & (high == 0)).all(1)
        for one, other in zip(runs[::2], runs[1::2], strict=True):  # the same weights, two inputs
            first, second = one[layer][0][part.index], other[layer][0][part.index]
            constant &= ((first - second).abs() <= _CONSTANT * first.abs()).all(1)
    return _Constants(zero, constant & ~zero, values)


def _fold(
    found: Irrelevant, work: nn.Module, groups: Sequence[ChannelGroup], constants: Mapping[str, _Constants]
) -> dict[str, Tensor]:
    """Add constant channels to the biases of their readers where that is exact, in both models; return which."""
    folded = {}
    for group in groups:
        flags = constants[group.name].is_constant
        layers = readers(work, group) if flags.any() else {}
        if not flags.any() or not all(_can_take(work.get_submodule(layer)) for layer in layers.values()):
            continue
        folded[group.name] = flags
        for part in group.slices:
            if part.role != "in":
                continue
            layer, index = layers[part.name], part.index[flags].flatten()
            if found.model.get_submodule(layer).bias is None:
                found.biases.append(layer)
            for model in (work, found.model):
                _take(model.get_submodule(layer), index, constants[group.name].values[part.name][flags].flatten())
    return folded


def _can_take(layer: nn.Module) -> bool:
    """Return whether a constant input channel does to this layer's outputs what a bias does: everywhere the same."""
    if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
        return layer.padding_mode != "zeros" or not any(layer._reversed_padding_repeated_twice)
    return isinstance(layer, nn.Linear)


def _take(layer: nn.Module, index: Tensor, values: Tensor) -> None:
    """Add to the bias what the input channels at `index` give when they have these values, and stop reading them."""
    add_bias(layer)
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    index, values = index.to(weight.device), values.to(weight)
    bias += weight[:, index].flatten(2).sum(2) @ values if weight.ndim > 2 else weight[:, index] @ values
    weight.index_fill_(1, index, 0)
