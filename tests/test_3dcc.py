"""3D common corruptions: hand-worked light, SciPy and NumPy as oracles, and what depth does to focus and motion."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import correlate1d
from torch import Tensor

import sinewy as sw
from shift_oracles import Given
from sinewy.errors import InputError, MissingExtraError
from sinewy.shifts import SEVERITIES, THREE_D, corrupt
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from sinewy.shifts.three_d_focus import _matrices, far_focus, near_focus
from sinewy.shifts.three_d_light import color_quant, flash, fog_3d, iso_noise, low_light, photons
from sinewy.shifts.three_d_motion import moved
from test_shifts_contract import pictures

CODECS = ("3dcc/h265_abr", "3dcc/h265_crf", "3dcc/bit_error")
WITHOUT_DEPTH = ("3dcc/color_quant", "3dcc/iso_noise", "3dcc/low_light")
PURE = [kind for kind in THREE_D if kind not in CODECS]
NONE = Given()


def scene(count: int = 3, side: int = 32) -> tuple[Tensor, Tensor]:
    """Pictures, and a depth that falls from 1 at the top to 0.2 at the bottom, with a near block."""
    depth = torch.linspace(1, 0.2, side)[:, None].expand(count, side, side).clone()
    depth[:, side // 3 : side // 2, side // 4 : side // 2] = 0.1
    return pictures(count, side), depth


@pytest.mark.parametrize("kind", PURE)
def test_every_kind_keeps_the_contract(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, depth = scene()
    before = images.clone()
    given = {"depth": depth, "shading": 1 - depth}
    together = sw.shifts.corrupt_3d(images, kind, 3, **given, seed=2, start=4)
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    assert torch.equal(images, before)
    assert not torch.equal(together, images)
    alone = [
        sw.shifts.corrupt_3d(
            images[i : i + 1], kind, 3, depth=depth[i : i + 1], shading=1 - depth[i : i + 1], seed=2, start=4 + i
        )
        for i in range(3)
    ]
    assert torch.equal(together, torch.cat(alone))
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 1)
    assert torch.equal(together, sw.shifts.corrupt_3d(images, kind, 3, **given, seed=2, start=4))
    assert torch.equal(sw.shifts.corrupt_3d(images, kind, 0, **given), images)


@pytest.mark.parametrize("kind", PURE)
def test_the_error_grows_with_severity(kind: str) -> None:
    images, depth = scene(6, 64)
    given = {"depth": depth, "shading": 1 - depth}
    shifted = [sw.shifts.corrupt_3d(images, kind, severity, **given) for severity in SEVERITIES]
    errors = [(each.double() - images).square().mean().item() for each in shifted]
    assert all(before < after for before, after in zip([0.0, *errors], errors, strict=False))


@pytest.mark.parametrize("kind", WITHOUT_DEPTH)
def test_kinds_without_depth_are_corruptions_like_any_other(kind: str) -> None:
    images, depth = scene()
    expected = corrupt(images, kind, 2, seed=1, start=3)
    assert torch.equal(sw.shifts.corrupt_3d(images, kind, 2, depth=depth, seed=1, start=3), expected)
    assert torch.equal(sw.shifts.corrupt_3d(images, kind.removeprefix("3dcc/"), 2, seed=1, start=3), expected)


def test_colours_keep_their_highest_bits() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    for severity, bits in enumerate((5, 4, 3, 2, 1), start=1):
        step = 2 ** (8 - bits)
        assert torch.equal(color_quant(levels, severity, "imagenet", NONE), levels // step * step)


def test_photons_are_the_inverse_of_the_poisson_distribution() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(-1, 3, -1, -1)
    chance = torch.randint(0, 2**24, levels.shape, generator=torch.Generator().manual_seed(0)) / 2**24
    light = torch.arange(256, dtype=torch.float64)[None] / 255
    found = (photons(light, levels, 120, chance) * 120).round()
    expected = stats.poisson.ppf(chance.double().numpy(), light[0, levels.long()].numpy() * 120).clip(0)
    off = np.abs(found.numpy() - expected)
    assert off.max() <= 1  # where a chance meets the function to 2^-26
    assert (off > 0).mean() < 1e-3


def test_iso_noise_has_25_photons_at_every_severity() -> None:
    grey = torch.full((1, 3, 64, 64), 102, dtype=torch.uint8)  # 0.4: 10 photons
    for severity, deviation in enumerate((0.056, 0.084, 0.126, 0.182, 0.266), start=1):
        generator = torch.Generator().manual_seed(severity)
        chance, normal = (draw(1, 3, 64, 64, generator=generator) for draw in (torch.rand, torch.randn))
        found = iso_noise(grey, severity, "imagenet", Given(chance, normal))
        counted = np.minimum(stats.poisson.ppf(chance.double().numpy(), 10) / 25, 1)
        expected = np.clip((counted + normal.double().numpy() * deviation) * 255, 0, 255).astype(np.uint8)
        assert (np.abs(found.numpy().astype(int) - expected) > 0).mean() < 1e-3


def test_low_light_stretches_squares_and_dims() -> None:
    images = torch.randint(20, 220, (2, 3, 40, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    quiet = torch.zeros(2, 3, 40, 40)
    # at the middle of its distribution a count is within 1 of its mean
    found = low_light(images, 2, "imagenet", Given(quiet + 0.5, quiet)).double() / 255
    x = images.double() / 255
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    assert (found - ((x - low) / (high - low)) ** 2 * 0.5).abs().max() < 1 / 120 + 1 / 255
    flat = torch.full((1, 3, 4, 4), 90, dtype=torch.uint8)
    assert not low_light(flat, 3, "imagenet", Given(quiet[:1, :, :4, :4] + 0.5, quiet[:1, :, :4, :4])).any()


def test_fog_and_flash_by_hand() -> None:
    image = torch.tensor([[[100, 200]], [[0, 50]], [[10, 30]]], dtype=torch.uint8)[None]
    depth = torch.tensor([[[0.0, 0.25]]]).double()[:, None]
    clear = np.exp(-1.0)  # severity 1: exp(-4 / 4)
    expected = [int(clear * far + (1 - clear) * mean) for far, mean in ((200, 150), (50, 25), (30, 20))]
    foggy = fog_3d(image, 1, "imagenet", NONE, depth=depth)
    assert foggy[0, :, 0, 0].tolist() == [100, 0, 10]
    assert foggy[0, :, 0, 1].tolist() == expected
    lit = flash(image, 4, "imagenet", NONE, shading=torch.tensor([[[[0.0, 0.3]]]]).double())
    assert lit[0, :, 0].tolist() == [[100, 255], [0, 75], [10, 45]]  # 1 + 0.3 / 0.6


def test_fog_does_not_depend_on_the_other_images() -> None:
    images, depth = scene()
    dark = torch.cat([images[:1], images[1:] // 4])
    first, second = (sw.shifts.corrupt_3d(batch, "fog_3d", 3, depth=depth)[0] for batch in (images, dark))
    assert torch.equal(first, second)


def test_the_blur_is_a_gaussian_of_an_odd_support_of_three_deviations() -> None:
    for sigma in (0.2, 0.8, 1.7, 4.0):
        reach = int(np.ceil(3 * sigma)) // 2
        weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        expected = correlate1d(np.eye(20), weights / weights.sum(), axis=0, mode="nearest")
        found = _matrices(20, torch.tensor([sigma, 1.0], dtype=torch.float64))[0].numpy()
        assert np.abs(found - expected).max() < 1e-12


@pytest.mark.parametrize(("kind", "sharp"), [(near_focus, "near"), (far_focus, "far")])
def test_focus_is_sharp_at_its_depth_and_blurs_the_other(kind: object, sharp: str) -> None:
    images = pictures(2, 48)
    depth = torch.full((2, 1, 48, 48), 0.9, dtype=torch.float64)
    depth[..., :24] = 0.3
    shifted = kind(images, 5, "imagenet", NONE, depth=depth)  # type: ignore[operator]
    near, far = (slice(None, 20), slice(28, None)) if sharp == "near" else (slice(28, None), slice(None, 20))
    assert torch.equal(shifted[..., near], images[..., near])
    assert (shifted[..., far].double() - images[..., far]).abs().mean() > 2
    constant = torch.full((2, 1, 48, 48), 0.5, dtype=torch.float64)
    assert torch.equal(kind(images, 5, "imagenet", NONE, depth=constant), images)  # type: ignore[operator]


def test_what_is_near_moves_more() -> None:
    images = pictures(1, 40)
    depth = torch.full((1, 1, 40, 40), 0.8, dtype=torch.float64)
    depth[:, :, 20:] = 0.4
    right = torch.tensor([[0.2, 0.0]], dtype=torch.float64)
    assert torch.equal(moved(images, depth, 0.0, right, 0.0).round().to(torch.uint8), images)
    seen = moved(images, depth, 0.5, right, 0.0).round().to(torch.uint8)
    assert torch.equal(seen[:, :, 20:, 4:], images[:, :, 20:, :-4])  # 0.2 of 40 pixels at half the time
    assert torch.equal(seen[:, :, :20, 2:], images[:, :, :20, :-2])


@pytest.mark.parametrize("kind", [kind for kind in THREE_D if kind not in WITHOUT_DEPTH])
def test_kinds_that_need_more_than_the_image_say_so(kind: str) -> None:
    needed = "shading" if "flash" in kind else "depth"
    with pytest.raises(
        InputError, match=f"{kind} needs .*corrupt_3d\\(images, '{kind}', severity, {needed}=\\.\\.\\.\\)"
    ):
        corrupt(pictures(), kind, 3)


@pytest.mark.parametrize(
    ("depth", "sentence"),
    [
        (torch.rand(3, 16, 16), r"depth must have shape \(3, 32, 32\), as the images have, got \(3, 16, 16\)"),
        (torch.rand(3, 32, 32) * 40, r"depth must be in \[0, 1\], got .* divide metres by the farthest depth"),
        (torch.full((3, 32, 32), torch.nan), r"depth must be in \[0, 1\]"),
        (torch.zeros(3, 32, 32, dtype=torch.uint8), r"depth must be a tensor of floats in \[0, 1\], got torch.uint8"),
        ([1], "got list"),
    ],
)
def test_depth_that_does_not_fit_is_refused(depth: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        sw.shifts.corrupt_3d(pictures(3), "fog_3d", 3, depth=depth)  # type: ignore[arg-type]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match="unknown kind of 3DCC 'fog3d'. Did you mean 'fog_3d'"):
        sw.shifts.corrupt_3d(pictures(), "fog3d", 3)


@pytest.mark.parametrize("kind", CODECS)
def test_codecs_need_pyav(kind: str) -> None:
    images, depth = scene(2, 64)
    if importlib.util.find_spec("av") is None:
        with pytest.raises(MissingExtraError, match="video codecs come with PyAV"):
            sw.shifts.corrupt_3d(images, kind, 3, depth=depth)
        return
    one, other = (sw.shifts.corrupt_3d(images[1:], kind, 5, depth=depth[1:], start=1) for _ in range(2))
    assert torch.equal(one, other)
    assert torch.equal(one, sw.shifts.corrupt_3d(images, kind, 5, depth=depth)[1:])
    assert not torch.equal(one, images[1:])
    with pytest.raises(InputError, match="a video codec needs images of at least 64 pixels"):
        sw.shifts.corrupt_3d(images[..., :32, :32], kind, 5, depth=depth[..., :32, :32])
