"""How a data set, by name, becomes training, validation and test images, the same ones on every machine."""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinewy.data import DATASETS, OUTLIER_SETS
from sinewy.data.download import Progress
from sinewy.data.images import ImageSet, Splits
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.seeds import derive

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def load(
    name: str,
    *,
    root: str | Path | None = None,
    validation: float = 0.1,
    seed: int = 0,
    download: bool = True,
    on_progress: Progress | None = None,
) -> Splits:
    """Return the parts of the data set `name`, or of what your own "package.module:function" returns.

    Files live in `root` (by default $SINEWY_DATA, else ~/.cache/sinewy) and are fetched if absent and `download`.
    `validation` is the share of the training images set aside, in [0, 1), classes in proportion; 0 sets none aside.
    `seed` chooses which, and has nothing to do with the seed of training. `on_progress` is told of downloads (see
    `sinewy.data.download`); without it stderr is. A function of yours is given those of the five options that it names.
    Raises InputError for an unknown name, and where files are absent, damaged or cannot be fetched.
    """
    if not 0 <= validation < 1:
        raise InputError(f"validation={validation} must be a share in [0, 1), such as 0.1.")
    if name in OUTLIER_SETS:
        raise InputError(
            f"'{name}' serves as anomalies only (sinewy audit ... --probes ood --outliers {name}); load one of "
            f"{', '.join(DATASETS)}."
        )
    loader = resolve("data set", name, DATASETS)
    options: dict[str, Any] = {
        "root": data_root(root),
        "validation": validation,
        "seed": seed,
        "download": download,
        "on_progress": on_progress,
    }
    wanted = inspect.signature(loader).parameters
    splits = loader(**{key: value for key, value in options.items() if key in wanted})
    if not isinstance(splits, Splits):
        raise InputError(
            f"data set '{name}' returned {type(splits).__name__}; return sinewy.data.Splits(train, validation, test)."
        )
    return splits


def data_root(root: str | Path | None) -> Path:
    """Return `root` as a path; None is $SINEWY_DATA, else ~/.cache/sinewy."""
    return Path(root or os.environ.get("SINEWY_DATA") or Path("~/.cache/sinewy")).expanduser()


def make_splits(
    name: str,
    classes: Sequence[str],
    train: tuple[Pixels, Labels],
    test: tuple[Pixels, Labels],
    *,
    validation: float,
    seed: int,
) -> Splits:
    """Return `train` divided in training and validation part, and `test`, all with the training part's mean and std."""
    held = stratified(train[1], validation, derive("split", name, seed))
    pixels, labels = train[0][~held], train[1][~held]
    mean, std = channel_statistics(pixels)

    def part(images: Pixels, numbers: Labels, split: str) -> ImageSet:
        return ImageSet(images, numbers, name, split, tuple(classes), mean, std)

    rest = part(train[0][held], train[1][held], "validation") if held.any() else None
    return Splits(part(pixels, labels, "train"), rest, part(*test, "test"))


def stratified(labels: Labels, share: float, seed: int) -> NDArray[np.bool_]:
    """Return which of the labels (N,) are set aside: round(share * N), each class in proportion up to one image."""
    counts = np.bincount(labels)
    quota = _proportional(counts, round(share * len(labels)))
    # Raw words of a counter-based generator, unlike numpy's distributions, never change between numpy versions.
    order = np.lexsort((np.random.Philox(key=seed).random_raw(len(labels)), labels))
    rank = np.empty(len(labels), np.int64)
    rank[order] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank < quota[labels]


def _proportional(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return `total` shared out in proportion to `counts`: floors, then one more by largest remainder, first first."""
    floors, remainders = np.divmod(counts * total, counts.sum())
    floors[np.argsort(-remainders, kind="stable")[: total - floors.sum()]] += 1
    return floors


def channel_statistics(images: Pixels, block: int = 1024) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel of uint8 (N,3,H,W), in [0,1] pixels, from exact integer sums."""
    total, squares = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for start in range(0, len(images), block):
        part = images[start : start + block].astype(np.uint32)
        total += part.sum(axis=(0, 2, 3), dtype=np.int64)
        squares += np.square(part, out=part).sum(axis=(0, 2, 3), dtype=np.int64)
    count = images.size // 3
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return tuple((mean / 255).tolist()), tuple(np.maximum(std / 255, 1 / 255).tolist())
