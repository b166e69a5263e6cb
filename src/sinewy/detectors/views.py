"""The same image seen in other ways: turned, mirrored, and slightly out of shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sinewy.errors import InputError

TILT = 15.0
"""Degrees of the small rotations among the affine views."""


def views(images: Tensor) -> Tensor:
    """Return the images (N, C, H, W) with seven further views of each, (N, 8, C, H, W).

    Rotations by 90, 180 and 270 degrees, both flips, and rotations by 15 degrees either way. Ayle et al. 2022
    (appendix A) name the first five and "other affine transformations" learned by another paper, for which the last
    two stand. Raises InputError for images that are not square.
    """
    check_square(images.shape)
    turned = [torch.rot90(images, quarter, (-2, -1)) for quarter in range(4)]
    return torch.stack([*turned, images.flip(-1), images.flip(-2), _tilted(images, TILT), _tilted(images, -TILT)], 1)


def check_square(shape: Sequence[int]) -> None:
    """Raise InputError for images of `shape` (..., H, W) that are not square."""
    if shape[-1] != shape[-2]:
        raise InputError(
            f"views turned by 90 degrees need square images, got {tuple(shape[-2:])}; see groups of more than two, or "
            "set augment=False."
        )


def _tilted(images: Tensor, degrees: float) -> Tensor:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = torch.tensor([[cosine, -sine, 0], [sine, cosine, 0]], dtype=images.dtype, device=images.device)
    grid = F.affine_grid(turn.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    # The border is repeated: zeros are black only where images are not normalised.
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
