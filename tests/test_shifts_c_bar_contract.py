"""What every kind of C-bar keeps to, the shares and deviations it claims, and what it says to bad input."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from scipy import stats

from sinewy.errors import InputError
from sinewy.shifts import C_BAR, CORRUPTIONS, SEVERITIES, corrupt
from sinewy.shifts.c_bar_levels import LEVELS
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from test_shifts_c_bar import scenes

NOT_RANDOM = {"circular_motion_blur"}

CASES = [(kind, preset) for preset, kinds in LEVELS.items() for kind in kinds]
every_kind = pytest.mark.parametrize(("kind", "preset"), CASES)


@every_kind
def test_shape_type_and_input_are_kept_and_bytes_do_not_depend_on_the_batch(kind: str, preset: str) -> None:
    images = scenes(5, 32)
    before = images.clone()
    together = corrupt(images, kind, 3, preset=preset, start=7)
    one_by_one = [corrupt(images[i : i + 1], kind, 3, preset=preset, start=7 + i) for i in reversed(range(5))][::-1]
    assert together.dtype == torch.uint8
    assert together.shape == images.shape
    assert together.is_contiguous()
    assert torch.equal(images, before)
    assert torch.equal(together, torch.cat(one_by_one))
    assert torch.equal(
        together, corrupt(images.contiguous(memory_format=torch.channels_last), kind, 3, preset=preset, start=7)
    )


@every_kind
def test_bytes_do_not_depend_on_blocks_or_threads(kind: str, preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images, threads = scenes(24, 32), torch.get_num_threads()
    expected = corrupt(images, kind, 4, preset=preset)
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 7 * images[0].numel())
    try:
        torch.set_num_threads(3)
        assert torch.equal(corrupt(images, kind, 4, preset=preset), expected)
    finally:
        torch.set_num_threads(threads)


@every_kind
def test_seeds_and_images_differ_for_random_kinds_only(kind: str, preset: str) -> None:
    same = scenes(1, 32).expand(3, -1, -1, -1)
    first = corrupt(same, kind, 3, preset=preset)
    random = kind not in NOT_RANDOM
    assert torch.equal(first, corrupt(same, kind, 3, preset=preset))
    assert torch.equal(first, corrupt(same, kind, 3, preset=preset, seed=1)) is not random
    assert torch.equal(first[0], first[1]) is not random


@every_kind
def test_the_error_grows_with_severity(kind: str, preset: str) -> None:
    images = scenes(*((48, 64) if preset == "imagenet" else (96, 32)))
    errors = [(corrupt(images, kind, s, preset=preset).float() - images).square().mean().item() for s in SEVERITIES]
    assert all(before < after for before, after in zip([0, *errors], errors, strict=False))


@every_kind
def test_at_full_size_in_other_shapes_flat_and_empty(kind: str, preset: str) -> None:
    full = scenes(1, 224 if preset == "imagenet" else 64)
    assert corrupt(full, kind, 5, preset=preset).shape == full.shape
    for shape in ((0, 3, 32, 32), (2, 3, 40, 27), (2, 3, 17, 33), (2, 3, 4, 4), (1, 3, 1, 1)):
        for level in (0, 255):
            images = torch.full(shape, level, dtype=torch.uint8)
            assert corrupt(images, kind, 5, preset=preset).shape == shape


@every_kind
def test_results_can_be_made_on_an_accelerator(kind: str, preset: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    images = scenes(5, 32)
    for severity in SEVERITIES:
        result = corrupt(images, kind, severity, preset=preset, device="cuda")
        assert result.device.type == "cuda"
        off = (result.cpu().int() - corrupt(images, kind, severity, preset=preset).int()).abs()
        assert (off > 0).double().mean() < 1e-3


def test_blue_noise_blackens_what_a_normal_distribution_has_below_its_threshold() -> None:
    white = torch.full((64, 3, 32, 32), 255, dtype=torch.uint8)
    for s, severity in zip(LEVELS["imagenet"]["blue_noise_sample"], SEVERITIES, strict=True):
        black = (corrupt(white, "blue_noise_sample", severity, preset="imagenet") == 0).double().mean().item()
        assert black == pytest.approx(stats.norm.cdf(0.3 * s - 2.5), abs=0.01)


def test_brownish_noise_has_its_deviation_per_channel_and_independent_channels() -> None:
    grey = torch.full((32, 3, 32, 32), 128, dtype=torch.uint8)
    noise = corrupt(grey, "brownish_noise", 1, preset="imagenet").double() - 128 + 0.5
    assert torch.allclose(noise.std((2, 3), correction=0), torch.tensor(6.4, dtype=torch.float64), atol=0.1)
    assert abs(torch.corrcoef(noise.transpose(0, 1).flatten(1))[0, 1]) < 0.1


def test_checkerboard_covers_its_share() -> None:
    white = torch.full((256, 3, 32, 32), 255, dtype=torch.uint8)
    for severity, chance in zip(SEVERITIES, (0.2, 0.3, 0.4, 0.5, 0.6), strict=True):
        grey = (corrupt(white, "checkerboard_cutout", severity, preset="imagenet") == 128).double().mean().item()
        assert grey == pytest.approx(chance / 2, abs=0.03)


def test_the_family_is_ten_kinds_for_each_size() -> None:
    assert {kind for kinds in LEVELS.values() for kind in kinds} == set(C_BAR)
    assert [len(kinds) for kinds in LEVELS.values()] == [10, 10]
    assert not set(C_BAR) & set(CORRUPTIONS)
    assert all(list(levels) == sorted(levels) for kinds in LEVELS.values() for levels in kinds.values())


@pytest.mark.parametrize(
    ("kind", "preset", "sentence"),
    [
        ("lines", "imagenet", "lines of C-bar has no published constants for preset 'imagenet'; use preset 'cifar' "),
        ("perlin_noise", "cifar", "perlin_noise of C-bar .* preset 'cifar'; use preset 'imagenet' "),
        ("sparkles", "tiny", "sparkles of C-bar .* 'tiny'; use preset 'cifar' or 'imagenet' \\(lengths scale"),
    ],
)
def test_a_preset_without_constants_is_refused(kind: str, preset: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        corrupt(scenes(1, 32), kind, 3, preset=preset)


def test_a_misspelt_kind_is_found_in_the_family() -> None:
    with pytest.raises(InputError, match="Did you mean 'cocentric_sine_waves'"):
        corrupt(scenes(1, 32), "concentric_sine_waves", 3)


def test_listing_the_kinds_imports_no_torch() -> None:
    code = (
        "import sys, sinewy.shifts as s; assert len(s.C_BAR) == 15 == len(s.MNIST_C); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
