"""LeNet-5: the smallest classical convolutional network."""

from __future__ import annotations

from torch import nn

from sinewy.errors import InputError


def lenet5(*, classes: int, image_size: int = 32) -> nn.Module:
    """Return LeNet-5 (LeCun et al. 1998) for three channels, with ReLU, max pooling and fully connected feature maps.

    Takes (N,3,image_size,image_size), from 16 x 16 up.
    """
    if image_size < 16:
        raise InputError(f"lenet5 needs images of at least 16 x 16, got image_size={image_size}.")
    side = ((image_size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side**2, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, classes),
    )
