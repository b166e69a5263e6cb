"""Where the clean images of a set to be generated come from: an array, or a folder of pictures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sinewy.errors import CorruptFileError, InputError
from sinewy.sets.files import map_npy

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".ppm")


class Source(ABC):
    """Images by number, in blocks."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def block(self, start: int, stop: int) -> list[Tensor]:
        """Return images `start` to `stop` (exclusive) in order, as batches (n, 3, H, W) of equal size."""

    @abstractmethod
    def path_of(self, number: int) -> Path:
        """Return the path, without folder of the set and suffix, that image number `number` is written under."""

    @abstractmethod
    def as_task(self, start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """Return what a worker needs to open images `start` to `stop` of it as a source, numbered from 0."""


def open_source(task: dict[str, Any]) -> Source:
    """Return the source that `as_task` described."""
    task = dict(task)
    kind = task.pop("source")
    if kind == "array":
        return ArraySource(Path(task["images"]), tuple(task["folders"]), task["offset"])
    return FolderSource(Path(task["folder"]), task["resize"], task["crop"], tuple(task["files"]))


@dataclass(frozen=True)
class ArraySource(Source):
    """A .npy file (N, 3, H, W), read in blocks; `folders` holds the name of each image's class."""

    images: Path
    folders: tuple[str, ...]
    offset: int = 0

    @cached_property
    def _place(self) -> tuple[int, tuple[int, ...]]:
        """Where the pixels begin in the file, and the shape of one image."""
        mapped = map_npy(self.images, "run the same command again.")
        return int(mapped.offset), mapped.shape[1:]  # type: ignore[attr-defined]

    def __len__(self) -> int:
        return len(self.folders)

    def block(self, start: int, stop: int) -> list[Tensor]:
        """Return one batch of images `start` to `stop`."""
        begin, shape = self._place
        count, each = max(0, min(stop, len(self)) - start), prod(shape)
        # read, not mapped: pages of a map would count as memory of the process
        pixels = np.fromfile(self.images, np.uint8, count * each, offset=begin + (self.offset + start) * each)
        return [torch.from_numpy(pixels.reshape(count, *shape))]

    def path_of(self, number: int) -> Path:
        """Return class/number."""
        return Path(self.folders[number]) / f"{self.offset + number:08d}"

    def as_task(self, start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """Return the file and the classes."""
        folders = list(self.folders[start:stop])
        return {"source": "array", "images": str(self.images), "folders": folders, "offset": self.offset + start}


@dataclass(frozen=True)
class FolderSource(Source):
    """Pictures in a folder, by class folders or flat, opened when asked for.

    `resize` is the shorter side in pixels after scaling (bilinear, as torchvision's Resize on Pillow images), `crop`
    the side of the middle that is kept; None leaves either out. ImageNet-C's are 256 and 224.
    """

    folder: Path
    resize: int | None
    crop: int | None
    files: tuple[str, ...]

    @classmethod
    def find(cls, folder: Path, *, resize: int | None = None, crop: int | None = None) -> FolderSource:
        """Return the pictures below `folder`, by path; raises InputError where there are none."""
        if not folder.is_dir():
            raise InputError(f"{folder} is not a folder of pictures.")
        for name, value in (("resize", resize), ("crop", crop)):
            if value is not None and value < 1:
                raise InputError(f"{name} must be a number of pixels above 0, got {value}.")
        found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"{folder} holds no pictures ({', '.join(SUFFIXES)}).")
        return cls(folder, resize, crop, tuple(found))

    def __len__(self) -> int:
        return len(self.files)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of names and sizes of the files, and of resize and crop."""
        sizes = [(name, (self.folder / name).stat().st_size) for name in self.files]
        return sha256(repr((sizes, self.resize, self.crop)).encode()).hexdigest()[:16]

    def block(self, start: int, stop: int) -> list[Tensor]:
        """Return images `start` to `stop` in runs of equal size."""
        runs: list[list[Tensor]] = []
        for name in self.files[start:stop]:
            picture = open_picture(self.folder / name, self.resize, self.crop)
            if runs and runs[-1][0].shape == picture.shape:
                runs[-1].append(picture)
            else:
                runs.append([picture])
        return [torch.stack(run) for run in runs]

    def path_of(self, number: int) -> Path:
        """Return the path of the picture itself."""
        return Path(self.files[number]).with_suffix("")

    def as_task(self, start: int = 0, stop: int | None = None) -> dict[str, Any]:
        """Return folder, options and files."""
        options = {"resize": self.resize, "crop": self.crop, "files": list(self.files[start:stop])}
        return {"source": "folder", "folder": str(self.folder), **options}


def open_picture(path: Path, resize: int | None = None, crop: int | None = None) -> Tensor:
    """Return a picture as uint8 (3, H, W) RGB, its shorter side scaled to `resize`, its middle `crop` x `crop` kept.

    Raises CorruptFileError for a file that cannot be opened, InputError for one smaller than `crop`.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise CorruptFileError(f"{path} cannot be opened as a picture ({error}); fetch it again.") from error
    return prepared(picture, resize, crop, path)


def prepared(picture: Image.Image, resize: int | None, crop: int | None, path: Path) -> Tensor:
    """Return an RGB picture, scaled and cut as `open_picture` says; `path` is for the sentence of what is wrong."""
    picture = fitted(picture, resize, crop, path, Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def fitted(
    picture: Image.Image, resize: int | None, crop: int | None, path: Path, resampling: Image.Resampling
) -> Image.Image:
    """Return a picture with its shorter side scaled to `resize` and its middle `crop` x `crop` kept."""
    if resize is not None:
        picture = picture.resize(_scaled(picture.size, resize), resampling)
    return picture if crop is None else _middle(picture, crop, path)


def _scaled(sides: Sequence[int], shorter: int) -> tuple[int, int]:
    width, height = sides
    least = min(width, height)
    return (shorter, int(shorter * height / width)) if width == least else (int(shorter * width / height), shorter)


def _middle(picture: Image.Image, side: int, path: Path) -> Image.Image:
    width, height = picture.size
    if min(width, height) < side:
        raise InputError(f"{path} is {width} x {height} pixels, too small for a crop of {side}; use a smaller crop.")
    left, top = round((width - side) / 2), round((height - side) / 2)
    return picture.crop((left, top, left + side, top + side))
