"""Published sets that are pictures in folders: ImageNet-C and its kin, ImageNet-V2, ImageNet-R, ObjectNet, VOC-C."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sinewy.errors import CorruptFileError, InputError
from sinewy.sets.published_arrays import refuse_confusion
from sinewy.sets.sources import SUFFIXES, open_picture, prepared
from sinewy.shifts import SEVERITIES

Found = tuple[Callable[[int, int], Tensor], NDArray[np.int64], tuple[str, ...], str]


class Folders(NamedTuple):
    """How a set lies on the disk: KIND/SEVERITY/CLASS or CLASS alone; pixels to cut off each edge."""

    by_kind: bool
    labelled: bool = True
    border: int = 0


FOLDERS: dict[str, Folders] = {
    "imagenet-c": Folders(True),
    "imagenet-c-bar": Folders(True),
    "imagenet-3dcc": Folders(True),
    "tiny-imagenet-c": Folders(True),
    "imagenet-v2": Folders(False),
    "imagenet-r": Folders(False),
    "objectnet": Folders(False, border=1),
    "voc-c": Folders(True, labelled=False),
    "generated": Folders(True),
}
"""Sets of pictures by name; ObjectNet's have a red border of one pixel."""


def folder_kinds(name: str, root: Path) -> dict[str, Path]:
    """Return the folder of each kind: KIND, or GROUP/KIND as ImageNet-C's archives unpack; one for sets without."""
    refuse_confusion(name, root)
    if not FOLDERS[name].by_kind:
        return {name: root}
    candidates = [path for pattern in ("*", "*/*") for path in sorted(root.glob(pattern)) if _severities(path)]
    if not candidates:
        raise InputError(f"{root} holds no folders KIND/1 to KIND/5 of {name}; unpack its archives there.")
    twice = {path.name for path in candidates if sum(path.name == other.name for other in candidates) > 1}
    if twice:
        raise InputError(f"{root} holds {min(twice)} twice; keep one folder of each kind.")
    return {path.name: path for path in candidates}


def _severities(folder: Path) -> list[int]:
    return [severity for severity in SEVERITIES if (folder / str(severity)).is_dir()]


def folder_part(name: str, place: Path, severity: int, *, resize: int | None, crop: int | None) -> Found:
    """Return a reader of pictures, labels, classes and what was checked, of one severity of the kind in `place`."""
    about = FOLDERS[name]
    folder = place / str(severity) if about.by_kind else place
    if not folder.is_dir():
        raise InputError(f"{folder} is not there; unpack severity {severity} of {name}, or ask for another.")
    classes = tuple(sorted((path.name for path in folder.iterdir() if path.is_dir()), key=_by_number))
    files = _files(folder, classes) if about.labelled else [(path, 0) for path in _pictures(folder)]
    if not files:
        raise InputError(f"{folder} holds no pictures{' in class folders' if about.labelled else ''}.")

    def read(start: int, stop: int) -> Tensor:
        if start >= stop:
            return torch.empty(0, 3, 0, 0, dtype=torch.uint8)
        pictures = [_opened(path, about.border, resize, crop) for path, _ in files[start:stop]]
        odd = next((i for i, picture in enumerate(pictures) if picture.shape != pictures[0].shape), None)
        if odd is not None:
            raise InputError(
                f"{files[start + odd][0]} has another size than {files[start][0]}; name resize= and crop= (256, 224)."
            )
        return torch.stack(pictures)

    labels = np.array([label for _, label in files], np.int64)
    return read, labels, classes or ("none",), "structure"


def _by_number(name: str) -> tuple[int, str]:
    """Sort class folders that are numbers, as ImageNet-V2's, by number, others by name."""
    return (int(name), "") if name.isdigit() else (-1, name)


def _files(folder: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = [(path, number) for number, name in enumerate(classes) for path in _pictures(folder / name)]
    filled = {number for _, number in found}
    empty = [name for number, name in enumerate(classes) if number not in filled]
    if found and empty:
        raise CorruptFileError(f"{folder / empty[0]} holds no pictures; the set is not whole, unpack it again.")
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _opened(path: Path, border: int, resize: int | None, crop: int | None) -> Tensor:
    if not border:
        return open_picture(path, resize, crop)
    inner = open_picture(path)[:, border:-border, border:-border].permute(1, 2, 0).contiguous()
    return prepared(Image.fromarray(inner.numpy()), resize, crop, path)
