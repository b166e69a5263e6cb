"""Which frequencies a network lives on: its verdicts as low or high ones are taken away, and as single ones are added.

Wu et al. 2025, section 5.2, Figures 7 and 18 (radius-accuracy curves), and Yin et al. 2019, section 3 (heat maps of the
error at every frequency). Curves during training are these of the models saved then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.errors import InputError, unknown_name
from sinewy.metrics.answering import answering, check_models, logits
from sinewy.shifts.continuous import check_images
from sinewy.shifts.frequency import fourier_basis_noise, high_frequency_attenuation, low_frequency_attenuation

Verdicts = NDArray[np.bool_]

ATTENUATIONS: dict[str, Callable[..., Tensor]] = {"low": low_frequency_attenuation, "high": high_frequency_attenuation}
"""What is taken away, by name; a larger radius takes more, radius 0 nothing."""


class RadiusCurve(NamedTuple):
    """The verdicts of one model at each radius of attenuation, (radii, N); accuracy is their mean over N, ↑ better."""

    radii: tuple[float, ...]
    correct: Verdicts


@torch.no_grad()
def radius_curves(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    attenuation: str,
    mean: Sequence[float],
    std: Sequence[float],
    radii: Sequence[float] | None = None,
    batch: int = 256,
    shape: str = "disk",
    keep_mean: bool = False,
    clip: bool = True,
) -> dict[str, RadiusCurve]:
    """Return each model's verdicts as "low" or "high" frequencies are attenuated further and further.

    `images` (N, 3, H, W) are uint8 levels or floats in [0, 1], `labels` (N,); models are fed (pixels - mean) / std.
    `radii` are 0 to min(H, W) / 2 in whole steps by default. All models see the same images. What the paper leaves open
    (`shape`, `keep_mean`, `clip`) is explained in `sinewy.shifts.frequency`. Raises InputError for input that does not
    fit.
    """
    if attenuation not in ATTENUATIONS:
        raise unknown_name("attenuation", attenuation, ATTENUATIONS)
    check_images(images)
    reach = min(images.shape[-2:]) // 2
    points = tuple(range(reach + 1)) if radii is None else tuple(radii)
    remove = ATTENUATIONS[attenuation]
    shifts = [
        lambda block, _, r=radius: remove(block, r, shape=shape, keep_mean=keep_mean, clip=clip) for radius in points
    ]
    found = _verdicts(models, images, labels, shifts, mean, std, batch)
    return {name: RadiusCurve(tuple(map(float, points)), correct) for name, correct in found.items()}


@torch.no_grad()
def fourier_errors(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    *,
    norm: float,
    mean: Sequence[float],
    std: Sequence[float],
    reach: int | None = None,
    seed: int = 0,
    batch: int = 256,
) -> dict[str, NDArray[np.float64]]:
    """Return each model's error with noise at one frequency, by frequency: (2 reach + 1, 2 reach + 1), ↓ better.

    The entry [reach + i, reach + j] is the share of errors on `images` plus noise of L2 norm `norm` per channel at
    frequency (i, j), see `sinewy.shifts.frequency.fourier_basis_noise`. `reach` is min(H, W) / 2 by default; the cost
    is half of (2 reach + 1)^2 passes over the images, since (i, j) and (-i, -j) are one frequency.
    """
    check_images(images)
    largest = min(images.shape[-2:]) // 2
    reach = largest if reach is None else reach
    if not 0 <= reach <= largest:
        raise InputError(f"reach={reach} must be 0 to {largest}, half of the smaller side.")
    half = [(i, j) for i in range(-reach, reach + 1) for j in range(-reach, reach + 1) if (i, j) <= (-i, -j)]
    shifts = [
        lambda block, start, f=frequency: fourier_basis_noise(block, norm, frequency=f, seed=seed, start=start)
        for frequency in half
    ]
    found = _verdicts(models, images, labels, shifts, mean, std, batch)
    maps = {}
    for name, correct in found.items():
        errors = np.empty((2 * reach + 1, 2 * reach + 1))
        for (i, j), error in zip(half, 1 - correct.mean(axis=1), strict=True):
            errors[reach + i, reach + j] = errors[reach - i, reach - j] = error
        maps[name] = errors
    return maps


def _verdicts(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    shifts: Sequence[Callable[[Tensor, int], Tensor]],
    mean: Sequence[float],
    std: Sequence[float],
    batch: int,
) -> dict[str, Verdicts]:
    """Return whether each model is right on each image under each shift, (shifts, N)."""
    check_models(models)
    if labels.shape != images.shape[:1]:
        raise InputError(f"labels must be ({len(images)},), one per image, got {tuple(labels.shape)}.")
    if len(mean) != 3 or len(std) != 3 or not all(deviation > 0 for deviation in std):
        raise InputError(f"mean and std must be 3 numbers each, std above 0, got {list(mean)} and {list(std)}.")
    centre, scale = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (list(mean), list(std)))
    found = {name: np.empty((len(shifts), len(images)), np.bool_) for name in models}
    with answering(*models.values()):
        for start in range(0, len(images), batch):
            rows = slice(start, start + batch)
            for index, shift in enumerate(shifts):
                inputs = (shift(images[rows], start) - centre) / scale
                for name, model in models.items():
                    right = logits(model, inputs).argmax(1).cpu() == labels[rows].cpu()
                    found[name][index, rows] = right.numpy()
    return found
