"""The per-weight state of any optimizer: found by shape, put back to its start where a weight has moved."""

from __future__ import annotations

from collections.abc import Iterator
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


@torch.no_grad()
def reset(optimizer: torch.optim.Optimizer, group: dict[str, Any], parameter: nn.Parameter, where: Tensor) -> None:
    """Set every per-weight buffer of `parameter` to its start value at the flat int64 positions `where`."""
    for key, buffer in per_weight_buffers(optimizer, parameter):
        assign(buffer, where, start_value(optimizer, group, key))


@torch.no_grad()
def assign(tensor: Tensor, where: Tensor, value: float | Tensor) -> None:
    """Write `value` at the row-major flat positions `where` of `tensor`, whatever its memory format."""
    if tensor.is_contiguous():
        tensor.view(-1)[where] = value
    else:
        tensor[torch.unravel_index(where, tensor.shape)] = value
