"""Data sets whose test images serve as anomalies, fetched where they are absent; and folders of images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinewy.data import OUTLIER_SETS, ImageSet, cifar100, svhn
from sinewy.data.splits import data_root
from sinewy.errors import CorruptFileError, InputError
from sinewy.families import resolve

Pixels = NDArray[np.uint8]
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}

TEST_IMAGES: dict[str, Callable[..., Pixels]] = {"svhn": svhn.read_test, "cifar100": cifar100.read_test}
"""Data sets whose test images can be had without their training images."""

SETS = (*TEST_IMAGES, *OUTLIER_SETS)
"""The usual far and near anomalies of CIFAR and MNIST networks."""


def pixels_of_set(name: str, root: str | None) -> Callable[[ImageSet], Pixels]:
    """Return what reads, and if need be fetches, as many images of a set of SETS as another set has."""
    return partial(_read_test if name in TEST_IMAGES else _read_pictures, name, root)


def _read_test(name: str, root: str | None, like: ImageSet) -> Pixels:
    images = TEST_IMAGES[name](root=data_root(root))
    return np.ascontiguousarray(images[evenly(len(images), len(like))])


def _read_pictures(name: str, root: str | None, like: ImageSet) -> Pixels:
    return read_folder(resolve("set of anomalies", name, OUTLIER_SETS)(root=data_root(root)), like)


def read_folder(folder: Path, like: ImageSet) -> Pixels:
    """Return as many images of a folder and its subfolders as `like` has, or all, brought to its size.

    They are taken evenly over the sorted paths, hidden files left out. Raises InputError if there are none,
    CorruptFileError for one that cannot be read.
    """
    from PIL import Image

    files = image_files(folder)
    if not files:
        raise InputError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}).")
    height, width = like.images.shape[2:]
    rows = []
    for number in evenly(len(files), len(like)):
        try:
            with Image.open(files[number]) as image:
                rows.append(np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise CorruptFileError(f"{files[number]} is no whole image ({error}); delete it.") from error
    return np.ascontiguousarray(np.stack(rows).transpose(0, 3, 1, 2))


def image_files(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, hidden ones left out, sorted."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))


def evenly(have: int, wanted: int) -> list[int]:
    """Return min(have, wanted) numbers of [0, have), evenly spread, ascending."""
    return [int(i) for i in np.linspace(0, have - 1, min(have, wanted)).round()]
