"""Fully connected networks on flattened images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sinewy.errors import InputError


def mlp(
    *,
    classes: int,
    image_size: int = 32,
    hidden: Sequence[int] | None = None,
    width: int = 512,
    depth: int = 2,
    batch_norm: bool = True,
    channels: int = 3,
) -> nn.Module:
    """Return `depth` linear layers of `width`, each with batch norm (if asked) and ReLU, and one to the classes.

    Takes (N,3,image_size,image_size). `hidden` lists the widths one by one, instead of `width` and `depth`. Without
    hidden layers it is multinomial regression. With `channels` 1 it reads the first channel only, as is meant for grey
    images, whose three are equal. Paper 000 has depth 1 and width 128 to 32768, or width 512 and depth 1,
    2, 4, 8.
    """
    if hidden is not None and (width, depth) != (512, 2):
        raise InputError(f"hidden={list(hidden)} says every width; leave out width and depth.")
    widths = [width] * depth if hidden is None else list(hidden)
    if depth < 0 or any(one < 1 for one in widths):
        raise InputError(f"depth={depth} must be at least 0, and hidden={widths} must hold widths of at least 1.")
    if channels not in (1, 3):
        raise InputError(f"channels={channels} must be 3, or 1 for grey images.")
    layers: list[nn.Module] = [nn.Flatten()] if channels == 3 else [FirstChannel(), nn.Flatten()]
    features = channels * image_size**2
    for one in widths:
        layers += [nn.Linear(features, one), *([nn.BatchNorm1d(one)] if batch_norm else []), nn.ReLU()]
        features = one
    return nn.Sequential(*layers, nn.Linear(features, classes))


class FirstChannel(nn.Module):
    """(N,C,H,W) to (N,1,H,W)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :1]


def lenet_300_100(*, classes: int, image_size: int = 32) -> nn.Module:
    """Return the LeNet-300-100 of LeCun et al. (1998), with ReLU as in the pruning literature, on three channels."""
    return mlp(classes=classes, image_size=image_size, hidden=(300, 100), batch_norm=False)
