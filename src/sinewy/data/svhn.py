"""SVHN, cropped house numbers: 73 257 and 26 032 colour images of 32 x 32 in 10 classes (Netzer et al. 2011)."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinewy.data.checked import absent, damaged, read_checked
from sinewy.data.download import Progress, fetch
from sinewy.data.images import Splits
from sinewy.data.splits import make_splits

CLASSES = tuple(str(digit) for digit in range(10))
PARTS = {"train": "train_32x32.mat", "test": "test_32x32.mat"}
ADDRESS = "http://ufldl.stanford.edu/housenumbers"
MD5 = {
    "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
}
FILES = {"svhn": tuple(PARTS.values())}
BYTES = {"svhn": 182_040_794 + 64_275_384}


def load(
    *, root: Path, validation: float = 0.1, seed: int = 0, download: bool = True, on_progress: Progress | None = None
) -> Splits:
    """Return SVHN's training and test images from root/*_32x32.mat, fetched if absent and `download`.

    Class i is the digit i: the files' label 10 becomes 0. The 531 131 "extra" images are no part of it.
    """
    train, test = (_part(root, part, download, on_progress) for part in ("train", "test"))
    return make_splits("svhn", CLASSES, train, test, validation=validation, seed=seed)


def read_test(*, root: Path, download: bool = True, on_progress: Progress | None = None) -> NDArray[np.uint8]:
    """Return the test images alone (26032,3,32,32); the training file is not needed."""
    return _part(root, "test", download, on_progress)[0]


def _part(
    root: Path, part: str, download: bool, on_progress: Progress | None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    name = PARTS[part]
    if not (root / name).is_file():
        if not download:
            raise absent(root / name, f"{ADDRESS}/{name}")
        fetch(f"{ADDRESS}/{name}", root / name, MD5[name], on_progress=on_progress)
    return _decode(root / name, read_checked(root / name, MD5[name]))


def _decode(path: Path, content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images (N,3,32,32) and labels (N,) of a MATLAB file with X (32,32,3,N) and y (N,1) in 1..10."""
    from scipy.io import loadmat

    try:
        arrays = loadmat(io.BytesIO(content), variable_names=["X", "y"])
        images, labels = arrays["X"], arrays["y"].reshape(-1).astype(np.int64)
    except Exception as error:  # scipy's reader raises whatever its parser stumbles over
        raise damaged(path, f"no MATLAB file with X and y, {type(error).__name__}: {error}") from error
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
        raise damaged(path, f"X is {images.dtype} {images.shape}, y has {len(labels)} values")
    if not len(labels) or labels.min() < 1 or labels.max() > 10:
        raise damaged(path, "its labels are not 1 to 10")
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels % 10
