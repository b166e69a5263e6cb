"""Corruptions of images with a label for every pixel: labels stay, or move with the picture."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.corruption import corrupt
from sinewy.shifts.names import canonical, family

GEOMETRIC: tuple[str, ...] = (
    "elastic_transform",
    "pinch_and_twirl",
    "ripple",
    "mnist-c/shear",
    "mnist-c/scale",
    "mnist-c/rotate",
    "mnist-c/translate",
)
"""Kinds that move the picture: labels move with it."""

REFUSED: tuple[str, ...] = ("caustic_refraction",)
"""Kinds that move the picture and light it, so that labels cannot be followed."""


@torch.no_grad()
def corrupt_pairs(
    images: Tensor,
    masks: Tensor,
    kind: str,
    severity: int,
    *,
    preset: str = "cifar",
    seed: int = 0,
    start: int = 0,
    fill: int = 255,
    moves: bool | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Return `images` corrupted as by `corrupt`, and `masks`, uint8 or int64 (N, H, W), that still fit them.

    Kinds of the pixels (noise, blur, weather, colour, codecs) leave the labels alone, as published segmentation
    benchmarks do. Kinds in `GEOMETRIC` move the labels with the picture: each label's area is sent through the same
    warp with the same draws, and a pixel gets the label that covers it most (of equals the smallest), or `fill` where
    what lies outside of the picture covers more. Kinds in `REFUSED` raise InputError, and so does a kind of your own
    unless `moves` says which of the two it is.
    """
    _check_masks(images, masks)
    kind = canonical(kind)
    shifted = corrupt(images, kind, severity, preset=preset, seed=seed, start=start, device=device)
    if kind in REFUSED:
        raise InputError(f"{kind} moves the picture and lights it, so labels cannot be followed; leave it out.")
    if moves is None and family(kind) == "own":
        raise InputError(
            f"say whether '{kind}' moves the picture: moves=False leaves labels, moves=True takes them along."
        )
    labels = masks.to(shifted.device, copy=True)
    if not (kind in GEOMETRIC if moves is None else moves) or severity == 0:
        return shifted, labels
    best = torch.zeros_like(labels, dtype=torch.uint8)
    moved, outside = torch.full_like(labels, fill), torch.full_like(labels, 255, dtype=torch.int16)
    for label in torch.unique(labels).tolist():
        area = labels.eq(label).to(torch.uint8).mul_(255)[:, None].expand(-1, 3, -1, -1)
        cover = corrupt(area, kind, severity, preset=preset, seed=seed, start=start)[:, 0]
        more = cover > best
        best, moved = torch.where(more, cover, best), moved.masked_fill(more, label)
        outside -= cover
    return shifted, moved.masked_fill(outside > best, fill)


def _check_masks(images: Any, masks: Any) -> None:
    if not isinstance(masks, Tensor) or masks.dtype not in (torch.uint8, torch.int64):
        got = masks.dtype if isinstance(masks, Tensor) else type(masks).__name__
        raise InputError(f"masks must be a uint8 or int64 tensor (N, H, W) of class numbers, got {got}.")
    if isinstance(images, Tensor) and images.ndim == 4:
        expected = (len(images), *images.shape[2:])
        if tuple(masks.shape) != expected:
            raise InputError(f"masks must have shape {expected}, one label per pixel, got {tuple(masks.shape)}.")
