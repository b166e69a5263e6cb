"""The per-weight state of any optimizer: found by shape, put back to its start where a weight has moved."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

ZERO_KEEPING = frozenset(
    getattr(torch.optim, name)
    for name in [
        "SGD",
        "Adam",
        "AdamW",
        "NAdam",
        "RAdam",
        "RMSprop",
        "Adagrad",
        "Adadelta",
        "Adamax",
        "ASGD",
        "Rprop",
        "Adafactor",
    ]
)
"""Optimizers that leave a zero weight with zero gradient and fresh state at exactly zero; others get their weights
re-masked."""


def start_value(optimizer: torch.optim.Optimizer, group: dict[str, Any], key: str) -> float:
    """Return what the per-weight buffer `key` of this optimizer holds before the first step."""
    if isinstance(optimizer, torch.optim.Adagrad) and key == "sum":
        return float(group["initial_accumulator_value"])
    if isinstance(optimizer, torch.optim.Rprop) and key == "step_size":
        return float(group["lr"])
    return 0.0


def per_weight_buffers(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> Iterator[tuple[str, Tensor]]:
    """Yield the name and tensor of every state buffer shaped like `parameter`."""
    for key, value in optimizer.state.get(parameter, {}).items():
        if isinstance(value, Tensor) and value.shape == parameter.shape:
            yield key, value


def fresh(
    optimizer: torch.optim.Optimizer, group: dict[str, Any], parameter: nn.Parameter
) -> list[tuple[Tensor, float | Tensor]]:
    """Return every per-weight buffer of `parameter` with its start value, as `assign` takes them."""
    return [(buffer, start_value(optimizer, group, key)) for key, buffer in per_weight_buffers(optimizer, parameter)]


def forget(optimizer: torch.optim.Optimizer) -> None:
    """Put the optimizer back to where it was before its first step, as if it were made anew.

    Torch's own make their state at the first step, and do so again once it is gone; only Adagrad makes it earlier.
    """
    if not isinstance(optimizer, torch.optim.Adagrad):
        optimizer.state.clear()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["step"].zero_()
            optimizer.state[parameter]["sum"].fill_(group["initial_accumulator_value"])


@torch.no_grad()
def assign(where: Tensor, values: Iterable[tuple[Tensor, float | Tensor]]) -> None:
    """Write to each tensor its value at the row-major flat int64 positions `where`, whatever its memory format.

    The tensors have one shape; a value is one number for all positions, or a tensor with one for each.
    """
    places: dict[tuple[int, ...], Tensor] = {}
    for tensor, value in values:
        if tensor.is_contiguous():
            tensor.view(-1)[where] = value
        elif tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
            if tensor.stride() not in places:  # finding them takes longer than writing there
                places[tensor.stride()] = _in_channels_last(where, tensor.shape)
            tensor.permute(0, 2, 3, 1).view(-1)[places[tensor.stride()]] = value
        else:
            tensor[torch.unravel_index(where, tensor.shape)] = value


def _in_channels_last(where: Tensor, shape: torch.Size) -> Tensor:
    """Return where in memory the row-major positions `where` of a channels_last tensor are."""
    channels, area = shape[1], shape[2] * shape[3]
    at: Any = where if where.is_cuda else where.numpy()  # numpy divides integers several times faster
    plane = at // area
    filters = plane // channels
    return torch.as_tensor((filters * area + at - plane * area) * channels + plane - filters * channels)
