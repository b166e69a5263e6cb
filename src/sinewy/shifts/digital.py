"""The corruptions of digital pictures: contrast, saturation, pixels too large, JPEG."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.banded import filter_columns, filter_rows
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8
from sinewy.shifts.hsv import hsv_to_levels, rgb_to_hsv

_CONTRAST = {
    "cifar": (0.75, 0.5, 0.4, 0.3, 0.15),
    "tiny": (0.4, 0.3, 0.2, 0.1, 0.05),
    "imagenet": (0.4, 0.3, 0.2, 0.1, 0.05),
}
"""Factor of the distance from the mean."""

_SATURATE = {
    "cifar": ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
    "tiny": ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2)),
    "imagenet": ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
}
"""Factor of the saturation, and what is added to it."""

_PIXELATE = {
    "cifar": (0.95, 0.9, 0.85, 0.75, 0.65),
    "tiny": (0.9, 0.8, 0.7, 0.6, 0.5),
    "imagenet": (0.6, 0.5, 0.4, 0.3, 0.25),
}
"""Share of the pixels along each side that is left."""

_JPEG_COMPRESSION = {
    "cifar": (80, 65, 58, 50, 40),
    "tiny": (65, 58, 50, 40, 25),
    "imagenet": (25, 18, 15, 10, 7),
}
"""Quality setting of the encoder."""


def contrast(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), with every channel drawn towards its own mean over the image."""
    del draws
    factor = _CONTRAST[preset][severity - 1]
    mean = images.sum((2, 3), keepdim=True, dtype=torch.int64).double() / images[0, 0].numel()
    return to_uint8((images - mean).mul_(factor).add_(mean + ON_THE_EDGE))


def saturate(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), with the saturation of every pixel, in HSV, scaled and shifted.

    Greys have no hue, which counts as red: where the saturation is shifted they turn red, as in the published sets.
    """
    del draws
    factor, offset = _SATURATE[preset][severity - 1]
    hue, saturation, value = rgb_to_hsv(images)
    return hsv_to_levels(hue, (saturation * factor + offset).clamp_(0, 1), value)


def pixelate(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), shrunk to int(c * side) pixels and blown up again, as Pillow's BOX filter
    does.

    Shrinking averages along rows, rounds, averages along columns, rounds; the blocks are then repeated.
    Raises InputError if a side would shrink to nothing.
    """
    del draws
    share = _PIXELATE[preset][severity - 1]
    height, width = images.shape[2:]
    small = int(height * share), int(width * share)
    if 0 in small:
        raise InputError(
            f"pixelate at severity {severity} leaves nothing of {height} x {width} pixels; use larger images."
        )
    shrunk = _rounded(filter_rows(images.float(), _box(width, small[1])))
    shrunk = _rounded(filter_columns(_box(height, small[0]), shrunk)).to(torch.uint8)
    up, along = _nearest(height, small[0]).to(images.device), _nearest(width, small[1]).to(images.device)
    # whole rows are copied far faster than single pixels
    widened = shrunk.transpose(2, 3).contiguous().index_select(2, along).transpose(2, 3).contiguous()
    return widened.index_select(2, up)


def _rounded(levels: Tensor) -> Tensor:
    """Round means of few whole levels, halves up; a little more than a half mends what float32 cut from one."""
    return levels.add_(0.5 + 1e-3).floor_()


@lru_cache(maxsize=64)
def _box(size: int, small: int) -> Tensor:
    """Return the (small, size) matrix of Pillow's BOX filter, by its operations in their order: ties are common."""
    step = size / small
    centre = (np.arange(small)[:, None] + 0.5) * step
    first, last = (centre - step / 2 + 0.5).astype(int), (centre + step / 2 + 0.5).astype(int)
    taps = np.arange(size)[None, :]
    offset = (taps - centre + 0.5) * (1 / step)
    covered = (taps >= first) & (taps < last) & (offset > -0.5) & (offset <= 0.5)
    return torch.from_numpy((covered / covered.sum(1, keepdims=True)).astype(np.float32))


@lru_cache(maxsize=64)
def _nearest(size: int, small: int) -> Tensor:
    """Return which of `small` pixels covers the middle of each of `size`."""
    return torch.from_numpy(((np.arange(size) + 0.5) * (small / size)).astype(np.int64))


def jpeg_compression(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), saved as JPEG and opened again.

    The codec is Pillow's at its defaults (4:2:0 chroma, its own quantisation tables for the quality), one image at a
    time on the CPU: other builds of libjpeg may differ in bytes, so `protocol` names the version.
    """
    del draws
    return through_jpeg(images, _JPEG_COMPRESSION[preset][severity - 1])


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), saved as JPEG of this quality and opened again, one at a time."""
    count, channels, height, width = images.shape
    pictures = np.empty((count, height, width, channels), np.uint8)
    for channel, plane in enumerate(images.cpu().unbind(1)):
        pictures[..., channel] = plane.numpy()  # several times faster than a copy of permuted dimensions
    for picture in pictures:
        picture[:] = _jpeg(picture, quality)
    return torch.from_numpy(pictures).to(images.device).permute(0, 3, 1, 2).contiguous()


def _jpeg(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    # the decoder itself: what it decodes is known, and opening the file would take as long as decoding 32 x 32 pixels
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(Image.frombytes("RGB", size, stream.getvalue(), "jpeg", ("RGB", "")))
