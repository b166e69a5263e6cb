"""What the readers of channels see when a model runs: on several inputs, and with some of its makers drawn anew."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.seeds import derive
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.tracing import mapped, run

Extremes = Mapping[str, tuple[Tensor, Tensor]]
"""The smallest and the largest value of each input channel (channels,), by the name of the layer."""

_INPUTS = 6


def readers(model: nn.Module, group: ChannelGroup) -> dict[str, str]:
    """Return the layer that each reading weight of the group belongs to; a weight of several layers is left out."""
    wanted = {part.name for part in group.slices if part.role == "in"}
    parameters = dict(model.named_parameters())
    owners: dict[int, list[str]] = {id(parameters[name]): [] for name in wanted}
    for layer, module in model.named_modules():
        for parameter in module._parameters.values():
            if id(parameter) in owners:
                owners[id(parameter)].append(layer)
    found = {name: owners[id(parameters[name])] for name in wanted}
    return {name: layers[0] for name, layers in found.items() if len(layers) == 1}


def variations(model: nn.Module, example_input: Any) -> list[Any]:
    """Return the example input and random ones of its shape, mean and spread; whole numbers stay as they are."""
    generator = torch.Generator().manual_seed(derive("variations", 0, type(model).__name__))
    return [example_input, *(varied(example_input, generator) for _ in range(_INPUTS - 1))]


def varied(inputs: Any, generator: torch.Generator) -> Any:
    """Return inputs of the same structure with random numbers for the floating-point ones."""

    def draw(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point():
            return tensor
        noise = torch.randn(tensor.shape, generator=generator).to(tensor)
        return tensor.mean() + noise * tensor.std(correction=0).clamp_min(1e-3)

    return mapped(inputs, draw)


@torch.no_grad()
def perturbed(
    model: nn.Module, groups: Sequence[ChannelGroup], chosen: Mapping[str, Tensor], *, draw: int
) -> nn.Module:
    """Return a copy in which the weights that make the chosen channels, where they are not zero, are drawn anew."""
    copied = copy.deepcopy(model)
    parameters = dict(copied.named_parameters())
    generator = torch.Generator().manual_seed(derive("perturbed", draw))
    for group in groups:
        for part in group.slices:
            weight = parameters.get(part.name)
            if weight is None or weight.ndim < 2 or part.role not in ("out", "depthwise"):
                continue
            rows = torch.zeros(weight.shape[part.dim], dtype=torch.bool)
            rows[part.index[chosen[group.name]].flatten()] = True
            fan = weight.numel() // weight.shape[part.dim]
            noise = (torch.randn(weight.shape, generator=generator) * fan**-0.5).to(weight)
            shape = [-1 if dim == part.dim else 1 for dim in range(weight.ndim)]
            alive = (weight != 0).transpose(0, part.dim).flatten(1).any(1)
            weight.copy_(torch.where((rows.to(weight.device) & alive).view(shape), noise, weight))
    return copied


@torch.no_grad()
def observed(model: nn.Module, inputs: Any, layers: Collection[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the extremes of what the named linear and convolutional layers are given when the model runs once."""
    found: dict[str, tuple[Tensor, Tensor]] = {}

    def note(layer: str, values: Tensor) -> None:
        low, high = values.aminmax(dim=1)
        if layer in found:
            low, high = torch.minimum(low, found[layer][0]), torch.maximum(high, found[layer][1])
        found[layer] = low.cpu(), high.cpu()

    hooks = [
        model.get_submodule(layer).register_forward_pre_hook(
            lambda module, arguments, layer=layer: note(layer, _by_channel(module, arguments[0]))
        )
        for layer in layers
    ]
    try:
        run(model, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _by_channel(module: nn.Module, values: Tensor) -> Tensor:
    """Return a layer's input as (channels, everything else)."""
    dim = -1 if isinstance(module, nn.Linear) else values.ndim - len(module.kernel_size) - 1  # type: ignore[arg-type]
    return values.movedim(dim, 0).flatten(1) if values.ndim > 1 else values.unsqueeze(1)
