"""Noise and blurs against scikit-image, SciPy and OpenCV, fed the same random numbers."""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.filters import gaussian
from skimage.util import random_noise
from torch import Tensor

from shift_oracles import Given, pictures
from sinewy.errors import InputError
from sinewy.shifts import PRESETS, blur, corrupt, noise
from sinewy.shifts.draws import Draws
from sinewy.shifts.filters import gaussian_matrix, motion_blur

Image = NDArray[np.uint8]
CASES = list(product(PRESETS, range(1, 6)))
every_case = pytest.mark.parametrize(("preset", "severity"), CASES)


def channels_last(images: Tensor) -> NDArray[np.float64]:
    return images.permute(0, 2, 3, 1).double().numpy() / 255


def stored(images: NDArray[np.float64]) -> Tensor:
    """Clip to [0, 1] and truncate, as the benchmark stores its images."""
    return torch.from_numpy(np.uint8(np.clip(images, 0, 1) * 255)).permute(0, 3, 1, 2)


def assert_same(ours: Tensor, reference: Tensor, share: float) -> None:
    """At most `share` of the values may be one level off (a sum that lands on a whole level), none more."""
    off = (ours.int() - reference.int()).abs()
    assert off.max() <= 1
    assert (off > 0).double().mean() <= share


def draws_for(images: Tensor, kind: str) -> Draws:
    return Draws(kind, 3, 0, 0, len(images))


@every_case
def test_gaussian_noise(preset: str, severity: int) -> None:
    x = pictures(preset)
    z = draws_for(x, "gaussian_noise").normal(*x.shape[1:])
    reference = x.double() / 255 + z.double() * noise.GAUSSIAN_NOISE[preset][severity - 1]
    ours = noise.gaussian_noise(x, severity, preset, Given(z))
    assert_same(ours, (reference.clamp(0, 1) * 255).to(torch.uint8), 1e-4)


@every_case
def test_speckle_noise(preset: str, severity: int) -> None:
    x = pictures(preset)
    z = draws_for(x, "speckle_noise").normal(*x.shape[1:])
    level = x.double() / 255
    reference = level + level * z.double() * noise.SPECKLE_NOISE[preset][severity - 1]
    ours = noise.speckle_noise(x, severity, preset, Given(z))
    assert_same(ours, (reference.clamp(0, 1) * 255).to(torch.uint8), 1e-4)


@every_case
def test_shot_noise_is_the_inverse_of_the_poisson_distribution(preset: str, severity: int) -> None:
    x = pictures(preset)[..., :32, :32]
    bits = draws_for(x, "shot_noise").bits16(*x.shape[1:])
    photons = noise.SHOT_NOISE[preset][severity - 1]
    mean = x.double().numpy() / 255 * photons
    counts = np.where(mean > 0, stats.poisson.ppf((bits.numpy() + 0.5) / 65536, np.maximum(mean, 1e-9)), 0)
    reference = torch.from_numpy(np.uint8(np.clip(counts / photons, 0, 1) * 255))
    assert torch.equal(noise.shot_noise(x, severity, preset, Given(bits)), reference)


def test_shot_noise_has_the_mean_and_spread_of_cut_poisson_noise() -> None:
    x = torch.full((64, 3, 32, 32), 100, dtype=torch.uint8)
    sample = corrupt(x, "shot_noise", 5, preset="imagenet").double()
    counts = np.arange(3)
    chance = np.append(stats.poisson.pmf(counts, 100 / 255 * 3), stats.poisson.sf(2, 100 / 255 * 3))
    levels = np.array([0, 85, 170, 255])
    mean = (chance * levels).sum()
    spread = np.sqrt((chance * (levels - mean) ** 2).sum())
    error = spread / np.sqrt(sample.numel())
    assert abs(sample.mean() - mean) < 4 * error
    assert sample.std() == pytest.approx(spread, rel=0.01)
    assert set(sample.unique().tolist()) == {0, 85, 170, 255}


class Chances(np.random.Generator):
    """A NumPy generator whose uniform numbers are the given arrays, in order."""

    def __init__(self, *values: NDArray[np.float64]) -> None:
        super().__init__(np.random.PCG64(0))
        self.values = iter(values)

    def random(self, *_: object, **__: object) -> NDArray[np.float64]:
        return next(self.values)


@every_case
def test_impulse_noise(preset: str, severity: int) -> None:
    x = pictures(preset)
    amount = noise.IMPULSE_NOISE[preset][severity - 1]
    chance = draws_for(x, "impulse_noise").uniform(*x.shape[1:])
    replaced, white = (chance < amount).numpy(), (chance < amount / 2).numpy()
    generator = Chances(np.where(replaced, 0.0, 1.0), np.where(white, 0.0, 1.0))
    reference = random_noise(x.numpy() / 255, mode="s&p", amount=amount, rng=generator)
    ours = noise.impulse_noise(x, severity, preset, Given(chance))
    assert torch.equal(ours, torch.from_numpy(np.rint(reference * 255).astype(np.uint8)))


def test_impulse_noise_replaces_its_share_half_white_half_black() -> None:
    x = torch.full((64, 3, 32, 32), 100, dtype=torch.uint8)
    sample = corrupt(x, "impulse_noise", 5, preset="imagenet")
    values = sample.numel()
    for level in (0, 255):
        assert (sample == level).double().mean().item() == pytest.approx(0.135, abs=4 * np.sqrt(0.135 / values))


@every_case
def test_gaussian_blur(preset: str, severity: int) -> None:
    x = pictures(preset)
    sigma = blur.GAUSSIAN_BLUR[preset][severity - 1]
    reference = stored(np.stack([gaussian(image, sigma, channel_axis=-1) for image in channels_last(x)]) + 1e-11)
    assert_same(blur.gaussian_blur(x, severity, preset, Given()), reference, 1e-4)


@pytest.mark.parametrize("edge", ["nearest", "reflect", "mirror", "constant", "wrap"])
@pytest.mark.parametrize(("size", "sigma", "truncate"), [(9, 0.05, 4), (9, 1.3, 4), (32, 5.0, 3), (5, 4.0, 3)])
def test_gaussian_matrix(size: int, sigma: float, truncate: float, edge: str) -> None:
    column = np.random.default_rng(0).normal(size=size)
    reference = ndimage.gaussian_filter1d(column, sigma, mode=edge, truncate=truncate)
    ours = gaussian_matrix(size, sigma, truncate, edge).numpy() @ column
    np.testing.assert_allclose(ours, reference, atol=1e-12)


def disk(radius: float, alias: float) -> NDArray[np.float64]:
    """The benchmark's kernel, as it makes it with OpenCV."""
    half, size = (8, 3) if radius <= 8 else (int(radius), 5)
    axis = np.arange(-half, half + 1)
    x, y = np.meshgrid(axis, axis)
    kernel = np.array(x**2 + y**2 <= radius**2, dtype=np.float64)
    return cv2.GaussianBlur(kernel / kernel.sum(), ksize=(size, size), sigmaX=alias)


@every_case
def test_defocus_blur(preset: str, severity: int) -> None:
    x = pictures(preset)
    kernel = disk(*blur.DEFOCUS_BLUR[preset][severity - 1])
    blurred = [[cv2.filter2D(c, -1, kernel) for c in image] for image in x.double().numpy() / 255]
    reference = stored(np.asarray(blurred).transpose(0, 2, 3, 1) + 1e-11)
    assert_same(blur.defocus_blur(x, severity, preset, Given()), reference, 1e-3)


@pytest.mark.parametrize(("severity", "total"), [(1, 1.0), (3, 1.0), (4, 1.01298), (5, 1.01079)])
def test_defocus_blur_brightens_where_the_disk_touches_its_grid(severity: int, total: float) -> None:
    assert blur._disk(*blur.DEFOCUS_BLUR["imagenet"][severity - 1]).sum().item() == pytest.approx(total, abs=1e-5)


def move_one_by_one(pixels: Image, moves: NDArray[np.int64], reach: int) -> Image:
    """One glass pass on (H, W, channels) as defined: last pixel to first, each copies another's current colour."""
    height, width = pixels.shape[:2]
    pixels = pixels.copy()
    for h in range(height - reach, reach, -1):
        for w in range(width - reach, reach, -1):
            dx, dy = moves[h - reach - 1, w - reach - 1]
            pixels[h, w] = pixels[h + dy, w + dx]
    return pixels


GLASS = [*product(("cifar", "tiny"), range(1, 6)), ("imagenet", 4)]


@pytest.mark.parametrize(("preset", "severity"), GLASS)
def test_glass_moves_equal_the_sequential_definition_bit_for_bit(preset: str, severity: int) -> None:
    side = PRESETS[preset]
    _, reach, passes = blur.GLASS_BLUR[preset][severity - 1]
    moves = Draws("glass_blur", severity, 0, 0, 2).integers(
        -reach, reach, passes, side - 2 * reach, side - 2 * reach, 2
    )
    numbered = np.arange(side * side).reshape(side, side, 1)
    for image, image_moves in enumerate(moves.numpy()[: 1 if preset == "imagenet" else 2]):
        moved = numbered
        for pass_moves in image_moves:
            moved = move_one_by_one(moved, pass_moves, reach)
        ours = blur._origins(moves, side, side, reach)[image].numpy()
        np.testing.assert_array_equal(ours, moved.reshape(-1))


def test_glass_moves_of_an_image_that_is_not_square() -> None:
    moves = Draws("glass_blur", 1, 0, 0, 1).integers(-2, 2, 1, 9 - 4, 13 - 4, 2)
    reference = move_one_by_one(np.arange(9 * 13).reshape(9, 13, 1), moves[0, 0].numpy(), 2)
    np.testing.assert_array_equal(blur._origins(moves, 9, 13, 2)[0].numpy(), reference.reshape(-1))


@pytest.mark.parametrize(("preset", "severity"), GLASS)
def test_glass_blur(preset: str, severity: int) -> None:
    x = pictures(preset)[:1]
    sigma, reach, passes = blur.GLASS_BLUR[preset][severity - 1]
    side = PRESETS[preset] - 2 * reach
    moves = draws_for(x, "glass_blur").integers(-reach, reach, passes, side, side, 2)
    pixels = np.uint8(gaussian(channels_last(x)[0], sigma, channel_axis=-1) * 255 + 1e-9)
    for pass_moves in moves[0].numpy():
        pixels = move_one_by_one(pixels, pass_moves, reach)
    reference = stored(gaussian(pixels / 255, sigma, channel_axis=-1)[None] + 1e-11)
    assert_same(blur.glass_blur(x, severity, preset, Given(moves)), reference, 1e-4)


@every_case
def test_motion_blur(preset: str, severity: int) -> None:
    x = pictures(preset)
    chance = draws_for(x, "motion_blur").uniform()
    radius, sigma = blur.MOTION_BLUR[preset][severity - 1]
    ours = blur.motion_blur(x, severity, preset, Given(chance))
    for image, where, result in zip(x.double().numpy(), chance.tolist(), ours, strict=True):
        kernel = line(radius, sigma, where * 90 - 45)
        reference = np.rint([ndimage.correlate(channel, kernel, mode="nearest") for channel in image])
        assert_same(result, torch.from_numpy(reference.astype(np.uint8)), 1e-3)


def line(radius: int, sigma: float, degrees: float) -> NDArray[np.float64]:
    """The two-dimensional kernel of ImageMagick's motion blur."""
    taps = 2 * radius + 1
    kernel = np.zeros((2 * taps + 1, 2 * taps + 1))
    weights = [np.exp(-(j**2) / (2 * sigma**2)) for j in range(taps)]
    angle = np.deg2rad(degrees)
    for j, weight in enumerate(weights):
        down, right = np.ceil(j * np.sin(angle) - 0.5), np.ceil(j * np.cos(angle) - 0.5)
        kernel[taps + int(down), taps + int(right)] += weight / sum(weights)
    return kernel


@pytest.mark.parametrize("degrees", [-135.0, -90.0, -60.0, 0.0, 90.0, 180.0])
def test_motion_blur_in_every_direction(degrees: float) -> None:
    image = np.random.default_rng(0).random((20, 14)) * 255
    ours = motion_blur(torch.from_numpy(image)[None, None], 4, 2.0, torch.tensor([degrees]))[0, 0].numpy()
    np.testing.assert_allclose(ours, ndimage.correlate(image, line(4, 2.0, degrees), mode="nearest"), atol=1e-9)


def test_motion_blur_takes_a_bright_dot_against_the_direction() -> None:
    dot = torch.zeros(1, 1, 5, 5)
    dot[0, 0, 2, 3] = 1
    weights = np.exp(-0.5 * np.arange(3) ** 2)
    expected = (weights / weights.sum())[[2, 1, 0]]
    row = motion_blur(dot, 1, 1.0, torch.zeros(1))[0, 0, 2]
    np.testing.assert_allclose(row.numpy(), [0, *expected, 0], atol=1e-7)


def zoomed(image: NDArray[np.float64], zoom: float) -> NDArray[np.float64]:
    """The benchmark's clipped zoom of (H, W, 3), H = W."""
    side = len(image)
    crop = int(np.ceil(side / zoom))
    top = (side - crop) // 2
    large = ndimage.zoom(image[top : top + crop, top : top + crop], (zoom, zoom, 1), order=1)
    trim = (len(large) - side) // 2
    return large[trim : trim + side, trim : trim + side]


@pytest.mark.parametrize(("preset", "severity"), [case for case in CASES if case[0] != "imagenet" or case[1] in (1, 5)])
def test_zoom_blur(preset: str, severity: int) -> None:
    x = pictures(preset)[:1]
    image = channels_last(x)[0]
    zooms = np.arange(1, *blur.ZOOM_BLUR[preset][severity - 1])
    reference = stored(((image + sum(zoomed(image, z) for z in zooms)) / (len(zooms) + 1))[None] + 1e-11)
    assert_same(blur.zoom_blur(x, severity, preset, Given()), reference, 1e-4)


def test_number_of_zooms_is_the_published_one() -> None:
    numbers = {preset: [len(np.arange(1, *entry)) for entry in table] for preset, table in blur.ZOOM_BLUR.items()}
    published = [7, 12, 16, 21, 26]
    assert numbers == {"cifar": published, "tiny": published, "imagenet": [12, 16, 11, 13, 11]}


@pytest.mark.parametrize("kind", ["gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])
@pytest.mark.parametrize("level", [0, 1, 77, 254, 255])
def test_blurs_leave_a_flat_image_as_it_is(kind: str, level: int) -> None:
    flat = torch.full((2, 3, 32, 32), level, dtype=torch.uint8)
    for severity in range(1, 6):
        assert torch.equal(corrupt(flat, kind, severity), flat)


@pytest.mark.parametrize("kind", ["gaussian_blur", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"])
def test_blurs_take_images_that_are_not_square(kind: str) -> None:
    images = pictures("tiny")[..., :40, :56].contiguous()
    assert corrupt(images, kind, 3, preset="tiny").shape == images.shape


@pytest.mark.parametrize(("kind", "needed"), [("glass_blur", "9 x 9"), ("defocus_blur", "11 x 11")])
def test_an_image_smaller_than_the_window_is_refused(kind: str, needed: str) -> None:
    with pytest.raises(
        InputError, match=f"{kind} at severity 5 of preset 'imagenet' needs images of at least {needed}"
    ):
        corrupt(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), kind, 5, preset="imagenet")
