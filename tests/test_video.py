"""Corruptions of clips: fresh numbers per frame, orders worked by hand, Pillow as the oracle of what moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import sinewy as sw
from shift_oracles import Given
from sinewy.errors import InputError
from sinewy.shifts import VIDEO
from sinewy.shifts.corruption import VALUES_PER_BLOCK
from sinewy.shifts.video import PICTURE
from sinewy.shifts.video_frames import ORDERS, frame_order, kept_frames
from sinewy.shifts.video_geometry import STATIC_ANGLES, rotate, translated


def clips(count: int = 3, frames: int = 20, height: int = 24, width: int = 28) -> Tensor:
    """Return clips of noise whose frames can be told apart: pixel (0, 0) of channel 0 is the frame's number."""
    generator = torch.Generator().manual_seed(1)
    result = torch.randint(0, 256, (count, frames, 3, height, width), dtype=torch.uint8, generator=generator)
    result[:, :, 0, 0, 0] = torch.arange(frames, dtype=torch.uint8)
    return result


@pytest.mark.parametrize("kind", VIDEO)
def test_every_kind_keeps_the_contract(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = clips(frames=20)
    together = sw.shifts.corrupt_clips(before, kind, 2, seed=4, start=5)
    alone = [sw.shifts.corrupt_clips(before[i : i + 1], kind, 2, seed=4, start=5 + i) for i in (2, 1, 0)][::-1]
    assert together.dtype == torch.uint8
    assert torch.equal(together, torch.cat(alone))
    assert torch.equal(before, clips(frames=20))
    assert not torch.equal(together, before)
    length = {"sampling": 5, "reverse_sampling": 5}.get(kind, 20)
    assert together.shape == (3, length, 3, 24, 28)
    monkeypatch.setitem(VALUES_PER_BLOCK, "cpu", 5000)
    assert torch.equal(together, sw.shifts.corrupt_clips(before, kind, 2, seed=4, start=5))
    assert torch.equal(sw.shifts.corrupt_clips(before, kind, 0), before)


@pytest.mark.parametrize("kind", VIDEO)
def test_random_kinds_differ_by_seed_and_clip(kind: str) -> None:
    same = clips(1).expand(2, -1, -1, -1, -1).contiguous()
    first, other = (sw.shifts.corrupt_clips(same, kind, 3, seed=seed) for seed in (0, 1))
    random = kind not in ("defocus_blur", "zoom_blur", "compression", "static_rotate", "sampling", "reverse_sampling")
    assert torch.equal(first, other) is not random
    assert torch.equal(first[0], first[1]) is not random


@pytest.mark.parametrize("kind", ["gaussian_noise", "motion_blur", "rotate"])
def test_kinds_of_the_picture_are_fresh_in_every_frame(kind: str) -> None:
    still = clips(1, 1).expand(1, 6, -1, -1, -1).contiguous()
    shifted = sw.shifts.corrupt_clips(still, kind, 4)
    assert len({frame.numpy().tobytes() for frame in shifted[0]}) >= 5


def test_constants_are_those_of_the_published_code() -> None:
    imagenet = {"gaussian_noise", "impulse_noise", "defocus_blur", "motion_blur", "zoom_blur", "compression"}
    assert {kind for kind, (_, preset) in PICTURE.items() if preset == "imagenet"} == imagenet
    assert {kind for kind, (_, preset) in PICTURE.items() if preset == "tiny"} == {"shot_noise", "speckle_noise"}
    grey = torch.full((1, 4, 3, 64, 64), 128, dtype=torch.uint8)
    for severity, deviation in enumerate((0.08, 0.12, 0.18, 0.26, 0.38), start=1):
        noisy = sw.shifts.corrupt_clips(grey, "gaussian_noise", severity).double() + 0.5
        inner = (noisy > 1) & (noisy < 255)  # the median deviation is not touched by clipping
        median = (noisy - 128).abs().median().item() / 0.6745
        assert inner.any()
        assert median == pytest.approx(255 * deviation, rel=0.03)


@pytest.mark.parametrize("size", [(24, 24), (24, 31), (17, 9)])
@pytest.mark.parametrize("degrees", [*STATIC_ANGLES, -7.0, -1.0, 13.0, 31.0, 0.0])
def test_rotation_is_pillows(size: tuple[int, int], degrees: float) -> None:
    frames = clips(1, 1, *size)[0]
    expected = np.asarray(Image.fromarray(frames[0].permute(1, 2, 0).numpy()).rotate(degrees))
    found = rotate(frames, torch.tensor([degrees]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(found, expected)


def test_rotation_angles_are_whole_and_within_bounds() -> None:
    for severity in (1, 5):
        frames = torch.zeros(1, 400, 3, 33, 33, dtype=torch.uint8)
        frames[..., 16, 16:] = 255  # a hand from the middle to the right
        turned = sw.shifts.corrupt_clips(frames, "rotate", severity)[0, :, 0]
        most = 6 * severity + 1
        allowed = {
            rotate(frames[0, :1], torch.tensor([float(a)]))[0, 0].numpy().tobytes() for a in range(-most, most + 1)
        }
        found = {frame.numpy().tobytes() for frame in turned}
        assert found <= allowed
        assert len(found) > 0.9 * len(allowed)


def test_a_static_rotation_is_one_angle_for_the_whole_clip() -> None:
    before = clips(1, 2)
    after = sw.shifts.corrupt_clips(before, "static_rotate", 1)
    for frame, turned in zip(before[0], after[0], strict=True):
        expected = np.asarray(Image.fromarray(frame.permute(1, 2, 0).numpy()).rotate(7.5))
        assert np.array_equal(turned.permute(1, 2, 0).numpy(), expected)


def test_translation_cuts_one_window_and_pads_with_black() -> None:
    before = clips(2, 3, 10, 12)
    moved = translated(before, torch.tensor([[2, 3], [0, 9]]), None)
    assert torch.equal(moved[0, :, :, :8, :9], before[0, :, :, 2:, 3:])
    assert not moved[0, :, :, 8:].any()
    assert not moved[0, :, :, :, 9:].any()
    assert torch.equal(moved[1, ..., :3], before[1, ..., 9:])
    cut = translated(before, torch.tensor([[2, 3], [0, 0]]), 6)
    assert torch.equal(cut[0], before[0, :, :, 2:8, 3:9])
    assert torch.equal(cut[1], before[1, :, :, :6, :6])


def test_translation_offsets_are_below_eight_times_the_severity() -> None:
    before = torch.zeros(300, 1, 3, 20, 20, dtype=torch.uint8)
    before[..., 15, 15] = 255
    after = sw.shifts.corrupt_clips(before, "translate", 1)[:, 0, 0]
    places = {(15 - int(i) // 20, 15 - int(i) % 20) for i in after.flatten(1).argmax(1)}
    assert places <= {(y, x) for y in range(8) for x in range(8)}
    assert len(places) > 55


def test_sampling_keeps_every_nth_frame() -> None:
    shown = sw.shifts.corrupt_clips(clips(1, 20), "sampling", 2)[0, :, 0, 0, 0]
    assert shown.tolist() == [0, 4, 8, 12, 16]
    backwards = sw.shifts.corrupt_clips(clips(1, 20), "reverse_sampling", 3)[0, :, 0, 0, 0]
    assert backwards.tolist() == [16, 8, 0]
    assert sw.shifts.corrupt_clips(clips(1, 20), "sampling", 5).shape[1] == 1


def test_jumble_shuffles_within_segments() -> None:
    lots = torch.tensor([[0.9, 0.1, 0.2, 0.8, 0.5, 0.4, 0.7, 0.6, 0.3, 0.2]])
    order = frame_order("jumble", 4, 10, _given(lots))  # segments of 4
    assert order.tolist() == [[1, 2, 3, 0, 5, 4, 7, 6, 9, 8]]


def test_box_jumble_shuffles_segments() -> None:
    order = frame_order("box_jumble", 1, 10, _given(torch.tensor([[0.5, 0.9, 0.1]])))  # segments of 4, 4 and 2
    assert order.tolist() == [[8, 9, 0, 1, 2, 3, 4, 5, 6, 7]]


def test_freeze_holds_frames_until_the_next_kept_one() -> None:
    lots = torch.tensor([[0.9, 0.8, 0.1, 0.7, 0.6, 0.2, 0.5, 0.4, 0.95, 0.3]])
    order = frame_order("freeze", 2, 10, _given(lots))  # 2 of 10: frames 2 and 5
    assert order.tolist() == [[2, 2, 2, 2, 2, 5, 5, 5, 5, 5]]
    assert [kept_frames(severity, 100) for severity in range(1, 6)] == [40, 20, 10, 5, 1]
    assert [kept_frames(severity, 16) for severity in range(1, 6)] == [6, 3, 1, 2, 1]
    assert [kept_frames(severity, 1) for severity in range(1, 6)] == [1] * 5


@pytest.mark.parametrize("kind", ORDERS)
@pytest.mark.parametrize("severity", range(1, 6))
def test_orders_hold_frames_that_exist(kind: str, severity: int) -> None:
    for frames in (1, 2, 7, 40):
        shown = sw.shifts.corrupt_clips(clips(2, frames), kind, severity)[:, :, 0, 0, 0]
        assert int(shown.max()) < frames
        if "jumble" in kind:
            assert torch.equal(shown.sort(1).values, torch.arange(frames, dtype=torch.uint8).expand(2, -1))


def _given(values: Tensor) -> Given:
    draws = Given(values)
    draws.device, draws.count = torch.device("cpu"), len(values)
    return draws


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: sw.shifts.corrupt_clips(clips(), "jumbel", 1), "unknown corruption of clips 'jumbel'. Did you mean"),
        (lambda: sw.shifts.corrupt_clips(clips(), "jumble", 6), "severity must be a whole number"),
        (lambda: sw.shifts.corrupt_clips(clips()[0], "jumble", 1), r"clips must be .*\(N, T, 3, H, W\), got \(20, 3"),
        (lambda: sw.shifts.corrupt_clips(clips().transpose(1, 2), "jumble", 1), r"Use clips.transpose\(1, 2\)"),
        (lambda: sw.shifts.corrupt_clips(clips().float(), "jumble", 1), "images must be uint8"),
        (lambda: sw.shifts.corrupt_clips(clips(), "jumble", 1, crop=3), "crop is the side .* 'translate' leaves"),
        (lambda: sw.shifts.corrupt_clips(clips(), "translate", 1, crop=0), "got 0 for 'translate'"),
    ],
)
def test_bad_input_is_refused(call: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        call()  # type: ignore[operator]
