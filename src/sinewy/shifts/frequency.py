"""Shifts of the spectrum: low or high frequencies taken out of an image, and one frequency put into it.

A spectrum is that of a channel's pixels in [0, 1], before normalisation. Frequencies are whole cycles over the height
and over the width of the image, from -H/2 to H/2 and -W/2 to W/2; (0, 0) is the mean. The distance D of a frequency
(i, j) from (0, 0) is sqrt(i^2 + j^2) for the shape "disk" and max(|i|, |j|) for "square".
"""

from __future__ import annotations

from functools import lru_cache
from math import inf, pi, sqrt
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.shifts.continuous import check_draws, check_images, check_strength, is_whole, shifted
from sinewy.shifts.draws import Draws

SHAPES: tuple[str, ...] = ("disk", "square")
BANDS: tuple[str, ...] = ("low", "high")


@torch.no_grad()
def attenuate(
    images: Tensor,
    radius: float,
    keep: str = "low",
    *,
    shape: str = "disk",
    keep_mean: bool = False,
    clip: bool = True,
) -> Tensor:
    """Return `images` with their frequencies D < `radius` only (keep="low"), or with all the others (keep="high").

    `images` (N, 3, H, W) are uint8 levels 0 to 255 or floats in [0, 1]; the result is float32 pixels, computed in
    float64. `radius` 0 keeps nothing of the low and everything of the high frequencies. The mean of a channel is its
    frequency 0, removed with the low ones; `keep_mean` keeps it always. `clip` cuts the result to [0, 1], which takes
    away the negative half of an image without its mean; without it the two bands add up to the image. Raises
    InputError for anything else.

    >>> attenuate(torch.full((1, 3, 8, 8), 0.25), 1).mean()
    tensor(0.2500)
    """
    check_strength("radius", radius)
    return _filtered(images, radius, keep, shape, keep_mean, clip)


@torch.no_grad()
def low_frequency_attenuation(
    images: Tensor, radius: float, *, shape: str = "disk", keep_mean: bool = False, clip: bool = True
) -> Tensor:
    """Return `images` without their frequencies D < `radius`: radius 0 removes nothing, 1 the mean of each channel.

    This is a_low of Wu et al. 2025 (section 5.2), whose accuracy over the radius is their Figure 7. What the paper
    leaves open is chosen here: a disk, the mean removed with the rest, and pixels cut to [0, 1] again. Arguments and
    result are those of `attenuate` with keep="high".
    """
    check_strength("radius", radius)
    return _filtered(images, radius, "high", shape, keep_mean, clip)


@torch.no_grad()
def high_frequency_attenuation(
    images: Tensor, radius: float, *, shape: str = "disk", keep_mean: bool = False, clip: bool = True
) -> Tensor:
    """Return `images` with their frequencies D < R - `radius` only, R = min(H, W) / 2: a larger radius removes more.

    This is a_high of Wu et al. 2025 (section 5.2), the counterpart of `low_frequency_attenuation`. `radius` is 0 to R:
    0 removes nothing, not even the corners of the spectrum that are farther than R, which any other radius removes with
    a disk; R removes all, and without `keep_mean` the image is black. Arguments and result are otherwise those of
    `attenuate` with keep="low".
    """
    check_images(images)
    largest = min(images.shape[-2:]) / 2
    check_strength("radius", radius, largest)
    return _filtered(images, largest - radius if radius else inf, "low", shape, keep_mean, clip)


def _filtered(images: Tensor, radius: float, keep: str, shape: str, keep_mean: bool, clip: bool) -> Tensor:
    check_images(images)
    if keep not in BANDS:
        raise unknown_name("band to keep", keep, BANDS)
    if shape not in SHAPES:
        raise unknown_name("shape", shape, SHAPES)
    height, width = images.shape[-2:]
    distance = _distance(height, width, shape)
    kept = distance < radius if keep == "low" else distance >= radius
    kept[0, 0] |= keep_mean
    kept = kept.to(images.device)

    def cut(pixels: Tensor, first: int) -> Tensor:
        del first
        # float64, so that the float32 result hardly depends on whose transform it is
        band: Tensor = torch.fft.irfft2(torch.fft.rfft2(pixels.double()) * kept, s=(height, width)).float()
        return band.clamp_(0, 1) if clip else band

    return shifted(images, cut)


@lru_cache(maxsize=8)
def _distance(height: int, width: int, shape: str) -> Tensor:
    """Return the float64 D of the half spectrum that `rfft2` gives, (H, W // 2 + 1); exact where it is whole."""
    down = torch.fft.fftfreq(height, 1 / height, dtype=torch.float64).round_().abs_()[:, None]
    across = torch.arange(width // 2 + 1, dtype=torch.float64)[None]
    if shape == "square":
        return torch.maximum(down, across)
    return torch.sqrt(down.square() + across.square())


@torch.no_grad()
def fourier_basis_noise(
    images: Tensor, norm: float, *, frequency: tuple[int, int], clip: bool = False, seed: int = 0, start: int = 0
) -> Tensor:
    """Return `images` plus r `norm` U, U being `fourier_basis` of `frequency` and r a random sign.

    `images` (N, 3, H, W) are uint8 levels 0 to 255 or floats in [0, 1]; the result is float32 pixels. `norm` is the L2
    norm, in units of [0, 1] pixels, of what is added to each channel: to the image it is sqrt(3) times that. The sign
    is drawn for every image and channel, and depends on frequency, seed and the image's number in its set (that of the
    first image is `start`), not on its batch or `norm`. `clip` cuts the result to [0, 1]. Raises InputError for
    anything else.

    Source: Yin et al., "A Fourier Perspective on Model Robustness in Computer Vision" (NeurIPS 2019), section 2, whose
    heat maps are the error at every frequency. Frequencies (i, j) and (-i, -j) give the same result.
    """
    check_images(images)
    check_strength("norm", norm)
    check_draws(seed, start)
    height, width = images.shape[-2:]
    basis = (fourier_basis(height, width, frequency) * norm).float().to(images.device)
    name = "fourier_basis_noise {} {}".format(*_first_of_pair(height, width, *frequency))

    def add(pixels: Tensor, first: int) -> Tensor:
        signs = Draws(name, 0, seed, start + first, len(pixels), pixels.device).integers(0, 2, 3, 1, 1) * 2 - 1
        noisy = pixels.add_(signs * basis)
        return noisy.clamp_(0, 1) if clip else noisy

    return shifted(images, add)


def fourier_basis(height: int, width: int, frequency: tuple[int, int]) -> Tensor:
    """Return the float64 (height, width) wave of unit L2 norm whose spectrum is zero but at `frequency` and its mirror.

    `frequency` is (i, j), cycles over the height and over the width, |i| <= height // 2 and |j| <= width // 2; (0, 0)
    is a constant. Source: Yin et al. 2019, section 2. The paper leaves the phase open; as in the authors' published
    code, the wave is cos(t) - sin(t) over sqrt(height width), t = 2 pi (i y / height + j x / width), for the one of
    (i, j) and (-i, -j) that comes first in their map, which starts at the most negative frequencies.
    """
    _check_frequency(height, width, frequency)
    i, j = _first_of_pair(height, width, *frequency)
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    # whole cycles are left out before anything is rounded
    parts = (i * width * y + j * height * x) % (height * width)
    turn = parts.double() * (2 * pi / (height * width))
    return (turn.cos() - turn.sin()) / sqrt(height * width)


def _first_of_pair(height: int, width: int, i: int, j: int) -> tuple[int, int]:
    """Return the smaller of (i, j) and (-i, -j), each brought to -H // 2 <= i < H - H // 2 and likewise j."""
    pair = ((i, j), (-i, -j))
    return min(((a + height // 2) % height - height // 2, (b + width // 2) % width - width // 2) for a, b in pair)


def _check_frequency(height: int, width: int, frequency: Any) -> None:
    whole = isinstance(frequency, tuple | list) and all(map(is_whole, frequency))
    if not whole or len(frequency) != 2:
        raise InputError(f"frequency must be two whole numbers (i, j), cycles per height and width, got {frequency!r}.")
    if abs(frequency[0]) > height // 2 or abs(frequency[1]) > width // 2:
        raise InputError(
            f"frequency {tuple(frequency)} is beyond what {height} x {width} pixels can hold. "
            f"Use -{height // 2} to {height // 2} and -{width // 2} to {width // 2}."
        )
