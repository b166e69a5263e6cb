"""Shifts of continuous strength: what all keep to, and noise and domain against their distributions and by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy import stats
from torch import Tensor

from sinewy.data.batches import normalise
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.seeds import derive
from sinewy.shifts import C_BAR, CONTINUOUS, CORRUPTIONS, MNIST_C
from sinewy.shifts.additive import normal_noise, uniform_noise
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from sinewy.shifts.domain import out_of_domain

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
STATISTICS = {"mean": MEAN, "std": STD}

STRENGTHS: dict[str, tuple[float, float, dict[str, Any]]] = {  # name: no shift, some shift, options
    "uniform_noise": (0, 0.3, STATISTICS),
    "normal_noise": (0, 0.3, STATISTICS),
    "low_frequency_attenuation": (0, 4, {"clip": False}),
    "high_frequency_attenuation": (0, 4, {}),
    "fourier_basis_noise": (0, 1.5, {"frequency": (-3, 2)}),
    "out_of_domain": (1, 255, {}),
}
RANDOM = ("uniform_noise", "normal_noise", "fourier_basis_noise")
every_shift = pytest.mark.parametrize("name", CONTINUOUS)


def shift_of(name: str) -> Callable[..., Tensor]:
    function: Callable[..., Tensor] = resolve("shift", name, CONTINUOUS)
    return function


def some(name: str, images: Tensor, **options: Any) -> Tensor:
    """Return `images` under shift `name` at its worked strength."""
    _, strength, always = STRENGTHS[name]
    return shift_of(name)(images, strength, **always, **options)


def pictures(count: int = 5, height: int = 32, width: int = 32, seed: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def grey(value: float, count: int = 1, side: int = 32) -> Tensor:
    return torch.full((count, 3, side, side), value)


# What every one of them keeps to


def test_names_are_no_other_familys_and_each_has_a_case_here() -> None:
    assert not set(CONTINUOUS) & set(CORRUPTIONS | C_BAR | MNIST_C)
    assert set(CONTINUOUS) == set(STRENGTHS)
    functions = {shift_of(name) for name in CONTINUOUS}
    assert {function.__name__ for function in functions} == set(CONTINUOUS)


@every_shift
@pytest.mark.parametrize("size", [(32, 32), (8, 13), (9, 8)])
def test_float32_of_the_same_shape_comes_out_and_the_input_is_kept(name: str, size: tuple[int, int]) -> None:
    images = pictures(2, *size)
    before = images.clone()
    result = some(name, images)
    assert result.dtype == torch.float32
    assert result.shape == images.shape
    assert result.is_contiguous()
    assert torch.equal(images, before)
    pixels = images.double() / 255
    some(name, pixels)
    assert torch.equal(pixels, before.double() / 255)


@every_shift
def test_no_strength_is_no_shift(name: str) -> None:
    images = pictures()
    strength, _, options = STRENGTHS[name]
    result = shift_of(name)(images, strength, **options)
    clean = normalise(images, MEAN, STD) if "mean" in options else images.float() / 255
    assert_allclose(result, clean, atol=2e-6)
    assert not torch.allclose(some(name, images), clean, atol=1e-2)


@every_shift
def test_bytes_and_floats_of_any_type_and_layout_mean_the_same_images(name: str) -> None:
    images = pictures()
    result = some(name, images)
    pixels = images.float() / 255
    assert torch.equal(some(name, pixels), result)
    assert torch.equal(some(name, pixels.contiguous(memory_format=torch.channels_last)), result)
    assert_allclose(some(name, pixels.double()), result, rtol=1e-6, atol=1e-6)
    half = pixels.half()
    assert torch.equal(some(name, half), some(name, half.float()))


@every_shift
def test_an_image_is_shifted_the_same_in_every_batch_and_block(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(7, 15, 13)
    numbered = name in RANDOM
    together = some(name, images, **({"start": 4} if numbered else {}))
    for parts in (1, 3):
        firsts = range(0, 7, parts)
        options = [{"start": 4 + first} if numbered else {} for first in firsts]
        blocks = [some(name, images[f : f + parts], **o) for f, o in zip(firsts, options, strict=True)]
        assert torch.equal(torch.cat(blocks), together)
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 2 * 3 * 15 * 13)
    assert torch.equal(some(name, images, **({"start": 4} if numbered else {})), together)


@every_shift
def test_the_number_of_threads_changes_no_bit(name: str) -> None:
    images = pictures(60)
    threads, results = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            results.append(some(name, images))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*results)


@every_shift
def test_no_images_are_shifted_to_no_images(name: str) -> None:
    assert some(name, pictures(0)).shape == (0, 3, 32, 32)
    assert some(name, pictures(0).float()).shape == (0, 3, 32, 32)


@pytest.mark.parametrize("name", RANDOM)
def test_the_same_seed_gives_the_same_bits_and_another_seed_or_number_does_not(name: str) -> None:
    images = pictures(1).expand(24, -1, -1, -1)
    first = some(name, images, seed=5)
    torch.manual_seed(99)
    assert torch.equal(first, some(name, images, seed=5))
    for other in (some(name, images, seed=6), some(name, images, seed=5, start=1)):
        assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1]) or not torch.equal(first[0], first[2])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@every_shift
def test_a_gpu_gives_the_same_images_up_to_rounding(name: str) -> None:
    images = pictures(300)
    there = some(name, images.cuda())
    assert there.device.type == "cuda"
    assert_allclose(there.cpu(), some(name, images), rtol=1e-6, atol=2e-6)


@every_shift
@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (np.zeros((1, 3, 4, 4)), r"images must be a tensor \(N, 3, H, W\), got ndarray. Use torch.from_numpy"),
        (torch.zeros(3, 4, 4), r"must have shape \(N, 3, H, W\), got \(3, 4, 4\). Use images\[None\]"),
        (torch.zeros(2, 1, 4, 4), r"must have shape \(N, 3, H, W\), got \(2, 1, 4, 4\)"),
        (torch.zeros(2, 3, 0, 4), r"must have shape \(N, 3, H, W\), got \(2, 3, 0, 4\)"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.int64), r"uint8 \(0 to 255\) or floats in \[0, 1\], got torch.int64"),
        (torch.full((1, 3, 4, 4), 200.0), r"pixels in \[0, 1\], got 200 to 200. Divide levels by 255."),
        (torch.full((1, 3, 4, 4), -2.0), r"pixels in \[0, 1\], got -2 to -2. Undo a normalisation"),
        (torch.full((1, 3, 4, 4), torch.nan), "images hold NaN"),
        (torch.full((1, 3, 4, 4), torch.inf), r"pixels in \[0, 1\], got inf to inf"),
    ],
)
def test_other_images_get_one_sentence(name: str, images: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        some(name, images)


@every_shift
@pytest.mark.parametrize("strength", [-0.1, torch.nan, torch.inf, "1", True, None])
def test_other_strengths_get_one_sentence(name: str, strength: Any) -> None:
    with pytest.raises(InputError, match=r"must be a finite number (of at least 0|from 0 to 16), got"):
        shift_of(name)(pictures(), strength, **STRENGTHS[name][2])


@pytest.mark.parametrize("name", RANDOM)
def test_other_seeds_and_starts_get_one_sentence(name: str) -> None:
    with pytest.raises(InputError, match=r"seed must be a whole number, got 0.5"):
        some(name, pictures(), seed=0.5)
    with pytest.raises(InputError, match=r"start, the number of the first image .* got -1"):
        some(name, pictures(), start=-1)


def test_what_undoing_a_normalisation_leaves_past_the_ends_is_let_pass() -> None:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    pixels = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 5, 5)
    undone = (pixels - mean) / std * std + mean
    for past in (-1e-6, 1e-6):
        assert_allclose(out_of_domain(undone + past, 1), pixels, atol=2e-6)


# Noise


def test_uniform_noise_is_the_philox_stream_of_the_image() -> None:
    """Image 6, worked from numpy's generator: 24 bits of every word, u in [0, 1), become (2 u - 1) eps."""
    key = derive("corruption", "uniform_noise", 0, 9, 0)
    words = np.random.Philox(key=key, counter=6 * 2).random_raw(2 * 4)[:6].astype("<u8").view(np.uint32)[:12]
    expected = (words >> 8).astype(np.float64) / 2**24 * 2 - 1
    result = uniform_noise(grey(0.5, side=2), 0.25, space="pixel", seed=9, start=6)
    assert_allclose(result.flatten(), 0.5 + 0.25 * expected, atol=1e-7)


@pytest.mark.parametrize("eps", [0.05, 0.7])
def test_uniform_noise_is_uniform_and_bounded_in_normalised_space(eps: float) -> None:
    images = pictures(16)
    noise = uniform_noise(images, eps, **STATISTICS) - normalise(images, MEAN, STD)
    assert noise.abs().max() <= eps + 1e-6
    assert stats.kstest(noise.flatten().numpy(), stats.uniform(-eps, 2 * eps).cdf).pvalue > 1e-3
    for channel in range(3):
        assert stats.kstest(noise[:, channel].flatten().numpy(), stats.uniform(-eps, 2 * eps).cdf).pvalue > 1e-3


def test_normal_noise_is_normal_with_the_deviation_asked_for() -> None:
    images = pictures(16)
    noise = normal_noise(images, 0.2, **STATISTICS) - normalise(images, MEAN, STD)
    assert stats.kstest(noise.flatten().numpy(), stats.norm(0, 0.2).cdf).pvalue > 1e-3
    assert float(noise.std()) == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("noise", [uniform_noise, normal_noise])
def test_values_channels_and_images_are_independent(noise: Callable[..., Tensor]) -> None:
    drawn = noise(grey(0.5, 40, 16), 0.1, space="pixel").double() - 0.5
    pairs = {
        "neighbours": (drawn[..., :-1], drawn[..., 1:]),
        "rows": (drawn[..., :-1, :], drawn[..., 1:, :]),
        "channels": (drawn[:, 0], drawn[:, 1]),
        "images": (drawn[:-1], drawn[1:]),
    }
    for one, other in pairs.values():
        correlation = np.corrcoef(one.flatten(), other.flatten())[0, 1]
        assert abs(correlation) < 4 / one.numel() ** 0.5


@pytest.mark.parametrize("noise", [uniform_noise, normal_noise])
def test_noise_at_another_strength_is_the_same_noise_scaled(noise: Callable[..., Tensor]) -> None:
    images = grey(0.5, 3)
    weak, strong = (noise(images, strength, space="pixel") - 0.5 for strength in (0.05, 0.2))
    assert_allclose(strong, 4 * weak, atol=1e-6)


@pytest.mark.parametrize("noise", [uniform_noise, normal_noise])
def test_pixel_space_is_normalised_space_of_mean_0_and_std_1(noise: Callable[..., Tensor]) -> None:
    images = pictures()
    assert torch.equal(noise(images, 0.3, space="pixel"), noise(images, 0.3, mean=(0.0,) * 3, std=(1.0,) * 3))


@pytest.mark.parametrize("noise", [uniform_noise, normal_noise])
def test_clipping_keeps_to_what_a_pixel_can_be(noise: Callable[..., Tensor]) -> None:
    images = pictures()
    free, cut = (noise(images, 0.5, space="pixel", clip=clip) for clip in (False, True))
    assert free.min() < 0
    assert free.max() > 1
    assert torch.equal(cut, free.clamp(0, 1))
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    free, cut = (noise(images, 0.5, **STATISTICS, clip=clip) for clip in (False, True))
    assert_allclose(cut, ((free * std + mean).clamp(0, 1) - mean) / std, atol=2e-6)
    assert (free != cut).any()


@pytest.mark.parametrize("noise", [uniform_noise, normal_noise])
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "space 'normalised' needs mean= and std=.*space='pixel'"),
        ({"mean": MEAN}, "space 'normalised' needs mean= and std="),
        ({"space": "pixel", **STATISTICS}, "space 'pixel' takes no mean or std"),
        ({"space": "pixels"}, "unknown space 'pixels'. Did you mean 'pixel'?"),
        ({"mean": (0.5,), "std": STD}, "mean must be three finite numbers, one per channel, got"),
        ({"mean": 0.5, "std": STD}, "mean must be three finite numbers, one per channel, got 0.5"),
        ({"mean": MEAN, "std": (0.2, 0.2, torch.nan)}, "std must be three finite numbers"),
        ({"mean": (125.3, 123.0, 113.9), "std": (63.0, 62.1, 66.7)}, "look like 0-255 units. Divide them by 255."),
        ({"mean": MEAN, "std": (0.2, 0.0, 0.2)}, "std must be above 0 in every channel"),
    ],
)
def test_other_spaces_get_one_sentence(noise: Callable[..., Tensor], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        noise(pictures(), 0.1, **options)


# Domain


def test_out_of_domain_leaves_images_in_0_to_255() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(out_of_domain(levels), levels.float())
    assert torch.equal(out_of_domain(levels.float() / 255), levels.float())
    assert torch.equal(out_of_domain(levels, 1), levels.float() / 255)
    assert_allclose(out_of_domain(levels, 51), levels / 5, rtol=1e-6)
