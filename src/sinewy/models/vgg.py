"""VGG (Simonyan and Zisserman 2015) for small images, with batch norm and the 512-512-classes head of paper 001."""

from __future__ import annotations

from torch import nn

from sinewy.errors import InputError

STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions before each of the five poolings, by depth."""

WIDTHS = (64, 128, 256, 512, 512)


def vgg11(*, classes: int, dropout: float = 0.5) -> nn.Module:
    """Return VGG-11."""
    return _vgg(11, classes, dropout)


def vgg13(*, classes: int, dropout: float = 0.5) -> nn.Module:
    """Return VGG-13."""
    return _vgg(13, classes, dropout)


def vgg16(*, classes: int, dropout: float = 0.5) -> nn.Module:
    """Return VGG-16: 15 239 872 prunable weights, 313 725 952 multiply-accumulates (10 classes, 32 x 32)."""
    return _vgg(16, classes, dropout)


def vgg19(*, classes: int, dropout: float = 0.5) -> nn.Module:
    """Return VGG-19."""
    return _vgg(19, classes, dropout)


def _vgg(depth: int, classes: int, dropout: float) -> nn.Module:
    if not 0 <= dropout < 1:
        raise InputError(f"dropout={dropout} must be in [0, 1).")
    layers: list[nn.Module] = []
    channels = 3
    for width, repeats in zip(WIDTHS, STAGES[depth], strict=True):
        for _ in range(repeats):
            layers += [_conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(nn.Sequential(*layers), pool, _head(channels, classes, dropout))


def _head(features: int, classes: int, dropout: float) -> nn.Sequential:
    hidden = [
        nn.Dropout(dropout),
        nn.Linear(features, 512),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(512, 512),
        nn.ReLU(),
    ]
    return nn.Sequential(*hidden, nn.Linear(512, classes))


def _conv3x3(before: int, after: int) -> nn.Conv2d:
    conv = nn.Conv2d(before, after, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv
