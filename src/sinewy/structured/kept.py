"""Which entries of which tensors the kept channels leave, along each dimension, and what that makes of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.masks import Masks
from sinewy.structured.channels import ChannelGroup

Kept = Mapping[str, Tensor]
"""A bool tensor (channels,) by the name of the group, True where the channel stays."""

Axes = dict[str, dict[int, Tensor]]
"""By parameter and dimension, a bool tensor over its entries: a weight stays if it does along every dimension."""


def kept_axes(groups: Sequence[ChannelGroup], kept: Kept, shapes: Mapping[str, Sequence[int]]) -> Axes:
    """Return what stays of each parameter in `shapes` that has a part in the groups; all else stays whole."""
    axes: Axes = {}
    for group in groups:
        gone = ~kept[group.name].cpu()
        for part in group.slices:
            if part.name in shapes:
                stays = axes.setdefault(part.name, {}).setdefault(
                    part.dim, torch.ones(shapes[part.name][part.dim], dtype=torch.bool)
                )
                stays[part.index.cpu()[gone].reshape(-1)] = False
    return axes


def kept_share(axes: Axes, name: str) -> float:
    """Return the share of a parameter's entries that stay."""
    return math.prod(float(stays.count_nonzero()) / len(stays) for stays in axes.get(name, {}).values())


def channel_masks(axes: Axes, parameters: Mapping[str, Tensor]) -> Masks:
    """Return masks, True where an entry stays, for all the `parameters`, on their devices."""
    return Masks({name: _mask(axes.get(name, {}), parameter) for name, parameter in parameters.items()})


@torch.no_grad()
def remove_(model: nn.Module, axes: Axes) -> None:
    """Set to exactly 0, in place, every weight, bias and norm's factor and offset of `model` that does not stay."""
    for name, parameter in model.named_parameters():
        if name in axes:
            parameter.masked_fill_(~_mask(axes[name], parameter), 0)


def removed_share(
    of: str,
    groups: Sequence[ChannelGroup],
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    flops: Mapping[str, float],
) -> Callable[[Kept], float]:
    """Return the function that tells what share of "weights", "channels" or "flops" is gone, from what is kept.

    Weights are those of `parameters`, rows of makers, columns of readers and depthwise kernels alike; channels those of
    `groups`; `flops` is by the weight of `model` that causes them. Raises InputError for any other `of`.
    """
    if of not in ("weights", "channels", "flops"):
        raise InputError(f"of='{of}' is not known; use 'weights', 'channels' or 'flops'.")
    if of == "channels":
        total = sum(group.channels for group in groups)
        return lambda kept: 1 - sum(int(kept[group.name].sum()) for group in groups) / total
    costs = flops if of == "flops" else {name: float(p.numel()) for name, p in parameters.items()}
    shapes = {name: p.shape for name, p in model.named_parameters() if name in costs}

    def share(kept: Kept) -> float:
        axes = kept_axes(groups, kept, shapes)
        return 1 - sum(cost * kept_share(axes, name) for name, cost in costs.items()) / sum(costs.values())

    return share


def _mask(stays: Mapping[int, Tensor], parameter: Tensor) -> Tensor:
    mask = torch.ones(parameter.shape, dtype=torch.bool, device=parameter.device)
    for dim, along in stays.items():
        mask &= along.to(parameter.device).view([-1 if d == dim else 1 for d in range(parameter.ndim)])
    return mask
