"""Gradients of a loss with respect to the weights, one for each group of inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from sinewy.detectors.by_layer import layer_gradients, layers_of

VALUES = 1 << 24
"""Gradients held at a time, in numbers: 64 MiB of float32."""

IMAGES = 128
"""Images that go through the model at a time, if a group has no more."""

HOWS = ("layers", "mapped", "in turn")

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits (B, classes), labels (B,)) -> one number."""


def group_gradients(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    inputs: Tensor,
    labels: Tensor,
    loss: Loss,
    *,
    how: str | None = None,
) -> Iterator[Tensor]:
    """Yield the gradients of `loss` as (some groups, all weights), in order; weights come in the order of `weights`.

    `inputs` is (groups, B, C, H, W), `labels` (groups, B), `weights` those of the model itself, which must not mix the
    images of a batch. `how`, one of HOWS, is chosen by itself: "layers", one pass over many groups, where all weights
    are those of plain layers that run once; else torch.func's "mapped" on a GPU, and "in turn" on a CPU.
    """
    layers = layers_of(model, weights) if how in (None, "layers") else None
    together = max(1, min(VALUES // sum(weight.numel() for weight in weights.values()), IMAGES // inputs.shape[1]))

    def of_group(parameters: dict[str, Tensor], images: Tensor, answers: Tensor) -> Tensor:
        return loss(functional_call(model, parameters, (images,)), answers)

    mapped = how == "mapped" or (how is None and inputs.device.type != "cpu")
    for some, answers in zip(torch.split(inputs, together), torch.split(labels, together), strict=True):
        with torch.enable_grad():
            found = layer_gradients(model, layers, some, answers, loss) if layers else None
            if found is not None:
                yield torch.cat(found, dim=1).detach()
            else:
                yield (_mapped if mapped else _in_turn)(of_group, dict(weights), some, answers).detach()


def _mapped(of_group: Callable[..., Tensor], weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    found = vmap(grad(of_group), in_dims=(None, 0, 0))(weights, inputs, labels)
    return torch.cat([found[name].flatten(1) for name in weights], dim=1)


def _in_turn(of_group: Callable[..., Tensor], weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    leaves = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    rows = []
    for images, answers in zip(inputs, labels, strict=True):
        gradients = torch.autograd.grad(of_group(leaves, images, answers), list(leaves.values()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)
