"""What is attacked in a model's stead: a faster copy, where there is one that answers as the model does."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor, fx, nn

from sinewy.attacks.overwriting import overwrite
from sinewy.attacks.victim import Victim, own_random_numbers
from sinewy.models.freeze import freeze

SOME = 4
"""Images on which a copy and its model are compared."""

LOGITS_DIFFER, GRADIENTS_DIFFER = 1e-4, 1e-2
"""Relative differences above which a copy is not the model: rounding gives about 1e-6 and 1e-5, half precision more."""


def quickest(model: nn.Module, mean: Sequence[float] | None, std: Sequence[float] | None, images: Tensor) -> Victim:
    """Return the victim that answers by a frozen copy of `model`, or by `model` itself if a copy might be another.

    `model` is in evaluation mode, `images` (N, C, H, W) in [0, 1] are some of the set. A copy is made where there are
    batch norms to fold and no hooks, which it would lose; it must give the logits and the gradients that `model` gives.
    """
    victim = Victim(model, mean, std)
    if not _may_be_copied(model):
        return victim
    for make in (_overwriting, freeze):
        # Copying and tracing run the user's code, which may raise anything; what the model raises will be seen later.
        with suppress(Exception), own_random_numbers():
            copied = Victim(make(model, images.device), mean, std)
            if _alike(copied, victim, images[:SOME]):
                return copied
    return victim


def _overwriting(model: nn.Module, device: torch.device) -> nn.Module:
    frozen = freeze(model, device)
    if isinstance(frozen, fx.GraphModule):
        overwrite(frozen)
    return frozen


def _may_be_copied(model: nn.Module) -> bool:
    modules = [*model.modules()]
    hooked = any(
        module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
        for module in modules
    )
    return not hooked and any(isinstance(module, nn.BatchNorm2d) for module in modules)


def _alike(copied: Victim, victim: Victim, images: Tensor) -> bool:
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    logits, _, gradient = victim.gradient(images, _squares, labels, None)
    own_logits, _, own_gradient = copied.gradient(images, _squares, labels, None)
    near = _difference(own_logits, logits) <= LOGITS_DIFFER
    return near and _difference(own_gradient, gradient) <= GRADIENTS_DIFFER


def _difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_(min=torch.finfo(expected.dtype).tiny))


def _squares(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    del labels, targets
    return logits.square().sum(1)
