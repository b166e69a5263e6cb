"""What a layer multiplies its weights with: its inputs, as one column per patch of the image or token."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def as_matrices(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return the weight as (groups, outputs of a group, inputs of a group times kernel places)."""
    return weight.reshape(_groups(layer), weight.shape[0] // _groups(layer), -1)


def columns(layer: nn.Module, inputs: Tensor) -> Tensor:
    """Return (N, groups, inputs of a group times kernel places, patches): what `as_matrices` is multiplied with.

    For a linear layer, all dimensions between the first and the last are patches; an input without batch dimension is
    one example.
    """
    if isinstance(layer, nn.Linear):
        rows = inputs[None] if inputs.ndim == 1 else inputs
        return rows.reshape(len(rows), 1, -1, rows.shape[-1]).transpose(2, 3)
    kernel: tuple[int, ...] = layer.kernel_size  # type: ignore[assignment]
    images = inputs if inputs.ndim == len(kernel) + 2 else inputs[None]
    windows = _padded(layer, images)
    for i, (size, stride, step) in enumerate(zip(kernel, layer.stride, layer.dilation, strict=True)):  # type: ignore[arg-type]
        windows = windows.unfold(2 + i, step * (size - 1) + 1, stride)[..., ::step]
    places = range(2, 2 + len(kernel))
    windows = windows.permute(0, 1, *(place + len(kernel) for place in places), *places)
    n, channels, places_of = len(images), images.shape[1], 1
    for size in kernel:
        places_of *= size
    return windows.reshape(n, _groups(layer), channels // _groups(layer) * places_of, -1)


def expansion(layer: nn.Module) -> int:
    """Return how many times larger than the inputs their columns can be."""
    size = 1
    for places in getattr(layer, "kernel_size", ()):
        size *= places
    return size


def _padded(layer: nn.Module, images: Tensor) -> Tensor:
    mode = str(layer.padding_mode)
    pads = [side for pair in reversed(_pads(layer)) for side in pair]
    return F.pad(images, pads, mode="constant" if mode == "zeros" else mode) if any(pads) else images


def _pads(layer: nn.Module) -> Sequence[tuple[int, int]]:
    """Return (before, after) for each spatial dimension."""
    if layer.padding == "valid":
        return [(0, 0)] * len(layer.kernel_size)  # type: ignore[arg-type]
    if layer.padding == "same":
        totals = [step * (size - 1) for step, size in zip(layer.dilation, layer.kernel_size, strict=True)]  # type: ignore[arg-type]
        return [(total // 2, total - total // 2) for total in totals]
    return [(pad, pad) for pad in layer.padding]  # type: ignore[union-attr]


def _groups(layer: nn.Module) -> int:
    return int(getattr(layer, "groups", 1))
