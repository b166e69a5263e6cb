"""What every corruption keeps to: shape and type, seeds, independence of batching, and what it says to bad input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.shifts import BENCHMARK, CORRUPTIONS, PRESETS, SEVERITIES, corrupt, frost, protocol
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from sinewy.shifts.draws import Draws

NOT_RANDOM = {
    "defocus_blur",
    "gaussian_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "saturate",
    "jpeg_compression",
    "pixelate",
}

every_kind = pytest.mark.parametrize("kind", CORRUPTIONS)


@pytest.fixture(autouse=True)
def _no_frost_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SINEWY_FROST", raising=False)


@pytest.fixture
def one_image_per_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 1)


@pytest.fixture
def _threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def pictures(count: int = 5, side: int = 32) -> Tensor:
    """Return uint8 (count, 3, side, side) with smooth, rough, black, white and flat parts, every image different."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(count, 3, side, side, generator=generator) * 80
    images = noise + torch.linspace(0, 200, side) * torch.rand(count, 3, side, 1, generator=generator)
    images[:, :, : side // 4] = 0
    images[:, :, -side // 4 :, : side // 3] = 255
    images[:, :, -side // 4 :, side // 3 : side // 2] = 77
    return images.clamp(0, 255).to(torch.uint8)


def own_kind(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    """A kind as a user would write it."""
    return images // (severity + 1)


def broken_kind(images: Tensor, severity: int, preset: str, draws: Draws) -> Tensor:
    return images.float()


@every_kind
@pytest.mark.parametrize("preset", PRESETS)
def test_shape_type_and_input_are_kept(kind: str, preset: str) -> None:
    images = pictures(2, PRESETS[preset])
    before = images.clone()
    for severity in SEVERITIES if preset != "imagenet" else (1, 5):
        result = corrupt(images, kind, severity, preset=preset)
        assert result.dtype == torch.uint8
        assert result.shape == images.shape
        assert torch.equal(images, before)
        assert not torch.equal(result, images)


@every_kind
def test_severity_zero_is_a_copy(kind: str) -> None:
    images = pictures()
    result = corrupt(images, kind, 0)
    assert torch.equal(result, images)
    assert result.data_ptr() != images.data_ptr()


@every_kind
@pytest.mark.parametrize("severity", [2, 5])
def test_bytes_do_not_depend_on_the_batch(kind: str, severity: int) -> None:
    images = pictures()
    together = corrupt(images, kind, severity, start=7)
    one_by_one = [corrupt(images[i : i + 1], kind, severity, start=7 + i) for i in reversed(range(5))][::-1]
    uneven = [corrupt(images[2:], kind, severity, start=9), corrupt(images[:2], kind, severity, start=7)][::-1]
    assert torch.equal(together, torch.cat(one_by_one))
    assert torch.equal(together, torch.cat(uneven))


@every_kind
def test_bytes_do_not_depend_on_the_size_of_the_blocks(kind: str, request: pytest.FixtureRequest) -> None:
    images = pictures()
    together = corrupt(images, kind, 4)
    request.getfixturevalue("one_image_per_block")
    assert torch.equal(together, corrupt(images, kind, 4))


@every_kind
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.usefixtures("_threads")
def test_bytes_do_not_depend_on_the_number_of_threads(kind: str, preset: str) -> None:
    images = pictures({"cifar": 24, "tiny": 8, "imagenet": 1}[preset], PRESETS[preset])
    results = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        frost._sheet.cache_clear()  # what is kept between calls is made anew, too
        results.append(corrupt(images, kind, 3, preset=preset))
    assert torch.equal(*results)


GROWING: dict[str, Sequence[int]] = dict.fromkeys(CORRUPTIONS, SEVERITIES) | {
    "glass_blur": (3, 4),  # by its constants: a pass more, but otherwise only smoother
    "motion_blur": (1, 2, 3, 5),  # 3 and 4 differ in how long a tail of the same Gaussian is kept
    "frost": (1, 2, 3),  # less of the image, from severity 3 on, brings it nearer to grey
    "saturate": (3, 4, 5),  # less colour first, then more
    "elastic_transform": (5, 2),  # its jitter shrinks as its displacements grow
    "spatter": (1, 2, 3),  # water, then mud
    "pixelate": (1, 4, 5),  # 30, 28 and 27 of 32 pixels: which fit the edges better is chance
}
"""Severities of the preset "cifar" in the order of their error, where the published constants go one way."""


@every_kind
def test_the_error_grows_with_severity(kind: str) -> None:
    images = pictures(100)
    images = torch.cat([images, images.flip(2), images.mT.flip(3)])
    errors = [(corrupt(images, kind, severity).double() - images).square().mean().sqrt() for severity in GROWING[kind]]
    assert all(one < two for one, two in pairwise(errors)), errors


@every_kind
def test_bytes_do_not_depend_on_the_memory_layout(kind: str) -> None:
    images = pictures(3)
    expected = corrupt(images, kind, 3)
    assert torch.equal(corrupt(images.contiguous(memory_format=torch.channels_last), kind, 3), expected)
    assert torch.equal(corrupt(torch.cat([images, images])[::1][:3], kind, 3), expected)


@every_kind
def test_a_seed_gives_the_same_bytes_and_leaves_global_randomness_alone(kind: str) -> None:
    images = pictures(3)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    first = corrupt(images, kind, 3, seed=5)
    state = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert torch.equal(first, corrupt(images, kind, 3, seed=5))
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    assert torch.equal(state[0], torch.get_rng_state())
    assert state[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@every_kind
def test_seeds_and_images_differ_for_random_kinds_only(kind: str) -> None:
    same = pictures(1).expand(3, -1, -1, -1)
    first, other = corrupt(same, kind, 3, seed=0), corrupt(same, kind, 3, seed=1)
    random = kind not in NOT_RANDOM
    assert torch.equal(first, other) is not random
    assert torch.equal(first[0], first[1]) is not random


@every_kind
def test_an_empty_batch_stays_empty(kind: str) -> None:
    empty = torch.zeros(0, 3, 32, 32, dtype=torch.uint8)
    assert corrupt(empty, kind, 3).shape == empty.shape


def flat(*rgb: int) -> Tensor:
    return torch.tensor(rgb, dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 32, 32).contiguous()


@every_kind
@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0)])
def test_flat_images_of_any_colour_are_corrupted_without_a_warning(kind: str, colour: tuple[int, int, int]) -> None:
    for severity in SEVERITIES:
        assert corrupt(flat(*colour), kind, severity).shape == (2, 3, 32, 32)


@every_kind
def test_results_can_be_made_on_an_accelerator(kind: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    images = pictures()
    for severity in SEVERITIES:
        result = corrupt(images, kind, severity, device="cuda")
        assert result.device.type == "cuda"
        off = (result.cpu().int() - corrupt(images, kind, severity).int()).abs()
        assert (off > 0).double().mean() < 1e-3


def test_the_family_is_the_benchmark_in_its_order() -> None:
    assert len(CORRUPTIONS) == 19
    assert BENCHMARK[0] == "gaussian_noise"
    assert BENCHMARK[14] == "jpeg_compression"
    assert list(CORRUPTIONS)[15:] == ["speckle_noise", "gaussian_blur", "spatter", "saturate"]


def test_listing_the_kinds_imports_no_torch() -> None:
    code = "import sys, sinewy.shifts as s; assert len(s.CORRUPTIONS) == 19; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_kind_of_your_own_is_named_by_its_path() -> None:
    images = pictures(2)
    assert torch.equal(corrupt(images, f"{__name__}:own_kind", 3), images // 4)


REFUSED = {
    "a float batch": (
        lambda: corrupt(torch.rand(2, 3, 32, 32), "fog", 3),
        r"images must be uint8 .* got torch\.float32\. Use \(images \* 255\)",
    ),
    "another integer type": (
        lambda: corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.int64), "fog", 3),
        r"images must be uint8 .* got torch\.int64\.$",
    ),
    "one image": (
        lambda: corrupt(pictures()[0], "fog", 3),
        r"shape \(N, 3, H, W\), got \(3, 32, 32\)\. Use images\[None\]",
    ),
    "channels last": (
        lambda: corrupt(pictures().permute(0, 2, 3, 1), "fog", 3),
        r"got \(5, 32, 32, 3\)\. Use images\.permute\(0, 3, 1, 2\)",
    ),
    "grey images": (
        lambda: corrupt(pictures()[:, :1], "fog", 3),
        r"got \(5, 1, 32, 32\)\. Use images\.expand",
    ),
    "images without pixels": (
        lambda: corrupt(torch.zeros(2, 3, 0, 32, dtype=torch.uint8), "fog", 3),
        r"got \(2, 3, 0, 32\)",
    ),
    "a NumPy array": (
        lambda: corrupt(np.zeros((2, 3, 32, 32), np.uint8), "fog", 3),
        r"uint8 tensor \(N, 3, H, W\), got ndarray\. Use torch\.from_numpy\(images\)\.",
    ),
    "a list": (
        lambda: corrupt([1], "fog", 3),
        r"uint8 tensor \(N, 3, H, W\), got list\.$",
    ),
    "a misspelt kind": (
        lambda: corrupt(pictures(), "gausian_noise", 3),
        "unknown corruption 'gausian_noise'. Did you mean 'gaussian_noise'?",
    ),
    "a kind that is nowhere": (
        lambda: corrupt(pictures(), "no.such.module:kind", 3),
        "corruption 'no.such.module:kind': cannot import 'no'",
    ),
    "a misspelt preset": (
        lambda: corrupt(pictures(), "fog", 3, preset="cifer"),
        "unknown preset 'cifer'. Did you mean 'cifar'?",
    ),
    "severity 6": (
        lambda: corrupt(pictures(), "fog", 6),
        r"severity must be a whole number from 1 to 5 \(0 returns a copy\), got 6",
    ),
    "severity -1": (lambda: corrupt(pictures(), "fog", -1), "got -1"),
    "severity 2.5": (lambda: corrupt(pictures(), "fog", 2.5), r"got 2\.5"),
    "severity True": (lambda: corrupt(pictures(), "fog", True), "got True"),
    "a negative start": (lambda: corrupt(pictures(), "fog", 3, start=-1), "start, .* whole number from 0, got -1"),
    "a seed of text": (lambda: corrupt(pictures(), "fog", 3, seed="7"), "seed must be a whole number, got '7'"),
    "a device that is not there": (
        lambda: corrupt(pictures(), "fog", 3, device="cuda:63"),
        "device 'cuda:63' is not on this machine",
    ),
    "a device that is nothing": (lambda: corrupt(pictures(), "fog", 3, device="gpu"), "device 'gpu' is not on this"),
    "a kind that breaks the contract": (
        lambda: corrupt(pictures(), f"{__name__}:broken_kind", 3),
        r"must return uint8 of shape \(5, 3, 32, 32\), got torch\.float32 \(5, 3, 32, 32\)",
    ),
    "a preset in the protocol": (lambda: protocol("cifer"), "unknown preset 'cifer'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused_with_one_sentence(case: str) -> None:
    call, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_protocol_says_how_to_make_the_same_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = protocol("tiny", 4)
    assert (said["definitions"], said["preset"], said["seed"], said["frost"]) == (1, "tiny", 4, "procedural texture")
    assert "Pillow" in said["jpeg"]
    assert "libjpeg" in said["jpeg"]
    monkeypatch.setenv("SINEWY_FROST", str(tmp_path))
    assert protocol()["frost"] == "original files"
