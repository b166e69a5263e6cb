"""The demonstration network: trains on a laptop in seconds, and is wide enough to be pruned to 90 %."""

from __future__ import annotations

from torch import nn

WIDTHS = (32, 64, 64, 64)


def convnet(*, classes: int) -> nn.Module:
    """Return four 3 x 3 convolutions of stride 2 with batch norm and ReLU, global average pooling and a linear layer.

    93 664 prunable weights and 2 138 752 multiply-accumulates with 10 classes and images (N,3,32,32); any size will do.
    """
    blocks: list[nn.Module] = []
    channels = 3
    for width in WIDTHS:
        blocks += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))
