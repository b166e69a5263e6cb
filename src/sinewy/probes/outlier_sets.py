"""Image sets that serve as anomalies only, read from where their official files lie; and folders of images."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinewy.data import ImageSet
from sinewy.data.checked import read_checked
from sinewy.data.splits import data_root
from sinewy.errors import CorruptFileError, InputError

Pixels = NDArray[np.uint8]
SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}

SVHN_MD5 = "eb5a983be6a315427106f1b164d9cef3"
CIFAR100_RECORD = 2 + 3 * 32 * 32
"""Bytes of one image: coarse label, fine label, then the pixels in C, H, W order."""


class OutlierSet(NamedTuple):
    """Where a set lies under the root, where it is published, and what reads as many images as another set has."""

    place: str
    address: str
    read: Callable[[Path, ImageSet], Pixels]


def pixels_of_set(name: str, root: str | None) -> Callable[[ImageSet], Pixels]:
    """Return what reads a set of SETS; raises InputError, with the address to get it from, if it is not there."""
    place, address, read = SETS[name]
    path = data_root(root) / place
    if not path.exists():
        raise InputError(f"'{name}' is not at {path}; get it from {address} and put it there, or give another root.")
    return partial(read, path)


def read_folder(folder: Path, like: ImageSet) -> Pixels:
    """Return as many images of a folder and its subfolders as `like` has, or all, brought to its size.

    They are taken evenly over the sorted paths. Raises InputError if there are none.
    """
    from PIL import Image

    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{folder} holds no image ({', '.join(sorted(SUFFIXES))}).")
    height, width = like.images.shape[2:]
    rows = []
    for number in evenly(len(files), len(like)):
        try:
            with Image.open(files[number]) as image:
                rows.append(np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)))
        except OSError as error:
            raise CorruptFileError(f"{files[number]} is no whole image ({error}); delete it.") from error
    return np.ascontiguousarray(np.stack(rows).transpose(0, 3, 1, 2))


def evenly(have: int, wanted: int) -> list[int]:
    """Return min(have, wanted) numbers of [0, have), evenly spread, ascending."""
    return [int(i) for i in np.linspace(0, have - 1, min(have, wanted)).round()]


def _read_svhn(path: Path, like: ImageSet) -> Pixels:
    from scipy.io import loadmat

    images = loadmat(io.BytesIO(read_checked(path, SVHN_MD5)), variable_names=["X"])["X"]
    chosen = images[..., evenly(images.shape[-1], len(like))]
    return np.ascontiguousarray(chosen.transpose(3, 2, 0, 1))


def _read_cifar100(path: Path, like: ImageSet) -> Pixels:
    content = path.read_bytes()
    if not content or len(content) % CIFAR100_RECORD:
        raise CorruptFileError(f"{path} has {len(content)} bytes, no multiple of {CIFAR100_RECORD}; unpack it anew.")
    images = np.frombuffer(content, np.uint8).reshape(-1, CIFAR100_RECORD)[:, 2:].reshape(-1, 3, 32, 32)
    return np.ascontiguousarray(images[evenly(len(images), len(like))])


SETS: dict[str, OutlierSet] = {
    "svhn": OutlierSet("test_32x32.mat", "http://ufldl.stanford.edu/housenumbers/test_32x32.mat", _read_svhn),
    "cifar100": OutlierSet(
        "cifar-100-binary/test.bin", "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", _read_cifar100
    ),
    "textures": OutlierSet(
        "dtd/images", "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz", read_folder
    ),
    "omniglot": OutlierSet(
        "omniglot-py/images_evaluation",
        "https://github.com/brendenlake/omniglot/raw/master/python/images_evaluation.zip",
        read_folder,
    ),
}
"""The usual far and near anomalies of CIFAR and MNIST networks; places are where archives unpack to under the root."""
