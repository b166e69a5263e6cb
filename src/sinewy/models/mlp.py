"""Fully connected networks on flattened images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from sinewy.errors import InputError


def mlp(
    *, classes: int, image_size: int = 32, hidden: Sequence[int] = (512, 512), batch_norm: bool = True
) -> nn.Module:
    """Return linear layers of `hidden` widths, each with batch norm (if asked) and ReLU, and one to the classes.

    Takes (N,3,image_size,image_size). Without hidden layers it is multinomial regression.
    """
    if any(width < 1 for width in hidden):
        raise InputError(f"hidden={list(hidden)} must hold widths of at least 1.")
    layers: list[nn.Module] = [nn.Flatten()]
    features = 3 * image_size**2
    for width in hidden:
        layers += [nn.Linear(features, width), *([nn.BatchNorm1d(width)] if batch_norm else []), nn.ReLU()]
        features = width
    return nn.Sequential(*layers, nn.Linear(features, classes))


def lenet_300_100(*, classes: int, image_size: int = 32) -> nn.Module:
    """Return the LeNet-300-100 of LeCun et al. (1998), with ReLU as in the pruning literature, on three channels."""
    return mlp(classes=classes, image_size=image_size, hidden=(300, 100), batch_norm=False)
