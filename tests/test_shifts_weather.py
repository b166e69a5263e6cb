"""Snow, frost, fog, brightness and spatter against scikit-image, SciPy and OpenCV, fed the same random numbers."""

from __future__ import annotations

import hashlib
from itertools import product
from pathlib import Path

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
from sinewy.errors import CorruptFileError, InputError
from sinewy.shifts import PRESETS, corrupt, edges, frost, frost_texture, spatter, weather
from sinewy.shifts.draws import Draws

Floats = NDArray[np.float64]
every_case = pytest.mark.parametrize(("preset", "severity"), list(product(PRESETS, range(1, 6))))


def drawn(kind: str, severity: int, images: Tensor) -> Draws:
    return Draws(kind, severity, 5, 0, len(images))


def unit(image: Tensor) -> Floats:
    return image.permute(1, 2, 0).double().numpy() / 255


def stored(images: list[Floats]) -> Tensor:
    """Clip to [0, 1] and truncate, as the benchmark stores its images."""
    return torch.from_numpy(np.uint8(np.clip(np.stack(images), 0, 1) * 255)).permute(0, 3, 1, 2)


def off_by_one(result: Tensor, expected: Tensor) -> float:
    """Return the share of values that differ; fails if any differs by more than one grey level."""
    difference = (result.int() - expected.int()).abs()
    assert difference.max() <= 1
    return float((difference > 0).double().mean())


@every_case
def test_brightness_is_that_of_scikit_image_to_the_last_bit(preset: str, severity: int) -> None:
    images = pictures(preset)
    expected = []
    for image in images:
        hsv = rgb2hsv(unit(image))
        hsv[..., 2] = np.clip(hsv[..., 2] + weather._BRIGHTNESS[preset][severity - 1], 0, 1)
        expected.append(hsv2rgb(hsv))
    assert torch.equal(weather.brightness(images, severity, preset, Given()), stored(expected))


def clipped_zoom(layer: Floats, factor: float) -> Floats:
    crop = int(np.ceil(len(layer) / factor))
    top = (len(layer) - crop) // 2
    zoomed = ndimage.zoom(layer[top : top + crop, top : top + crop], factor, order=1)
    trim = (len(zoomed) - len(layer)) // 2
    return zoomed[trim : trim + len(layer), trim : trim + len(layer)]


def fallen(layer: Floats, radius: int, sigma: float, angle: float) -> Floats:
    """ImageMagick's motion blur as a correlation with a sparse kernel."""
    size = 2 * radius + 1
    kernel = np.zeros((2 * size + 1, 2 * size + 1))
    weights = np.exp(-(np.arange(size) ** 2) / (2 * sigma**2))
    for step, weight in enumerate(weights / weights.sum()):
        down, right = (int(np.ceil(step * part - 0.5)) for part in (np.sin(angle), np.cos(angle)))
        kernel[size + down, size + right] += weight
    return np.floor(ndimage.correlate(layer, kernel, mode="nearest") + 0.5)


@every_case
def test_snow_follows_the_recipe_step_by_step(preset: str, severity: int) -> None:
    images = pictures(preset)
    draws = drawn("snow", severity, images)
    normal, turn = draws.normal(1, *images.shape[2:]), draws.uniform()
    mean, std, zoom, threshold, radius, sigma = weather._SNOW[preset][severity - 1]
    mix = weather._SNOW_MIX[preset][severity - 1]
    expected = []
    for image, noise, share in zip(images, normal.double().numpy(), turn.double().numpy(), strict=True):
        layer = clipped_zoom(noise[0] * std + mean, zoom)
        layer[layer < threshold] = 0
        layer = np.uint8(np.clip(layer, 0, 1) * 255).astype(float)
        layer = fallen(layer, radius, sigma, np.deg2rad(-135 + 90 * share))[..., None] / 255
        x = unit(image)
        grey = cv2.cvtColor(np.float32(x), cv2.COLOR_RGB2GRAY)[..., None].astype(float)
        x = mix * x + (1 - mix) * np.maximum(x, grey * 1.5 + 0.5)
        expected.append(x + layer + np.rot90(layer, 2))
    result = weather.snow(images, severity, preset, Given(normal, turn))
    assert off_by_one(result, stored(expected)) < 0.01
    assert (result > images).double().mean() > 0.05


def diamond_square(side: int, decay: float, uniform: Floats) -> Floats:
    """Point by point, in the order of the published code, from side * side - 1 uniform numbers."""
    clouds = np.zeros((side, side))
    step, wibble, used = side, 100.0, 0
    while step >= 2:
        half, cells = step // 2, side // step
        added = (uniform[used : used + 3 * cells**2].reshape(3, cells, cells) * 2 - 1) * wibble**2
        used += 3 * cells**2
        points = [(row, column, row * step, column * step) for row, column in product(range(cells), repeat=2)]
        for row, column, y, x in points:
            corners = [clouds[y + a - side, x + b - side] for a, b in product((0, step), repeat=2)]
            clouds[y + half, x + half] = sum(corners) / 4 + added[0, row, column]
        for row, column, y, x in points:
            beside = clouds[y, x] + clouds[y, x + step - side] + clouds[y + half, x + half] + clouds[y - half, x + half]
            clouds[y, x + half] = beside / 4 + added[1, row, column]
            beside = clouds[y, x] + clouds[y + step - side, x] + clouds[y + half, x + half] + clouds[y + half, x - half]
            clouds[y + half, x] = beside / 4 + added[2, row, column]
        step, wibble = half, wibble / decay
    clouds -= clouds.min()
    return clouds / clouds.max()


@every_case
def test_fog_is_diamond_square_point_by_point(preset: str, severity: int) -> None:
    images = pictures(preset)[:1] if preset != "cifar" else pictures(preset)
    strength, decay = weather._FOG[preset][severity - 1]
    side = {"cifar": 32, "tiny": 64, "imagenet": 256}[preset]
    uniform = drawn("fog", severity, images).uniform(side * side - 1)
    expected = []
    for image, numbers in zip(images, uniform.double().numpy(), strict=True):
        haze = diamond_square(side, decay, numbers)[: image.shape[1], : image.shape[2], None]
        x, brightest = unit(image), unit(image).max()
        expected.append((x + strength * haze) * brightest / (brightest + strength))
    assert off_by_one(weather.fog(images, severity, preset, Given(uniform)), stored(expected)) < 0.001


def test_fog_map_covers_larger_images_and_spans_zero_to_one() -> None:
    assert corrupt(torch.zeros(1, 3, 40, 70, dtype=torch.uint8), "fog", 3).shape == (1, 3, 40, 70)
    maps = weather.plasma(64, 2.0, drawn("fog", 1, torch.zeros(4)))
    assert maps.shape == (4, 64, 64)
    assert torch.equal(maps.amin((1, 2)), torch.zeros(4, dtype=torch.float64))
    assert torch.equal(maps.amax((1, 2)), torch.ones(4, dtype=torch.float64))


def test_fog_of_a_black_image_is_black() -> None:
    assert not corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "fog", 5).any()


def splashed(x: Floats, normal: Floats, constants: tuple[float, float, float, float, float, str]) -> Floats:
    """The published recipe on OpenCV."""
    mean, std, sigma, threshold, last, liquid = constants
    layer = gaussian(normal * std + mean, sigma)
    layer[layer < threshold] = 0
    if liquid == "mud":
        cover = gaussian((layer > threshold).astype(float), sigma=last)
        cover[cover < 0.8] = 0
        return x * (1 - cover[..., None]) + cover[..., None] * np.array([63, 42, 20]) / 255
    levels = np.uint8(np.clip(layer, 0, 1) * 255)
    away = cv2.distanceTransform(255 - cv2.Canny(levels, 50, 150), cv2.DIST_L2, 5)
    away = cv2.equalizeHist(cv2.blur(np.minimum(away, np.float32(20)), (3, 3)).astype(np.uint8))
    away = cv2.filter2D(away, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=np.float32))
    shine = levels * cv2.blur(away, (3, 3)).astype(float)
    return x + (shine / max(shine.max(), 1) * last)[..., None] * np.array([175, 238, 238]) / 255


@every_case
def test_spatter_is_that_of_opencv(preset: str, severity: int) -> None:
    """Measured: at most 0.03 % of values differ, by one level, where a product of floats lies on a whole level."""
    images = pictures(preset)
    constants = spatter._SPATTER[preset][severity - 1]
    normal = drawn("spatter", severity, images).normal(*images.shape[2:])
    expected = [splashed(unit(x), z, constants) for x, z in zip(images, normal.double().numpy(), strict=True)]
    result = spatter.spatter(images, severity, preset, Given(normal))
    assert off_by_one(result, stored(expected)) < 0.001
    assert not torch.equal(result, images)


def wet(count: int, shape: tuple[int, int], sigma: float) -> NDArray[np.uint8]:
    """Return `count` maps of islands on black, uint8 (H, W, count)."""
    noise = np.random.default_rng(2).normal(0.65, 0.3, size=(*shape, count))
    layer = ndimage.gaussian_filter(noise, (sigma, sigma, 0))
    return np.uint8(np.where(layer < 0.68, 0, layer).clip(0, 1) * 255)


@pytest.mark.parametrize(("shape", "sigma"), [((32, 32), 1.0), ((40, 71), 2.0), ((7, 5), 0.7), ((120, 90), 3.0)])
def test_canny_edges_are_those_of_opencv(shape: tuple[int, int], sigma: float) -> None:
    maps = wet(12, shape, sigma)
    found = edges.canny(torch.from_numpy(maps), 50, 150).numpy()
    for number in range(12):
        expected = cv2.Canny(np.ascontiguousarray(maps[..., number]), 50, 150)
        np.testing.assert_array_equal(found[..., number] * 255, expected)


def test_a_weak_edge_is_kept_along_its_whole_length_if_one_end_is_strong() -> None:
    """One long chain: the ramp across it is weak everywhere but in the first rows."""
    levels = torch.zeros(150, 8, 2, dtype=torch.uint8)
    levels[:, 4:] = 20
    levels[:3, 4:, 0] = 60
    found = edges.canny(levels, 50, 150)
    assert found[:, :, 0].any(1).all()
    assert not found[:, :, 1].any()


@pytest.mark.parametrize("shape", [(32, 32), (60, 33), (9, 70)])
def test_distances_are_those_of_opencv(shape: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    maps = np.stack([generator.random(shape) < share for share in (0.0, 0.002, 0.01, 0.1, 1.0)], -1)
    found = edges.distance(torch.from_numpy(maps)).numpy()
    for number in range(maps.shape[-1]):
        expected = cv2.distanceTransform(np.uint8(~maps[..., number]), cv2.DIST_L2, 5)
        np.testing.assert_allclose(found[..., number], np.minimum(expected, 20), atol=3e-4)


def test_distances_by_hand() -> None:
    maps = torch.zeros(41, 41, 1, dtype=torch.bool)
    maps[20, 20] = True
    far = edges.distance(maps)[..., 0]
    steps = [far[20, 21], far[19, 21], far[21, 18], far[17, 22], far[20, 3], far[0, 0]]
    assert torch.allclose(torch.stack(steps), torch.tensor([1.0, 1.4, 2.1969, 3.5969, 17.0, 20.0]))


def test_equalizing_spreads_ranks_and_leaves_flat_maps() -> None:
    generator = np.random.default_rng(1)
    shape = (16, 20)
    maps = np.stack([generator.integers(0, 21, shape), generator.binomial(20, 0.1, shape), np.full(shape, 7)], -1)
    found = edges.equalized(torch.from_numpy(maps), 21).numpy()
    for number in range(3):
        np.testing.assert_array_equal(found[..., number], cv2.equalizeHist(np.uint8(maps[..., number])))


def test_an_image_no_drop_falls_on_is_left_as_it_is() -> None:
    images = pictures("cifar")
    dry = torch.full((len(images), 32, 32), -3.0)
    for severity in range(1, 6):
        assert torch.equal(spatter.spatter(images, severity, "cifar", Given(dry)), images)


@pytest.fixture
def photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of five small pictures that stand in for the benchmark's, under their names."""
    generator = np.random.default_rng(4)
    for name, size in zip(frost._ORIGINALS, ((500, 300), (400, 260), (400, 260), (360, 250), (300, 280)), strict=True):
        picture = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / name)
    sums = {name: hashlib.md5((tmp_path / name).read_bytes()).hexdigest() for name in frost._ORIGINALS}
    monkeypatch.setattr(frost, "_ORIGINALS", sums)
    return tmp_path


def frosted(folder: Path, images: Tensor, severity: int, preset: str, chosen: Tensor, corner: Tensor) -> Tensor:
    """The published recipe on OpenCV."""
    keep, add = frost._FROST[preset][severity - 1]
    scale, expected = frost._SCALE[preset], []
    for image, number, place in zip(images, chosen.tolist(), corner.double().tolist(), strict=True):
        picture = cv2.cvtColor(cv2.imread(str(folder / list(frost._ORIGINALS)[number])), cv2.COLOR_BGR2RGB)
        picture = cv2.resize(picture, (0, 0), fx=scale, fy=scale) if scale != 1 else picture
        height, width = image.shape[1:]
        y, x = int(place[0] * (picture.shape[0] - height)), int(place[1] * (picture.shape[1] - width))
        cutting = picture[y : y + height, x : x + width]
        expected.append(np.uint8(np.clip(keep * image.permute(1, 2, 0).numpy() + add * cutting, 0, 255)))
    return torch.from_numpy(np.stack(expected)).permute(0, 3, 1, 2)


@every_case
def test_frost_cuts_and_mixes_as_published(photographs: Path, preset: str, severity: int) -> None:
    images = pictures(preset).repeat(5, 1, 1, 1)
    draws = drawn("frost", severity, images)
    chosen, corner = torch.arange(len(images)) % 5, draws.uniform(2)
    result = frost.frost(images, severity, preset, Given(chosen, corner), folder=photographs)
    expected = frosted(photographs, images, severity, preset, chosen, corner)
    assert torch.equal(result, expected)


@pytest.mark.parametrize("scale", [0.2, 0.3, 0.37, 0.9])
def test_frost_is_resized_as_by_opencv_whatever_the_number_of_threads(scale: float) -> None:
    """With floats, ties between grey levels went one way on one thread and the other on two."""
    picture = frost_texture.frost_pictures()[0][:, :190, :251]
    expected = cv2.resize(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()), None, fx=scale, fy=scale)
    found = frost._resized(picture, scale).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(found, expected[: found.shape[0], : found.shape[1]])


def test_frost_of_the_published_photographs(dev_data: Path) -> None:
    folder, images = dev_data / "frost", pictures("cifar").repeat(5, 1, 1, 1)
    chosen, corner = torch.arange(15) % 5, drawn("frost", 3, images).uniform(2)
    result = frost.frost(images, 3, "cifar", Given(chosen, corner), folder=folder)
    assert torch.equal(result, frosted(folder, images, 3, "cifar", chosen, corner))


def test_frost_photographs_are_checked(photographs: Path) -> None:
    images = pictures("cifar")
    (photographs / "frost4.jpg").write_bytes(b"not frost")
    with pytest.raises(CorruptFileError, match=r"frost4\.jpg is not the frost photograph of ImageNet-C \(md5 [0-9a-f]"):
        corrupt(images, "frost", 1, frost_folder=photographs)
    (photographs / "frost4.jpg").unlink()
    with pytest.raises(InputError, match=r"frost4\.jpg cannot be read \(No such file or directory\)"):
        corrupt(images, "frost", 1, frost_folder=photographs)


@pytest.mark.parametrize("size", [(32, 96), (300, 320), (700, 650)])
def test_frost_pictures_are_enlarged_for_larger_images(size: tuple[int, int]) -> None:
    images = torch.zeros(1, 3, *size, dtype=torch.uint8)
    for preset in PRESETS:
        result = frost.frost(images, 5, preset, drawn("frost", 5, images))
        assert result.shape == images.shape
        assert result.float().std() > 3


def test_procedural_frost_is_the_same_every_time_and_as_bright_as_the_photographs() -> None:
    first = [picture.clone() for picture in frost_texture.frost_pictures()]
    frost_texture.frost_pictures.cache_clear()
    again = frost_texture.frost_pictures()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    for picture, colour, contrast in zip(
        first, [(78, 149, 166), (201, 205, 214), (138, 153, 165), (112, 123, 135)], (18, 22, 29, 43), strict=True
    ):
        assert torch.allclose(picture.float().mean((1, 2)), torch.tensor(colour).float(), atol=8)
        assert picture.float().mean(0).std() == pytest.approx(contrast, rel=0.1)


def test_procedural_frost_is_as_hard_as_the_photographs(dev_data: Path) -> None:
    images = pictures("cifar").repeat(100, 1, 1, 1)

    def distance(folder: Path | None) -> float:
        frozen = frost.frost(images, 3, "cifar", drawn("frost", 3, images), folder=folder)
        return float((frozen.float() - images).square().mean().sqrt())

    assert distance(None) == pytest.approx(distance(dev_data / "frost"), rel=0.05)
