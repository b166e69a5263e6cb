"""A model asked for its opinion: lent in evaluation mode, and given back as it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from sinewy.errors import InputError


@contextmanager
def answering(*models: nn.Module) -> Iterator[None]:
    """Put `models` in evaluation mode, without gradients for their weights, for the time of the block."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for model in models for parameter in model.parameters()]
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(mode=False))
        try:
            for model in models:
                model.eval().requires_grad_(requires_grad=False)
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            for parameter, requires_grad in wanted:
                parameter.requires_grad_(requires_grad)


def logits(model: nn.Module, inputs: Tensor) -> Tensor:
    """Return the logits (N, classes) of a batch; raises InputError for outputs of another shape or NaN."""
    found = model(inputs)
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(inputs) or found.shape[1] < 2:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"the model returns {got} for {len(inputs)} inputs; logits (N, classes) are needed.")
    if found.detach().isnan().any():
        raise InputError("the model returns NaN; a model that diverged in training cannot be compared.")
    return found


def check_images(images: Tensor, *, what: str = "images") -> None:
    """Raise InputError unless `images` are finite floats (N, C, H, W), none of them 0."""
    if not isinstance(images, Tensor) or images.ndim != 4 or 0 in images.shape or not images.is_floating_point():
        got = f"{images.dtype} {tuple(images.shape)}" if isinstance(images, Tensor) else type(images).__name__
        raise InputError(f"{what} must be floats (N, C, H, W) as the model is fed them, got {got}.")
    if not bool(images.isfinite().all()):
        raise InputError(f"{what} hold NaN or infinite values; leave those out.")


def check_models(models: Mapping[str, nn.Module], least: int = 1) -> None:
    """Raise InputError unless there are at least `least` models."""
    if len(models) < least:
        raise InputError(f"at least {least} models by name are needed, got {len(models)}.")
