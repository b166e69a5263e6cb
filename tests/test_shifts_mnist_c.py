"""MNIST-C against scikit-image, SciPy and sequential definitions, fed the same random numbers; and its contract."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import pairwise
from math import atan, ceil, cos, floor, log, sin
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from skimage.color import gray2rgb, hsv2rgb, rgb2gray, rgb2hsv
from skimage.feature import canny
from skimage.filters import gaussian
from skimage.transform import AffineTransform, warp
from torch import Tensor

from shift_oracles import Given
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.shifts import C_BAR, CORRUPTIONS, MNIST_C, blur, corrupt, weather
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from sinewy.shifts.draws import Draws
from sinewy.shifts.mnist_c_glass import _origins, glass_blur

Floats = NDArray[np.float64]
Image = NDArray[np.uint8]

NOT_RANDOM = {f"mnist-c/{name}" for name in ("scale", "brightness", "stripe", "canny_edges")}

every_kind = pytest.mark.parametrize("kind", MNIST_C)


def digits(count: int, side: int = 28) -> Tensor:
    """Return uint8 (count, 3, side, side): soft strokes on black, with plateaus of white; every image different."""
    generator = np.random.default_rng(5)
    levels = ndimage.gaussian_filter(generator.normal(size=(count, 28, 28)), (0, 1.5, 1.5)) * 1500
    levels[:, 3:9, 5:12] = 255
    levels = np.clip(levels - 60, 0, 255).astype(np.uint8)
    margin = (side - 28) // 2
    levels = np.pad(levels, ((0, 0), (margin, side - 28 - margin), (margin, side - 28 - margin)))
    return torch.from_numpy(np.repeat(levels[:, None], 3, 1))


def applied(kind: str, images: Tensor, *numbers: Tensor, **options: bool) -> Image:
    """Return the first channel of what `kind` makes of `images` with the numbers given; the channels are equal."""
    result = resolve("corruption", f"mnist-c/{kind}", MNIST_C)(images, 1, "cifar", Given(*numbers), **options)
    assert result.dtype == torch.uint8
    assert result.shape == images.shape
    assert torch.equal(result[:, :1].expand_as(result), result)
    return result[:, 0].numpy()


def drawn(kind: str, count: int) -> Draws:
    return Draws(f"mnist-c/{kind}", 1, 0, 0, count)


def stored(image: Floats) -> Image:
    """Clip [0, 1] and truncate to levels; what is whole but for rounding is whole."""
    return np.uint8(np.clip(image, 0, 1) * 255 + 1e-9)


def assert_same(ours: Image, reference: Image, share: float = 1e-3) -> None:
    off = np.abs(ours.astype(int) - reference)
    assert off.max() <= 1
    assert (off > 0).mean() <= share


def centred(transform: AffineTransform) -> AffineTransform:
    """Return the transform with the centre of the digit where it is."""
    matrix = transform.params.copy()
    matrix[:2, 2] = 13.5 - matrix[:2, :2] @ [13.5, 13.5]
    return AffineTransform(matrix=matrix)


def sheared(angle: float) -> AffineTransform:
    """The shear of scikit-image when MNIST-C was made."""
    return AffineTransform(matrix=np.array([[1, -sin(angle), 0], [0, cos(angle), 0], [0, 0, 1]]))


def warped(images: Tensor, sides: Tensor, transform: Callable[[int], AffineTransform]) -> Image:
    pairs = zip(images[:, 0].numpy() / 255, sides[:, 0].tolist(), strict=True)
    return np.stack([stored(warp(image, transform(2 * side - 1))) for image, side in pairs])


@pytest.mark.parametrize(
    ("kind", "transform"),
    [
        ("rotate", lambda sign: centred(AffineTransform(rotation=sign * 0.4))),
        ("shear", lambda sign: centred(sheared(sign * 0.4))),
        ("scale", lambda _: centred(AffineTransform(scale=(1 / 0.7, 1 / 0.7)))),
    ],
)
def test_affine_maps_are_those_of_scikit_image(kind: str, transform: Callable[[int], AffineTransform]) -> None:
    images, side = digits(6), torch.tensor([[0], [1], [0], [1], [1], [0]])
    assert_same(applied(kind, images, side), warped(images, side, transform))


def test_shear_is_scikit_images_of_today_on_demand() -> None:
    images, side = digits(4), torch.tensor([[0], [1], [1], [0]])
    expected = warped(images, side, lambda sign: centred(AffineTransform(shear=sign * 0.4)))
    assert_same(applied("shear", images, side, as_published=False), expected)


def test_translate_is_a_shift_by_three_along_both_axes() -> None:
    images, side = digits(4), torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    result = applied("translate", images, side)
    for image, (across, down), moved in zip(images[:, 0].numpy(), side.tolist(), result, strict=True):
        expected = warp(image / 255, AffineTransform(translation=(3 * (2 * across - 1), 3 * (2 * down - 1))))
        np.testing.assert_array_equal(moved, stored(expected))
        inner = np.roll(image, (3 - 6 * down, 3 - 6 * across), (0, 1))[3:-3, 3:-3]
        np.testing.assert_array_equal(moved[3:-3, 3:-3], inner)


def test_brightness_is_that_of_scikit_image() -> None:
    every_level = np.arange(784, dtype=np.uint8).reshape(28, 28)
    hsv = rgb2hsv(gray2rgb(every_level / 255))
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.5, 0, 1)
    expected = np.uint8(np.float32(np.clip(rgb2gray(hsv2rgb(hsv)), 0, 1) * 255))
    images = torch.from_numpy(every_level).expand(1, 3, -1, -1)
    np.testing.assert_array_equal(applied("brightness", images)[0], expected)


def test_stripe_inverts_seven_columns_on_either_side() -> None:
    images = digits(2)
    before, after = images[:, 0].numpy(), applied("stripe", images)
    np.testing.assert_array_equal(after[:, :, :7], 255 - before[:, :, :7])
    np.testing.assert_array_equal(after[:, :, 7:21], before[:, :, 7:21])
    np.testing.assert_array_equal(after[:, :, 21:], 255 - before[:, :, 21:])


def test_shot_noise_counts_three_photons_at_white() -> None:
    images = digits(4)
    bits = drawn("shot_noise", 4).bits16(1, 28, 28)
    mean = images[:, :1].numpy() / 255 * 3
    counts = np.where(mean > 0, stats.poisson.ppf((bits.numpy() + 0.5) / 65536, np.maximum(mean, 1e-9)), 0)
    np.testing.assert_array_equal(applied("shot_noise", images, bits), stored(counts / 3)[:, 0])


def test_impulse_noise_replaces_a_share_of_the_pixels_half_black_half_white() -> None:
    images = torch.full((4, 3, 28, 28), 100, dtype=torch.uint8)
    chance = drawn("impulse_noise", 4).uniform(1, 28, 28)
    expected = np.select([chance[:, 0] < 0.085, chance[:, 0] < 0.17], [255, 0], 100)
    np.testing.assert_array_equal(applied("impulse_noise", images, chance), expected)


def test_motion_blur_has_radius_ten_and_sigma_three() -> None:
    images, chance = digits(5), torch.tensor([0.0, 0.2, 0.5, 0.7, 0.95])
    weights = np.exp(-(np.arange(21) ** 2) / 18)
    for image, share, ours in zip(images[:, 0], chance.tolist(), applied("motion_blur", images, chance), strict=True):
        kernel, angle = np.zeros((43, 43)), np.deg2rad(share * 90 - 45)
        for step, weight in enumerate(weights / weights.sum()):
            kernel[21 + ceil(step * sin(angle) - 0.5), 21 + ceil(step * cos(angle) - 0.5)] += weight
        reference = ndimage.correlate(image.double().numpy(), kernel, mode="nearest")
        assert_same(ours, np.floor(reference + 0.5).astype(np.uint8))


def test_fog_is_imagenets_at_severity_five() -> None:
    images = digits(11)
    numbers = drawn("fog", 11).uniform(65535)
    expected = weather.fog(images, 5, "imagenet", Given(numbers))
    np.testing.assert_array_equal(applied("fog", images, numbers), expected[:, 0].numpy())


def test_spatter_is_mud_of_level_63() -> None:
    images = digits(4)
    normal = drawn("spatter", 4).normal(28, 28)
    result = applied("spatter", images, normal)
    for image, noise, ours in zip(images[:, 0].double().numpy() / 255, normal.double().numpy(), result, strict=True):
        layer = gaussian(noise * 0.3 + 0.65, sigma=1)
        cover = gaussian((layer > 0.65).astype(float), sigma=1.5)
        cover[cover < 0.8] = 0
        assert_same(ours, stored(image * (1 - cover) + 63 / 255 * cover))
    assert (result == 63).any()


def swapped(pixels: Floats, moves: NDArray[np.int64]) -> Floats:
    """One pass as defined: from the last pixel to the first, each swaps with a neighbour above, left, or both."""
    pixels = pixels.copy()
    for h in range(27, 1, -1):
        for w in range(27, 1, -1):
            move = int(moves[h - 2, w - 2])
            if move & 4:
                other = h - (move >> 1 & 1), w - (move & 1)
                pixels[h, w], pixels[other] = pixels[other], pixels[h, w]
    return pixels


@pytest.mark.parametrize("least", [0, 4, 5])
def test_swaps_equal_the_sequential_definition(least: int) -> None:
    """With all pixels swapping (from 4 on), and with none swapping with itself in vain (5), chains get longer."""
    moves = drawn("glass_blur", 4).integers(least, 8, 2, 26, 26)
    for ours, passes in zip(_origins(moves), moves.numpy(), strict=True):
        expected = swapped(swapped(np.arange(784).reshape(28, 28), passes[0]), passes[1])
        np.testing.assert_array_equal(ours.numpy(), expected.reshape(-1))
        assert sorted(ours.tolist()) == list(range(784))


@pytest.mark.parametrize("move", [5, 6, 7])
def test_the_longest_chains_of_swaps_are_followed_to_their_end(move: int) -> None:
    moves = torch.full((1, 1, 26, 26), move)
    expected = swapped(np.arange(784).reshape(28, 28), moves[0, 0].numpy())
    np.testing.assert_array_equal(_origins(moves)[0].numpy(), expected.reshape(-1))


def test_glass_blur_as_published_and_as_imagenets() -> None:
    images = digits(3)
    moves = drawn("glass_blur", 3).integers(0, 8, 2, 26, 26)
    for image, passes, ours in zip(
        images[:, 0].numpy(), moves.numpy(), applied("glass_blur", images, moves), strict=True
    ):
        pixels = stored(gaussian(image / 255, sigma=(0.7, 0))).astype(float)
        pixels = swapped(swapped(pixels, passes[0]), passes[1])
        assert_same(ours, stored(gaussian(pixels / 255, sigma=(0.7, 0))))
    other = Draws("glass_blur", 1, 0, 0, 3)
    expected = blur.glass_blur(images, 1, "imagenet", Draws("glass_blur", 1, 0, 0, 3))
    assert torch.equal(glass_blur(images, 1, "cifar", other, as_published=False), expected)


def stroke(first: tuple[float, float], last: tuple[float, float]) -> Floats:
    """The published profile of a stroke between two points (column, row), pixel by pixel."""
    image = np.zeros((28, 28))
    for row, column in np.ndindex(28, 28):
        if floor(first[0]) <= column < ceil(last[0]):
            middle = first[1] + (last[1] - first[1]) / (last[0] - first[0]) * (column - first[0])
            image[row, column] = max(log(1 - min(abs(row - middle), 2.3 - 1e-10) / 2.3) + 1, 0)
    return image


def test_dotted_line() -> None:
    images, rows = digits(5), torch.tensor([[0, 26], [26, 0], [13, 13], [5, 9], [20, 19]])
    for image, (left, right), ours in zip(
        images[:, 0], rows.tolist(), applied("dotted_line", images, rows), strict=True
    ):
        line = stroke((0, left), (27, right))
        for column in range(0, 28, 4):
            line[:, column : column + 2] = 0
        assert_same(ours, stored(image.numpy() / 255 + line))


def test_zigzag() -> None:
    images, rows, rises = digits(6), torch.tensor([0, 26, 13, 5, 20, 9]), torch.tensor([-5, 4, 0, 3, -1, 2])
    result = applied("zigzag", images, rows, rises)
    for image, row, rise, ours in zip(images[:, 0], rows.tolist(), rises.tolist(), result, strict=True):
        angle = atan(rise / 23)
        length = 23 / cos(angle)
        points = [(0.0, 0.0)] + [((2 * i + 1) * 2.0, (-1) ** i * 2.0) for i in range(int((length - 2) // 4) + 1)]
        points.append((length, points[-1][1] / (2 * (length - 4 * (length // 4)))))
        turned = [(c * cos(angle) - r * sin(angle) + 2, c * sin(angle) + r * cos(angle) + row) for c, r in points]
        drawing = image.numpy() / 255
        for first, last in pairwise(turned):
            drawing = np.clip(drawing + stroke(first, last), 0, 1)
        assert_same(ours, stored(drawing))


def edges_of(images: Image) -> Image:
    return np.stack([canny(image / 255) for image in images]).astype(np.uint8) * 255


def test_canny_edges_are_those_of_scikit_image_to_the_last_bit() -> None:
    generator = np.random.default_rng(1)
    blocks = np.kron(generator.integers(0, 2, (60, 7, 7)) * 255, np.ones((4, 4))).astype(np.uint8)
    slopes = generator.integers(1, 9, (600, 2, 1, 1))
    ramps = np.clip(np.arange(28) * slopes[:, 0] + np.arange(28)[:, None] * slopes[:, 1], 0, 255)
    weak = np.where(np.arange(28) > 13, generator.integers(20, 60, (20, 28, 1)), 0) * np.ones((1, 28, 1))
    maps = np.concatenate((digits(40)[:, 0].numpy(), blocks, ramps.astype(np.uint8), weak.astype(np.uint8)))
    images = torch.from_numpy(maps)[:, None].expand(-1, 3, -1, -1)
    np.testing.assert_array_equal(applied("canny_edges", images), edges_of(maps))


def test_canny_edges_of_mnist_are_those_of_scikit_image(dev_data: Path) -> None:
    with gzip.open(dev_data / "MNIST" / "raw" / "t10k-images-idx3-ubyte.gz") as file:
        maps = np.frombuffer(file.read(16 + 500 * 784)[16:], np.uint8).reshape(-1, 28, 28)
    images = torch.from_numpy(maps.copy())[:, None].expand(-1, 3, -1, -1)
    np.testing.assert_array_equal(applied("canny_edges", images), edges_of(maps))


@every_kind
def test_bytes_do_not_depend_on_the_batch_and_the_input_is_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits(5)
    before = images.clone()
    together = corrupt(images, kind, 1, start=7)
    one_by_one = [corrupt(images[i : i + 1], kind, 1, start=7 + i) for i in reversed(range(5))][::-1]
    assert torch.equal(images, before)
    assert not torch.equal(together, images)
    assert torch.equal(together, torch.cat(one_by_one))
    assert torch.equal(together, corrupt(images.contiguous(memory_format=torch.channels_last), kind, 1, start=7))
    assert torch.equal(together, corrupt(images, kind, 1, start=7, preset="imagenet"))
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 2 * images[0].numel())
    assert torch.equal(together, corrupt(images, kind, 1, start=7))
    assert corrupt(images[:0], kind, 1).shape == (0, 3, 28, 28)


@every_kind
def test_seeds_and_images_differ_for_random_kinds_only(kind: str) -> None:
    same = digits(1).expand(8, -1, -1, -1)
    first, other = corrupt(same, kind, 1), corrupt(same, kind, 1, seed=1)
    random = kind not in NOT_RANDOM
    assert torch.equal(first, corrupt(same, kind, 1))
    assert torch.equal(first, other) is not random
    assert bool((first == first[:1]).all()) is not random


@every_kind
def test_a_frame_around_the_digit_is_left_as_it_is(kind: str) -> None:
    padded = corrupt(digits(3, 32), kind, 1)
    assert torch.equal(padded[:, :, 2:30, 2:30], corrupt(digits(3), kind, 1))
    padded[:, :, 2:30, 2:30] = 0
    assert not padded.any()


@every_kind
def test_black_and_white_images_are_taken(kind: str) -> None:
    for level in (0, 255):
        images = torch.full((2, 3, 28, 28), level, dtype=torch.uint8)
        assert corrupt(images, kind, 1).shape == images.shape


@every_kind
def test_results_can_be_made_on_an_accelerator(kind: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    images = digits(9)
    result = corrupt(images, kind, 1, device="cuda")
    assert result.device.type == "cuda"
    assert (result.cpu() != corrupt(images, kind, 1)).double().mean() < 1e-3


def test_the_family_is_the_fifteen_published_kinds() -> None:
    assert len(MNIST_C) == 15
    assert all(name.startswith("mnist-c/") for name in MNIST_C)
    assert not set(MNIST_C) & (set(CORRUPTIONS) | set(C_BAR))


COLOUR = torch.stack([digits(1)[:, 0], digits(1)[:, 0] // 2, digits(1)[:, 0]], 1)


@pytest.mark.parametrize(
    ("images", "severity", "sentence"),
    [
        (digits(1), 3, "mnist-c/fog was published at one severity, which is 1 here, got 3; use severity 1."),
        (digits(1)[..., :20], 1, "mnist-c/fog needs digits of 28 x 28 pixels, got 28 x 20; use MNIST at its own size."),
        (COLOUR, 1, "mnist-c/fog needs grey images, three equal channels, got colour; use the kinds of CORRUPTIONS."),
    ],
)
def test_what_mnist_c_is_not_made_for_is_refused(images: Tensor, severity: int, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        corrupt(images, "mnist-c/fog", severity)


def test_severity_zero_is_a_copy_and_a_misspelt_kind_is_found() -> None:
    assert torch.equal(corrupt(digits(1), "mnist-c/zigzag", 0), digits(1))
    with pytest.raises(InputError, match="Did you mean 'mnist-c/zigzag'"):
        corrupt(digits(1), "mnist-c/zigzac", 1)
