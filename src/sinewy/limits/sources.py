"""Data sets as they are named on a command line: a built-in name, a folder of images, or arrays in a file."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sinewy.data import DATASETS, Splits, load
from sinewy.data.images import as_image_set
from sinewy.data.splits import stratified
from sinewy.errors import CorruptFileError, InputError, unknown_name
from sinewy.seeds import derive

TEST_SHARE = 0.2
"""The part of a folder without test/, or of arrays without test_images, that is set aside for measuring."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


def read_source(
    name: str,
    *,
    root: str | None = None,
    size: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    seed: int = 0,
    validation: float = 0.1,
) -> Splits:
    """Return the training and test images that `name` stands for.

    `name` is a data set of Sinewy or "package.module:function"; "imagefolder:DIR" with train/CLASS/ and test/CLASS/, or
    with CLASS/ alone, of which a fifth is set aside by class and `seed`; or "npz:FILE" of uint8 `images` and `labels`,
    with `test_images` and `test_labels` or divided likewise. Images of a folder are scaled so that the shorter side is
    `size` and cut to a square in the middle; without `size` all must have one size. `mean` and `std` normalise pixels
    in [0,1]: those the model was trained with (0 and 1 unless given; built-in data has its own). Raises InputError for
    what is not there or does not fit.
    """
    kind, _, rest = name.partition(":")
    if kind not in ("imagefolder", "npz"):
        if size is not None or mean is not None or std is not None:
            raise InputError(f"size, mean and std are for imagefolder: and npz: data; '{name}' has its own.")
        if ":" not in name and name not in DATASETS:
            raise unknown_name("data set", name, DATASETS, "Or give imagefolder:DIR or npz:FILE.")
        return load(name, root=root, validation=validation, seed=seed)
    path = Path(rest).expanduser()
    train, test, classes = _folder(path, size, seed) if kind == "imagefolder" else _arrays(path, size, seed)
    parts = [
        as_image_set(pair, name=path.name, split=split, classes=classes, mean=mean, std=std)
        for pair, split in ((train, "train"), (test, "test"))
    ]
    return Splits(parts[0], None, parts[1])


def _folder(path: Path, size: int | None, seed: int) -> tuple[tuple[Pixels, Labels], tuple[Pixels, Labels], list[str]]:
    if not path.is_dir():
        raise InputError(f"there is no folder {path}; imagefolder: needs DIR/train/CLASS/*.png, or DIR/CLASS/*.png.")
    if (path / "train").is_dir() and (path / "test").is_dir():
        classes = _classes(path / "train")
        extra = [entry for entry in _classes(path / "test") if entry not in classes]
        if extra:
            raise InputError(f"{path / 'test'} has a class '{extra[0]}' that {path / 'train'} does not have.")
        return _images(path / "train", classes, size), _images(path / "test", classes, size), classes
    classes = _classes(path)
    return *_divided(*_images(path, classes, size), path, seed), classes


def _classes(path: Path) -> list[str]:
    found = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not found:
        raise InputError(f"{path} has no class folders; put the images of each class in a folder of its own.")
    return found


def _images(path: Path, classes: list[str], size: int | None) -> tuple[Pixels, Labels]:
    files = [
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((path / name).rglob("*"))
        if file.suffix.lower() in SUFFIXES
    ]
    if not files:
        raise InputError(f"{path} holds no images ({', '.join(SUFFIXES[:4])}, ...).")
    images = [_image(file, size) for file, _ in files]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise InputError(
            f"{files[odd][0]} has {images[odd].shape[1]}x{images[odd].shape[0]} pixels, {files[0][0]} "
            f"{images[0].shape[1]}x{images[0].shape[0]}; bring all to one size: --size 224."
        )
    return np.stack(images), np.array([label for _, label in files], np.int64)


def _image(file: Path, size: int | None) -> Pixels:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise CorruptFileError(f"{file} cannot be read as an image ({error}); mend it or take it out.") from None
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _arrays(path: Path, size: int | None, seed: int) -> tuple[tuple[Pixels, Labels], tuple[Pixels, Labels], None]:
    if size is not None:
        raise InputError("size is for imagefolder: data; arrays are taken as they are.")
    if not path.is_file():
        raise InputError(f"there is no file {path}; npz: needs arrays images and labels, and may hold test_images too.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise CorruptFileError(f"{path} is not a whole .npz file of plain arrays ({error}).") from None
    missing = [name for name in ("images", "labels") if name not in arrays]
    if missing or ("test_images" in arrays) != ("test_labels" in arrays):
        raise InputError(
            f"{path} holds {', '.join(arrays) or 'nothing'}; it needs images and labels, and test_images with "
            "test_labels or neither."
        )
    if "test_images" in arrays:
        return (arrays["images"], arrays["labels"]), (arrays["test_images"], arrays["test_labels"]), None
    return *_divided(arrays["images"], arrays["labels"], path, seed), None


def _divided(
    images: Pixels, labels: Labels, path: Path, seed: int
) -> tuple[tuple[Pixels, Labels], tuple[Pixels, Labels]]:
    """Set a fifth of every class aside as the test set, by `seed` and nothing else."""
    whole = as_image_set((images, labels), name=path.name)  # checks, before anything is counted
    held = stratified(whole.labels, TEST_SHARE, derive("limit", "test", seed))
    if not held.any() or held.all():
        raise InputError(f"{path} holds {len(held)} images, too few to set a fifth aside for measuring.")
    return (whole.images[~held], whole.labels[~held]), (whole.images[held], whole.labels[held])
