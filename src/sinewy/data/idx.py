"""MNIST and Fashion-MNIST in their official idx files: 70 000 grey images of 28 x 28 in 10 classes each."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinewy.data.checked import absent, damaged, read_checked
from sinewy.data.download import Progress, fetch
from sinewy.data.images import Splits
from sinewy.data.splits import make_splits

SIZE = 32
PARTS = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FOLDERS = {"mnist": "MNIST/raw", "fashion-mnist": "FashionMNIST/raw"}
FILES = {
    name: tuple(f"{folder}/{file}" for part in PARTS.values() for file in part) for name, folder in FOLDERS.items()
}
BYTES = {"mnist": 11_594_722, "fashion-mnist": 30_878_645}
CLASSES = {
    "mnist": tuple(str(digit) for digit in range(10)),
    "fashion-mnist": (
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
}
MIRRORS = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    "fashion-mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
    ),
}
MD5 = {
    "mnist": {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}


def mnist(
    *, root: Path, validation: float = 0.1, seed: int = 0, download: bool = True, on_progress: Progress | None = None
) -> Splits:
    """Return MNIST (LeCun and Cortes, CC BY-SA 3.0) from root/MNIST/raw, fetched if absent and `download`."""
    return _load("mnist", root, validation, seed, download, on_progress)


def fashion_mnist(
    *, root: Path, validation: float = 0.1, seed: int = 0, download: bool = True, on_progress: Progress | None = None
) -> Splits:
    """Return Fashion-MNIST (Xiao et al. 2017, MIT) from root/FashionMNIST/raw, fetched if absent and `download`."""
    return _load("fashion-mnist", root, validation, seed, download, on_progress)


def _load(name: str, root: Path, validation: float, seed: int, download: bool, on_progress: Progress | None) -> Splits:
    for file in FILES[name]:
        base = Path(file).name
        addresses = [f"{mirror}/{base}" for mirror in MIRRORS[name]]
        if (root / file).is_file():
            continue
        if not download:
            raise absent(root / file, addresses[0])
        fetch(addresses, root / file, MD5[name][base], relative=file, on_progress=on_progress)
    train, test = (_part(name, root / FOLDERS[name], *PARTS[part]) for part in ("train", "test"))
    return make_splits(name, CLASSES[name], train, test, validation=validation, seed=seed)


def _part(name: str, folder: Path, images: str, labels: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    grey, numbers = (_decode(folder / file, read_checked(folder / file, MD5[name][file])) for file in (images, labels))
    return widen(grey), numbers.astype(np.int64)


def widen(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return grey images (N,28,28) as (N,3,32,32): two black pixels on every side, three equal channels."""
    margin = (SIZE - grey.shape[-1]) // 2
    wide = np.zeros((len(grey), 3, SIZE, SIZE), np.uint8)
    wide[:, :, margin:-margin, margin:-margin] = grey[:, None]
    return wide


def _decode(path: Path, content: bytes) -> NDArray[np.uint8]:
    """Return the array in a gzipped idx file: 0, 0, 8 (bytes), the number of axes, big-endian sizes, the values."""
    try:
        raw = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise damaged(path, f"not a whole gzip file, {error}") from None
    axes = raw[3] if len(raw) > 3 else 0
    if raw[:3] != b"\x00\x00\x08" or axes not in (1, 3) or len(raw) < 4 + 4 * axes:
        raise damaged(path, f"its header {raw[:4].hex(' ')} is not that of an idx file of bytes")
    shape = tuple(np.frombuffer(raw, ">u4", count=axes, offset=4).tolist())
    if len(raw) - 4 - 4 * axes != math.prod(shape):
        raise damaged(path, f"its header says {shape}, but {len(raw) - 4 - 4 * axes} values follow")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)
