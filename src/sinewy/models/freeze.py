"""A copy of a model that only answers: evaluation mode, norms folded into convolutions, the fastest memory format."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.fx.experimental.optimization import fuse

from sinewy.layers import unwrap


def freeze(model: nn.Module, device: str | torch.device = "cpu") -> nn.Module:
    """Return an independent copy of `model` on `device` for inference; `model` itself is untouched.

    BatchNorm is folded into the convolution before it where torch.fx can trace the model (outputs agree to rounding); a
    model it cannot trace, because its Python branches on data, is copied unfolded. Convolutional models become
    channels_last.
    """
    frozen = copy.deepcopy(unwrap(model)).eval().requires_grad_(requires_grad=False)
    frozen = _folded(frozen).to(device)
    if any(isinstance(module, nn.Conv2d) for module in frozen.modules()):
        frozen = frozen.to(memory_format=torch.channels_last)
    return frozen


def single_precision(model: nn.Module) -> nn.Module:
    """Return `model`, or a copy in float32 of one whose parameters are of another floating-point type."""
    own = unwrap(model)
    if all(p.dtype is torch.float32 for p in own.parameters() if p.is_floating_point()):
        return model
    return copy.deepcopy(own).float()


def is_channels_last(model: nn.Module) -> bool:
    """Return whether a frozen model wants its images in channels_last."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


def _folded(model: nn.Module) -> nn.Module:
    if not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in model.modules()):
        return model  # nothing to fold, so no reason to trace
    try:
        folded: nn.Module = fuse(model, inplace=False, no_trace=False)
    except Exception:  # tracing runs the user's code with proxies, which may raise anything at all
        return model
    return folded.eval()
