"""Shifts as values: names, calls, composition, numbers drawn apart from images, frequency, labels of pixels."""

from __future__ import annotations

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sinewy as sw
from sinewy.errors import CorruptFileError, InputError
from sinewy.sets.published_arrays import ARRAYS
from sinewy.sets.published_folders import FOLDERS
from sinewy.shifts import C_BAR, CORRUPTIONS, MNIST_C, SEVERITIES, corrupt
from sinewy.shifts.c_bar_constants import LEVELS
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from sinewy.shifts.names import SUITES, canonical, expand, family, parse_strength, preset_for, severities_of, spelled
from sinewy.shifts.recompression import Recompression
from sinewy.shifts.strengths import Continuous
from sinewy.shifts.values import Corruption
from test_shifts_contract import pictures

WITHOUT_DEPTH = ("3dcc/color_quant", "3dcc/iso_noise", "3dcc/low_light")
EVERY = [*CORRUPTIONS, *C_BAR, *MNIST_C, *WITHOUT_DEPTH]


def own_kind(images: Tensor, severity: int, preset: str, draws: object) -> Tensor:
    return images // (severity + 1)


def value(kind: str) -> Corruption:
    """The kind at severity 3, or the one it has, with constants that it has."""
    preset = "imagenet" if kind in C_BAR and kind not in LEVELS["cifar"] else "cifar"
    return Corruption(kind, 1 if kind in MNIST_C else 3, preset)


def fitting(kind: str, count: int = 4) -> Tensor:
    images = pictures(count)
    return images[:, :1].expand(-1, 3, -1, -1).contiguous() if kind in MNIST_C else images


@pytest.mark.parametrize("kind", EVERY)
def test_a_value_is_the_call_and_its_draws_give_the_same_bytes(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shift, images = value(kind), fitting(kind)
    expected = corrupt(images, kind, shift.severity, preset=shift.preset, seed=5, start=3)
    assert torch.equal(shift(images, seed=5, start=3), expected)
    drawn = shift.draw(images, seed=5, start=3)
    assert torch.equal(shift.replay(images, drawn), expected)
    chosen = torch.tensor([3, 1])
    assert torch.equal(shift.replay(images[chosen], drawn.select(chosen)), expected[chosen])
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 1)  # one image per block
    assert torch.equal(shift.replay(images, shift.draw(images, seed=5, start=3)), expected)


def test_draws_survive_a_file(tmp_path: Path) -> None:
    shift, images = Corruption("snow", 2) | Corruption("brightness", 1) | Corruption("glass_blur", 4), pictures()
    drawn = shift.draw(images, seed=1)
    drawn.save(tmp_path / "drawn.safetensors")
    again = sw.shifts.Drawn.open(tmp_path / "drawn.safetensors")
    assert (again.shift, again.size, len(again)) == (shift.name, (32, 32), 5)
    assert [len(part) for part in again.parts] == [2, 0, 1]
    assert torch.equal(shift.replay(images, again), shift(images, seed=1))


def test_draws_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    shift, images = Corruption("snow", 2), pictures()
    drawn = shift.draw(images)
    with pytest.raises(InputError, match="drawn for snow/2, not for snow/3"):
        Corruption("snow", 3).replay(images, drawn)
    with pytest.raises(InputError, match="5 images of 32 x 32 pixels, got 4 of 32 x 32; use select"):
        shift.replay(images[:4], drawn)
    with pytest.raises(InputError, match="uniform_noise/0.1 draws as it computes; to repeat it, pass the same seed"):
        Continuous("uniform_noise/0.1").draw(images)
    (tmp_path / "text").write_text("no draws")
    with pytest.raises(CorruptFileError, match="not a whole file of draws"):
        sw.shifts.Drawn.open(tmp_path / "text")


def test_parts_apply_in_order_with_the_seed_given() -> None:
    images = pictures()
    fog, noise = Corruption("fog", 3), Corruption("gaussian_noise", 2)
    assert torch.equal((fog | noise)(images, seed=4), noise(fog(images, seed=4), seed=4))
    assert not torch.equal((fog | noise)(images), (noise | fog)(images))
    assert ((fog | noise) | fog) == (fog | (noise | fog))
    assert (fog | noise).name == "fog/3|gaussian_noise/2"
    assert (fog | Corruption("lines", 1)).family == "cifar-c|c-bar"


def test_the_same_part_twice_draws_twice() -> None:
    grey = torch.full((8, 3, 32, 32), 128, dtype=torch.uint8)
    noise = Corruption("gaussian_noise", 5)
    once, twice = (shift(grey).double().std().item() for shift in (noise, noise | noise))
    assert twice == pytest.approx(once * 2**0.5, rel=0.02)  # 2 if the noise were the same


def test_a_composition_does_not_depend_on_the_batch() -> None:
    images, shift = pictures(), Corruption("snow", 3) | Corruption("snow", 3) | Recompression(40)
    one_by_one = [shift(images[i : i + 1], seed=2, start=i) for i in range(len(images))]
    assert torch.equal(shift(images, seed=2), torch.cat(one_by_one))


def test_severity_zero_is_a_copy_for_values_too() -> None:
    images, nothing = pictures(), Corruption("snow", 0)
    assert torch.equal(nothing(images), images)
    assert torch.equal(nothing.replay(images, nothing.draw(images)), images)


def test_what_a_value_says_of_itself() -> None:
    shift = Corruption("c-bar/lines", 4)
    assert (shift.kind, shift.name, shift.family) == ("lines", "lines/4", "c-bar")
    assert shift.parameters == {"kind": "lines", "severity": 4, "preset": "cifar"}
    assert shift.protocol == "generated by sinewy, definitions 1: lines/4, preset cifar"
    assert "libjpeg" in Corruption("jpeg_compression", 1).protocol
    assert "frost procedural texture" in Corruption("frost", 1).protocol
    noise = Continuous("uniform_noise/0.10", mean=(0.5,) * 3, std=(0.2,) * 3)
    assert (noise.name, noise.family) == ("uniform_noise/0.1", "continuous")
    assert noise.parameters["std"] == (0.2, 0.2, 0.2)
    assert Corruption(f"{__name__}:own_kind", 2).family == "own"


def test_recompression_is_the_file_of_imagenet_c() -> None:
    images = pictures(2, 64)
    for image, result in zip(images, Recompression()(images), strict=True):
        stream = BytesIO()
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "JPEG", quality=85, optimize=True)
        assert np.array_equal(np.asarray(Image.open(stream)), result.permute(1, 2, 0).numpy())


@pytest.mark.parametrize(
    "spelling", ["low_frequency_attenuation/3/square", "out_of_domain/255", "normal_noise/0.1/pixel"]
)
def test_continuous_shifts_are_their_functions(spelling: str) -> None:
    images, said = pictures(), parse_strength(spelling)
    function = getattr(sw.shifts, said.kind)
    options = {"seed": 3, "start": 2} if "noise" in said.kind else {}
    expected = function(images, said.strength, **said.options, **options)
    assert torch.equal(Continuous(spelling)(images, seed=3, start=2), expected)


def test_fourier_noise_has_its_frequency_in_its_name() -> None:
    shift = Continuous("fourier_basis_noise/2/3/-5")
    expected = sw.shifts.fourier_basis_noise(pictures(), 2.0, frequency=(3, -5))
    assert torch.equal(shift(pictures()), expected)
    assert shift.name == "fourier_basis_noise/2/3/-5"


def test_names_of_sets_are_parsed() -> None:
    assert sw.shifts.load("cifar10-c/fog/3") == Corruption("fog", 3)
    assert sw.shifts.load("tiny-imagenet-c/fog/3") == Corruption("fog", 3, "tiny")
    assert sw.shifts.load("imagenet-c-bar/sparkles/1") == Corruption("sparkles", 1, "imagenet")
    assert sw.shifts.load("mnist-c/zigzag") == Corruption("mnist-c/zigzag", 1)
    assert sw.shifts.load("imagenet-3dcc/low_light/2") == Corruption("3dcc/low_light", 2, "imagenet")
    joined = sw.shifts.load("cifar10-c/fog/3 | uniform_noise/0.1/pixel")
    assert joined.name == "fog/3|uniform_noise/0.1/pixel"
    assert joined(pictures()).dtype == torch.float32


REFUSED = {
    "load:cifar10-c/fog": r"must read cifar10-c/KIND/SEVERITY",
    "load:cifar10-c/fog/6": "the severity must be 1 to 5, got 6",
    "load:cifar10-c/fgo/3": "unknown kind of cifar10-c 'fgo'. Did you mean 'fog'",
    "load:cifar-10-c/fog/3": "unknown suite 'cifar-10-c'. Did you mean 'cifar10-c'",
    "load:mnist-c/fog/2": "the severity must be 1, got 2",
    "kind:gausian_noise": "Did you mean 'gaussian_noise'",
    "kind:../../etc:passwd": "unknown corruption '../../etc:passwd'",
    "kind:uniform_noise": "has no strength; write it as in uniform_noise/0.1",
    "kind:uniform_noise/x": "strength must be a finite number of at least 0, got 'x'",
    "kind:uniform_noise/nan": "strength must be a finite number",
    "kind:uniform_noise/-1": "strength must be a finite number of at least 0, got '-1'",
    "kind:uniform_noise/1/disk": "after the strength comes normalised or pixel, got 'disk'",
    "kind:out_of_domain/1/2": "nothing can follow the strength",
    "kind:fourier_basis_noise/1": "needs a frequency, two whole numbers after the norm",
}


@pytest.mark.parametrize("case", REFUSED)
def test_names_that_name_nothing_are_refused(case: str) -> None:
    what, _, name = case.partition(":")
    with pytest.raises(InputError, match=REFUSED[case]):
        sw.shifts.load(name) if what == "load" else canonical(name)


def test_values_of_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="severity must be a whole number from 1 to 5"):
        Corruption("fog", 6)
    with pytest.raises(InputError, match="mnist-c/fog was published at one severity"):
        Corruption("mnist-c/fog", 3)
    with pytest.raises(InputError, match="use Continuous"):
        Corruption("uniform_noise/0.1", 3)
    with pytest.raises(InputError, match="unknown preset 'cifer'"):
        Corruption("fog", 3, "cifer")
    with pytest.raises(InputError, match="quality must be a whole number from 1 to 100, got 0"):
        Recompression(0)
    with pytest.raises(TypeError):
        _ = Corruption("fog", 3) | 5


def test_groups_are_written_out_in_order_without_repetition() -> None:
    assert expand(["fog", "weather", "fog"]) == ("fog", "snow", "frost", "brightness")
    assert expand(["c-bar"]) == tuple(LEVELS["cifar"])
    assert expand(["c-bar"], "imagenet") == tuple(LEVELS["imagenet"])
    assert expand(["cifar-c"]) == tuple(CORRUPTIONS)
    assert len(expand(["noise", "blur", "weather", "digital"])) == len(expand(["benchmark"])) == 15
    with pytest.raises(InputError, match="C-bar has no published constants for preset 'tiny'"):
        expand(["c-bar"], "tiny")


def test_kinds_of_one_strength_are_measured_once() -> None:
    assert severities_of("fog", SEVERITIES) == SEVERITIES
    assert severities_of("mnist-c/fog", (3, 4)) == (1,)
    assert severities_of("uniform_noise/0.1", SEVERITIES) == (1,)
    assert [family(kind) for kind in ("fog", "lines", "mnist-c/fog", "3dcc/flash", "uniform_noise/1", "a:b")] == [
        "cifar-c",
        "c-bar",
        "mnist-c",
        "3dcc",
        "continuous",
        "own",
    ]
    assert all(spelled(parse_strength(name)) == name for name in ("uniform_noise/1e-05", "out_of_domain/255"))


def test_every_suite_names_kinds_that_are_there() -> None:
    for suite in SUITES.values():
        assert set(suite.kinds) <= set(CORRUPTIONS) | set(C_BAR) | set(MNIST_C) | set(sw.shifts.THREE_D)


def test_a_preset_is_chosen_for_its_own_size_only() -> None:
    assert [preset_for(side) for side in (32, 64, 224)] == ["cifar", "tiny", "imagenet"]
    with pytest.raises(InputError, match=r"images of 96 pixels; choose some: --preset tiny \(made for 64 pixels\)"):
        preset_for(96)


def test_names_are_listed_without_torch() -> None:
    code = "import sys, sinewy.shifts.names as n; assert n.expand(['c-bar']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


# high frequencies


def test_high_frequency_is_the_share_of_the_energy() -> None:
    generator = np.random.default_rng(0)
    before, after = (generator.integers(0, 256, (3, 3, 16, 24)).astype(np.uint8) for _ in range(2))
    energy = (np.abs(np.fft.fft2(after.astype(float) - before)) ** 2).sum((0, 1))
    y, x = np.meshgrid(np.fft.fftfreq(16), np.fft.fftfreq(24), indexing="ij")
    energy[0, 0] = 0
    expected = energy[np.sqrt(y**2 + x**2) > 0.25].sum() / energy.sum()
    assert sw.shifts.high_frequency(torch.from_numpy(before), torch.from_numpy(after)) == pytest.approx(expected)


def test_high_frequency_orders_kinds_as_they_look() -> None:
    images = pictures(8)
    shares = [Corruption(kind, 3).high_frequency(images) for kind in ("fog", "motion_blur", "gaussian_noise")]
    assert shares == sorted(shares)
    assert Corruption("fog", 0).high_frequency(images) == 0
    assert 0 < Continuous("uniform_noise/0.1/pixel").high_frequency(images) <= 1


def test_high_frequency_refuses_what_cannot_be_compared() -> None:
    with pytest.raises(
        InputError, match=r"shifted images must be torch.uint8 \(5, 3, 32, 32\), as the images are, got"
    ):
        sw.shifts.high_frequency(pictures(), pictures().float())


# labels of pixels


def board(count: int = 3) -> tuple[Tensor, Tensor]:
    """Black and white patches, and a label for every pixel: 1 where it is white."""
    y, x = torch.arange(32)[:, None], torch.arange(32)[None]
    masks = torch.stack([((y // (4 + i)) + (x // (5 + i))) % 2 for i in range(count)]).to(torch.int64)
    return (masks[:, None] * 255).to(torch.uint8).expand(-1, 3, -1, -1).contiguous(), masks


@pytest.mark.parametrize(
    "kind", ["elastic_transform", "pinch_and_twirl", "ripple", "mnist-c/rotate", "mnist-c/translate"]
)
def test_labels_move_with_the_picture(kind: str) -> None:
    images, masks = board()
    severity = 1 if kind in MNIST_C else 3
    shifted, moved = sw.shifts.corrupt_pairs(images, masks, kind, severity, seed=3, start=2, fill=9)
    assert torch.equal(shifted, corrupt(images, kind, severity, seed=3, start=2))
    whole = corrupt(torch.full_like(images, 255), kind, severity, seed=3, start=2)[:, 0]
    inside, outside = whole >= 254, whole <= 1
    assert inside.double().mean() > 0.6
    assert (moved[outside] == 9).all()
    assert outside.any() or "mnist-c" not in kind
    assert not torch.equal(moved, masks)
    # a pixel that is mostly white belongs to the white patch, one that is mostly black to the black one
    level = shifted[:, 0].double()
    sure = inside & ((level - 127.5).abs() > 2)
    assert torch.equal(level[sure] > 127.5, moved[sure] == 1)


@pytest.mark.parametrize("kind", ["gaussian_noise", "motion_blur", "fog", "jpeg_compression", "3dcc/color_quant"])
def test_kinds_of_the_pixels_leave_labels_alone(kind: str) -> None:
    images, masks = board()
    shifted, labels = sw.shifts.corrupt_pairs(images, masks, kind, 3)
    assert torch.equal(labels, masks)
    assert labels.data_ptr() != masks.data_ptr()
    assert torch.equal(shifted, corrupt(images, kind, 3))


def test_moved_labels_do_not_depend_on_the_batch() -> None:
    images, masks = board(4)
    masks[2] += 5
    together = sw.shifts.corrupt_pairs(images, masks, "elastic_transform", 4)[1]
    alone = [
        sw.shifts.corrupt_pairs(images[i : i + 1], masks[i : i + 1], "elastic_transform", 4, start=i)[1]
        for i in range(4)
    ]
    assert torch.equal(together, torch.cat(alone))


def test_kinds_whose_labels_cannot_be_followed_are_refused() -> None:
    images, masks = board()
    with pytest.raises(InputError, match="caustic_refraction moves the picture and lights it"):
        sw.shifts.corrupt_pairs(images, masks, "caustic_refraction", 1, preset="imagenet")
    with pytest.raises(InputError, match="say whether .* moves the picture: moves=False leaves labels"):
        sw.shifts.corrupt_pairs(images, masks, f"{__name__}:own_kind", 1)
    assert torch.equal(sw.shifts.corrupt_pairs(images, masks, f"{__name__}:own_kind", 1, moves=False)[1], masks)
    with pytest.raises(InputError, match=r"masks must have shape \(3, 32, 32\), one label per pixel, got \(3, 1, 32"):
        sw.shifts.corrupt_pairs(images, masks[:, None], "fog", 1)
    with pytest.raises(InputError, match="masks must be a uint8 or int64 tensor .* got torch.float32"):
        sw.shifts.corrupt_pairs(images, masks.float(), "fog", 1)


def test_the_code_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[1] / "docs" / "shifts.md").read_text()
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(block, "docs/shifts.md", "exec"), names)
    assert (tmp_path / "drawn.safetensors").exists()
    for name in re.findall(r"`([a-z0-9.-]+)`", page.partition("## Published files")[2].partition("## What")[0]):
        assert name in (*ARRAYS, *FOLDERS) or "." in name, name
