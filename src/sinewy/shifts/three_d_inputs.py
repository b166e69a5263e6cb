"""What the kinds of 3DCC need besides the images: a depth map, or how the scene is lit from the camera."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from sinewy.errors import InputError

Kind = Callable[..., Tensor]

NEAREST = 0.02
"""Depth that what is nearer is taken to have where it is divided by."""


def needs_depth(kind: Kind) -> Kind:
    """Return `kind` with a sentence for whoever calls it without a depth map."""
    return _needs(kind, "depth", "a depth map (N, H, W) in [0, 1], 1 the farthest")


def needs_shading(kind: Kind) -> Kind:
    """Return `kind` with a sentence for whoever calls it without shading."""
    return _needs(kind, "shading", "the shading of a light at the camera (N, H, W) in [0, 1]")


def _needs(kind: Kind, what: str, which: str) -> Kind:
    name = f"3dcc/{kind.__name__}"

    @wraps(kind)
    def checked(*arguments: object, **given: Tensor) -> Tensor:
        if what not in given:
            raise InputError(f"{name} needs {which}: sinewy.shifts.corrupt_3d(images, '{name}', severity, {what}=...).")
        return kind(*arguments, **{what: given[what]})

    return checked


def beside(what: str, values: object, images: Tensor) -> Tensor:
    """Return a map beside `images` as float64 (N, 1, H, W) on the CPU; raises InputError unless it fits.

    Accepts floats (N, H, W) or (N, 1, H, W) in [0, 1].
    """
    n, _, height, width = images.shape
    if not isinstance(values, Tensor) or not values.is_floating_point():
        found = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"{what} must be a tensor of floats in [0, 1], got {found}.")
    if tuple(values.shape) not in ((n, height, width), (n, 1, height, width)):
        raise InputError(f"{what} must have shape {(n, height, width)}, as the images have, got {tuple(values.shape)}.")
    flat = values.detach().double().reshape(n, 1, height, width)
    if flat.numel() and not bool(((flat >= 0) & (flat <= 1)).all()):
        low, high = (float(end) for end in torch.nan_to_num(flat, nan=float("inf")).aminmax())
        raise InputError(f"{what} must be in [0, 1], got {low:.3g} to {high:.3g}; divide metres by the farthest depth.")
    return flat
