"""Gradients of each group's loss from one pass over all groups: a layer's own are a product of its input and its pull.

Goodfellow, "Efficient per-example gradient computations", 2015; convolutions are products with their unfolded input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]


def layers_of(model: nn.Module, weights: Mapping[str, Tensor]) -> list[nn.Module] | None:
    """Return the layer of each weight, or None if one is not the weight of a plain linear layer or 2-d convolution."""
    owners = {
        f"{prefix}.weight" if prefix else "weight": module
        for prefix, module in model.named_modules()
        if type(module) is nn.Linear or _is_plain(module)
    }
    if any(name not in owners or owners[name].weight is not weight for name, weight in weights.items()):
        return None
    return [owners[name] for name in weights]


def layer_gradients(
    model: nn.Module, layers: list[nn.Module], inputs: Tensor, labels: Tensor, loss: Loss
) -> list[Tensor] | None:
    """Return the gradients of the layers' weights, each (groups, values), or None if a layer ran other than once.

    `inputs` is (groups, B, C, H, W), `labels` (groups, B). The model must not mix the images of a batch.
    """
    groups, size = inputs.shape[:2]
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}
    hooks = [
        layer.register_forward_hook(lambda m, args, out: seen[m].append((args[0].detach(), out))) for layer in seen
    ]
    try:
        # The images want gradients so that there is a graph, whatever the weights want.
        logits = model(inputs.flatten(0, 1).detach().requires_grad_())
    finally:
        for hook in hooks:
            hook.remove()
    if any(len(calls) != 1 for calls in seen.values()) or len(seen) < len(layers):
        return None
    rows = zip(logits.view(groups, size, -1), labels, strict=True)
    total = torch.stack([loss(own, answers) for own, answers in rows]).sum()
    ran = [seen[layer][0] for layer in layers]
    pulls = torch.autograd.grad(total, [output for _, output in ran])
    return [
        (_of_linear if isinstance(layer, nn.Linear) else _of_convolution)(layer, entered, pull, groups)
        for layer, (entered, _), pull in zip(layers, ran, pulls, strict=True)
    ]


def _is_plain(module: nn.Module) -> bool:
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)


def _of_linear(layer: nn.Module, entered: Tensor, pull: Tensor, groups: int) -> Tensor:
    del layer
    before, after = (part.reshape(groups, -1, part.shape[-1]) for part in (entered, pull))
    return torch.bmm(after.transpose(1, 2), before).flatten(1)


def _of_convolution(layer: nn.Module, entered: Tensor, pull: Tensor, groups: int) -> Tensor:
    assert isinstance(layer, nn.Conv2d)
    parts = layer.groups
    padding, stride, dilation = (tuple(map(int, v)) for v in (layer.padding, layer.stride, layer.dilation))
    patches = F.unfold(entered, layer.kernel_size, dilation, padding, stride)
    before = patches.view(len(entered) * parts, -1, patches.shape[2])
    after = pull.reshape(len(entered) * parts, -1, patches.shape[2])
    return torch.bmm(after, before.transpose(1, 2)).view(groups, len(entered) // groups, -1).sum(1)
