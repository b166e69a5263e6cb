"""CIFAR-100 in its binary form: 60 000 colour images of 32 x 32 in 100 classes (Krizhevsky 2009)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinewy.data.archives import obtain, unpack_files
from sinewy.data.checked import damaged
from sinewy.data.download import Progress
from sinewy.data.images import Splits
from sinewy.data.splits import make_splits
from sinewy.errors import InputError

_NAMES = (
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
    "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
    "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
    "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
    "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
    "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
    "trout tulip turtle wardrobe whale willow_tree wolf woman worm"
)
CLASSES = tuple(_NAMES.split())
FOLDER = "cifar-100-binary"
ARCHIVE = "cifar-100-binary.tar.gz"
ARCHIVE_MD5 = "03b5dce01913d631647c71ecec9e9cb8"
URLS = [f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"]
RECORD = 2 + 3 * 32 * 32
"""Bytes of one image: coarse label, fine label, then the pixels in C, H, W order."""

PER_CLASS = {"train.bin": 500, "test.bin": 100}
FILES = {"cifar100": tuple(f"{FOLDER}/{name}" for name in PER_CLASS)}
INSTEAD = {"cifar100": (ARCHIVE,)}
BYTES = {"cifar100": 168_513_733}


def load(
    *, root: Path, validation: float = 0.1, seed: int = 0, download: bool = True, on_progress: Progress | None = None
) -> Splits:
    """Return CIFAR-100, fine labels, from root/cifar-100-binary, fetched if absent and `download`: 50 000 and 10 000.

    The checksum is that of the archive, tested when it is unpacked; of the files, for which none is published, the
    size and the number of images per class are.
    """
    train, test = (_part(root, name, download, on_progress) for name in PER_CLASS)
    return make_splits("cifar100", CLASSES, train, test, validation=validation, seed=seed)


def read_test(*, root: Path, download: bool = True, on_progress: Progress | None = None) -> NDArray[np.uint8]:
    """Return the test images alone (10000,3,32,32)."""
    return _part(root, "test.bin", download, on_progress)[0]


def _part(
    root: Path, name: str, download: bool, on_progress: Progress | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    path = root / FOLDER / name
    if not path.is_file():
        obtain(URLS, root / ARCHIVE, ARCHIVE_MD5, relative=ARCHIVE, download=download, on_progress=on_progress)
        unpack_files(root / ARCHIVE, ARCHIVE_MD5, {f"{FOLDER}/{name}": root / FOLDER / name for name in PER_CLASS})
    return _decode(path, PER_CLASS[name])


def _decode(path: Path, per_class: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (N,3,32,32) and fine labels (N,) of one file."""
    try:
        records = np.fromfile(path, np.uint8)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    wanted = len(CLASSES) * per_class
    if len(records) != wanted * RECORD:
        raise damaged(path, f"{len(records):,} bytes, expected {wanted * RECORD:,}")
    records = records.reshape(-1, RECORD)
    labels = records[:, 1].astype(np.int64)
    counts = np.bincount(labels, minlength=len(CLASSES))
    if not np.array_equal(counts, np.full(len(CLASSES), per_class)):
        raise damaged(path, f"not {per_class} images of each of the {len(CLASSES)} classes")
    return np.ascontiguousarray(records[:, 2:]).reshape(-1, 3, 32, 32), labels
