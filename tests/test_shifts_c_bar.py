"""C-bar against its recipes pixel by pixel, scikit-image and SciPy, fed the same random numbers."""

from __future__ import annotations

from collections.abc import Callable
from math import atan2, cos, floor, hypot, pi, sin

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.draw import line_aa
from torch import Tensor

from shift_oracles import Given
from sinewy.families import resolve
from sinewy.shifts import C_BAR, SEVERITIES, c_bar_cover
from sinewy.shifts.c_bar_levels import LEVELS
from sinewy.shifts.draws import Draws

Floats = NDArray[np.float64]
Map = Callable[[int, int], float]

SIDE = 20
"""Lengths scale with the image, so the recipes can be followed pixel by pixel on small ones."""


def scenes(count: int, side: int = SIDE) -> Tensor:
    """Return uint8 (count, 3, side, side), smooth and rough, with black, white and grey patches; every image
    different."""
    generator = np.random.default_rng(side)
    rough = generator.normal(size=(count, 3, side, side))
    levels = 120 + 20 * rough + 250 * ndimage.gaussian_filter(rough, (0, 0, 3, 3))
    levels += 90 * np.linspace(-1, 1, side) * generator.uniform(-1, 1, (count, 3, 1, 1))
    levels[:, :, : side // 5, : side // 3] = 0
    levels[:, :, side // 2 : 3 * side // 4, : side // 6] = 255
    levels[:, :, -side // 3 :, -side // 4 :] = 128
    return torch.from_numpy(np.clip(levels, 0, 255).astype(np.uint8))


def drawn(kind: str, severity: int, count: int) -> Draws:
    return Draws(kind, severity, 3, 0, count)


def stored(levels: list[Floats]) -> Tensor:
    """Clip and truncate levels (H, W, 3), as the published generator does; what is whole but for rounding is whole."""
    whole = [np.where(np.abs(image - np.rint(image)) < 1e-9, np.rint(image), image) for image in levels]
    return torch.from_numpy(np.clip(np.stack(whole), 0, 255).astype(np.uint8)).permute(0, 3, 1, 2)


def pixel_by_pixel(value: Map, side: int = SIDE) -> Floats:
    return np.array([[value(y, x) for x in range(side)] for y in range(side)])


def check(kind: str, images: Tensor, severity: int, preset: str, numbers: tuple[Tensor, ...], expected: Tensor) -> None:
    """At most one value in 2 000 may be one level off."""
    function = resolve("corruption", kind, C_BAR)
    result = function(images, severity, preset, Given(*numbers))
    off = (result.int() - expected.int()).abs()
    assert result.dtype == torch.uint8
    assert off.max() <= 1
    assert (off > 0).double().mean() <= 5e-4
    assert (result != images).any()


def levels_of(kind: str) -> list[tuple[str, int, float]]:
    return [(p, s, LEVELS[p][kind][s - 1]) for p in LEVELS if kind in LEVELS[p] for s in SEVERITIES]


def follow(
    kind: str, draw: Callable[[Draws], tuple[Tensor, ...]], recipe: Callable[..., Floats], count: int = 2
) -> None:
    """Compare a kind at all its severities with `recipe(image, s, *numbers)`, in levels (H, W, 3)."""
    images = scenes(count)
    for preset, severity, s in levels_of(kind):
        numbers = draw(drawn(kind, severity, count))
        expected = [
            recipe(image.permute(1, 2, 0).double().numpy(), s, *(part.double().numpy()[n] for part in numbers))
            for n, image in enumerate(images)
        ]
        check(kind, images, severity, preset, numbers, stored(expected))


def test_single_frequency_greyscale() -> None:
    def recipe(image: Floats, s: float, u: Floats) -> Floats:
        first = -pi + 2 * pi * u[0]
        second = -abs(first) + 2 * abs(first) * u[1]
        fx, fy = (first, second) if u[2] < 0.5 else (second, first)
        wave = pixel_by_pixel(lambda y, x: sin(x * fx + y * fy + 2 * pi * u[3]))
        return image + s / 10 * 196 * wave[..., None]

    follow("single_frequency_greyscale", lambda draws: (draws.uniform(4),), recipe, 4)


def test_cocentric_sine_waves() -> None:
    def recipe(image: Floats, s: float, u: Floats) -> Floats:
        x0, y0, ring = u[0] * SIDE, u[1] * SIDE, (1 - u[4]) * SIDE / 10

        def value(y: int, x: int) -> float:
            waved = hypot(x - x0, y - y0) + u[3] * SIDE / 10 * sin(atan2(x - x0, y - y0) * u[2] * 10)
            return waved % ring / ring - 0.5

        return image + s / 10 * 128 * pixel_by_pixel(value)[..., None]

    follow("cocentric_sine_waves", lambda draws: (draws.uniform(5),), recipe)


def test_plasma_noise() -> None:
    def recipe(image: Floats, s: float, stirs: float, u: Floats) -> Floats:
        time, sharpness, scale = 6 * pi * u[0], 0.5 + 0.5 * u[1], (0.075 + 0.125 * u[2]) * SIDE

        def colour(y: int, x: int) -> tuple[float, float, float]:
            px, py, i0, i1, i2 = x / scale, y / scale, 1.0, 1.0, 1.0
            for _ in range(int(stirs)):
                r0, r1 = cos(py * i0 + time / i1) / i2, sin(px * i0 + time / i1) / i2
                px, py = px + r0 - 0.3 * r1, py + r1 + 0.3 * r0
                i0, i1, i2 = i0 * 1.93, i1 * 1.15, i2 * (2.25 - sharpness)
            return sin(px - time), sin(0.5 * (px + py + sin(time))), sin(py + time)

        share = s / 10 * 64
        return (1 - share / 255) * image + share * pixel_by_pixel(colour)

    follow("plasma_noise", lambda draws: (draws.integers(4, 7), draws.uniform(3)), recipe, 4)


def test_perlin_noise() -> None:
    def recipe(image: Floats, s: float, keys: Floats, steps: Floats) -> Floats:
        order = np.argsort(keys, kind="stable")
        lengths = np.hypot(*steps.T)
        gradients = steps / np.where(lengths == 0, 1, lengths)[:, None]

        def gradient_noise(x: float, y: float) -> float:
            corner = {}
            for a in (0, 1):
                for b in (0, 1):
                    key = order[(order[(floor(x) + a) % 256] + floor(y) + b) % 256]
                    corner[a, b] = (x % 1 - a) * gradients[key, 0] + (y % 1 - b) * gradients[key, 1]
            sx, sy = ((t % 1) ** 2 * (3 - 2 * (t % 1)) for t in (x, y))
            first, second = (corner[0, b] + sx * (corner[1, b] - corner[0, b]) for b in (0, 1))
            return 1.5 * (first + sy * (second - first))

        def cloud(y: int, x: int) -> float:
            scale = 32 * SIDE / 224
            turbulence = sum(abs(gradient_noise(f * y / scale, f * x / scale)) / f for f in (1, 2, 4, 8, 16))
            return min(max(0.5 * turbulence + 0.5, 0), 1)

        share = s / 10 * 0.5
        return (1 - share) * image + 255 * share * pixel_by_pixel(cloud)[..., None]

    def draw(draws: Draws) -> tuple[Tensor, ...]:
        return draws.uniform(256), draws.integers(-256, 256, 256, 2)

    follow("perlin_noise", draw, recipe, 1)


def spectral(amplitude: Map, turns: Floats) -> Floats:
    """The real part of a sum of complex waves, frequency 0 in the middle of the spectrum, over its deviation."""
    phases = np.append(turns, turns[::-1]).reshape(SIDE, SIDE) * 2 * pi
    spectrum = pixel_by_pixel(amplitude) * np.exp(1j * phases)
    noise = np.real(np.fft.ifft2(np.fft.ifftshift(spectrum)))
    return noise / np.std(noise)


def test_blue_noise_sample() -> None:
    def recipe(image: Floats, s: float, turns: Floats) -> Floats:
        noise = spectral(lambda y, x: hypot(y - SIDE / 2, x - SIDE / 2), turns[0])
        return image * (noise > s / 10 * 3 - 2.5)[..., None]

    follow("blue_noise_sample", lambda draws: (draws.uniform(1, SIDE * SIDE // 2),), recipe, 4)


def test_brownish_noise() -> None:
    def recipe(image: Floats, s: float, turns: Floats) -> Floats:
        parts = [spectral(lambda y, x: 1 / ((y - 10) ** 2 + (x - 10) ** 2 + 1), channel) for channel in turns]
        return image + s / 10 * 64 * np.stack(parts, -1)

    follow("brownish_noise", lambda draws: (draws.uniform(3, SIDE * SIDE // 2),), recipe, 4)


def test_checkerboard_cutout() -> None:
    def recipe(image: Floats, s: float, u: Floats, keys: Floats) -> Floats:
        angle, cell = 2 * pi * u[0], max((0.1 + 0.15 * u[1]) * SIDE, 1)
        chosen = keys < s / 10

        def cut(y: int, x: int) -> bool:
            down, across = (cos(angle) * y + sin(angle) * x) / cell, (cos(angle) * x - sin(angle) * y) / cell
            return int(down % 2) == int(across % 2) and bool(chosen[int(down), int(across)])

        return np.where(pixel_by_pixel(cut)[..., None], 128, image)

    follow("checkerboard_cutout", lambda draws: (draws.uniform(2), draws.uniform(40, 40)), recipe, 8)


def light(y: int, x: int, centre: Floats, lengths: Floats, power: float) -> float:
    dy, dx = y - centre[0], x - centre[1]
    turn = (atan2(dx, dy) + pi) / (2 * pi) * len(lengths)
    ray, share = int(turn) % len(lengths), turn - int(turn)
    length = lengths[ray] + share * (lengths[(ray + 1) % len(lengths)] - lengths[ray])
    fading = (length**2 / (dy**2 + dx**2 + 1e-4)) ** power
    return min(max((1 - (share - 0.5) ** 2) * fading, 0), 1)


def test_sparkles() -> None:
    def recipe(image: Floats, s: float, centres: Floats, rays: Floats, normal: Floats) -> Floats:
        radius = s / 10 * 0.1 * SIDE
        for centre, count, deviates in zip(centres * SIDE, rays.astype(int), normal, strict=True):
            lengths = np.maximum(1, radius + 0.25 * radius * deviates[:count])
            weight = pixel_by_pixel(lambda y, x, c=centre, r=lengths: light(y, x, c, r, 1))[..., None]
            image = image + weight * (255 - image)
        return image

    def draw(draws: Draws) -> tuple[Tensor, ...]:
        return draws.uniform(5, 2), draws.integers(50, 200, 5), draws.normal(5, 200)

    follow("sparkles", draw, recipe)


def test_inverse_sparkles() -> None:
    def recipe(image: Floats, s: float, place: Floats, rays: float, normal: Floats) -> Floats:
        lengths = 0.25 * SIDE + 0.25 * 0.25 * SIDE * normal[: int(rays)]
        amount = 100 - s / 10 * 65
        centre = (0.25 + 0.5 * place) * SIDE
        weight = pixel_by_pixel(lambda y, x: light(y, x, centre, lengths, (100 - amount) / 50))[..., None]
        return 255 + weight * (image - 255)

    def draw(draws: Draws) -> tuple[Tensor, ...]:
        return draws.uniform(2), draws.integers(50, 200), draws.normal(200)

    follow("inverse_sparkles", draw, recipe)


def bilinear(image: Floats, y: float, x: float) -> Floats:
    """Interpolate (H, W, C), 0 outside."""
    top, left = floor(y), floor(x)
    total = np.zeros(image.shape[2])
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
            total += image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_ripple() -> None:
    def recipe(image: Floats, s: float, wave: Floats, phase: Floats) -> Floats:
        height, length = s / 10 * 0.025 * SIDE, (0.1 + 0.2 * wave) * SIDE

        def value(y: int, x: int) -> Floats:
            moved = [p + height * sin(2 * pi * p / length[i] + 2 * pi * phase[i]) for i, p in enumerate((y, x))]
            return bilinear(image, *moved)

        return pixel_by_pixel(value)

    follow("ripple", lambda draws: (draws.uniform(2), draws.uniform(2)), recipe)


def test_pinch_and_twirl() -> None:
    def recipe(image: Floats, s: float, keys: Floats) -> Floats:
        amount, cell, result = s / 10 * 0.4 + 0.1, SIDE // 3, image.copy()
        for row, column in np.ndindex(3, 3):
            angle = (1 if keys[row, column] < 0.5 else -1) * s / 10 * pi / 2
            middle_y, middle_x = (row + 0.5) * cell, (column + 0.5) * cell
            before = result.copy()
            for y, x in np.ndindex(cell, cell):
                py, px = y + row * cell, x + column * cell
                dy, dx = py - middle_y, px - middle_x
                far = hypot(dy, dx) / (cell / 2)
                if 0 < far <= 1:
                    stretch, turn = sin(pi / 2 * far) ** -amount, angle * (1 - far) ** 2
                    source = (
                        middle_y + stretch * (dy * cos(turn) - dx * sin(turn)),
                        middle_x + stretch * (dy * sin(turn) + dx * cos(turn)),
                    )
                    result[py, px] = bilinear(before, *source)
        return result

    follow("pinch_and_twirl", lambda draws: (draws.uniform(3, 3),), recipe)


def caustics(time: float, size: float) -> Floats:
    def value(y: int, x: int) -> float:
        p = [c / size % 1 * 2 * pi - 250 for c in (y, x)]
        i, total = list(p), 1.0
        for bend in range(1, 6):
            t = time * (1 - 3.5 / bend)
            i = [p[0] + cos(t - i[0]) + sin(t + i[1]), p[1] + sin(t - i[1]) + cos(t + i[0])]
            total += 1 / hypot(p[0] / (sin(i[0] + t) / 0.005), p[1] / (cos(i[1] + t) / 0.005))
        return min(abs(1.17 - (total / 5) ** 1.4) ** 8, 1)

    return ndimage.gaussian_filter(np.repeat(pixel_by_pixel(value)[..., None], 3, 2), 1)


def refracted(normal: Floats, index: float) -> Floats:
    """Snell's law for light that falls along (0, 0, 1); as published, none bends where it is nearly flat."""
    upright = np.array([0.0, 0.0, 1.0])
    if normal[2] >= 1 - 1e-3:
        return upright
    angle = np.arccos(normal[2])
    out = np.arcsin(np.sin(angle) / index)
    side = np.cross(normal, np.cross(upright, normal) / np.linalg.norm(np.cross(upright, normal)))
    return np.cos(out) * normal + np.sin(out) * side


def test_caustic_refraction() -> None:
    def recipe(image: Floats, s: float, u: Floats) -> Floats:
        luma = caustics(0.5 + 1.5 * u[0], (0.75 + 0.5 * u[1]) * SIDE) @ np.array([0.2126, 0.7152, 0.0722])
        padded = np.pad(luma, 1)

        def value(y: int, x: int) -> Floats:
            north, south, west, east = padded[y + 1, x], padded[y + 1, x + 2], padded[y, x + 1], padded[y + 2, x + 1]
            normal = np.array([east - west, south - north, 1])
            bent = np.round(refracted(normal / np.linalg.norm(normal), 4) * s / 10 * 0.5 * SIDE, 3)
            light = (north - south) * s / 10 * 2 + (east - west) * s / 10 * 2
            return bilinear(image, y + bent[0], x + bent[1]) + 255 * light

        return pixel_by_pixel(value)

    follow("caustic_refraction", lambda draws: (draws.uniform(2),), recipe)


def test_lines() -> None:
    def recipe(image: Floats, s: float, u: Floats, keys: Floats) -> Floats:
        angle, variation = 2 * pi * u[0], 0.1 + 0.9 * u[1]
        assert len(keys) == int(s / 10 * SIDE)
        for first, second, third in keys:
            a = angle + 2 * pi * variation * (third - 0.5)
            y, x, half_y, half_x = first * SIDE, second * SIDE, cos(a) * SIDE, sin(a) * SIDE
            line = line_aa(int(y - half_y), int(x - half_x), int(y + half_y), int(x + half_x))
            rows, columns, cover = (
                part[[0 <= r < SIDE and 0 <= c < SIDE for r, c in zip(*line[:2], strict=True)]] for part in line
            )
            image[rows, columns] = np.floor((1 - cover[:, None]) * image[rows, columns] + cover[:, None] * 128 + 1e-9)
        return image

    for severity in SEVERITIES:
        images = scenes(6)
        count = int(LEVELS["cifar"]["lines"][severity - 1] / 10 * SIDE)
        draws = drawn("lines", severity, 6)
        numbers = draws.uniform(2), draws.uniform(count, 3)
        s = LEVELS["cifar"]["lines"][severity - 1]
        expected = [
            recipe(image.permute(1, 2, 0).double().numpy(), s, *(part[n].double().numpy() for part in numbers))
            for n, image in enumerate(images)
        ]
        check("lines", images, severity, "cifar", numbers, stored(expected))


def test_antialiased_lines_are_those_of_scikit_image() -> None:
    generator = np.random.default_rng(0)
    ends = generator.integers(-15, 35, (600, 4))
    ends = ends[(ends[:, :2] != ends[:, 2:]).any(1)]
    steep = [(3, 4, 3, 17), (3, 4, 15, 4), (3, 4, 9, 10), (9, 10, 3, 4), (2, 15, 8, 9), (0, 0, 1, 0), (5, 5, 6, 12)]
    ends = np.concatenate((ends, steep))
    expected = np.zeros((len(ends), SIDE, SIDE))
    for number, line in enumerate(ends):
        for row, column, cover in zip(*line_aa(*line), strict=True):
            if 0 <= row < SIDE and 0 <= column < SIDE:
                expected[number, row, column] = cover
    places = torch.from_numpy(ends).double()[:, :, None, None].unbind(1)
    found = c_bar_cover._antialiased(torch.zeros(1, 3, SIDE, SIDE), *places).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-15)


def test_transverse_chromatic_abberation() -> None:
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    for severity, s in enumerate(LEVELS["cifar"]["transverse_chromatic_abberation"], 1):
        images = scenes(6, 32)
        expected = images.clone()
        for image, order in zip(expected, orders, strict=True):
            for zoom, channel in zip((1, 1 + s / 10 * 0.25, 1 + s / 10 * 0.5), order, strict=True):
                # in floats: SciPy's own rounding of uint8 is at the mercy of the last bit where halves are common
                zoomed = ndimage.zoom(image[channel].double().numpy(), zoom, prefilter=False) + 0.5 + 1e-9
                edge = (len(zoomed) - 32) // 2
                image[channel] = torch.from_numpy(zoomed[edge : edge + 32, edge : edge + 32])
        check("transverse_chromatic_abberation", images, severity, "cifar", (torch.arange(6),), expected)


def test_circular_motion_blur() -> None:
    for severity, s in enumerate(LEVELS["cifar"]["circular_motion_blur"], 1):
        images = scenes(2, 32)
        times = np.linspace(-1, 1, 21)
        expected = []
        for image in images.permute(0, 2, 3, 1).double().numpy():
            turned = [ndimage.rotate(image, t * s / 10 * 15, reshape=False) for t in times]
            expected.append(np.average(turned, axis=0, weights=np.exp(-2 * times**2)))
        check("circular_motion_blur", images, severity, "cifar", (), stored(expected))
