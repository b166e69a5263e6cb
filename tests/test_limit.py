"""How far a network can be pruned: grids, groups, levels, retraining, resuming, and what the numbers say."""

from __future__ import annotations

import copy
import functools
import json
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sinewy as sw
from sinewy.analysis.limit_record import Level, LimitRecord
from sinewy.errors import InputError
from sinewy.layers import prunable
from sinewy.limits.describing import described
from sinewy.limits.grid import nearest_preset, shift_groups, sparsity_grid
from sinewy.masks import Masks
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.report.limit_text import limit_answer, limit_rows, limit_text

FOG = {"shifts": ["fog"], "first": 100}


def network(width=24):
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, 10))


@pytest.fixture(scope="module")
def digits():
    return sw.data.load("digits")


@pytest.fixture(scope="module")
def trained(digits):
    """A network of two layers that reads the digits well."""
    torch.manual_seed(0)
    return sw.fit(network(), digits, epochs=12, lr=0.1, batch=32, weight_decay=0.0).model


def correct(model, images):
    pixels = torch.from_numpy(images.images).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (images.mean, images.std))
    with torch.no_grad():
        return (model((pixels - mean) / std).argmax(1).numpy() == images.labels).mean()


def zeros(model):
    return Masks.of_zeros(prunable(model)).sparsity


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


def outcomes(wrong, n=200):
    """Outcomes of a model that errs on the first `wrong` of n examples."""
    label, column = np.zeros(n, np.int32), np.zeros(n, np.float32)
    prediction = label.copy()
    prediction[:wrong] = 1
    return Outcomes(label, prediction, column, column, column, column)


def record(curves, margin=1.0, n=200, *, parent_errors=0, retrain="none"):
    """A record whose parent is always right (or errs), and whose levels err as often as `curves` says, per kind."""
    conditions = {kind: (CLEAN if kind == "clean" else (kind, 3)) for kind in curves}
    levels = [
        Level(s, (), {conditions[kind]: outcomes(curve[i], n) for kind, curve in curves.items()})
        for i, s in enumerate((0.2, 0.36, 0.49, 0.59))
    ]
    parent = {condition: outcomes(parent_errors, n) for condition in conditions.values()}
    groups = {"clean": (CLEAN,)} | {kind: (conditions[kind],) for kind in curves if kind != "clean"}
    return LimitRecord("t", "magnitude", retrain, margin, 0.05, tuple(levels), parent, groups)


def test_a_parent_that_retraining_overtakes_is_named():
    """Levels that got training the parent never had are safe for that reason, too."""
    caveat = "up to 9.5 points better than the unpruned network"
    curve = {"clean": [10, 1, 9, 30]}
    assert caveat in limit_text(record(curve, parent_errors=20, retrain="6ep"))
    assert caveat not in limit_text(record(curve, parent_errors=20))
    for errors in (0, 2):  # not better, or by one example: nothing that chance would not do
        assert "not trained to its end" not in limit_text(record(curve, parent_errors=errors, retrain="6ep"))


def test_safe_and_first_break_by_hand():
    """200 examples, 1 point is 2 of them. Fog breaks at 0.36, recovers at 0.49; clean never breaks."""
    found = record({"clean": [0, 0, 1, 2], "fog": [1, 3, 2, 9], "snow": [3, 5, 9, 20]})
    fog, snow = found.potentials["fog"], found.potentials["snow"]
    assert (fog.sparsity, fog.first_break, fog.break_loss.value) == (0.49, 0.36, pytest.approx(0.015))
    assert (snow.sparsity, snow.first_break) == (0.0, 0.2)
    assert found.potentials["clean"].censored
    assert found.weakest == "snow"
    assert found.certificates["snow"].sparsity == found.certificate.sparsity == 0.0
    rows = {row["group"]: row for row in limit_rows(found)}
    assert (rows["clean"]["safe"], rows["clean"]["first_break"], rows["fog"]["safe"]) == (0.59, None, 0.49)
    assert limit_answer(found).startswith("If snow can reach this model in use, do not prune")
    text = limit_text(found)
    assert "0.36  -1.5" in text
    assert "0.59" in text.split("your test set")[1].split("\n")[0]
    assert text.count("← the limit") == 1
    assert "the loss rises and falls again" in text
    assert "the loss rises and falls again" not in limit_text(record({"clean": [0, 0, 9, 9]}))


def test_the_answer_when_nothing_is_weaker():
    assert "no group of shifts allows less" in limit_answer(record({"clean": [0, 9, 9, 9], "fog": [0, 9, 9, 9]}))
    assert "No shift was measured" in limit_answer(record({"clean": [0, 9, 9, 9]}))
    assert "stop at 0.20" in limit_answer(record({"clean": [0, 0, 0, 0], "fog": [0, 9, 9, 9]}))
    assert record({"clean": [0, 0, 0, 0]}, n=2000).certificate.sparsity == 0.59


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


def test_the_page_is_whole_and_harmless(trained, digits, tmp_path):
    shifts = {"<script>alert(1)</script>": ["fog", "brightness"]}
    limit = sw.limit(trained, digits, grid=[0.5, 0.9], shifts=shifts, first=60, command="<b>")
    page = limit.report(tmp_path / "limit.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert limit_answer(limit.record).replace("<", "&lt;").replace(">", "&gt;") in page
    assert page.count("data-figure") >= 2
    assert "only the first 60 of 500" in page


def test_retraining_keeps_masks_and_goes_on_from_the_level_before(trained, digits):
    limit = sw.limit(trained, digits, retrain="1ep", training={"lr": 0.02}, grid=[0.5, 0.8], **FOG)
    half, most = limit.at(0.5), limit.at(0.8)
    assert zeros(half) == pytest.approx(0.5, abs=1e-3)
    assert zeros(most) == pytest.approx(0.8, abs=1e-3)
    assert ((most[2].weight != 0) <= (half[2].weight != 0)).all()
    assert not torch.equal(half[2].weight[half[2].weight != 0], trained[2].weight[half[2].weight != 0])
    assert limit.record.retrain == "1ep"
    bare = sw.limit(trained, digits, grid=[0.8], **FOG)
    assert limit.losses("clean")[0.8] < bare.losses("clean")[0.8] + 2


def test_options_of_retraining(trained, digits):
    """The moving average of the weights is the result, and is as sparse; shifts trained on and measured are named."""
    training = {"ema": 0.9, "corruptions": ["fog"], "batch": 64}
    with pytest.warns(UserWarning, match="shows the network fog, which is measured as well"):
        limit = sw.limit(trained, digits, retrain="1ep", training=training, grid=[0.5], **FOG)
    assert zeros(limit.at(0.5)) == pytest.approx(0.5, abs=1e-3)


def test_retraining_by_a_function(trained, digits):
    seen = []

    def forgetful(model, masks):
        seen.append(masks.sparsity)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.01)

    with pytest.warns(UserWarning, match="pruned weights a value, and they were put back to 0"):
        limit = sw.limit(trained, digits, retrain=forgetful, grid=[0.5, 0.7], **FOG)
    assert seen == pytest.approx([0.5, 0.7], abs=1e-3)
    assert zeros(limit.at(0.7)) == pytest.approx(0.7, abs=1e-3)


def test_retraining_that_goes_wrong(trained, digits):
    def returns(model, masks):
        return model

    def breaks(model, masks):
        with torch.no_grad():
            model[2].weight.fill_(float("nan"))

    def rebuilds(model, masks):
        model[2] = nn.Linear(192, 12)

    for function, sentence in ((returns, "return None"), (breaks, "NaN or infinity"), (rebuilds, "changed the model")):
        with pytest.raises(InputError, match=sentence):
            sw.limit(trained, digits, retrain=function, grid=[0.5], **FOG)


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
        ({"alpha": 0.95}, "between 0 and 0.5"),
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


def stamps(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}


def test_a_folder_is_gone_on_with_and_never_mixed(trained, digits, tmp_path):
    folder = tmp_path / "limit"
    first = sw.limit(trained, digits, grid=[0.5, 0.9], folder=folder, **FOG)
    assert (folder / "levels/0.5/model.safetensors").is_file()
    assert not (folder / "shifted").exists()
    before = stamps(folder)
    again = sw.limit(trained, digits, grid=[0.5, 0.9], folder=folder, margin=5.0, **FOG)
    assert stamps(folder) == before  # another margin asks nothing new of the networks
    assert again.losses("fog") == first.losses("fog")
    wider = sw.limit(trained, digits, grid=[0.5, 0.9], folder=folder, shifts=["fog", "contrast"], first=100)
    assert set(before) < set(stamps(folder))
    assert wider.losses("fog") == first.losses("fog")
    with pytest.raises(InputError, match=r"limit of another grid \(\[0.5, 0.9\], now \[0.5\]\)"):
        sw.limit(trained, digits, grid=[0.5], folder=folder, **FOG)
    with pytest.raises(InputError, match="limit of another method"):
        sw.limit(trained, digits, grid=[0.5, 0.9], method="random", folder=folder, **FOG)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="holds other files"):
        sw.limit(trained, digits, grid=[0.5], folder=tmp_path / "mine", **FOG)


def test_another_normalisation_is_another_training(trained, digits, tmp_path):
    """Networks retrained on pixels normalised otherwise are others, although the bytes are the same."""
    train, test = ((part.images[:96], part.labels[:96]) for part in (digits.train, digits.test))
    options = {"retrain": "1ep", "grid": [0.5], "shifts": [], "folder": tmp_path / "limit"}
    sw.limit(trained, train, test, **options)
    for other in ({"mean": (0.5,) * 3}, {"std": (0.5,) * 3}):
        with pytest.raises(InputError, match="holds a limit of another training data"):
            sw.limit(trained, train, test, **options, **other)


def scaled(outputs, labels, factor):
    return factor * nn.functional.cross_entropy(outputs, labels)


class Weighted:
    """A loss whose text, as Python prints it, is another in every process."""

    def __init__(self, weight):
        self.weight, self.scaled = torch.tensor(weight), functools.partial(scaled, factor=2.0)

    def __call__(self, outputs, labels):
        return self.scaled(outputs * self.weight, labels)


def by_own_loss(folder, weight):
    torch.manual_seed(0)
    options = {"method": "snip", "grid": [0.5], "shifts": [], "first": 20, "folder": folder}
    sw.limit(network(), sw.data.load("digits"), loss=Weighted(weight), **options)


def test_a_loss_of_ones_own_is_known_again_by_another_process(tmp_path, request):
    folder = tmp_path / "limit"
    by_own_loss(folder, 1.0)
    made = stamps(folder)
    code = f"import test_limit; test_limit.by_own_loss({str(folder)!r}, 1.0)"
    subprocess.run([sys.executable, "-c", code], cwd=request.path.parent, check=True)
    assert stamps(folder) == made
    with pytest.raises(InputError, match="holds a limit of another options"):
        by_own_loss(folder, 3.0)


def test_what_values_are_told_apart_by():
    def closing(factor):
        return lambda outputs, labels: factor * outputs.sum()

    class Circle:
        def __init__(self):
            self.itself = self

    pairs = [
        (torch.zeros(3), torch.ones(3)),
        (np.zeros(3), np.zeros(3, np.float32)),
        (np.array(["a"]), np.array(["b"])),
        (closing(1.0), closing(2.0)),
        (lambda x: x + 1, lambda x: x + 2),
        (functools.partial(zeros, 1), functools.partial(zeros, 2)),
        (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
        ([nn.Linear], [nn.Conv2d]),
        ({"a": zeros}, {"a": network}),
        ("local", "global"),
    ]
    for one, other in pairs:
        assert described(one) != described(other)
        for value in (one, other):
            assert described(value) == described(copy.deepcopy(value))
            assert " at 0x" not in described(value)
    assert described(zeros) == f"{__name__}:zeros"
    assert described(torch.arange(3.0)) != described(torch.arange(3))
    assert " at 0x" not in described(Circle())


def test_what_retraining_by_epochs_cannot_train_is_refused_before_anything_is_measured(trained, digits):
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(trained)

        def forward(self, x):
            return {"logits": self.inner(x)}

    frozen = copy.deepcopy(trained)
    frozen[2].requires_grad_(False)
    cases = (
        (frozen, r"'2.weight' is frozen \(requires_grad=False\).* pass exclude=\['2.weight'\]"),
        (copy.deepcopy(trained).double(), "the model is torch.float64"),
        (Mapped(), "the model returns dict, and retraining by epochs needs logits"),
    )
    for model, sentence in cases:
        events = []
        with pytest.raises(InputError, match=sentence):
            sw.limit(model, digits, retrain="1ep", grid=[0.5], on_event=events.append, **FOG)
        assert events == []
    kept = sw.limit(frozen, digits, retrain="1ep", grid=[0.5], exclude=["2.weight"], **FOG).at(0.5)
    assert torch.equal(kept[2].weight, trained[2].weight)
    assert zeros(sw.limit(frozen, digits, grid=[0.5], **FOG).at(0.5)) == pytest.approx(0.5, abs=1e-3)


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


def test_a_learning_rate_far_too_large(trained, digits, tmp_path):
    """Loss that is not a number, or weights that are finite still and overflow: nothing is kept of either."""

    def explodes(model, masks):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1e30)

    huge = {"retrain": "1ep", "training": {"lr": 1e18}}
    for number, retrain in enumerate(({"retrain": explodes}, huge)):
        folder = tmp_path / str(number)
        with pytest.raises(InputError, match=r"lower (the learning rate|lr)"):
            sw.limit(trained, digits, grid=[0.5], folder=folder, **retrain, **FOG)
        assert not (folder / "levels/0.5/model.safetensors").exists()


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


def small_study(folder):
    """A limit that takes long enough to be killed in its middle."""
    torch.manual_seed(0)
    data = sw.data.load("digits")
    options = {"retrain": "3ep", "training": {"batch": 8}, "shifts": ["fog", "contrast"], "first": 100}
    sw.limit(network(), data, grid=[0.3, 0.5, 0.7], folder=folder, **options)


def start(folder, tests):
    code = "import sys, torch, test_limit; torch.set_num_threads(1); test_limit.small_study(sys.argv[1])"
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=tests, stderr=subprocess.PIPE, text=True)


def test_kill_9_and_the_same_call(tmp_path, request):
    """Killed while it retrains the second level; what it ends in is, bit for bit, what an undisturbed run ends in."""
    whole, folder = tmp_path / "whole", tmp_path / "killed"
    with start(folder, request.path.parent) as killed:
        deadline = time.monotonic() + 120
        while not (folder / "levels/0.3/model.safetensors").is_file():
            assert time.monotonic() < deadline
            assert killed.poll() is None, killed.stderr.read()
            time.sleep(0.005)
        time.sleep(0.2)
        killed.send_signal(signal.SIGKILL)
    done = stamps(folder)
    assert not (folder / "levels/0.7/model.safetensors").is_file()
    small_study(folder)
    assert done.items() <= stamps(folder).items()  # nothing is made twice
    small_study(whole)
    files = sorted(path.relative_to(whole) for path in stamps(whole))
    assert len(files) == 3 + 4 * 3
    for file in files:
        assert (whole / file).read_bytes() == (folder / file).read_bytes()


@pytest.mark.parametrize("method", ["sipp", "pfp", "snip"])
def test_test_images_never_choose_weights(method, trained, digits):
    with pytest.raises(sw.InputError, match=f"method '{method}' looks at training data; pass train"):
        sw.limit(trained, None, digits.test, method=method, grid=[0.5], shifts=[])
