"""VGG (Simonyan and Zisserman 2015) for small images, with batch norm and the 512-512-classes head of paper 001."""

from __future__ import annotations

from torch import nn

from sinewy.errors import InputError

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions before each of the five poolings, by depth."""

MULTIPLES = (1, 2, 4, 8, 8)
"""Channels of each stage, in widths of the first."""


def vgg11(*, classes: int, dropout: float = 0.5, width: int = 64, head: int = 2) -> nn.Module:
    """Return VGG-11; `width` is the first stage's (paper 000 varies it), `head` the hidden layers after the pooling."""
    return _vgg(11, classes, dropout, width, head)


def vgg13(*, classes: int, dropout: float = 0.5, width: int = 64, head: int = 2) -> nn.Module:
    """Return VGG-13; options as in `vgg11`."""
    return _vgg(13, classes, dropout, width, head)


def vgg16(*, classes: int, dropout: float = 0.5, width: int = 64, head: int = 2) -> nn.Module:
    """Return VGG-16; options as in `vgg11`.

    15 239 872 prunable weights, 313 725 952 multiply-accumulates (10 classes, 32 x 32, width 64).
    """
    return _vgg(16, classes, dropout, width, head)


def vgg19(*, classes: int, dropout: float = 0.5, width: int = 64, head: int = 2) -> nn.Module:
    """Return VGG-19; options as in `vgg11`."""
    return _vgg(19, classes, dropout, width, head)


def _vgg(depth: int, classes: int, dropout: float, width: int, head: int) -> nn.Module:
    if not 0 <= dropout < 1:
        raise InputError(f"dropout={dropout} must be in [0, 1).")
    if width < 1 or head < 0:
        raise InputError(f"width={width} must be at least 1, and head={head} (hidden layers) at least 0.")
    layers: list[nn.Module] = []
    channels = 3
    for multiple, repeats in zip(MULTIPLES, STAGES[depth], strict=True):
        for _ in range(repeats):
            layers += [_conv3x3(channels, multiple * width), nn.BatchNorm2d(multiple * width), nn.ReLU()]
            channels = multiple * width
        layers.append(nn.MaxPool2d(2))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Sequential(*layers), pool, _head(channels, classes, dropout, head))


def _head(features: int, classes: int, dropout: float, hidden_layers: int) -> nn.Sequential:
    hidden: list[nn.Module] = []
    for _ in range(hidden_layers):
        hidden += [nn.Dropout(dropout), nn.Linear(features, features), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(features, classes))


def _conv3x3(before: int, after: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
