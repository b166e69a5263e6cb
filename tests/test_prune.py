"""`sw.prune`: one contract for every criterion, what it leaves alone, what it reads, and which models it takes."""

from __future__ import annotations

import copy
import random
import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import sinewy as sw
from sinewy.criteria import CRITERIA
from sinewy.criteria.batches import scoring_batches
from sinewy.criteria.choosing import choose
from sinewy.criteria.criterion import Criterion, Subject
from sinewy.criteria.simple import Magnitude
from sinewy.data.images import ImageSet, Splits
from sinewy.errors import InputError
from sinewy.structured import STRUCTURED

DATA_FREE = ("magnitude", "random")
QUICK = {"synflow": {"steps": 5}, "cropit": {"steps": 2}}


def network(double: bool = False) -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU()]
    convolutions += [nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.ReLU(), nn.Dropout(0.3)]
    model = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))
    return model.double() if double else model


def channels() -> nn.Module:
    """Return a network whose channels can go one by one."""
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4))


def images(n: int = 24, double: bool = False) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 3, 8, 8, generator=generator)
    return inputs.double() if double else inputs, torch.arange(n) % 4


def image_set(split: str = "train", n: int = 40) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, 8, 8), np.uint8)
    labels = np.repeat(np.arange(4), n // 4).astype(np.int64)
    return ImageSet(pixels, labels, "toy", split, ("a", "b", "c", "d"), (0.5,) * 3, (0.25,) * 3)


def pruned(name: str, sparsity: float, **options) -> tuple[nn.Module, sw.Masks]:
    model = network()
    return model, sw.prune(model, name, sparsity=sparsity, data=images(), **QUICK.get(name, {}), **options)


@pytest.mark.parametrize("scope", ["global", "local", "erk"])
@pytest.mark.parametrize("name", CRITERIA)
def test_counts_are_exact_and_pruned_weights_zero(name, scope):
    for sparsity in (0.0, 0.37, 0.9):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "no weight of")
            model, masks = pruned(name, sparsity, scope=scope)
        weights = sw.prunable(model)
        total = sum(p.numel() for p in weights.values())
        assert masks.nonzero == round((1 - sparsity) * total)
        assert min(masks.counts.values()) >= 1
        masks.check(model)
        original = network().state_dict()
        assert list(masks) == list(weights)
        for key, value in model.state_dict().items():
            expected = original[key] * masks[key] if key in masks else original[key]
            assert torch.equal(value, expected), key
        if scope == "local":
            shares = [1 - masks.counts[key] / p.numel() for key, p in weights.items()]
            assert shares == pytest.approx([sparsity] * 3, abs=1 / 100)
        if scope == "erk":
            shapes = {key: p.shape for key, p in weights.items()}
            assert masks.counts == sw.allocation.counts(sw.allocate(model, sparsity, "erk"), shapes)


@pytest.mark.parametrize("train_mode", [False, True])
@pytest.mark.parametrize("name", CRITERIA)
def test_nothing_else_changes_and_a_seed_fixes_everything(name, train_mode):
    model = network()
    model.train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(model)
    modes = [module.training for module in model.modules()]
    frozen = [parameter.requires_grad for parameter in model.parameters()]
    loader = DataLoader(TensorDataset(*images()), batch_size=8, shuffle=True)
    numbers = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    options = {"sparsity": 0.8, "data": loader, "seed": 3, "train_mode": train_mode, **QUICK.get(name, {})}
    masks = sw.prune(model, name, **options)
    assert torch.equal(numbers[0], torch.get_rng_state())
    assert numbers[1] == random.getstate()
    assert np.array_equal(numbers[2], np.random.get_state()[1])  # noqa: NPY002
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == frozen
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in model.parameters())
    for (key, value), original in zip(model.state_dict().items(), before.state_dict().values(), strict=True):
        assert torch.equal(value, original * masks[key] if key in masks else original), key
    torch.rand(3)
    assert sw.prune(before, name, **options).hash == masks.hash


@pytest.mark.parametrize("name", CRITERIA)
def test_memory_format_does_not_matter(name):
    inputs, labels = images(double=True)
    found = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = network(double=True).to(memory_format=layout)
        data = inputs.to(memory_format=layout), labels
        found.append(sw.prune(model, name, sparsity=0.8, data=data, **QUICK.get(name, {})).hash)
        assert model[3].weight.is_contiguous(memory_format=layout)
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["snip", "grasp", "cropit", "synflow", "sipp"])
def test_half_precision_weights(name):
    model = network().bfloat16()
    inputs, labels = images()
    masks = sw.prune(model, name, sparsity=0.8, data=(inputs.bfloat16(), labels), **QUICK.get(name, {}))
    assert masks.nonzero == round(0.2 * masks.total)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["snip", "grasp", "synflow", "sipp", "ft", "pfp", "snip-structured"])
def test_images_come_in_the_type_of_the_model(name, dtype):
    model = (channels() if name in STRUCTURED else network()).to(dtype)
    masks = sw.prune(model, name, sparsity=0.5, data=image_set(), **QUICK.get(name, {}))
    assert masks.sparsity == pytest.approx(0.5, abs=0.06)
    assert {p.dtype for p in model.parameters()} == {dtype}


@pytest.mark.parametrize("name", ["magnitude", "random", "snip", "ft", "random-structured"])
def test_weights_that_are_not_finite_are_named(name):
    model = network()
    model[3].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="1 of the 288 values of '3.weight' in Sequential are NaN or infinite"):
        sw.prune(model, name, sparsity=0.5, data=images())
    assert model[3].weight.count_nonzero() == 288


@pytest.mark.parametrize("name", ["snip-structured", "pfp", "ft"])
def test_the_users_hooks_do_not_fire_when_channels_are_pruned(name):
    model, seen = channels(), []
    model[0].register_forward_hook(lambda *_: seen.append(1))
    sw.prune(model, name, sparsity=0.5, data=images(), of="flops")
    assert seen == []
    model(images()[0])
    assert seen == [1]


def test_a_sparsity_of_numpy_is_a_number():
    for name in ("cropit", "ft"):
        masks = sw.prune(channels(), name, sparsity=np.float32(0.5), data=images())
        assert masks.hash == sw.prune(channels(), name, sparsity=0.5, data=images()).hash


def test_wrappers_are_looked_through():
    averaged = torch.optim.swa_utils.AveragedModel(network())
    masks = sw.prune(averaged, "snip", sparsity=0.7, data=images())
    assert masks.hash == pruned("snip", 0.7)[1].hash
    masks.check(averaged)


def test_global_ranks_all_weights_together_by_hand():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[0.1, -0.9], [0.3, 0.4]])
    model[1].weight.data = torch.tensor([[-0.2, 0.8]])
    assert sw.prune(copy.deepcopy(model), "magnitude", sparsity=0.5)["0.weight"].tolist() == [
        [False, True],
        [False, True],
    ]
    masks = sw.prune(model, "magnitude", sparsity=0.5, scope="local")
    assert (masks["0.weight"].tolist(), masks["1.weight"].tolist()) == ([[False, True], [False, True]], [[False, True]])


def test_no_layer_is_emptied_and_the_warning_names_it():
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    model[0].weight.data = torch.arange(1.0, 17).view(4, 4)
    model[1].weight.data = torch.linspace(0.1, 0.8, 8).view(2, 4)
    with pytest.warns(UserWarning, match=r"no weight of 1\.weight scored high enough to stay; one of each is kept"):
        masks = sw.prune(model, "magnitude", sparsity=0.75)
    assert masks.nonzero == 6
    assert masks["0.weight"].nonzero().tolist() == [[2, 3], [3, 0], [3, 1], [3, 2], [3, 3]]  # 12..16: 11 made room
    assert masks["1.weight"].nonzero().tolist() == [[1, 3]]


def test_dense_tensors_stay_dense_and_count():
    _, masks = pruned("snip", 0.6, dense=["0.*"])
    assert masks["0.weight"].all()
    assert masks.nonzero == round(0.4 * masks.total)
    with pytest.raises(InputError, match=r"cannot be reached \(0.weight stay dense\); the largest that can is 0\.\d+"):
        pruned("snip", 0.9, dense=["0.*"])


def test_excluded_tensors_do_not_count():
    model, masks = pruned("magnitude", 0.5, exclude=["8.*"])
    assert list(masks) == ["0.weight", "3.weight"]
    assert torch.equal(model[8].weight, network()[8].weight)
    assert list(pruned("magnitude", 0.5, include=[nn.Linear])[1]) == ["8.weight"]


@pytest.mark.parametrize("name", CRITERIA)
def test_weights_that_are_zero_already_go_first(name):
    model = network()
    first = sw.prune(model, "random", sparsity=0.5, scope="local")
    second = sw.prune(model, name, sparsity=0.7, data=images(), scope="local", **QUICK.get(name, {}))
    assert not any((second[key] & ~first[key]).any() for key in first)
    fewer = sw.prune(model, name, sparsity=0.6, data=images(), scope="local", **QUICK.get(name, {}))
    assert not any((second[key] & ~fewer[key]).any() for key in first)  # the weights that are left all stay
    assert fewer.nonzero == round(0.4 * fewer.total)


def test_a_tensor_that_begins_at_zero_counts_as_unpruned():
    model = network()
    nn.init.zeros_(model[8].weight)
    masks = sw.prune(model, "random", sparsity=0.5)
    assert masks["8.weight"].float().mean() == pytest.approx(0.5, abs=0.15)


def test_synflow_does_not_collapse_where_one_pruning_does():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 32, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1, bias=False),
        nn.ReLU(),
    ]
    layers += [nn.Conv2d(32, 8, 3, padding=1, bias=False), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4, bias=False))
    iterated, once = copy.deepcopy(model), copy.deepcopy(model)
    masks = sw.prune(iterated, "synflow", sparsity=0.998, example_input=torch.zeros(1, 3, 8, 8))
    assert min(masks.counts.values()) > 1
    with torch.no_grad():
        for parameter in iterated.parameters():
            parameter.abs_()
        assert float(iterated(torch.ones(1, 3, 8, 8)).sum()) > 0
    with pytest.warns(UserWarning, match="no weight of"):
        sw.prune(once, "synflow", sparsity=0.998, steps=1, example_input=torch.zeros(1, 3, 8, 8))


def test_choose_leaves_the_model_and_takes_masks():
    model = network()
    before = copy.deepcopy(model.state_dict())
    parameters = sw.prunable(model)
    kept = sw.prune(network(), "random", sparsity=0.4)
    masks = choose(model, Magnitude(), parameters, 0.6, masks=kept)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any((masks[key] & ~kept[key]).any() for key in kept)
    assert masks.nonzero == round(0.4 * masks.total)


class Scripted(Criterion):
    """Scores that a test writes down."""

    def __init__(self, *, value: float = 1.0, missing: bool = False) -> None:
        self.value, self.missing = value, missing

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        found = {} if self.missing else {name: p.detach().abs() for name, p in subject.parameters.items()}
        if found and self.value != 1:
            found["3.weight"][0, 0, 0, 0] = self.value
        return found


def test_a_criterion_of_the_users_own():
    own = "test_prune:Scripted"
    assert sw.prune(network(), own, sparsity=0.5).hash == sw.prune(network(), "magnitude", sparsity=0.5).hash
    with pytest.raises(InputError, match="Scripted gave 1 scores of '3.weight' that are not numbers"):
        sw.prune(network(), own, sparsity=0.5, value=float("nan"))
    with pytest.raises(InputError, match=r"Scripted gave no scores of shape \(8, 3, 3, 3\) for '0.weight'"):
        sw.prune(network(), own, sparsity=0.5, missing=True)


def test_scores_that_say_nothing_are_refused():
    with pytest.raises(InputError, match="SNIP gave every weight the same score: nothing to choose by"):
        sw.prune(network(), "snip", sparsity=0.5, data=images(), loss=lambda outputs, labels: outputs.sum() * 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"name": "snipp"}, "unknown criterion 'snipp'. Did you mean 'snip'?"),
        ({"name": "magnitude", "steps": 3}, "magnitude has no options of its own, got steps="),
        ({"name": "cropit", "step": 3}, "unknown option of cropit 'step'. Did you mean 'steps'?"),
        ({"name": "snip"}, r"'snip' looks at training data; pass data=\(inputs, labels\)"),
        ({"name": "sipp"}, "'sipp' looks at training data; pass data=inputs"),
        ({"name": "snip", "data": images()[0]}, "'snip' needs labels as well"),
        ({"name": "magnitude", "scope": "layer"}, "unknown scope 'layer'"),
        ({"name": "magnitude", "sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        ({"name": "magnitude", "sparsity": 0.9999}, "the largest that can is 0.99"),
        ({"name": "snip", "data": image_set("test")}, "toy is marked as test images, which only measure"),
        (
            {
                "name": "snip",
                "data": [],
            },
            "the training data has no batch",
        ),
        ({"name": "snip", "data": 3}, "cannot take training batches from int"),
        ({"name": "snip", "data": [{"x": 1}]}, r"a training batch must be \(inputs, labels\), got dict"),
        ({"name": "snip", "data": (images()[0], torch.zeros(3))}, "there are 24 inputs but labels of shape"),
        ({"name": "snip", "data": (images()[0].to(torch.uint8), images()[1])}, "training inputs are uint8"),
        ({"name": "ft", "data": images(), "count": "foo"}, "count must be 'kept' or 'real'"),
        ({"name": "snip", "data": images(double=True)}, "Sequential of torch.float32 does not run: module '0' raised"),
        ({"name": "snip", "data": images(), "batches": 0}, "batches=0 and batch_size=None must be at least 1"),
        ({"name": "snip", "data": [images()], "batch_size": 8}, "come as they are; set its own batch_size"),
        ({"name": "synflow", "data": [({"x": images()[0]}, None)]}, "one floating-point tensor"),
    ],
)
def test_bad_requests_get_one_sentence(options, sentence):
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=sentence):
        sw.prune(model, options.pop("name"), **{"sparsity": 0.5, **options})
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


# Which data: classes alike, the seed's own, and never the test images.


def test_classes_are_drawn_alike():
    labels = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)
    inputs = torch.arange(100.0)[:, None]
    ((found, drawn),) = scoring_batches((inputs, labels), size=12)
    assert torch.bincount(drawn).tolist() == [5, 5, 2]
    assert torch.equal(labels[found[:, 0].long()], drawn)
    two = scoring_batches((inputs, labels), number=2, size=6)
    assert [torch.bincount(part).tolist() for _, part in two] == [[2, 2, 2], [3, 3]]
    assert torch.equal(torch.cat([part for part, _ in two]), found)
    ((_, plain),) = scoring_batches((inputs, labels), size=50, balanced=False)
    assert torch.bincount(plain)[0] > 40
    assert not torch.equal(scoring_batches((inputs, labels), size=12, seed=1)[0][0], found)


def test_an_image_set_comes_normalised_and_its_training_part_only():
    train, test = image_set(), image_set("test")
    ((inputs, labels),) = scoring_batches(Splits(train, None, test), size=8)
    assert torch.bincount(labels).tolist() == [2, 2, 2, 2]
    pixels = ((inputs * 0.25 + 0.5) * 255).round().numpy().astype(np.uint8)
    assert all((pixels[i] == train.images).all((1, 2, 3)).any() for i in range(8))


def test_a_loader_gives_its_first_batches():
    inputs, labels = images()
    loader = DataLoader(TensorDataset(inputs, labels.int()), batch_size=8)
    found = scoring_batches(loader, number=2)
    assert [len(part) for part, _ in found] == [8, 8]
    assert torch.equal(found[1][0], inputs[8:16])
    assert found[0][1].dtype is torch.int64
    assert len(scoring_batches(loader, number=5)) == 3
    assert scoring_batches(inputs)[0][1] is None


def test_transforms_may_draw_from_anything():
    before = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    scoring_batches((images() for _ in range(3) if random.random() + np.random.random() < 9), number=2)  # noqa: NPY002
    assert random.getstate() == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_a_loaders_own_generator_is_put_back():
    own = torch.Generator().manual_seed(5)
    loader = DataLoader(TensorDataset(*images()), batch_size=8, shuffle=True, generator=own)
    state = own.get_state()
    scoring_batches(loader)
    assert torch.equal(own.get_state(), state)


def epochs(when: str) -> tuple[list[list[int]], float]:
    """Return the order of two epochs of one loader, which is scored on at one moment, and the next random number."""
    inputs = torch.arange(24.0)[:, None]
    data = TensorDataset(inputs, torch.arange(24) % 4)
    torch.manual_seed(0)
    loader = DataLoader(data, batch_size=4, shuffle=True, num_workers=1, persistent_workers=True)
    found: list[list[int]] = [[], []]
    if when == "before":
        scoring_batches(loader, number=2)
    for epoch in found:
        for step, (rows, _) in enumerate(loader):
            epoch += rows.flatten().int().tolist()
            if step == 2 and when == "during":
                scoring_batches(loader, number=2)
    iterator = loader._iterator
    scoring_batches(loader)
    assert loader._iterator is iterator
    return found, float(torch.rand(()))


def test_an_epoch_of_persistent_workers_goes_on():
    plain = epochs("never")
    assert [sorted(epoch) for epoch in plain[0]] == [list(range(24))] * 2
    assert epochs("before") == plain
    assert epochs("during") == plain


# Which models: families whose layers are not plain convolutions in a row.

TIMM = ("deit_tiny_patch16_224", "efficientnet_b0", "mobilenetv3_small_100", "convnext_atto")
NAMES = ("magnitude", "snip", "cropit")


def check_family(model: nn.Module, name: str, data: tuple[Tensor, Tensor]) -> None:
    before = copy.deepcopy(model.state_dict())
    options = {"steps": 0, "batches": 1} if name == "cropit" else {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "no weight of")
        masks = sw.prune(model, name, sparsity=0.8, data=data, **options)
    assert masks.nonzero == round(0.2 * masks.total)
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key] * masks[key] if key in masks else before[key]), key
    with torch.no_grad():
        outputs = model.eval()(data[0])
    outputs = outputs["out"] if isinstance(outputs, dict) else outputs
    assert bool(outputs.isfinite().all())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", TIMM)
def test_timm_models(family, name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    options = {"img_size": 32} if family.startswith("deit") else {}
    model = timm.create_model(family, num_classes=4, **options)
    check_family(model, name, (torch.randn(4, 3, 32, 32), torch.arange(4)))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("family", ["densenet121", "deeplabv3_mobilenet_v3_large", "r3d_18"])
def test_torchvision_models(family, name):
    from torchvision.models import get_model

    torch.manual_seed(0)
    shape = {"r3d_18": (2, 3, 2, 16, 16)}.get(family, (2, 3, 32, 32))
    plain = {"weights": None, "num_classes": 4}
    more = {"weights_backbone": None} if family.startswith("deeplab") else {}
    labels = torch.randint(4, (2, 32, 32)) if family.startswith("deeplab") else torch.arange(2)
    check_family(get_model(family, **plain, **more), name, (torch.randn(shape), labels))


def test_the_masks_can_be_held_in_training():
    model, masks = pruned("snip", 0.8)
    optimizer = torch.optim.Adam(model.parameters())
    held = sw.Static().attach(model, optimizer, masks=masks)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images()[0]), images()[1]).backward()
        optimizer.step()
    masks.check(model)
    assert held.masks.hash == masks.hash
