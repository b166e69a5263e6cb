"""Gradients of a loss with respect to the weights, one for each group of inputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

VALUES = 1 << 24
"""Gradients held at a time, in numbers: 64 MiB of float32."""

IMAGES = 128
"""Images that go through the model at a time, if a group has no more."""

LARGE = 16
"""From so many images a group is enough work by itself, and on a CPU the groups go in turn."""

HOWS = ("mapped", "in turn")

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
    images of a batch. `how`, one of HOWS, is chosen by itself: many groups at once by torch.func, "mapped", where they
    are small or a GPU is to be filled, else, and for a model that torch.func cannot map, one after the other.
    """
    together = max(1, min(VALUES // sum(weight.numel() for weight in weights.values()), IMAGES // inputs.shape[1]))

    def of_group(parameters: dict[str, Tensor], images: Tensor, answers: Tensor) -> Tensor:
        return loss(functional_call(model, parameters, (images,)), answers)

    maps = how == "mapped" or (how is None and (inputs.device.type != "cpu" or inputs.shape[1] < LARGE))
    for some, answers in zip(torch.split(inputs, together), torch.split(labels, together), strict=True):
        with torch.enable_grad():
            found = _mapped(of_group, dict(weights), some, answers) if maps else None
            if found is None:
                maps = False
                found = _in_turn(of_group, dict(weights), some, answers)
        yield found.detach()


def _mapped(
    of_group: Callable[..., Tensor], weights: dict[str, Tensor], inputs: Tensor, labels: Tensor
) -> Tensor | None:
    """Return the gradients of all groups, or None for a model that branches on its values or changes them in place."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        try:
            found = vmap(grad(of_group), in_dims=(None, 0, 0))(weights, inputs, labels)
        except RuntimeError:
            return None
    return torch.cat([found[name].flatten(1) for name in weights], dim=1)


def _in_turn(of_group: Callable[..., Tensor], weights: dict[str, Tensor], inputs: Tensor, labels: Tensor) -> Tensor:
    leaves = {name: weight.detach().clone().requires_grad_() for name, weight in weights.items()}
    rows = []
    for images, answers in zip(inputs, labels, strict=True):
        gradients = torch.autograd.grad(of_group(leaves, images, answers), list(leaves.values()))
        rows.append(torch.cat([gradient.flatten() for gradient in gradients]))
    return torch.stack(rows)
