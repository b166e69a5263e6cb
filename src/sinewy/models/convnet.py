"""The demonstration network: trains on a laptop in seconds, and is wide enough to be pruned to 90 %."""

from __future__ import annotations

from torch import nn

from sinewy.errors import InputError

MULTIPLES = (1, 2, 2, 2)
"""Channels of each convolution, in widths of the first."""


def convnet(*, classes: int, width: int = 32) -> nn.Module:
    """Return four 3 x 3 convolutions of stride 2 with batch norm and ReLU, global average pooling and a linear layer.

    93 664 prunable weights and 2 138 752 multiply-accumulates with 10 classes and images (N,3,32,32); any size will do.
    `width` is that of the first convolution; the others are twice as wide.
    """
    if width < 1:
        raise InputError(f"width={width} must be at least 1.")
    blocks: list[nn.Module] = []
    channels = 3
    for after in (multiple * width for multiple in MULTIPLES):
        blocks += [nn.Conv2d(channels, after, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        channels = after
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
