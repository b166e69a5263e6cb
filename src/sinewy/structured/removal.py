"""How channels are removed: which entries of which tensors go, and what the modules then say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.models.removal import Plan
from sinewy.structured.channels import ChannelGroup

HEADS = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")
"""Attributes in which attention modules keep the number of their heads."""

_HEAD_WIDTHS = ("attn_dim", "all_head_size", "inner_dim")
"""Attributes that are the number of heads times the width of one."""


def plan_removal(
    model: nn.Module, groups: Iterable[ChannelGroup], removed: Mapping[str, Tensor], biases: Sequence[str] = ()
) -> Plan:
    """Return the plan that removes, from each group, the channels where removed[its name] is True: bool (channels,).

    Groups that `removed` does not name stay whole. `biases` names layers of `model` that had none when it was
    built, and that no group knows of. Raises InputError where a group would be left without a channel.
    """
    gone: dict[tuple[str, int], Tensor] = {}
    tensors = dict(model.named_parameters()) | dict(model.named_buffers())
    for group in groups:
        leaves = removed.get(group.name)
        if leaves is None or not leaves.any():
            continue
        for part in group.slices:
            key = part.name, part.dim
            flags = gone.setdefault(key, torch.zeros(tensors[part.name].shape[part.dim], dtype=torch.bool))
            flags[part.index[leaves].flatten()] = True
    kept: dict[str, dict[int, tuple[int, ...]]] = {}
    for (name, dim), flags in gone.items():
        if bool(flags.all()):
            raise InputError(f"{name}: every channel would be removed; keep at least 1.")
        kept.setdefault(name, {})[dim] = tuple((~flags).nonzero().flatten().tolist())
    for layer in biases:
        rows = kept.get(f"{layer}.weight", {}).get(0)
        if rows is not None:
            kept[f"{layer}.bias"] = {0: rows}
    return Plan(kept, _new_attributes(model, kept), tuple(biases))


def _new_attributes(model: nn.Module, kept: Mapping[str, Mapping[int, tuple[int, ...]]]) -> dict[str, dict[str, Any]]:
    """Return what modules say of their own size, where it changes."""
    first = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    found: dict[str, dict[str, Any]] = {}
    for name, module in model.named_modules():
        own = [t for t in (*module._parameters.values(), *module._buffers.values()) if t is not None]
        sizes = {id(t): _sizes(t, kept.get(first[id(t)], {})) for t in own if id(t) in first}
        if any(tuple(t.shape) != sizes[id(t)] for t in own if id(t) in sizes):
            found[name] = _sizes_said(module, sizes)
    for name, module in model.named_modules():
        changed = _heads(name, module, found)
        if changed:
            found.setdefault(name, {}).update(changed)
    return {name: values for name, values in found.items() if values}


def _sizes(tensor: Tensor, dims: Mapping[int, tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(len(dims[dim]) if dim in dims else size for dim, size in enumerate(tensor.shape))


def _sizes_said(module: nn.Module, sizes: Mapping[int, tuple[int, ...]]) -> dict[str, Any]:
    """Return the attributes of a module whose tensors get the `sizes`, by the tensors' ids."""
    tensors = (*module._parameters.values(), *module._buffers.values())
    shapes = [sizes[id(tensor)] for tensor in tensors if tensor is not None and id(tensor) in sizes]
    widest = max(shapes, key=len)
    if isinstance(module, nn.modules.conv._ConvNd):
        if module.transposed:
            return {"in_channels": widest[0], "out_channels": widest[1]}
        groups = widest[0] * module.groups // module.out_channels if module.groups > 1 else 1
        return {"out_channels": widest[0], "in_channels": groups * widest[1], "groups": groups}
    if isinstance(module, nn.Linear):
        return {"out_features": widest[0], "in_features": widest[1]}
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return {"num_features": widest[0]}
    if isinstance(module, nn.LayerNorm):
        return {"normalized_shape": widest}
    if isinstance(module, nn.GroupNorm):
        return {"num_channels": widest[0], "num_groups": widest[0] * module.num_groups // module.num_channels}
    if isinstance(module, nn.PReLU):
        return {"num_parameters": widest[0]}
    return {"embedding_dim": widest[1]} if isinstance(module, nn.Embedding) else {}


def _heads(name: str, module: nn.Module, found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the new number of heads of an attention module whose output projection reads fewer features."""
    attribute = next((a for a in HEADS if isinstance(getattr(module, a, None), int)), None)
    readers = head_readers(module)
    if attribute is None or not readers:
        return {}
    child, linear = readers[-1]
    full = f"{name}.{child}" if name else child
    features = found.get(full, {}).get("in_features", linear.in_features)
    if features == linear.in_features:
        return {}
    heads = getattr(module, attribute)
    changed = {attribute: features * heads // linear.in_features}
    for width in _HEAD_WIDTHS:
        if getattr(module, width, None) == linear.in_features:
            changed[width] = features
    return changed


def head_readers(module: nn.Module) -> list[tuple[str, nn.Linear]]:
    """Return the linear layers right under an attention module, in its order; the last reads the heads' outputs."""
    if isinstance(module, nn.MultiheadAttention):
        return []
    return [(name, child) for name, child in module.named_children() if isinstance(child, nn.Linear)]
