"""Contrast, saturation, pixels, JPEG and elastic sheets against scikit-image, Pillow, SciPy and OpenCV."""

from __future__ import annotations

from io import BytesIO
from itertools import product

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian
from torch import Tensor

from shift_oracles import Given, pictures
from sinewy.errors import InputError
from sinewy.shifts import PRESETS, corrupt, digital, elastic, hsv
from sinewy.shifts.draws import Draws
from test_shifts_weather import Floats, drawn, off_by_one, stored, unit

every_case = pytest.mark.parametrize(("preset", "severity"), list(product(PRESETS, range(1, 6))))
NO_DRAWS = Draws("none", 1, 0, 0, 0)


@every_case
def test_contrast_is_about_the_mean_of_each_channel(preset: str, severity: int) -> None:
    images, factor = pictures(preset), digital._CONTRAST[preset][severity - 1]
    expected = [(unit(x) - unit(x).mean((0, 1))) * factor + unit(x).mean((0, 1)) for x in images]
    assert off_by_one(digital.contrast(images, severity, preset, NO_DRAWS), stored(expected)) < 0.005


def test_contrast_leaves_flat_images_alone() -> None:
    images = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(256, 3, 32, 32)
    for severity in range(1, 6):
        assert torch.equal(digital.contrast(images, severity, "cifar", NO_DRAWS), images)


@every_case
def test_saturate_is_that_of_scikit_image_to_the_last_bit(preset: str, severity: int) -> None:
    images, (factor, offset) = pictures(preset), digital._SATURATE[preset][severity - 1]
    expected = []
    for image in images:
        channels = rgb2hsv(unit(image))
        channels[..., 1] = np.clip(channels[..., 1] * factor + offset, 0, 1)
        expected.append(hsv2rgb(channels))
    assert torch.equal(digital.saturate(images, severity, preset, NO_DRAWS), stored(expected))


def test_hue_saturation_value_are_those_of_scikit_image_for_many_colours() -> None:
    levels = torch.tensor([0, 1, 2, 3, 50, 51, 127, 128, 200, 253, 254, 255], dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 48, 36)
    expected = rgb2hsv(unit(colours[0]))
    for found, channel in zip(hsv.rgb_to_hsv(colours), np.moveaxis(expected, -1, 0), strict=True):
        np.testing.assert_array_equal(found[0].numpy(), channel)
    back = hsv.hsv_to_levels(*(torch.from_numpy(channel)[None] for channel in np.moveaxis(expected, -1, 0)))
    assert torch.equal(back, stored([hsv2rgb(expected)]))


def test_saturate_turns_greys_red_where_it_adds() -> None:
    grey = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
    red, green, blue = digital.saturate(grey, 5, "cifar", NO_DRAWS)[0, :, 0, 0].tolist()
    assert (red, green, blue) == (200, 160, 160)


def blocks(image: Tensor, share: float) -> NDArray[np.uint8]:
    height, width = image.shape[1:]
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    small = picture.resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    return np.asarray(small.resize((width, height), Image.Resampling.BOX))


@every_case
def test_pixelate_is_that_of_pillow_to_the_last_bit(preset: str, severity: int) -> None:
    images, share = pictures(preset), digital._PIXELATE[preset][severity - 1]
    expected = torch.from_numpy(np.stack([blocks(image, share) for image in images])).permute(0, 3, 1, 2)
    assert torch.equal(digital.pixelate(images, severity, preset, NO_DRAWS), expected)


@pytest.mark.parametrize("size", [(28, 28), (33, 47), (96, 64), (5, 300), (131, 170)])
def test_pixelate_is_that_of_pillow_at_other_sizes(size: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    for preset, severity in product(PRESETS, range(1, 6)):
        share = digital._PIXELATE[preset][severity - 1]
        expected = torch.from_numpy(np.stack([blocks(image, share) for image in images])).permute(0, 3, 1, 2)
        assert torch.equal(digital.pixelate(images, severity, preset, NO_DRAWS), expected)


def test_pixelate_refuses_images_of_which_nothing_would_be_left() -> None:
    with pytest.raises(
        InputError, match=r"pixelate at severity 5 leaves nothing of 3 x 40 pixels; use larger images\."
    ):
        corrupt(torch.zeros(1, 3, 3, 40, dtype=torch.uint8), "pixelate", 5, preset="imagenet")


@every_case
def test_jpeg_is_what_pillow_saves_and_opens(preset: str, severity: int) -> None:
    images, expected = pictures(preset), []
    for image in images:
        stream = BytesIO()
        picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
        picture.save(stream, "JPEG", quality=digital._JPEG_COMPRESSION[preset][severity - 1])
        expected.append(np.asarray(Image.open(stream)))
    result = digital.jpeg_compression(images, severity, preset, NO_DRAWS)
    assert torch.equal(result, torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2))
    assert result.is_contiguous()


def test_jpeg_files_may_be_larger_than_pillows_buffer() -> None:
    image = torch.randint(0, 256, (1, 3, 301, 447), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    stream = BytesIO()
    Image.fromarray(image[0].permute(1, 2, 0).contiguous().numpy()).save(stream, "JPEG", quality=95)
    assert len(stream.getvalue()) > 2**17
    expected = torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1)[None]
    assert torch.equal(digital.through_jpeg(image, 95), expected)
    assert torch.equal(digital.through_jpeg(image.contiguous(memory_format=torch.channels_last), 95), expected)


def corners(height: int, width: int, jitter: Floats) -> Floats:
    """Return the affine map (2, 3) from the source to the result, as OpenCV solves it for the three moved points."""
    centre, reach = np.array([width // 2, height // 2]), min(height, width) // 3
    fixed = centre + reach * np.array([[1, 1], [1, -1], [-1, -1]])
    return np.asarray(cv2.getAffineTransform(np.float32(fixed), np.float32(fixed + jitter)))


def mapped(x: Floats, forward: Floats) -> Floats:
    """Return `x` (H, W, 3) under an affine map, bilinearly, mirrored about its outermost pixels."""
    backward = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]]
    places = np.einsum("ij,jhw->ihw", backward[:2], np.stack([columns, rows, np.ones_like(rows)]))
    return sampled(x, places[::-1], "mirror")


def sampled(x: Floats, places: Floats, mode: str) -> Floats:
    channels = np.moveaxis(x, -1, 0)
    return np.stack([ndimage.map_coordinates(channel, places, order=1, mode=mode) for channel in channels], -1)


def bent(x: Floats, fields: Floats) -> Floats:
    rows, columns = np.mgrid[: x.shape[0], : x.shape[1]]
    return sampled(x, np.stack([rows + fields[1], columns + fields[0]]), "reflect")


@every_case
def test_elastic_transform_is_that_of_scipy_and_opencv(preset: str, severity: int) -> None:
    """In flat patches the oracle's sums fall short of a whole level at random; ours do not, so neither may it."""
    images = pictures(preset)
    height, width = images.shape[2:]
    amplitude, sigma, jitter = elastic._ELASTIC[preset][severity - 1]
    draws = drawn("elastic_transform", severity, images)
    moves, sheets = draws.uniform(3, 2), draws.uniform(2, height, width)
    expected = []
    for image, move, sheet in zip(images, moves.double().numpy(), sheets.double().numpy(), strict=True):
        x = mapped(unit(image), corners(height, width, (move * 2 - 1) * jitter))
        if amplitude:
            fields = [gaussian(field * 2 - 1, sigma, mode="reflect", truncate=3) * amplitude for field in sheet]
            x = bent(x, np.stack(fields))
        expected.append(x + 1e-10)
    result = elastic.elastic_transform(images, severity, preset, Given(moves, sheets))
    assert off_by_one(result, stored(expected)) < 0.0005


def test_the_affine_step_is_that_of_opencv() -> None:
    """Older OpenCV rounds the places it reads to 1/32 of a pixel; on a smooth image that moves a few levels by one."""
    wave = 128 + 60 * np.sin(np.arange(64) / 9)[:, None] + 60 * np.cos(np.arange(64) / 7)[None, :]
    image = np.repeat(np.uint8(wave)[..., None], 3, -1)
    moves = drawn("elastic_transform", 1, torch.zeros(1)).uniform(3, 2)
    forward = corners(64, 64, (moves[0].double().numpy() * 2 - 1) * 5.12)
    expected = cv2.warpAffine(np.float32(image), forward, (64, 64), borderMode=cv2.BORDER_REFLECT_101)
    result = elastic.elastic_transform(torch.from_numpy(image).permute(2, 0, 1)[None], 1, "tiny", Given(moves))
    difference = result[0].permute(1, 2, 0).numpy() - np.floor(expected)
    assert np.abs(difference).max() <= 1
    assert (difference != 0).mean() < 0.25


def test_elastic_transform_moves_the_given_points_where_it_says() -> None:
    """Non-square: the three points are about the centre of the image, in x and y."""
    jitter = torch.tensor([[[2.0, -1.0], [0.5, 3.0], [-2.0, 1.5]]], dtype=torch.float64)
    x, y = elastic._affine_sources(40, 60, jitter)
    forward = corners(40, 60, jitter[0].numpy())
    rows, columns = np.mgrid[:40, :60]
    back = np.einsum("ij,jhw->ihw", forward, np.stack([x[0].numpy(), y[0].numpy(), np.ones((40, 60))]))
    np.testing.assert_allclose(back, np.stack([columns, rows]), atol=1e-4)


def test_elastic_transform_refuses_images_without_room_for_its_points() -> None:
    with pytest.raises(InputError, match=r"elastic_transform needs at least 3 pixels a side, got 2 x 9"):
        corrupt(torch.zeros(1, 3, 2, 9, dtype=torch.uint8), "elastic_transform", 1)
