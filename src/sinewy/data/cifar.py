"""CIFAR-10 in its binary form: 60 000 colour images of 32 x 32 in 10 classes (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinewy.data.archives import obtain, unpack_files
from sinewy.data.checked import read_checked
from sinewy.data.download import Progress
from sinewy.data.images import Splits
from sinewy.data.splits import make_splits
from sinewy.errors import CorruptFileError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER = "cifar-10-batches-bin"
ARCHIVE = "cifar-10-binary.tar.gz"
ARCHIVE_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
URLS = [f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"]
RECORD = 1 + 3 * 32 * 32
"""Bytes of one image: the label, then the pixels in C, H, W order."""

TRAIN_MD5 = {
    "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
    "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
    "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
    "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
    "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
}
TEST_MD5 = {"test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d"}
FILES = {"cifar10": tuple(f"{FOLDER}/{name}" for name in (*TRAIN_MD5, *TEST_MD5))}
INSTEAD = {"cifar10": (ARCHIVE,)}
BYTES = {"cifar10": 170_052_171}


def load(
    *, root: Path, validation: float = 0.1, seed: int = 0, download: bool = True, on_progress: Progress | None = None
) -> Splits:
    """Return CIFAR-10 from root/cifar-10-batches-bin, fetched if absent and `download`: 50 000 and 10 000 images."""
    if not all((root / file).is_file() for file in FILES["cifar10"]):
        obtain(URLS, root / ARCHIVE, ARCHIVE_MD5, relative=ARCHIVE, download=download, on_progress=on_progress)
        unpack_files(root / ARCHIVE, ARCHIVE_MD5, {file: root / file for file in FILES["cifar10"]})
    train, test = ([_read(root / FOLDER / name, md5) for name, md5 in part.items()] for part in (TRAIN_MD5, TEST_MD5))
    return make_splits("cifar10", CLASSES, _join(train), _join(test), validation=validation, seed=seed)


def _read(path: Path, md5: str) -> NDArray[np.uint8]:
    """Return the records (n, 3073) of one batch."""
    content = read_checked(path, md5)
    if not content or len(content) % RECORD:
        raise CorruptFileError(
            f"{path} has {len(content)} bytes, not a multiple of {RECORD}; delete it and run the same command again."
        )
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD)


def _join(batches: list[NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the images (N,3,32,32) and labels (N,) of some batches."""
    images = np.concatenate([batch[:, 1:] for batch in batches])
    return images.reshape(-1, 3, 32, 32), np.concatenate([batch[:, 0] for batch in batches]).astype(np.int64)
