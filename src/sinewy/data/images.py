"""What a set of labelled images is, and how other people's images become one."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sinewy.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, whole in memory: `images` uint8 (N,3,H,W) in RGB, `labels` int64 (N,) in [0, len(classes)).

    `mean` and `std` are per channel, in units of [0,1] pixels: a model is fed (pixel / 255 - mean) / std. `split` says
    which part of the data this is ("train", "validation", "test"). Raises InputError for anything else than the above.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    name: str
    split: str
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        _check_images(self.images)
        _check_labels(self.labels, len(self.images), self.classes)
        _check_statistics(self.mean, self.std)
        # Tensors can share memory only with arrays that are contiguous and not read-only.
        object.__setattr__(self, "images", np.require(self.images, requirements=["C", "W"]))
        object.__setattr__(self, "labels", np.require(self.labels, requirements=["C", "W"]))

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def hash(self) -> str:
        """16 hexadecimal digits of the SHA-256 of shape, pixels and labels; names and statistics do not enter."""
        state = hashlib.sha256(repr(self.images.shape).encode())
        state.update(self.images.data)
        state.update(self.labels.astype("<i8").data)
        return state.hexdigest()[:16]

    def subset(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> ImageSet:
        """Return the images at `indices`, in that order; raises InputError for an index outside [0, N)."""
        index = np.asarray(indices)
        if index.ndim != 1 or not np.issubdtype(index.dtype, np.integer) or not len(index):
            raise InputError(f"a subset needs a list of image numbers, got shape {index.shape} of {index.dtype}.")
        outside = index[(index < 0) | (index >= len(self))]
        if len(outside):
            raise InputError(f"{self.name} has no image {outside[0]}; its {len(self)} images are numbered from 0.")
        return replace(self, images=self.images[index], labels=self.labels[index])

    def first(self, n: int) -> ImageSet:
        """Return the first `n` images, or all if there are fewer."""
        if n < 1:
            raise InputError(f"cannot take the first {n} images; ask for at least 1.")
        return replace(self, images=self.images[:n], labels=self.labels[:n])


class Splits(NamedTuple):
    """The parts of one data set; `validation` is None where all training images are trained on."""

    train: ImageSet
    validation: ImageSet | None
    test: ImageSet


def as_image_set(
    data: Any,
    *,
    name: str = "data",
    split: str = "test",
    classes: Sequence[str] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ImageSet:
    """Return `data` as an ImageSet.

    `data` is an ImageSet (returned as it is), a pair (images, labels) of arrays or tensors, uint8 (N,3,H,W) or
    (N,H,W,3), or a map-style data set of (PIL image or uint8 array, class number) such as torchvision's without a
    transform. `classes` are by default the data set's, or the class numbers as text. Without `mean` and `std` the model
    is fed pixels in [0,1]; a model that was trained on normalised images needs the values it was trained with. Raises
    InputError for float images, unequal sizes, a DataLoader, and labels that are not class numbers.
    """
    if isinstance(data, ImageSet):
        return data
    if hasattr(data, "dataset") and hasattr(data, "batch_size"):
        raise InputError(
            "a DataLoader yields transformed batches; pass its data set without transform (raw uint8 images)."
        )
    images, labels = _pair(data) if _is_pair(data) else _collect(data)
    images, labels = _as_nchw(images), _as_class_numbers(labels)
    names = classes or getattr(data, "classes", None) or [str(i) for i in range(int(labels.max(initial=0)) + 1)]
    return ImageSet(
        images, labels, name, split, tuple(map(str, names)), tuple(mean or (0.0,) * 3), tuple(std or (1.0,) * 3)
    )


def _is_pair(data: Any) -> bool:
    return isinstance(data, tuple | list) and len(data) == 2 and hasattr(data[0], "shape") and np.ndim(data[0]) > 1


def _pair(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    return _array(data[0]), _array(data[1])


def _array(value: Any) -> NDArray[Any]:
    """Return an array of `value`, which may be a tensor on any device."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def _collect(data: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the stacked images and labels of a map-style data set."""
    try:
        items = [data[i] for i in range(len(data))]
        pairs = [(image, label) for image, label in items]
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(
            f"cannot read {type(data).__name__} as images ({error}); "
            "pass (images, labels), uint8 (N,3,H,W) and (N,), or a data set of such pairs."
        ) from None
    if not pairs:
        raise InputError(f"{type(data).__name__} has no images.")
    images = [_pixels(image) for image, _ in pairs]
    odd = next((i for i, image in enumerate(images) if image.shape != images[0].shape), None)
    if odd is not None:
        raise InputError(
            f"image {odd} has shape {images[odd].shape}, image 0 {images[0].shape}; bring all to one size first."
        )
    return np.stack(images), np.asarray([_array(label) for _, label in pairs])


def _pixels(image: Any) -> NDArray[Any]:
    mode = getattr(image, "mode", None)
    if not isinstance(mode, str):
        return _array(image)
    if mode not in ("1", "L", "P", "RGB"):
        raise InputError(f"an image has mode '{mode}'; convert it to 8-bit RGB first.")
    return np.asarray(image.convert("RGB"))


def _as_nchw(images: NDArray[Any]) -> NDArray[np.uint8]:
    if images.dtype.kind == "f":
        raise InputError(_float_sentence(images))
    if images.ndim == 4 and images.shape[-1] == 3 and images.shape[1] != 3:
        images = images.transpose(0, 3, 1, 2)
    return images


def _float_sentence(images: NDArray[Any]) -> str:
    if not np.isfinite(images).all():
        return (
            f"images are {images.dtype} and hold NaN or infinity; find where those come from, then pass uint8 pixels."
        )
    low, high = float(images.min(initial=0)), float(images.max(initial=0))
    if low >= 0 and high <= 1:
        return (
            f"images are {images.dtype} in [0, 1], but pixels are bytes here; "
            "leave out ToTensor, or pass (images * 255).round() as uint8."
        )
    if low >= 0 and high <= 255:
        return f"images are {images.dtype} in [{low:g}, {high:g}]; if these are pixels, pass images.round() as uint8."
    return (
        f"images are {images.dtype} in [{low:.3g}, {high:.3g}], so normalised already; "
        "pass the raw uint8 pixels without that transform, and its values as mean= and std=."
    )


def _as_class_numbers(labels: NDArray[Any]) -> NDArray[np.int64]:
    if labels.ndim == 2:
        raise InputError(
            f"labels have shape {labels.shape}; pass one class number per image, for one-hot labels labels.argmax(1)."
        )
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels are {labels.dtype}; pass class numbers as integers.")
    return labels.astype(np.int64)


def _check_images(images: Any) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise InputError(f"images must be a uint8 array, got {getattr(images, 'dtype', type(images).__name__)}.")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        grey = images.ndim == 3 or (images.ndim == 4 and 1 in (images.shape[1], images.shape[-1]))
        fix = "repeat the grey channel three times" if grey else "pass (N,3,H,W) with N, H, W at least 1"
        raise InputError(f"images have shape {images.shape}; {fix}.")


def _check_labels(labels: Any, images: int, classes: tuple[str, ...]) -> None:
    if not isinstance(labels, np.ndarray) or labels.dtype != np.int64 or labels.ndim != 1:
        got = f"{labels.dtype} {labels.shape}" if isinstance(labels, np.ndarray) else type(labels).__name__
        raise InputError(f"labels must be an int64 array of shape (N,), got {got}; use labels.astype('int64').")
    if len(labels) != images:
        raise InputError(f"there are {images} images but {len(labels)} labels; pass one label per image.")
    wrong = labels[(labels < 0) | (labels >= len(classes))]
    if len(wrong):
        raise InputError(
            f"label {wrong[0]} is outside [0, {len(classes)}); number the classes from 0, or name them all."
        )


def _check_statistics(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    if len(mean) != 3 or len(std) != 3:
        raise InputError(f"mean and std need one value per channel (3), got {len(mean)} and {len(std)}.")
    if not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
        raise InputError(f"mean {mean} and std {std} must be finite, std above 0, in units of [0,1] pixels.")
    if max(std) > 2 or max(map(abs, mean)) > 2:
        raise InputError(f"mean {mean} and std {std} look like 0-255 units; divide them by 255.")
