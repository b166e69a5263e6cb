"""The kinds of C-bar that are noise of given frequencies: sine waves, rings, and noise made from a spectrum."""

from __future__ import annotations

from functools import lru_cache
from math import pi

import torch
from torch import Tensor

from sinewy.shifts.c_bar_levels import level, per_image, pixels, plus, shorter_side
from sinewy.shifts.draws import Draws


def single_frequency_greyscale(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) plus 19.6 s sin(x fx + y fy + phase), the same on all channels.

    One of the frequencies is uniform on (-pi, pi), the other between plus and minus its size; which is which is random.
    """
    amplitude = 19.6 * level("single_frequency_greyscale", severity, preset)
    larger, smaller, order, phase = per_image(draws.uniform(4))
    larger = (2 * larger - 1) * pi
    smaller = (2 * smaller - 1) * larger.abs()
    y, x = pixels(images)
    across = x * torch.where(order < 0.5, larger, smaller)
    down = y * torch.where(order < 0.5, smaller, larger) + 2 * pi * phase
    # the sine of a sum, so that sines are taken of rows and columns only
    wave = across.sin() * down.cos() + across.cos() * down.sin()
    return plus(images, wave[:, None] * amplitude)


def cocentric_sine_waves(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) plus 12.8 s times a sawtooth over the distance from a random centre.

    The rings, up to S/10 wide, are themselves waved around the centre: up to 10 times, by up to S/10 pixels.
    """
    amplitude = 12.8 * level("cocentric_sine_waves", severity, preset)
    across, down, frequency, height, ring = per_image(draws.uniform(5))
    y, x = pixels(images)
    dy, dx = y - down * images.shape[-2], x - across * images.shape[-1]
    tenth = shorter_side(images) / 10
    waved = (torch.atan2(dx, dy) * (frequency * 10)).sin_().mul_(height * tenth).add_((dx * dx + dy * dy).sqrt_())
    ring = (1 - ring) * tenth  # never 0
    sawtooth = waved.remainder_(ring).div_(ring).sub_(0.5)
    return plus(images, sawtooth[:, None] * amplitude)


def blue_noise_sample(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W), black wherever noise with amplitudes as its frequencies is <= 0.3 s - 2.5.

    The noise has unit variance over each image.
    """
    threshold = 0.3 * level("blue_noise_sample", severity, preset) - 2.5
    height, width = images.shape[-2:]
    noise = _noise(_from_centre(height, width), draws.uniform(1, height * width // 2))
    return images * (noise > threshold)


def brownish_noise(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """Return uint8 `images` (N, 3, H, W) plus 6.4 s times noise with amplitudes 1 / (frequency^2 + 1), per channel.

    Frequencies are in cycles per image; the noise has unit variance over each channel.
    """
    amplitude = 6.4 * level("brownish_noise", severity, preset)
    height, width = images.shape[-2:]
    noise = _noise(1 / (_from_centre(height, width) ** 2 + 1), draws.uniform(3, height * width // 2))
    return plus(images, noise.mul_(amplitude))


@lru_cache(maxsize=8)
def _from_centre(height: int, width: int) -> Tensor:
    """Return the float64 distance of each place of a (height, width) spectrum from its middle."""
    y = torch.arange(height, dtype=torch.float64) - height / 2
    x = torch.arange(width, dtype=torch.float64) - width / 2
    return (y[:, None] ** 2 + x**2).sqrt()


def _noise(amplitude: Tensor, turns: Tensor) -> Tensor:
    """Return float64 noise (N, C, H, W) of unit variance from `amplitude` (H, W), frequency 0 in the middle.

    `turns` (N, C, H W // 2) are the phases of one half of the spectrum, in [0, 1). Kept from the published generator:
    the other half is this one turned by 180 degrees, which does not negate the phases and is about the middle of the
    pixels, not of the spectrum; the noise is the real part of what comes of it.
    """
    height, width = amplitude.shape
    places = _places(height, width).to(turns.device)
    turns = torch.cat((turns, turns.new_zeros(*turns.shape[:2], 1)), 2).double().mul_(2 * pi)
    rolled = amplitude.roll((height // 2, width // 2), (0, 1)).flatten().to(turns.device)
    real, imaginary = (part.index_select(2, places).mul_(rolled) for part in (turns.cos(), turns.sin()))
    spectrum = torch.complex(real, imaginary).view(*turns.shape[:2], height, width)
    noise: Tensor = torch.fft.ifft2(spectrum).real.contiguous()
    mean = noise.mean((2, 3), keepdim=True)
    variance = noise.square().mean((2, 3), keepdim=True) - mean.square()
    return noise.div_(variance.clamp_(min=1e-300).sqrt_())  # of a single pixel it is 0


@lru_cache(maxsize=8)
def _places(height: int, width: int) -> Tensor:
    """Return which phase each place of the spectrum has, frequency 0 first: one of a half, or the last, which is 0."""
    half = torch.arange(height * width // 2)
    middle = half.new_full((height * width % 2,), len(half))
    places = torch.cat((half, middle, half.flip(0))).view(height, width)
    return places.roll((height // 2, width // 2), (0, 1)).flatten()
