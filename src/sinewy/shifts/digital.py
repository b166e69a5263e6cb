"""The corruptions of digital pictures: contrast, saturation, pixels too large, JPEG."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.banded import filter_columns, filter_rows
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import ON_THE_EDGE, to_uint8, whole
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

_LARGE = 128 * 128
"""Pixels of an image from which on calling Pillow takes less time than it saves."""

_HALF = 0.5 + 1e-3
"""Rounds means of few whole levels, halves up; a little more than a half mends what float32 cut from one."""

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
    return _blown_up(_shrunk(images, *small), height, width)


def _shrunk(images: Tensor, height: int, width: int) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) shrunk as by `Image.resize((width, height), Image.Resampling.BOX)`.

    Windows of one or two pixels need only the means of neighbours. Of longer ones Pillow itself takes the means of
    large images on a CPU, where that is the fastest, and products with matrices those of others.
    """
    rows, columns = _windows(images.shape[2], height), _windows(images.shape[3], width)
    if max(rows.longest, columns.longest) <= 2:
        return _pick(_with_pairs(_pick(_with_pairs(images, 3), columns.one_or_pair, 3), 2), rows.one_or_pair, 2)
    if images.device.type == "cpu" and images.shape[2] * images.shape[3] >= _LARGE:
        return by_pillow(images, lambda picture: picture.resize((width, height), Image.Resampling.BOX), height, width)
    narrow = whole(filter_rows(images.float(), columns.means).add_(_HALF))
    return whole(filter_columns(rows.means, narrow.float()).add_(_HALF))


def _with_pairs(images: Tensor, dim: int) -> Tensor:
    """Return `images`, followed along `dim` by the mean of each pixel and the next, halves rounded up."""
    size = images.shape[dim]
    first, second = images.narrow(dim, 0, size - 1), images.narrow(dim, 1, size - 1)
    both = images.new_empty([length * 2 if i == dim else length for i, length in enumerate(images.shape)])
    both.narrow(dim, 0, size).copy_(images)
    torch.sub(first | second, (first ^ second) >> 1, out=both.narrow(dim, size, size - 1))
    return both


def _pick(images: Tensor, places: Tensor, dim: int) -> Tensor:
    """Return the rows (`dim` 2) or columns (3) of `images` at `places`; of bytes by far the fastest ways on a CPU."""
    places = places.to(images.device)
    return images.index_select(2, places) if dim == 2 else images.gather(3, places.expand(*images.shape[:3], -1))


def _blown_up(images: Tensor, height: int, width: int) -> Tensor:
    """Return `images` (N, 3, h, w) with their pixels repeated to `height` x `width`."""
    return _pick(_pick(images, _nearest(width, images.shape[3]), 3), _nearest(height, images.shape[2]), 2)


class Windows(NamedTuple):
    """Which of `size` pixels Pillow's BOX filter averages for each of `small`."""

    longest: int
    """The most pixels that one window has."""
    means: Tensor
    """The (small, size) matrix of the weights, float32."""
    one_or_pair: Tensor
    """Where `_with_pairs` has the mean of a window of one or two pixels."""


@lru_cache(maxsize=64)
def _windows(size: int, small: int) -> Windows:
    """Return the windows, by Pillow's operations in their order: ties are common."""
    step = size / small
    centre = (np.arange(small)[:, None] + 0.5) * step
    first, last = (centre - step / 2 + 0.5).astype(int), (centre + step / 2 + 0.5).astype(int)
    taps = np.arange(size)[None, :]
    offset = (taps - centre + 0.5) * (1 / step)
    covered = (taps >= first) & (taps < last) & (offset > -0.5) & (offset <= 0.5)
    pixels = covered.sum(1, keepdims=True)
    means = torch.from_numpy((covered / pixels).astype(np.float32))
    return Windows(int(pixels.max()), means, torch.from_numpy(covered.argmax(1) + size * (pixels[:, 0] == 2)))


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
    return by_pillow(images, partial(_jpeg, quality=quality), *images.shape[2:]).to(images.device)


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    # the codec itself: all it needs is known here, and saving and opening would take as long as coding 32 x 32 pixels
    return Image.frombytes("RGB", picture.size, picture.tobytes("jpeg", "RGB", quality), "jpeg", "RGB", "")


def by_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image], height: int, width: int) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) changed one by one on the CPU, by `change` to pictures `height` x `width`.

    Pillow joins and parts the channels too: faster than torch and NumPy, which copy one byte at a time.
    """
    count, channels = images.shape[:2]
    result = np.empty((count, channels, height * width), np.uint8)
    for planes, changed in zip(images.cpu().numpy(), result, strict=True):
        picture = change(Image.merge("RGB", [Image.fromarray(plane) for plane in planes]))
        for channel, plane in zip("RGB", changed, strict=True):
            plane[:] = np.frombuffer(picture.tobytes("raw", channel), np.uint8)
    return torch.from_numpy(result.reshape(count, channels, height, width))
