"""Published sets that are pictures in folders: ImageNet-C and its kin, ImageNet-V2, ImageNet-R, ObjectNet, VOC-C;
and UCF101-C, which is clips."""

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
from sinewy.sets.clips import CLIPS, open_clip
from sinewy.sets.published_arrays import refuse_confusion
from sinewy.sets.sources import SUFFIXES, open_picture, prepared
from sinewy.shifts import SEVERITIES

Found = tuple[Callable[[int, int], Tensor], NDArray[np.int64], tuple[str, ...], str, tuple[Path, ...]]


class Folders(NamedTuple):
    """How a set lies on the disk: KIND/SEVERITY/CLASS or CLASS alone, and how many classes and pictures a part has.

    `border` is the number of pixels to cut off each edge; 0 classes or pictures: no number is published.
    """

    by_kind: bool
    classes: int = 0
    pictures: int = 0
    labelled: bool = True
    border: int = 0


FOLDERS: dict[str, Folders] = {
    "imagenet-c": Folders(True, 1000, 50_000),
    "imagenet-c-bar": Folders(True, 1000, 50_000),
    "imagenet-3dcc": Folders(True, 1000, 50_000),
    "tiny-imagenet-c": Folders(True, 200, 10_000),
    "imagenet-v2": Folders(False, 1000, 10_000),
    "imagenet-r": Folders(False, 200, 30_000),
    "objectnet": Folders(False, 313, 50_273, border=1),
    "voc-c": Folders(True, labelled=False),
    "ucf101-c": Folders(True, 101),
    "generated": Folders(True),
}
"""Sets of pictures, and of clips, by name; ObjectNet's pictures have a red border of one pixel."""


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


def folder_part(
    name: str,
    place: Path,
    severity: int,
    *,
    resize: int | None,
    crop: int | None,
    classes: tuple[str, ...] | None = None,
    whole: bool = True,
    frames: int = 16,
) -> Found:
    """Return a reader of pictures, labels, classes and what was checked, of one severity of the kind in `place`."""
    about = FOLDERS[name]
    folder = place / str(severity) if about.by_kind else _unpacked(name, place)
    if not folder.is_dir():
        raise InputError(f"{folder} is not there; unpack severity {severity} of {name}, or ask for another.")
    there = tuple(sorted((path.name for path in folder.iterdir() if path.is_dir()), key=_by_number))
    suffixes = CLIPS if name == "ucf101-c" else SUFFIXES
    files = _files(folder, there, suffixes) if about.labelled else [(path, 0) for path in _pictures(folder, suffixes)]
    if not files:
        raise InputError(f"{folder} holds no pictures{' in class folders' if about.labelled else ''}.")
    checked = _counted(name, folder, len(there), len(files), whole=whole)
    if about.labelled and classes is not None:
        files = _renumbered(name, folder, files, there, classes)

    def read(start: int, stop: int) -> Tensor:
        if start >= stop:
            return torch.empty(0, 3, 0, 0, dtype=torch.uint8)
        if name == "ucf101-c":
            opened = [open_clip(path, frames, resize, crop) for path, _ in files[start:stop]]
        else:
            opened = [_opened(path, about.border, resize, crop) for path, _ in files[start:stop]]
        odd = next((i for i, picture in enumerate(opened) if picture.shape != opened[0].shape), None)
        if odd is not None:
            raise InputError(
                f"{files[start + odd][0]} has another size than {files[start][0]}; name resize= and crop= (256, 224)."
            )
        return torch.stack(opened)

    labels = np.array([label for _, label in files], np.int64)
    return read, labels, classes or there or ("none",), checked, tuple(path for path, _ in files)


def _unpacked(name: str, place: Path) -> Path:
    """Return where the class folders are: `place`, or the folder in it that the archive unpacks to."""
    inner = [place / part for part in ("images", name, f"{name}/images", "objectnet-1.0/images")]
    return next((path for path in inner if path.is_dir() and any(path.iterdir())), place)


def _counted(name: str, folder: Path, classes: int, pictures: int, *, whole: bool) -> str:
    """Return what was checked; raises CorruptFileError for other numbers than published, unless a part will do."""
    about = FOLDERS[name]
    if about.classes in (0, classes) and about.pictures in (0, pictures):
        return "structure"
    if not whole:
        return f"structure, a part of the set: {pictures:,} files in {classes} classes"
    published = f"{about.pictures:,} in {about.classes}" if about.pictures else f"{about.classes}"
    raise CorruptFileError(
        f"{folder} holds {pictures:,} files in {classes} classes, the published {name} {published}; unpack it again, "
        "or, if a part of it is meant, open it in Python with whole=False."
    )


def _renumbered(
    name: str, folder: Path, files: list[tuple[Path, int]], there: tuple[str, ...], classes: tuple[str, ...]
) -> list[tuple[Path, int]]:
    """Return `files` with the numbers that their class folders have in `classes`."""
    number = {each: place for place, each in enumerate(classes)}
    strange = [each for each in there if each not in number]
    if strange:
        raise InputError(
            f"{folder} has {len(strange)} classes that are not among classes= ({strange[0]}, ...); {name} names its "
            "folders after them, so pass those names in the order of the model's outputs."
        )
    return [(path, number[there[label]]) for path, label in files]


def _by_number(name: str) -> tuple[int, str]:
    """Sort class folders that are numbers, as ImageNet-V2's, by number, others by name."""
    return (int(name), "") if name.isdigit() else (-1, name)


def _files(folder: Path, classes: tuple[str, ...], suffixes: tuple[str, ...]) -> list[tuple[Path, int]]:
    found = [(path, number) for number, name in enumerate(classes) for path in _pictures(folder / name, suffixes)]
    filled = {number for _, number in found}
    empty = [name for number, name in enumerate(classes) if number not in filled]
    if found and empty:
        raise CorruptFileError(f"{folder / empty[0]} holds no pictures; the set is not whole, unpack it again.")
    return found


def _pictures(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)


def _opened(path: Path, border: int, resize: int | None, crop: int | None) -> Tensor:
    if not border:
        return open_picture(path, resize, crop)
    inner = open_picture(path)[:, border:-border, border:-border].permute(1, 2, 0).contiguous()
    return prepared(Image.fromarray(inner.numpy()), resize, crop, path)
