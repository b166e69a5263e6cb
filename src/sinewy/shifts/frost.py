"""The corruption of frost on glass: pictures of frost laid over the image."""

from __future__ import annotations

import hashlib
import os
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sinewy.errors import CorruptFileError, InputError
from sinewy.files import digest
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import to_uint8
from sinewy.shifts.frost_texture import frost_pictures

_FROST = {
    "cifar": ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    "tiny": ((1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "imagenet": ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
}
"""Weights of the image and of the frost."""

_SCALE = {"cifar": 0.2, "tiny": 0.3, "imagenet": 1.0}
"""How much the pictures are shrunk before they are cut."""

Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Numbers of pixels, and their weights."""

_ORIGINALS = {
    "frost1.png": "6ead634ace1f366d77e87078b465863c",
    "frost2.png": "98f0d2b1d74a048d3bc9c7ecfd886939",
    "frost3.png": "b3ed8eb147824261888e730f916c0d8b",
    "frost4.jpg": "d70b9d6aa0b1fe7bd8133b113787e078",
    "frost5.jpg": "50984ae2c871b7df2c28f1d71ca460a0",
}
"""MD5 of the benchmark's photographs. It never used a sixth one, and its second and third show the same pixels."""

_OWN = (0, 1, 1, 2, 3)
"""Which procedural picture takes the place of each photograph: the white one twice, as there are two of that one."""


def frost(
    images: Tensor, severity: int, preset: str, draws: Draws, folder: str | os.PathLike[str] | None = None
) -> Tensor:
    """Return `images`, uint8 (N, 3, H, W), under a cutting of one of five pictures of frost.

    The pictures are the benchmark's photographs if `folder` holds them: frost1.png, frost2.png, frost3.png, frost4.jpg
    and frost5.jpg of the ImageNet-C repository, checked by MD5. Without a folder they are procedural pictures of
    similar brightness and texture. Pictures too small for the images are enlarged to 1.1 times what is needed. Raises
    InputError if a photograph is missing or is not the published one.
    """
    height, width = images.shape[2:]
    source = None if folder is None else str(Path(folder).expanduser())
    cutting = _cuttings(source, _SCALE[preset], height, width, images.device, draws)
    keep, add = _FROST[preset][severity - 1]
    return to_uint8((images.double() * keep).add_(cutting.double() * add))


def _cuttings(folder: str | None, scale: float, height: int, width: int, device: torch.device, draws: Draws) -> Tensor:
    """Return a random (height, width) cutting of a random picture for each image, uint8 (N, 3, height, width)."""
    pixels, shapes, starts = (part.to(device) for part in _sheet(folder, scale, height, width))
    chosen = draws.integers(0, len(shapes))
    room = shapes[chosen] - shapes.new_tensor([height, width])
    corner = (draws.uniform(2).double() * room).long()
    stride = shapes[chosen, 1]
    rows = corner[:, 0, None] + torch.arange(height, device=device)
    columns = corner[:, 1, None] + torch.arange(width, device=device)
    places = (starts[chosen, None] + rows * stride[:, None])[:, :, None] + columns[:, None, :]
    return pixels[:, places].transpose(0, 1)


@lru_cache(maxsize=8)
def _sheet(folder: str | None, scale: float, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixels of all five pictures in a row (3, total), their sizes (5, 2), and where each begins (5,)."""
    own = frost_pictures() if folder is None else ()
    pictures = [own[number] for number in _OWN] if folder is None else _photographs(folder)
    scaled = [_resized(picture, _fitting(picture, scale, height, width)) for picture in pictures]
    sizes = torch.tensor([picture.shape[1:] for picture in scaled])
    areas = sizes.prod(1)
    return torch.cat([picture.flatten(1) for picture in scaled], 1), sizes, areas.cumsum(0) - areas


def _fitting(picture: Tensor, scale: float, height: int, width: int) -> float:
    """Return `scale`, or what makes `picture` 1.1 times as large as the image if it would not be larger than it."""
    needed = max(height / picture.shape[1], width / picture.shape[2])
    return (
        scale
        if min(int(picture.shape[1] * scale) - height, int(picture.shape[2] * scale) - width) > 0
        else 1.1 * needed
    )


def _resized(picture: Tensor, scale: float) -> Tensor:
    """Return uint8 `picture` (3, H, W) scaled bilinearly, without smoothing first, as `cv2.resize(fx=scale)` does.

    Shrunk to the bit alike, since OpenCV computes in whole numbers; enlarged, to one level. The sides are rounded down.
    """
    if scale == 1:
        return picture
    levels = picture.numpy().astype(np.int64)
    (above, upper), (below, lower) = _neighbours(levels.shape[1], scale)
    (left, near), (right, far) = _neighbours(levels.shape[2], scale)
    rows = levels[:, :, left] * near + levels[:, :, right] * far >> 4
    mixed = (rows[:, above] * upper[:, None] >> 16) + (rows[:, below] * lower[:, None] >> 16)
    return torch.from_numpy((mixed + 2 >> 2).astype(np.uint8))


def _neighbours(size: int, scale: float) -> tuple[Places, Places]:
    """Return the two pixels of `size` that each pixel of the scaled side lies between, and their weights in 1/2048."""
    place = ((np.arange(int(size * scale)) + 0.5) * (1 / scale) - 0.5).clip(0, size - 1).astype(np.float32)
    first = np.floor(place)
    share = place - first
    one, other = (np.rint(weight * 2048).astype(np.int64) for weight in (1 - share, share))
    pixel = first.astype(np.int64)
    return (pixel, one), (np.minimum(pixel + 1, size - 1), other)


@cache
def _photographs(folder: str) -> list[Tensor]:
    return [_photograph(Path(folder) / name, md5) for name, md5 in _ORIGINALS.items()]


def _photograph(path: Path, md5: str) -> Tensor:
    """Return the picture in `path`, uint8 (3, H, W); raises InputError unless its MD5 is `md5`."""
    try:
        found = digest(path, hashlib.md5)
    except OSError as error:
        raise InputError(
            f"the frost photograph {path} cannot be read ({error.strerror}); put frost1 to frost5 of ImageNet-C there, "
            "or name no folder to use procedural frost."
        ) from error
    if found != md5:
        raise CorruptFileError(
            f"{path} is not the frost photograph of ImageNet-C (md5 {found}, expected {md5}); fetch it again, "
            "or name no folder to use procedural frost."
        )
    with Image.open(path) as opened:
        return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)
