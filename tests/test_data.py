"""Image sets and splits: what is accepted, what is refused, and that everybody gets the same split."""

import gzip
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data_server import idx_bytes, serve_cifar100, serve_svhn, write_cifar
from sinewy.data import (
    DATASETS,
    OUTLIER_SETS,
    ImageSet,
    Splits,
    as_image_set,
    cifar,
    cifar100,
    digits,
    idx,
    load,
    present,
    svhn,
)
from sinewy.data.splits import channel_statistics, stratified
from sinewy.errors import CorruptFileError, InputError


def pixels(n=6, size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def make(images=None, labels=None, **changes):
    images = pixels() if images is None else images
    labels = np.arange(len(images)) % 3 if labels is None else labels
    fields = {"name": "toy", "split": "test", "classes": ("a", "b", "c"), "mean": (0.5,) * 3, "std": (0.25,) * 3}
    return ImageSet(images, labels, **{**fields, **changes})


def test_hash_sees_pixels_shape_and_labels_but_not_names():
    a = make()
    assert len(a.hash) == 16
    assert a.hash == make(name="other", classes=("x", "y", "z"), mean=(0.0,) * 3).hash
    one_pixel = pixels()
    one_pixel[3, 1, 2, 2] ^= 1
    assert make(one_pixel).hash != a.hash
    assert make(labels=np.array([0, 1, 2, 0, 1, 1])).hash != a.hash
    assert make(pixels().reshape(6, 3, 4, 16)).hash != a.hash


def test_hash_does_not_depend_on_memory_layout():
    transposed = np.ascontiguousarray(pixels().transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert not transposed.flags.c_contiguous
    assert make(transposed).hash == make().hash


def test_read_only_arrays_become_tensors_without_a_warning():
    frozen = np.frombuffer(pixels().tobytes(), np.uint8).reshape(6, 3, 8, 8)
    assert torch.from_numpy(make(frozen).images).shape == (6, 3, 8, 8)


def test_subset_and_first():
    a = make()
    part = a.subset([4, 1])
    assert part.labels.tolist() == [1, 1]
    assert (part.images == a.images[[4, 1]]).all()
    assert part.classes == a.classes
    assert len(a.first(2)) == 2
    assert len(a.first(99)) == 6


@pytest.mark.parametrize("indices", [[6], [-1], [], [0.5], [[0]]])
def test_subset_refuses(indices):
    with pytest.raises(InputError):
        make().subset(indices)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": pixels().astype(np.float32)}, "float32"),
        ({"images": pixels().astype(np.int64)}, "int64"),
        ({"images": pixels()[:, :1]}, "grey"),
        ({"images": pixels()[:, 0]}, "grey"),
        ({"images": pixels()[:0], "labels": np.zeros(0, np.int64)}, "at least 1"),
        ({"labels": np.arange(5)}, "6 images but 5 labels"),
        ({"labels": np.array([0, 1, 2, 3, 0, 0])}, "label 3 is outside"),
        ({"labels": np.array([0, 1, -1, 0, 0, 0])}, "label -1 is outside"),
        ({"labels": np.zeros(6, np.int32)}, "int32"),
        ({"labels": np.zeros(6)}, "float64"),
        ({"mean": (0.5,)}, "one value per channel"),
        ({"std": (0.5, 0.0, 0.5)}, "above 0"),
        ({"mean": (125.3, 123.0, 113.9)}, "divide them by 255"),
        ({"mean": (float("nan"), 0.5, 0.5)}, "finite"),
    ],
)
def test_image_set_refuses(change, says):
    with pytest.raises(InputError, match=says):
        make(**change)


def test_pairs_of_arrays_and_tensors_in_both_layouts():
    images, labels = pixels(), np.array([0, 1, 2, 1, 0, 2], dtype=np.uint8)
    expected = as_image_set((images, labels))
    assert expected.mean == (0.0,) * 3
    assert expected.std == (1.0,) * 3
    assert expected.classes == ("0", "1", "2")
    for pair in [
        (images.transpose(0, 2, 3, 1), labels),
        (torch.from_numpy(images), torch.from_numpy(labels)),
        [torch.from_numpy(images).permute(0, 2, 3, 1), labels],
    ]:
        assert as_image_set(pair).hash == expected.hash
    assert as_image_set(expected) is expected


def test_an_image_three_pixels_wide_is_taken_as_channels_first():
    images = pixels()[:, :, :5, :3]
    assert as_image_set((images, np.zeros(6, int))).images.shape == (6, 3, 5, 3)


class Items(torch.utils.data.Dataset):
    def __init__(self, items, classes=None):
        self.items = items
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_map_style_data_sets_of_pillow_images_and_arrays():
    images = pixels(3)
    hwc = images.transpose(0, 2, 3, 1)
    expected = as_image_set((images, np.arange(3)))
    pillow = Items([(Image.fromarray(image), i) for i, image in enumerate(hwc)], ["x", "y", "z"])
    assert as_image_set(pillow).hash == expected.hash
    assert as_image_set(pillow).classes == ("x", "y", "z")
    assert as_image_set(Items([(image, i) for i, image in enumerate(hwc)])).hash == expected.hash
    tensors = torch.utils.data.TensorDataset(torch.from_numpy(images), torch.arange(3))
    assert as_image_set(tensors).hash == expected.hash
    grey = as_image_set(Items([(Image.fromarray(images[0, 0]), 0)]))
    assert (grey.images[0] == images[0, 0]).all()


FLOATS = pixels().astype(np.float32) / 255


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ((FLOATS, np.zeros(6, int)), r"in \[0, 1\].*\* 255"),
        ((torch.from_numpy(FLOATS) * 4 - 2, np.zeros(6, int)), "normalised already.*mean="),
        ((FLOATS * 255, np.zeros(6, int)), "round"),
        ((np.where(FLOATS > 0.5, np.nan, FLOATS), np.zeros(6, int)), "NaN"),
        ((pixels(), np.eye(6)), "argmax"),
        ((pixels(), np.zeros(6)), "integers"),
        ((pixels(), np.array(list("abcdef"))), "integers"),
        (Items([(torch.rand(3, 8, 8), 0)]), "ToTensor"),
        (Items([]), "no images"),
        (Items([(pixels()[0], 0), (pixels(size=9)[0], 1)]), "image 1 has shape"),
        (Items([(Image.new("RGBA", (8, 8)), 0)]), "RGBA"),
        (Items([pixels()[0]]), "cannot read Items"),
        (torch.utils.data.DataLoader(Items([(pixels()[0], 0)])), "DataLoader"),
        (3, "cannot read int"),
    ],
)
def test_as_image_set_refuses(data, says):
    with pytest.raises(InputError, match=says) as caught:
        as_image_set(data)
    assert "\n" not in str(caught.value)


def test_stratified_by_hand():
    labels = np.array([0] * 10 + [1] * 5 + [2] * 5)
    held = stratified(labels, 0.4, 0)
    assert np.bincount(labels[held]).tolist() == [4, 2, 2]
    # 7 of 20: shares 3.5, 1.75 and 1.75, so floors 3, 1, 1 and one more where the remainder is largest
    assert np.bincount(labels[stratified(labels, 0.35, 0)]).tolist() == [3, 2, 2]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=80), st.floats(0, 0.99), st.integers(0, 2**63 - 1))
@settings(max_examples=60, derandomize=True, deadline=None)
def test_stratified_is_exact_and_in_proportion(labels, share, seed):
    array = np.array(labels)
    held = stratified(array, share, seed)
    assert held.sum() == round(share * len(array))
    assert (held == stratified(array, share, seed)).all()
    exact = np.bincount(array) * held.sum() / len(array)
    assert (np.abs(np.bincount(array[held], minlength=len(exact)) - exact) < 1).all()


def test_stratified_never_changes_between_versions():
    assert np.flatnonzero(stratified(np.arange(20) % 2, 0.2, 7)).tolist() == [1, 3, 8, 16]


def test_channel_statistics_agree_with_floating_point():
    images = pixels(50)
    mean, std = channel_statistics(images, block=7)
    assert np.allclose(mean, (images / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    assert np.allclose(std, (images / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_digits():
    splits = load("digits")
    assert [len(part) for part in splits] == [1117, 180, 500]
    assert splits.train.images.shape[1:] == (3, 32, 32)
    assert np.bincount(splits.test.labels).min() >= 48
    assert splits.train.mean == splits.test.mean
    assert np.allclose(splits.train.mean[0], splits.train.images.mean() / 255)
    everything = np.concatenate([part.images for part in splits])
    assert everything.min() == 0
    assert everything.max() == 255
    assert splits.test.hash == "2d05e4184be44d63"


def test_digits_test_part_is_fixed_and_validation_follows_the_split_seed():
    a, b = load("digits"), load("digits", seed=1)
    assert a.test.hash == b.test.hash
    assert a.validation.hash != b.validation.hash
    none = load("digits", validation=0)
    assert none.validation is None
    assert len(none.train) == 1297
    with pytest.raises(InputError, match="leaves no digit"):
        load("digits", validation=0.9)


def test_digits_are_enlarged_like_pillow_does():
    levels = np.random.default_rng(0).integers(0, 17, (4, 8, 8)).astype(float)
    ours = digits.enlarge(levels)[:, 0]
    for image, level in zip(ours, levels, strict=True):
        theirs = Image.fromarray((level * 255 / 16).astype(np.float32)).resize((32, 32), Image.Resampling.BILINEAR)
        assert np.abs(image - np.asarray(theirs)).max() <= 0.51


def test_cifar_binary_form(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    splits = load("cifar10", root=tmp_path, validation=0.2, download=False)
    assert [len(part) for part in splits] == [80, 20, 20]
    raw = (tmp_path / cifar.FOLDER / "test_batch.bin").read_bytes()
    assert splits.test.labels[3] == raw[3 * 3073] == 3
    assert splits.test.images[3, 2, 31, 30] == raw[3 * 3073 + 1 + 2 * 1024 + 31 * 32 + 30]
    assert splits.test.classes[3] == "cat"


def test_cifar_damaged_file_is_named_and_left_alone(tmp_path, monkeypatch):
    write_cifar(tmp_path, monkeypatch)
    file = tmp_path / cifar.FOLDER / "data_batch_3.bin"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CorruptFileError, match=r"data_batch_3.bin is damaged.*delete it"):
        load("cifar10", root=tmp_path)
    assert file.exists()


def place(files, root):
    """Write {path: bytes} below a folder, as a user without a network does by hand."""
    for path, content in files.items():
        (root / path[1:]).write_bytes(content)


def test_svhn_matrices(tmp_path, monkeypatch):
    from scipy.io import loadmat

    place(serve_svhn(monkeypatch), tmp_path)
    splits = load("svhn", root=tmp_path, validation=0.25, download=False)
    assert [len(part) for part in splits] == [30, 10, 20]
    assert splits.train.classes == tuple("0123456789")
    raw = loadmat(tmp_path / "test_32x32.mat")
    assert raw["y"][9, 0] == 10  # the digit 0
    assert splits.test.labels.tolist() == [(i + 1) % 10 for i in range(20)]
    assert np.array_equal(splits.test.images[7, 2, 30, 3], raw["X"][30, 3, 2, 7])
    everything = np.concatenate([splits.train.images, splits.validation.images])
    assert sorted(map(bytes, everything)) == sorted(
        map(bytes, loadmat(tmp_path / "train_32x32.mat")["X"].T.swapaxes(2, 3))
    )
    assert np.allclose(splits.test.mean, (splits.train.images / 255).mean(axis=(0, 2, 3)))
    assert np.bincount(splits.validation.labels).tolist() == [1] * 10


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, "no MATLAB file with X and y, KeyError"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": [[1], [2]]}, "X is float64"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1], [2], [3]]}, "y has 3 values"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": [[1], [11]]}, "labels are not 1 to 10"),
        (None, "no MATLAB file with X and y"),
    ],
)
def test_svhn_refuses_what_is_not_its_file(arrays, says):
    import io

    from scipy.io import savemat

    buffer = io.BytesIO(b"nothing of the kind" * 20 if arrays is None else b"")
    if arrays is not None:
        savemat(buffer, arrays)
    with pytest.raises(CorruptFileError, match=rf"x.mat is damaged \(.*{says}.*; delete it"):
        svhn._decode(Path("x.mat"), buffer.getvalue())


def test_cifar100_records(tmp_path, monkeypatch):
    place(serve_cifar100(monkeypatch), tmp_path)
    splits = load("cifar100", root=tmp_path, validation=0.5, download=False)
    assert [len(part) for part in splits] == [100, 100, 100]
    assert np.bincount(splits.validation.labels).tolist() == [1] * 100  # in proportion
    raw = (tmp_path / cifar100.FOLDER / "test.bin").read_bytes()
    assert splits.test.labels[3] == raw[3 * 3074 + 1] == 3  # the fine label, not the coarse one before it
    assert splits.test.images[3, 2, 31, 30] == raw[3 * 3074 + 2 + 2 * 1024 + 31 * 32 + 30]
    assert len(splits.test.classes) == len(set(splits.test.classes)) == 100
    assert list(splits.test.classes) == sorted(splits.test.classes)  # the official numbering is alphabetical
    assert [splits.test.classes[i] for i in (0, 41, 50, 99)] == ["apple", "lawn_mower", "mouse", "worm"]
    file = tmp_path / cifar100.FOLDER / "train.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(CorruptFileError, match=r"train.bin is damaged \(614,799 bytes, expected 614,800\); delete it"):
        load("cifar100", root=tmp_path)
    file.write_bytes(whole[:1] + bytes([7]) + whole[2:])
    with pytest.raises(CorruptFileError, match="not 2 images of each of the 100 classes"):
        load("cifar100", root=tmp_path)


def test_the_numbers_of_the_official_sets():
    assert {name: count * 100 for name, count in cifar100.PER_CLASS.items()} == {"train.bin": 50000, "test.bin": 10000}
    for name in {**DATASETS, **OUTLIER_SETS}:
        assert not present(name, "/nowhere") or name == "digits"


@pytest.mark.parametrize("name", OUTLIER_SETS)
def test_sets_of_anomalies_are_not_trained_on(name):
    with pytest.raises(InputError, match=rf"'{name}' serves as anomalies only .*--outliers {name}"):
        load(name)


def test_idx_by_hand():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert (idx._decode(Path("x"), idx_bytes(array)) == array).all()
    assert idx._decode(Path("x"), idx_bytes(np.array([7, 3], np.uint8))).tolist() == [7, 3]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not gzip",
        idx_bytes(np.zeros((2, 3, 4), np.uint8))[:-5],
        gzip.compress(b"", mtime=0),
        gzip.compress(b"\x00\x00\x08", mtime=0),
        gzip.compress(b"\x00\x00\x0d\x01" + bytes(8), mtime=0),
        gzip.compress(b"\x00\x00\x08\x03" + bytes(6), mtime=0),
        gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05abcd", mtime=0),
        gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x03abcd", mtime=0),
    ],
)
def test_idx_refuses_what_is_not_whole(content):
    with pytest.raises(CorruptFileError, match=r"labels.gz is damaged \(.*delete it"):
        idx._decode(Path("labels.gz"), content)


def test_grey_images_are_padded_and_repeated():
    wide = idx.widen(np.full((2, 28, 28), 9, np.uint8))
    assert wide.shape == (2, 3, 32, 32)
    assert wide[:, :, 2:30, 2:30].min() == 9
    assert wide.sum(dtype=int) == 2 * 3 * 28 * 28 * 9


def test_absent_data_without_download_says_what_to_do(tmp_path):
    for name in ("cifar10", "cifar100", "svhn", "mnist", "fashion-mnist"):
        assert not present(name, tmp_path)
        with pytest.raises(
            InputError, match=r"is not there; allow downloads, or get http.* elsewhere and put it there"
        ):
            load(name, root=tmp_path, download=False)
    assert present("digits", tmp_path)


def test_names_are_checked():
    with pytest.raises(InputError, match="Did you mean 'cifar10'"):
        load("cifar-10")
    with pytest.raises(InputError, match="unknown data set"):
        present("nothing")
    with pytest.raises(InputError, match=r"validation=1.0"):
        load("digits", validation=1.0)


def test_a_function_of_the_users_is_given_what_it_names(monkeypatch):
    module = types.ModuleType("mylab")
    monkeypatch.setitem(sys.modules, "mylab", module)
    module.mine = lambda seed: Splits(make(), None, make(name=f"seed {seed}"))
    assert load("mylab:mine", seed=3).test.name == "seed 3"
    module.wrong = lambda: (make(), make())
    with pytest.raises(InputError, match="returned tuple"):
        load("mylab:wrong")


def test_default_root_is_the_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("SINEWY_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="elsewhere"):
        load("mnist", download=False)


def test_listing_data_sets_loads_no_torch():
    code = "import sys, sinewy.data, sinewy.models; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_official_mnist_loads(dev_data):
    splits = load("mnist", root=dev_data, download=False)
    assert [len(part) for part in splits] == [54000, 6000, 10000]
    assert splits.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.allclose(splits.train.mean[0] * 32**2 / 28**2, 0.1307, atol=5e-4)


def test_every_family_member_resolves():
    from sinewy.families import resolve

    assert all(callable(resolve("data set", name, DATASETS)) for name in DATASETS)
