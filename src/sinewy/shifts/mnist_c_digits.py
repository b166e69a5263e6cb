"""Which images the kinds of MNIST-C take: grey digits of 28 x 28 pixels, with or without a frame around them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.draws import Draws

SIDE = 28

Recipe = Callable[..., Tensor]
"""(digits uint8 (N, 1, 28, 28), draws) -> uint8 of the same shape; keyword options."""


def on_digits(recipe: Recipe) -> Callable[..., Tensor]:
    """Return the kind `(images, severity, preset, draws) -> images` that applies `recipe` to the middle 28 x 28 pixels.

    Images are uint8 (N, 3, H, W) with three equal channels; what lies around the middle, as where MNIST is padded to
    32 x 32, stays as it is. Whatever the preset, the constants are MNIST-C's. Raises InputError for a severity other
    than 1, smaller images, and colour.
    """

    @wraps(recipe)
    def kind(images: Tensor, severity: int, preset: str, draws: Draws, **options: bool) -> Tensor:
        del preset
        name = f"mnist-c/{recipe.__name__}"
        if severity != 1:
            raise InputError(f"{name} was published at one severity, which is 1 here, got {severity}; use severity 1.")
        height, width = images.shape[-2:]
        if min(height, width) < SIDE:
            raise InputError(
                f"{name} needs digits of 28 x 28 pixels, got {height} x {width}; use MNIST at its own size."
            )
        if not (images[:, 1:] == images[:, :1]).all():
            raise InputError(
                f"{name} needs grey images, three equal channels, got colour; use the kinds of CORRUPTIONS."
            )
        top, left = (height - SIDE) // 2, (width - SIDE) // 2
        result = images.clone()
        middle = result[:, :, top : top + SIDE, left : left + SIDE]
        middle.copy_(recipe(middle[:, :1].contiguous(), draws, **options))
        return result

    return kind
