"""How images reach a model: batched, augmented and normalised from bytes, the same ones again after a resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from torch import Tensor

from sinewy.data.images import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.seeds import derive
from sinewy.shifts.corruption import corrupt

Augment = Literal["none", "crop", "crop-flip"]
SEVERITY = 3
"""How severe corruptions are in training, as in Liebenwein et al. 2021."""

AUGMENTATIONS: tuple[Augment, ...] = ("none", "crop", "crop-flip")


def batches(
    data: ImageSet,
    *,
    batch: int,
    seed: int,
    epoch: int,
    start: int = 0,
    augment: Augment = "none",
    corruptions: Sequence[str] = (),
    device: str | torch.device = "cpu",
    channels_last: bool = True,
    drop_last: bool = True,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return an iterator over the shuffled batches `start`, `start` + 1, ... of one epoch, as (images, labels).

    Images are normalised float32 (batch,3,H,W), labels int64 (batch,), both on `device`. The order depends on (seed,
    epoch) only, the augmentation of batch i on (seed, epoch, i) only. "crop" pads with H // 8 black pixels on every
    side and crops at random; "crop-flip" also mirrors half of the images. With `corruptions`, names of
    `sinewy.shifts.CORRUPTIONS`, each image is then left alone or corrupted by one of them, all alike probable, at
    severity 3 of the "cifar" preset (Liebenwein et al. 2021, section 6). `drop_last` leaves out a last, smaller batch
    unless it is the only one.
    """
    steps = count(data, batch, drop_last=drop_last)
    if start < 0 or epoch < 0:
        raise InputError(f"batches start at 0, got epoch={epoch}, start={start}.")
    if augment not in AUGMENTATIONS:
        raise unknown_name("augmentation", augment, AUGMENTATIONS)
    return _batches(data, batch, seed, epoch, range(start, steps), augment, corruptions, device, channels_last)


def ordered(
    data: ImageSet, *, batch: int, device: str | torch.device = "cpu", channels_last: bool = True
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return an iterator over all batches, the last one too, as `batches` gives them, but in order, not augmented."""
    count(data, batch)
    return _ordered(data, batch, device, channels_last)


def count(data: ImageSet, batch: int, *, drop_last: bool = True) -> int:
    """Return the number of batches of one epoch, at least 1; raises InputError for a batch below 1."""
    if batch < 1:
        raise InputError(f"batch={batch} must be at least 1.")
    return max(1, len(data) // batch) if drop_last else -(-len(data) // batch)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float], *, channels_last: bool = True) -> Tensor:
    """Return uint8 images (N,3,H,W) as float32 (pixel / 255 - mean) / std, on the device they are on."""
    if images.dtype != torch.uint8:
        raise InputError(f"normalise takes uint8 images, got {images.dtype}.")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    scale = [1 / (255 * s) for s in std]
    shift = [-m / s for m, s in zip(mean, std, strict=True)]
    # Bytes are reordered before they become floats; constants as large as one image make every inner loop long.
    pixels = images.contiguous(memory_format=layout).float()
    return torch.addcmul(_per_pixel(shift, pixels, layout), pixels, _per_pixel(scale, pixels, layout))


def _per_pixel(values: list[float], like: Tensor, layout: torch.memory_format) -> Tensor:
    constants = torch.tensor(values, device=like.device).view(1, -1, 1, 1)
    return constants.expand(1, *like.shape[1:]).contiguous(memory_format=layout)


def _batches(
    data: ImageSet,
    batch: int,
    seed: int,
    epoch: int,
    steps: range,
    augment: Augment,
    corruptions: Sequence[str],
    device: str | torch.device,
    channels_last: bool,
) -> Iterator[tuple[Tensor, Tensor]]:
    order = _words(len(data), "order", seed, epoch).argsort(kind="stable")
    for step in steps:
        index = order[step * batch : (step + 1) * batch]
        pixels = data.images[index]
        if augment != "none":
            pixels = augmented(
                pixels, flip=augment == "crop-flip", words=_words(3 * len(index), "augment", seed, epoch, step)
            )
        if corruptions:
            pixels = corrupted(pixels, corruptions, derive("corruptions", seed, epoch, step))
        yield _ready(pixels, data.labels[index], data, device, channels_last)


def _ordered(
    data: ImageSet, batch: int, device: str | torch.device, channels_last: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    for start in range(0, len(data), batch):
        part = slice(start, start + batch)
        yield _ready(data.images[part], data.labels[part], data, device, channels_last)


def _ready(
    pixels: NDArray[np.uint8],
    labels: NDArray[np.int64],
    data: ImageSet,
    device: str | torch.device,
    channels_last: bool,
) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(pixels).to(device)
    # A copy, so that writing to a batch never writes to the set.
    return normalise(images, data.mean, data.std, channels_last=channels_last), torch.tensor(labels, device=device)


def augmented(images: NDArray[np.uint8], *, flip: bool, words: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Return uint8 (n,3,H,W) padded by an eighth and cropped, and mirrored if `flip`, as 3n random `words` say."""
    n, channels, height, width = images.shape
    tall, wide = height // 8, width // 8
    padded = np.zeros((n, channels, height + 2 * tall, width + 2 * wide), np.uint8)
    padded[:, :, tall : tall + height, wide : wide + width] = images
    down, right = words[:n] % (2 * tall + 1), words[n : 2 * n] % (2 * wide + 1)
    windows = sliding_window_view(padded, (height, width), axis=(2, 3))
    cropped: NDArray[np.uint8] = windows[np.arange(n), :, down.astype(np.intp), right.astype(np.intp)]
    if flip:
        mirrored = words[2 * n :] % 2 == 1
        cropped[mirrored] = cropped[mirrored][..., ::-1]
    return cropped


def corrupted(images: NDArray[np.uint8], kinds: Sequence[str], seed: int) -> NDArray[np.uint8]:
    """Return uint8 (n,3,H,W), each left alone or corrupted by one of `kinds`, as `seed` draws."""
    choice = _words(len(images), "kind", seed) % (len(kinds) + 1)
    result = images.copy()
    for number, kind in enumerate(kinds):
        chosen = choice == number
        if chosen.any():
            result[chosen] = corrupt(torch.from_numpy(images[chosen]), kind, SEVERITY, seed=seed).numpy()
    return result


def _words(n: int, purpose: str, *parts: int) -> NDArray[np.uint64]:
    """Return n random words; raw words, unlike numpy's distributions, never change between numpy versions."""
    return np.random.Philox(key=derive(purpose, *parts)).random_raw(n)
