"""Sets that serve as anomalies: read from their official layouts, imitated here; refused with where to get them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

import sinewy as sw
from sinewy.data import ImageSet
from sinewy.probes import outlier_sets
from sinewy.probes.ood import OODProbe
from sinewy.probes.outlier_sets import CIFAR100_RECORD, SETS, pixels_of_set
from sinewy.probes.outliers import anomalies


def like(n: int) -> ImageSet:
    pixels = np.zeros((n, 3, 32, 32), np.uint8)
    return ImageSet(pixels, np.zeros(n, np.int64), "like", "test", ("a",), (0.5,) * 3, (0.5,) * 3)


def test_cifar100_is_read_from_its_records(tmp_path):
    records = np.random.default_rng(0).integers(0, 256, (9, CIFAR100_RECORD), dtype=np.uint8)
    file = tmp_path / SETS["cifar100"].place
    file.parent.mkdir()
    records.tofile(file)
    found = pixels_of_set("cifar100", str(tmp_path))(like(3))
    assert found.shape == (3, 3, 32, 32)
    assert np.array_equal(found[1, 0, 0], records[4, 2:34])  # the middle one: red first, row by row
    assert np.array_equal(found[2, 2, 31], records[8, -32:])
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(sw.CorruptFileError, match="no multiple of 3074"):
        pixels_of_set("cifar100", str(tmp_path))(like(3))


def test_svhn_is_read_from_its_matrix(tmp_path, monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (32, 32, 3, 5), dtype=np.uint8)
    file = tmp_path / SETS["svhn"].place
    savemat(file, {"X": images, "y": np.ones((5, 1))})
    with pytest.raises(sw.CorruptFileError, match="is damaged"):
        pixels_of_set("svhn", str(tmp_path))(like(5))
    monkeypatch.setattr(outlier_sets, "SVHN_MD5", hashlib.md5(file.read_bytes()).hexdigest())
    found = pixels_of_set("svhn", str(tmp_path))(like(5))
    assert np.array_equal(found[3, 1], images[:, :, 1, 3])


@pytest.mark.parametrize("name", ["textures", "omniglot"])
def test_folders_of_images_below_the_root(name, tmp_path):
    folder = tmp_path / SETS[name].place / "one"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.fromarray(np.full((40, 50), 60 * number, np.uint8)).save(folder / f"{number}.png")
    found = pixels_of_set(name, str(tmp_path))(like(2))
    assert found.shape == (2, 3, 32, 32)
    assert [int(image.max()) for image in found] == [0, 180]  # the first and the last
    (folder / "4.png").write_bytes(b"no image")
    with pytest.raises(sw.CorruptFileError, match="is no whole image"):
        pixels_of_set(name, str(tmp_path))(like(9))


@pytest.mark.parametrize("name", SETS)
def test_what_is_not_there_is_said_before_any_work(name, tmp_path):
    for outlier in (name, f"oodom/{name}"):
        with pytest.raises(sw.InputError, match=f"'{name}' is not at .* get it from http"):
            OODProbe([outlier], root=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("svnh", "Did you mean 'svhn'"),
        ("oodom/svnh", "unknown anomaly 'oodom/svnh'"),
        ("shift/fog/2.5", "must end in a whole severity"),
        ("shift/fgo/2", "Did you mean 'fog'"),
        ("shift/fog/9", "got 9"),
        ("attack/fgms/8", "Did you mean 'fgsm'"),
    ],
)
def test_names_are_checked_before_any_work(name, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        anomalies([name], seed=0)
