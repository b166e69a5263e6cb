"""The class of every pixel of published pictures, from the masks of Pascal VOC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sinewy.errors import CorruptFileError, InputError
from sinewy.sets.sources import fitted

MASKS = "SegmentationClass"


def masks_folder(root: Path) -> Path:
    """Return the folder of masks in `root`, in VOC's own place below it, or beside it; raises InputError for none."""
    inner = ("", "VOCdevkit/VOC2012", "VOC2012", "..")
    found = next((root / part / MASKS for part in inner if (root / part / MASKS).is_dir()), None)
    if found is None:
        raise InputError(
            f"{root} holds no folder {MASKS}: VOC-C has pictures only, so put the masks of Pascal VOC 2012 there."
        )
    return found


def open_masks(folder: Path, pictures: Sequence[Path], resize: int | None, crop: int | None) -> Tensor:
    """Return the classes of the pixels of `pictures`, uint8 (N, H, W), 255 where none is given.

    Masks are NAME.png, their palette's numbers the classes; `resize` and `crop` move them as they move the pictures,
    without mixing classes. Raises InputError for a picture without mask and masks that differ in size, CorruptFileError
    for a mask that cannot be opened.
    """
    opened = [_mask(folder / f"{picture.stem}.png", picture, resize, crop) for picture in pictures]
    if any(mask.shape != opened[0].shape for mask in opened):
        raise InputError(f"the masks of {pictures[0]} and those after it differ in size; name resize= and crop=.")
    return torch.stack(opened)


def _mask(path: Path, picture: Path, resize: int | None, crop: int | None) -> Tensor:
    try:
        with Image.open(path) as found:
            found.load()
    except FileNotFoundError:
        raise InputError(f"{picture} has no mask {path}; unpack the masks of Pascal VOC 2012.") from None
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise CorruptFileError(f"{path} cannot be opened as a mask ({error}); fetch it again.") from error
    if found.mode not in ("P", "L"):
        raise CorruptFileError(f"{path} is {found.mode}, not a palette of classes; use VOC's own {MASKS} files.")
    return torch.from_numpy(np.array(fitted(found, resize, crop, path, Image.Resampling.NEAREST)))
