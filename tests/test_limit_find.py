"""How far a network can be pruned: grids, groups, levels, inputs of every kind, and requests that cannot be met."""

from __future__ import annotations

import copy
import json
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sinewy as sw
from limit_parts import FOG, correct, load_digits, trained_network, zeros
from sinewy.errors import InputError
from sinewy.limits.grid import nearest_preset, shift_groups, sparsity_grid
from sinewy.outcomes import CLEAN


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def trained():
    return trained_network()


def test_the_default_grid_removes_a_fifth_of_what_is_left():
    grid = sparsity_grid(None)
    assert grid[:4] == (0.2, 0.36, 0.488, 0.5904)
    assert len(grid) == 20
    assert grid[-1] < 0.99 < 1 - 0.8**21
    assert sparsity_grid(None, present=0.5)[0] == 0.6
    assert sparsity_grid([0.9, 0.5]) == (0.5, 0.9)


@pytest.mark.parametrize(
    ("grid", "present", "sentence"),
    [
        ([], 0.0, "grid is empty"),
        ([0.5, 1.0], 0.0, "grid holds 1"),
        ([50], 0.0, "below 1"),
        ([0.3], 0.5, "above 0.5000, which the model has already"),
        ([0.5, 0.5], 0.0, "twice"),
        (None, 0.99, "sparse already"),
    ],
)
def test_grids_that_cannot_be(grid, present, sentence):
    with pytest.raises(InputError, match=sentence):
        sparsity_grid(grid, present)


def test_groups_of_shifts():
    groups = shift_groups(None, (3,), "cifar")
    assert list(groups) == ["clean", "noise", "blur", "weather", "digital"]
    assert groups["noise"] == (("gaussian_noise", 3), ("shot_noise", 3), ("impulse_noise", 3))
    assert shift_groups({"outside": ["fog", "noise"]}, (1, 5), "cifar")["outside"][:3] == (
        *(("fog", 1), ("fog", 5)),
        ("gaussian_noise", 1),
    )
    assert shift_groups([], (3,), "cifar") == {"clean": (CLEAN,)}
    assert shift_groups("fog", (2,), "cifar")["fog"] == (("fog", 2),)
    for wrong in ({"shifts": ["fogg"]}, {"severities": (0,)}, {"severities": ()}, {"shifts": {"clean": ["fog"]}}):
        with pytest.raises(InputError):
            shift_groups(**({"shifts": None, "severities": (3,), "preset": "cifar"} | wrong))
    assert [nearest_preset(side) for side in (28, 64, 96, 224, 500)] == [
        "cifar",
        "tiny",
        "tiny",
        "imagenet",
        "imagenet",
    ]


def test_the_example_of_the_design(trained, digits):
    before = copy.deepcopy(trained.state_dict())
    limit = sw.limit(trained, digits.train, digits.test, margin=1.0, shifts=["fog", "noise"], first=300)
    assert list(limit.safe) == ["clean", "fog", "noise"]
    assert limit.sparsities == sparsity_grid(None)
    for sparsity in (0.2, 0.488, 0.8926):
        assert zeros(limit.at(sparsity)) == pytest.approx(sparsity, abs=2e-3)
    assert zeros(limit.at(0.49)) == zeros(limit.at(0.488))
    assert torch.equal(limit.at(0)[2].weight, trained[2].weight)
    kept = limit.at(0.488)[2].weight
    assert torch.equal(kept[kept != 0], trained[2].weight[kept != 0])  # pruned, not trained
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    some = digits.test.first(300)
    for sparsity in (0.2, 0.8926):
        loss = 100 * (correct(trained, some) - correct(limit.at(sparsity), some))
        assert limit.losses("clean")[min(limit.files, key=lambda s: abs(s - sparsity))] == pytest.approx(loss, abs=1e-4)
    safe = limit.safe["noise"]
    assert safe == max((s for s, loss in limit.losses("noise").items() if loss <= 1.0), default=0)
    assert safe.low <= safe <= safe.high
    assert safe.certified <= limit.certificates["noise"].sparsities[-1]
    assert "PARTIAL: only the first 300 of 500" in str(limit)
    document = json.loads(json.dumps(limit.as_dict()))
    assert document["table"] == json.loads(json.dumps(limit.table()))
    with pytest.raises(InputError, match="no network of sparsity 0.55 was made"):
        limit.at(0.55)
    with pytest.raises(InputError, match="Did you mean 'noise'"):
        limit.losses("nois")


def test_other_methods(trained, digits):
    snip = sw.limit(trained, digits, method="snip", batches=2, grid=[0.5], **FOG)
    assert zeros(snip.at(0.5)) == pytest.approx(0.5, abs=1e-3)
    torch.manual_seed(0)
    conv = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filters = sw.limit(conv, digits, method="ft", grid=[0.3, 0.31, 0.6], **FOG)
    assert list(filters.sparsities) == sorted(set(filters.sparsities))  # levels that channels cannot tell apart are one
    assert zeros(filters.at(filters.sparsities[-1])) == pytest.approx(filters.sparsities[-1], abs=2e-3)
    assert "sinewy compact" in str(filters)


def test_a_model_that_is_sparse_already(trained, digits):
    sparse = copy.deepcopy(trained)
    sw.prune(sparse, "magnitude", sparsity=0.5)
    limit = sw.limit(sparse, digits, shifts=[], first=50)
    assert limit.sparsities[0] == pytest.approx(0.6, abs=1e-3)
    assert ((limit.at(limit.sparsities[0])[2].weight != 0) <= (sparse[2].weight != 0)).all()


def test_loaders_and_arrays(trained, digits):
    images, labels = torch.from_numpy(digits.test.images[:100]), torch.from_numpy(digits.test.labels[:100])
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, shuffle=True)
    options = {"grid": [0.5], "shifts": [], "mean": digits.test.mean, "std": digits.test.std}
    by_loader = sw.limit(trained, loader, loader, **options)
    by_arrays = sw.limit(trained, None, (digits.test.images[:100], digits.test.labels[:100]), **options)
    assert by_loader.losses("clean") == by_arrays.losses("clean")
    assert by_arrays.record.parent[CLEAN].accuracy == pytest.approx(correct(trained, digits.test.first(100)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"margin": -1}, "percentage points"),
        ({"margin": 50}, "percentage points"),
        ({"margin": "1"}, "margin must be a number, got '1'"),
        ({"alpha": 0.95}, "between 0 and 0.5"),
        ({"alpha": None}, "alpha must be a number, got None"),
        ({"method": "magnitud"}, "Did you mean 'magnitude'"),
        ({"retrain": "ten"}, "write the epochs as '10ep'"),
        ({"retrain": 10}, "must be None, '10ep' or a function"),
        ({"training": {"lr": 0.1}}, "nothing is retrained"),
        ({"retrain": "1ep", "training": {"lrr": 0.1}}, "Did you mean 'lr'"),
        ({"retrain": "1ep", "train": None}, "retraining needs training images"),
        ({"test": None}, "there are no test images"),
        ({"shifts": ["fogg"]}, "Did you mean 'fog'"),
        ({"model": "resnet20"}, "must be a torch.nn.Module"),
        ({"test": (np.zeros((4, 3, 8, 8), np.float32), np.zeros(4, np.int64))}, "float32"),
    ],
)
def test_impossible_requests_are_one_sentence(change, sentence, trained, digits, tmp_path):
    arguments = {"model": trained, "train": digits.train, "test": digits.test, "folder": tmp_path / "f"} | FOG | change
    with pytest.raises(InputError, match=sentence):
        sw.limit(**arguments)


def test_images_of_the_wrong_part(trained, digits):
    with pytest.raises(InputError, match="marked as test images"):
        sw.limit(trained, digits.test, digits.test, **FOG)
    with pytest.raises(InputError, match="marked as training images"):
        sw.limit(trained, digits.train, digits.train, **FOG)


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16])
def test_networks_of_other_types_and_outputs(kind, trained, digits):
    """They answer as the same network in float32 does: exactly if finer, to a few images if coarser."""

    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(trained).to(kind)

        def forward(self, x):
            return {"out": self.inner(x), "aux": None}

    plain = sw.limit(trained, digits, grid=[0.5], **FOG)
    found = sw.limit(Mapped(), digits, grid=[0.5], **FOG)
    assert found.at(0.5).inner[2].weight.dtype is kind
    close = 0.0 if kind is torch.float64 else 3.0
    for group in ("clean", "fog"):
        assert found.losses(group)[0.5] == pytest.approx(plain.losses(group)[0.5], abs=close)


def test_what_limit_gives_to_prune_itself(trained, digits):
    for given in ({"sparsity": 0.5}, {"data": digits.train}, {"example_input": torch.zeros(1, 3, 32, 32)}):
        with pytest.raises(InputError, match=f"{next(iter(given))}= is not for limit"):
            sw.limit(trained, digits, grid=[0.5], **FOG, **given)


def test_a_warning_that_holds_for_many_levels_is_given_once(trained, digits):
    small = copy.deepcopy(trained)
    with torch.no_grad():
        small[4].weight.mul_(1e-6)  # all of it goes first
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        sw.limit(small, digits, grid=[0.01, 0.5, 0.8, 0.9], **FOG)
    said = [str(warning.message) for warning in found]
    assert len(said) == 1
    assert said[0].startswith("first at sparsity 0.5: no weight of 4.weight scored high enough to stay")
    assert found[0].filename == __file__


@pytest.mark.parametrize("method", ["sipp", "pfp", "snip"])
def test_test_images_never_choose_weights(method, trained, digits):
    with pytest.raises(sw.InputError, match=f"method '{method}' looks at training data; pass train"):
        sw.limit(trained, None, digits.test, method=method, grid=[0.5], shifts=[])
