"""Shifts of the spectrum: frequencies taken out and put in, against numpy's transform and waves worked by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts.frequency import (
    attenuate,
    fourier_basis,
    fourier_basis_noise,
    high_frequency_attenuation,
    low_frequency_attenuation,
)


def pictures(count: int = 5, height: int = 32, width: int = 32, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def grey(value: float, count: int = 1, side: int = 32) -> Tensor:
    return torch.full((count, 3, side, side), value)


def wave(i: int, j: int, height: int = 32, width: int = 32, amplitude: float = 0.25) -> Tensor:
    """Return the float64 cosine of i cycles down and j cycles across, on all channels of one image."""
    y, x = np.mgrid[:height, :width]
    cosine = amplitude * np.cos(2 * np.pi * (i * y / height + j * x / width))
    return torch.from_numpy(cosine).expand(1, 3, -1, -1)


def centred(image: Tensor) -> np.ndarray[Any, Any]:
    """Return numpy's spectrum of each channel, frequency 0 at (H // 2, W // 2)."""
    return np.fft.fftshift(np.fft.fft2(image.double().numpy()), axes=(-2, -1))


def distances(height: int, width: int, shape: str) -> np.ndarray[Any, Any]:
    y, x = np.arange(height)[:, None] - height // 2, np.arange(width) - width // 2
    return np.maximum(abs(y), abs(x)) + 0.0 if shape == "square" else np.sqrt(y * y + x * x)


# Frequencies taken out


@pytest.mark.parametrize("shape", ["disk", "square"])
@pytest.mark.parametrize("keep", ["low", "high"])
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (9, 9), (8, 11), (11, 8), (1, 6)])
@pytest.mark.parametrize("radius", [0, 1, 2.5, 5, 1000])
def test_attenuation_is_numpys_masked_spectrum(shape: str, keep: str, size: tuple[int, int], radius: float) -> None:
    images = pictures(2, *size)
    distance = distances(*size, shape)
    mask = distance < radius if keep == "low" else distance >= radius
    expected = np.fft.ifft2(np.fft.ifftshift(centred(images.double() / 255) * mask, axes=(-2, -1)))
    assert abs(expected.imag).max() < 1e-12
    assert_allclose(attenuate(images, radius, keep, shape=shape, clip=False), expected.real, atol=1e-6)
    assert_allclose(attenuate(images, radius, keep, shape=shape), expected.real.clip(0, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("frequency", "disk", "square"),
    [((3, 4), 5, 4), ((-3, 4), 5, 4), ((0, 7), 7, 7), ((16, 0), 16, 16), ((16, 16), 512**0.5, 16), ((-5, 12), 13, 12)],
)
def test_a_cosine_goes_at_its_own_distance_and_not_before(
    frequency: tuple[int, int], disk: float, square: float
) -> None:
    cosine = wave(*frequency)
    image = 0.5 + cosine
    for shape, distance in (("disk", disk), ("square", square)):
        at, past = distance, distance + 1e-9
        assert_allclose(attenuate(image, at, "low", shape=shape), grey(0.5), atol=1e-7)
        assert_allclose(attenuate(image, past, "low", shape=shape), image, atol=1e-7)
        assert_allclose(attenuate(image, at, "high", shape=shape, clip=False), cosine, atol=1e-7)
        assert_allclose(attenuate(image, past, "high", shape=shape, clip=False), grey(0), atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 17),
    width=st.integers(1, 17),
    radius=st.floats(0, 20),
    shape=st.sampled_from(["disk", "square"]),
    seed=st.integers(0, 99),
)
def test_the_two_bands_add_up_to_the_image_and_share_its_energy(
    height: int, width: int, radius: float, shape: str, seed: int
) -> None:
    images = pictures(2, height, width, seed)
    low, high = (attenuate(images, radius, keep, shape=shape, clip=False) for keep in ("low", "high"))
    pixels = images.double() / 255
    assert_allclose(low.double() + high.double(), pixels, atol=1e-6)
    energy = [float(part.double().square().sum()) for part in (low, high, pixels)]
    assert energy[0] + energy[1] == pytest.approx(energy[2], rel=1e-5, abs=1e-9)
    distance = distances(height, width, shape)
    kept = (abs(centred(pixels)) ** 2 * (distance < radius)).sum() / (height * width)
    assert energy[0] == pytest.approx(kept, rel=1e-5, abs=1e-9)


def test_the_mean_goes_with_the_low_frequencies_unless_kept() -> None:
    images = pictures()
    mean = (images.double() / 255).mean((-2, -1))
    without = low_frequency_attenuation(images, 1, clip=False)
    assert_allclose(without.mean((-2, -1)), torch.zeros(5, 3), atol=1e-6)
    assert_allclose(without + mean[..., None, None], images.double() / 255, atol=1e-6)
    kept = low_frequency_attenuation(images, 6, keep_mean=True, clip=False)
    assert_allclose(kept, low_frequency_attenuation(images, 6, clip=False) + mean[..., None, None], atol=1e-6)
    assert_allclose(attenuate(images, 0, "low", keep_mean=True), mean[..., None, None].expand(images.shape), atol=1e-6)
    assert torch.equal(attenuate(images, 0, "low"), torch.zeros(images.shape))


def test_radii_of_the_paper_remove_from_the_middle_and_from_the_outside() -> None:
    """A wave of frequency 3 in 16 x 16 pixels, R = 8: a_low removes it from radius 4 on, a_high from 5 on."""
    cosine, nothing = wave(0, 3, 16, 16), torch.zeros(1, 3, 16, 16)
    image = 0.5 + cosine
    for radius in range(9):
        low = low_frequency_attenuation(image, radius, clip=False)
        mean = 0.5 if radius == 0 else 0.0
        assert_allclose(low, mean + (cosine if radius <= 3 else nothing), atol=1e-7)
        high = high_frequency_attenuation(image, radius, clip=False)
        mean = 0.5 if radius < 8 else 0.0
        assert_allclose(high, mean + (cosine if radius <= 4 else nothing), atol=1e-7)


def test_the_largest_radius_is_half_the_shorter_side() -> None:
    image = 0.5 + wave(2, 5, 8, 20)
    assert_allclose(high_frequency_attenuation(image, 4, clip=False), torch.zeros(image.shape), atol=1e-7)
    assert_allclose(high_frequency_attenuation(image, 1), torch.full(image.shape, 0.5), atol=1e-7)
    with pytest.raises(InputError, match="radius must be a finite number from 0 to 4, got 5"):
        high_frequency_attenuation(image, 5)


def test_high_frequency_attenuation_keeps_the_corners_at_radius_0_only() -> None:
    image = 0.5 + wave(16, 16)
    assert_allclose(high_frequency_attenuation(image, 0), image, atol=1e-7)
    assert_allclose(high_frequency_attenuation(image, 1e-6), grey(0.5), atol=1e-7)
    square = 0.5 + wave(15, 15)
    assert_allclose(high_frequency_attenuation(square, 0.5, shape="square"), square, atol=1e-7)
    assert_allclose(high_frequency_attenuation(square, 1, shape="square"), grey(0.5), atol=1e-7)


@pytest.mark.parametrize("attenuation", [low_frequency_attenuation, high_frequency_attenuation])
@pytest.mark.parametrize("shape", ["disk", "square"])
def test_a_larger_radius_removes_more(attenuation: Callable[..., Tensor], shape: str) -> None:
    images = pictures(3, 20, 28)
    left = [float(attenuation(images, radius, shape=shape, clip=False).square().sum()) for radius in range(11)]
    assert all(more > less for more, less in pairwise(left))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda images: attenuate(images, 3, "middle"), "unknown band to keep 'middle'"),
        (lambda images: attenuate(images, 3, shape="disc"), "unknown shape 'disc'. Did you mean 'disk'?"),
        (lambda images: high_frequency_attenuation(images, 17), "radius must be a finite number from 0 to 16, got 17"),
    ],
)
def test_other_bands_shapes_and_radii_get_one_sentence(call: Callable[[Tensor], Tensor], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call(pictures())


# Frequencies put in


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 12), width=st.integers(1, 12), data=st.data())
def test_a_basis_image_has_unit_norm_and_one_pair_of_frequencies(height: int, width: int, data: st.DataObject) -> None:
    i = data.draw(st.integers(-(height // 2), height // 2))
    j = data.draw(st.integers(-(width // 2), width // 2))
    basis = fourier_basis(height, width, (i, j))
    assert float(basis.square().sum()) == pytest.approx(1, abs=1e-12)
    spectrum = abs(np.fft.fft2(basis.numpy()))
    found = {tuple(place) for place in np.argwhere(spectrum > 1e-9)}
    assert found == {(i % height, j % width), (-i % height, -j % width)}
    assert torch.equal(basis, fourier_basis(height, width, (-i, -j)))


@pytest.mark.parametrize("size", [(6, 6), (5, 7), (8, 3)])
def test_basis_images_are_those_of_the_published_map(size: tuple[int, int]) -> None:
    """Each place of the centred spectrum not seen yet gets (1 + i) / 2, its mirror the conjugate; alone, it gets 1."""
    height, width = size
    done = np.zeros(size, dtype=bool)
    for row, column in np.ndindex(height, width):
        i, j = row - height // 2, column - width // 2
        mirror = ((-i + height // 2) % height, (-j + width // 2) % width)
        if done[row, column]:
            continue
        spectrum = np.zeros(size, dtype=complex)
        spectrum[mirror] = 0.5 - 0.5j
        spectrum[row, column] = 1 if mirror == (row, column) else 0.5 + 0.5j
        done[row, column] = done[mirror] = True
        expected = np.fft.ifft2(np.fft.ifftshift(spectrum)) * np.sqrt(height * width)
        assert abs(expected.imag).max() < 1e-12
        assert_allclose(fourier_basis(height, width, (i, j)), expected.real, atol=1e-12)


def test_basis_images_span_the_images() -> None:
    """On 5 x 5 pixels: (i, j) and (-i, -j) share one, so 13 are orthonormal."""
    half = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if (i, j) <= (0, 0)]
    rows = torch.stack([fourier_basis(5, 5, frequency).flatten() for frequency in half])
    assert_allclose(rows @ rows.T, torch.eye(13), atol=1e-12)


def test_basis_images_worked_by_hand() -> None:
    assert_allclose(fourier_basis(2, 2, (0, 0)), [[0.5, 0.5], [0.5, 0.5]], atol=1e-15)
    assert_allclose(fourier_basis(2, 2, (1, 1)), [[0.5, -0.5], [-0.5, 0.5]], atol=1e-15)
    # t = 0, -90, -180, -270 degrees: cos t - sin t = 1, 1, -1, -1
    assert_allclose(fourier_basis(1, 4, (0, 1)), [[0.5, 0.5, -0.5, -0.5]], atol=1e-15)


def test_fourier_basis_noise_adds_the_basis_with_a_sign_per_image_and_channel() -> None:
    images = pictures(400, 8, 8)
    added = fourier_basis_noise(images, 0.5, frequency=(2, -3)) - images.float() / 255
    basis = fourier_basis(8, 8, (2, -3)).float() * 0.5
    signs = (added * basis).sum((-2, -1)) / 0.25
    assert_allclose(signs.abs(), np.ones((400, 3)), atol=1e-5)
    assert_allclose(added, signs[..., None, None] * basis, atol=1e-6)
    assert_allclose(added.flatten(2).norm(dim=2), np.full((400, 3), 0.5), atol=1e-5)
    signs = signs.round()
    counts = np.unique(signs.numpy(), axis=0, return_counts=True)[1]
    assert len(counts) == 8  # all combinations of three signs, 50 of each expected
    assert stats.chisquare(counts).pvalue > 1e-3


def test_signs_are_the_same_at_every_norm_and_differ_between_frequencies() -> None:
    images = grey(0.5, 50, 8)

    def signs(frequency: tuple[int, int], norm: float) -> Tensor:
        added = fourier_basis_noise(images, norm, frequency=frequency) - 0.5
        return (added * fourier_basis(8, 8, frequency).float()).sum((-2, -1)).sign()

    assert torch.equal(signs((1, 2), 0.1), signs((1, 2), 3))
    assert not torch.equal(signs((1, 2), 0.1), signs((2, 1), 0.1))
    mirrored = [fourier_basis_noise(images, 1, frequency=frequency) for frequency in ((1, 2), (-1, -2))]
    assert torch.equal(*mirrored)
    edges = [fourier_basis_noise(images, 1, frequency=frequency) for frequency in ((4, 1), (-4, 1), (4, -1))]
    assert torch.equal(edges[0], edges[1])
    assert torch.equal(edges[0], edges[2])


def test_fourier_basis_noise_is_clipped_when_asked() -> None:
    images = pictures(3)
    free, cut = (fourier_basis_noise(images, 15.7, frequency=(5, 5), clip=clip) for clip in (False, True))
    assert free.min() < 0
    assert torch.equal(cut, free.clamp(0, 1))


@pytest.mark.parametrize("frequency", [(1,), (1, 2, 3), 3, (1.5, 2), (True, 1), None])
def test_other_frequencies_get_one_sentence(frequency: Any) -> None:
    with pytest.raises(InputError, match=r"frequency must be two whole numbers \(i, j\)"):
        fourier_basis_noise(pictures(), 1, frequency=frequency)


def test_a_frequency_that_pixels_cannot_hold_gets_one_sentence() -> None:
    with pytest.raises(InputError, match=r"frequency \(5, -7\) is beyond what 8 x 9 .* Use -4 to 4 and -4 to 4."):
        fourier_basis_noise(pictures(1, 8, 9), 1, frequency=(5, -7))
