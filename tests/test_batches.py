"""Batches: the same bytes after a resume, the right pixels, and no image lost or seen twice."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sinewy.data import ImageSet
from sinewy.data.batches import augmented, batches, count, normalise, ordered
from sinewy.errors import InputError


def numbered(n, size=8):
    """Return n images whose label is their number."""
    images = np.random.default_rng(0).integers(1, 256, (n, 3, size, size), dtype=np.uint8)
    names = tuple(str(i) for i in range(n))
    return ImageSet(images, np.arange(n), "numbered", "train", names, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def epoch(data, **options):
    return list(batches(data, **{"batch": 4, "seed": 0, "epoch": 0, **options}))


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(a, b, strict=True)
    )


def test_shapes_types_and_layout():
    images, labels = epoch(numbered(10), augment="crop-flip")[0]
    assert images.shape == (4, 3, 8, 8)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert epoch(numbered(10), channels_last=False)[0][0].is_contiguous()


@pytest.mark.parametrize(
    ("n", "sizes", "kept"), [(10, [4, 4], [4, 4, 2]), (8, [4, 4], [4, 4]), (3, [3], [3]), (1, [1], [1])]
)
def test_drop_last_never_leaves_nothing(n, sizes, kept):
    data = numbered(n)
    assert [len(labels) for _, labels in epoch(data)] == sizes
    assert [len(labels) for _, labels in epoch(data, drop_last=False)] == kept
    assert count(data, 4) == len(sizes)
    assert count(data, 4, drop_last=False) == len(kept)


def test_every_image_is_seen_once_and_the_order_is_of_seed_and_epoch():
    data = numbered(50)
    order = lambda **options: torch.cat([y for _, y in epoch(data, drop_last=False, **options)]).tolist()  # noqa: E731
    assert sorted(order()) == list(range(50))
    assert order() == order(batch=7, augment="crop")
    assert order() != order(epoch=1)
    assert order() != order(seed=1)
    assert order() != list(range(50))


def test_the_order_never_changes_between_versions():
    assert epoch(numbered(8), batch=8, seed=3, epoch=2)[0][1].tolist() == [5, 6, 3, 2, 0, 7, 1, 4]


@pytest.mark.parametrize("augment", ["none", "crop", "crop-flip"])
@pytest.mark.parametrize("start", [0, 1, 3])
def test_a_resumed_epoch_sees_the_same_bytes(augment, start):
    data = numbered(23)
    torch.manual_seed(start)
    np.random.seed(start)  # noqa: NPY002 - global state must not matter
    assert same(epoch(data, augment=augment, start=start, seed=5), epoch(data, augment=augment, seed=5)[start:])


def test_nothing_is_left_after_the_end():
    assert epoch(numbered(8), start=2) == []


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 3), st.booleans())
@settings(max_examples=40, derandomize=True, deadline=None)
def test_resume_and_count_for_any_sizes(n, batch, start, drop_last):
    data = numbered(n, size=4)
    whole = epoch(data, batch=batch, augment="crop-flip", drop_last=drop_last)
    assert len(whole) == count(data, batch, drop_last=drop_last) >= 1
    assert same(whole[start:], epoch(data, batch=batch, augment="crop-flip", drop_last=drop_last, start=start))


@pytest.mark.parametrize("shape", [(1, 3, 2, 2), (5, 3, 8, 8), (3, 3, 7, 33)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_normalise_is_the_formula(shape, channels_last):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    exact = (images.double() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    ours = normalise(images, mean, std, channels_last=channels_last)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours.double(), exact, atol=2e-6)


def test_normalise_does_not_depend_on_the_batch():
    images = torch.from_numpy(numbered(9).images)
    whole = normalise(images, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    for i in range(9):
        assert torch.equal(normalise(images[i : i + 1], (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))[0], whole[i])


def test_normalise_refuses_floats():
    with pytest.raises(InputError, match="float32"):
        normalise(torch.rand(1, 3, 2, 2), (0.0,) * 3, (1.0,) * 3)


def test_augmented_by_hand():
    image = np.arange(1, 65, dtype=np.uint8).reshape(1, 1, 8, 8).repeat(3, axis=1)
    pad = 1  # an eighth of 8
    words = lambda *values: np.array(values, np.uint64)  # noqa: E731
    middle = augmented(image, flip=True, words=words(pad, pad, 0))
    assert (middle == image).all()
    assert (augmented(image, flip=True, words=words(pad, pad, 1)) == image[..., ::-1]).all()
    corner = augmented(image, flip=False, words=words(0, 0, 0))
    assert (corner[..., 1:, 1:] == image[..., :-1, :-1]).all()
    assert corner[..., 0, :].max() == corner[..., 0].max() == 0
    low = augmented(image, flip=False, words=words(2, 1, 0))
    assert (low[..., :-1, :] == image[..., 1:, :]).all()


def test_augmentation_reaches_every_offset_and_flips_half():
    data = numbered(1, size=8)
    image = data.images[0]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    windows = {
        window.tobytes(): (dy, dx, flip)
        for dy in range(3)
        for dx in range(3)
        for flip in (False, True)
        for window in [np.ascontiguousarray(padded[:, dy : dy + 8, dx : dx + 8][..., :: -1 if flip else 1])]
    }
    words = np.random.Philox(key=1).random_raw(3 * 900)
    seen = [windows[x.tobytes()] for x in augmented(np.repeat(image[None], 900, axis=0), flip=True, words=words)]
    assert len(set(seen)) == 18
    assert 0.42 < np.mean([flip for *_, flip in seen]) < 0.58


def test_augmentation_differs_between_batches_epochs_and_seeds():
    data = numbered(64)
    data = ImageSet(
        np.repeat(data.images[:1], 64, axis=0), data.labels, "same", "train", data.classes, data.mean, data.std
    )
    runs = [epoch(data, batch=32, augment="crop-flip", **o) for o in ({}, {"epoch": 1}, {"seed": 1})]
    firsts = [runs[0][0][0], runs[0][1][0], runs[1][0][0], runs[2][0][0]]
    assert not any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])


def test_ordered_keeps_order_tail_and_pixels():
    data = numbered(10)
    parts = list(ordered(data, batch=4))
    assert torch.cat([y for _, y in parts]).tolist() == list(range(10))
    expected = normalise(torch.from_numpy(data.images), data.mean, data.std)
    assert torch.equal(torch.cat([x for x, _ in parts]), expected)


def test_writing_to_a_batch_leaves_the_set_alone():
    data = numbered(4)
    before = data.images.copy(), data.labels.copy()
    for images, labels in [*epoch(data), *ordered(data, batch=4)]:
        images.zero_()
        labels.zero_()
    assert (data.images == before[0]).all()
    assert (data.labels == before[1]).all()


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"start": -1}, {"epoch": -1}, {"augment": "cropflip"}])
def test_wrong_requests_are_refused_at_the_call(wrong):
    with pytest.raises(InputError):
        batches(numbered(4), **{"batch": 2, "seed": 0, "epoch": 0, **wrong})
    if "batch" in wrong:
        with pytest.raises(InputError):
            ordered(numbered(4), batch=0)
