"""Whole channels through `sw.prune`: targets, guarantees, errors, and networks of every kind."""

from __future__ import annotations

import copy
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn

import sinewy as sw
from sinewy.criteria.criterion import Subject
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.metrics.cost import layer_flops
from sinewy.models import build
from sinewy.models.removal import apply_plan
from sinewy.structured import STRUCTURED
from sinewy.structured.criterion import ChannelCriterion

pytest.importorskip("torch_pruning")

from sinewy.structured.groups import channel_groups
from sinewy.structured.pruning import make_channel_criterion
from sinewy.structured.removal import plan_removal


@pytest.fixture(scope="module")
def data():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 3, 16, 16, generator=generator), torch.arange(24) % 10


@pytest.fixture(scope="module")
def convnet():
    """A small network with every sort of parameter away from its initial value."""
    model = build("convnet", classes=10, width=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator)
        for name, buffer in model.named_buffers():
            if name.endswith(("mean", "var")):
                buffer += 0.5 * torch.rand(buffer.shape, generator=generator)
    return model.eval()


def free_groups(model, example):
    return [g for g in channel_groups(model, example) if not (g.is_output or g.mixes)]


def kept_channels(groups, masks):
    """Return which channels stay, read from the rows of their makers."""
    kept = {}
    for group in groups:
        part = next(s for s in group.slices if s.role == "out" and s.name in masks)
        rows = masks[part.name].movedim(part.dim, 0).flatten(1).any(1)
        kept[group.name] = rows[part.index].any(1)
    return kept


def assert_consistent(groups, masks, model):
    """Check that each channel is wholly kept or wholly gone: rows, columns, kernels, biases and norms."""
    kept, parameters = kept_channels(groups, masks), dict(model.named_parameters())
    expected = {name: torch.ones_like(mask) for name, mask in masks.items()}
    for group in groups:
        assert kept[group.name].any()
        for part in group.slices:
            index = part.index[~kept[group.name]].flatten()
            if part.name in expected:
                expected[part.name].index_fill_(part.dim, index, False)
            if part.name in parameters:
                assert not parameters[part.name].detach().index_select(part.dim, index).any()
    for name, mask in masks.items():
        assert mask.equal(expected[name]), name
    masks.check(model)
    return kept


def without(model, groups, kept):
    small = copy.deepcopy(model)
    apply_plan(small, plan_removal(small, groups, {name: ~stays for name, stays in kept.items()}))
    return small


@pytest.mark.parametrize("name", STRUCTURED)
@pytest.mark.parametrize("scope", ["global", "local"])
def test_every_method_removes_whole_channels_and_meets_the_target(convnet, data, name, scope):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, name, sparsity=0.6, data=data, scope=scope)
    assert list(masks) == list(sw.prunable(model))
    assert masks.sparsity == pytest.approx(0.6, abs=0.025)  # half a channel
    groups = free_groups(convnet, data[0][:1])
    kept = assert_consistent(groups, masks, model)
    assert not all(stays.all() for stays in kept.values())
    small = without(model, groups, kept)
    assert torch.allclose(small(data[0]), model(data[0]), atol=1e-5)
    if scope == "local" or name.startswith("ft"):
        shares = [float((~stays).float().mean()) for stays in kept.values()]
        assert max(shares) - min(shares) <= 1 / 8


@pytest.mark.parametrize("name", STRUCTURED)
def test_nothing_else_changes(convnet, data, name):
    model = copy.deepcopy(convnet).train()
    model[0].weight.requires_grad_(False)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    model[4].eval()
    modes = [module.training for module in model.modules()]
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    masks = sw.prune(model, name, sparsity=0.5, data=data)
    assert torch.get_rng_state().equal(state)
    assert [module.training for module in model.modules()] == modes
    assert not model[0].weight.requires_grad
    assert model[0].weight.grad.eq(1).all()
    assert all(p.grad is None for n, p in model.named_parameters() if n != "0.weight")
    buffers = dict(model.named_buffers())
    for key, value in model.state_dict().items():
        if key in masks:
            assert value.equal(before[key] * masks[key]), key
        elif key in buffers:
            assert value.equal(before[key]), key
        else:
            assert ((value == before[key]) | (value == 0)).all(), key


@pytest.mark.parametrize("name", STRUCTURED)
def test_the_same_seed_gives_the_same_masks(convnet, data, name):
    hashes = {sw.prune(copy.deepcopy(convnet), name, sparsity=0.5, data=data, seed=3).hash for _ in range(2)}
    last = sw.prune(copy.deepcopy(convnet).to(memory_format=torch.channels_last), name, sparsity=0.5, data=data, seed=3)
    assert len(hashes) == 1
    if name == "random-structured":
        assert hashes == {last.hash}
        assert sw.prune(copy.deepcopy(convnet), name, sparsity=0.5, data=data, seed=4).hash not in hashes
    else:
        assert last.sparsity == pytest.approx(0.5, abs=0.01)


def test_a_loader_and_a_wrapped_model_do_as_well(convnet, data):
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size=8)
    model = nn.DataParallel(copy.deepcopy(convnet))
    masks = sw.prune(model, "pfp", sparsity=0.5, data=loader)
    masks.check(model)
    assert set(masks) == set(sw.prunable(convnet))


def test_share_of_channels(convnet, data):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, "snip-structured", sparsity=0.5, data=data, of="channels")
    kept = kept_channels(free_groups(convnet, data[0][:1]), masks)
    assert sum(int(stays.sum()) for stays in kept.values()) == sum(len(stays) for stays in kept.values()) // 2


def test_share_of_flops_is_that_of_the_smaller_network(convnet, data):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, "ft", sparsity=0.7, data=data, of="flops")
    groups = free_groups(convnet, data[0][:1])
    small = without(model, groups, kept_channels(groups, masks))
    left = sum(layer_flops(small, data[0]).values()) / sum(layer_flops(convnet, data[0]).values())
    assert 1 - left == pytest.approx(0.7, abs=0.02)


def test_ft_prunes_the_smallest_filters_of_each_layer(convnet):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, "ft", sparsity=0.5, example_input=torch.randn(2, 3, 16, 16))
    for layer in (0, 3, 6, 9):
        norms = convnet[layer].weight.detach().abs().sum((1, 2, 3))
        kept = masks[f"{layer}.weight"].flatten(1).any(1)
        assert norms[kept].min() > norms[~kept].max()


def test_pruning_again_goes_on_from_what_is_left(convnet, data):
    model = copy.deepcopy(convnet)
    masks = [sw.prune(model, "random-structured", sparsity=s, data=data, seed=i) for i, s in enumerate((0.3, 0.5, 0.7))]
    for first, second in pairwise(masks):
        assert all((second[name] & ~first[name]).sum() == 0 for name in first)
    assert masks[2].sparsity == pytest.approx(0.7, abs=0.01)
    again = sw.prune(model, "random-structured", sparsity=0.5, data=data)
    assert again.hash == masks[2].hash  # what is gone already is more than that


def test_removed_channels_stay_removable_in_training(convnet, data):
    model = copy.deepcopy(convnet).train()
    masks = sw.prune(model, "snip-structured", sparsity=0.6, data=data)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    sw.Static().attach(model, optimizer, masks=masks)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(data[0]), data[1]).backward()
        optimizer.step()
    groups = free_groups(convnet, data[0][:1])
    small = without(model, groups, kept_channels(groups, masks))
    assert torch.allclose(small.eval()(data[0]), model.eval()(data[0]), atol=1e-5)


def test_compact_removes_exactly_these_channels(convnet, data):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, "ft", sparsity=0.6, data=data)
    small = sw.compact(model, data[0][:2], multiple=None)
    kept = kept_channels(free_groups(convnet, data[0][:1]), masks)
    assert torch.allclose(small(data[0]), model(data[0]), atol=1e-5)
    assert sum(p.numel() for p in sw.prunable(small).values()) == masks.nonzero
    assert [small[layer].out_channels for layer in (0, 3, 6, 9)] == [int(stays.sum()) for stays in kept.values()]


def test_dense_and_excluded_layers_stay_whole(convnet, data):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, "ft", sparsity=0.3, data=data, dense=["0.*"])
    assert masks["0.weight"].all()
    assert masks["3.weight"].flatten(2).any(2).any(0).all()  # its input channels are those of the dense layer
    assert masks.sparsity == pytest.approx(0.3, abs=0.01)
    masks = sw.prune(copy.deepcopy(convnet), "ft", sparsity=0.3, data=data, exclude=["9.*"])
    assert "9.weight" not in masks
    assert masks["6.weight"].flatten(1).any(1).all()


def test_a_layer_keeps_a_channel_and_the_warning_names_it(convnet, data):
    model = copy.deepcopy(convnet)
    with torch.no_grad():
        model[3].weight.mul_(1e-3)
    with pytest.warns(UserWarning, match="3 is left with 2 channels, the least that a layer keeps") as caught:
        masks = sw.prune(model, "magnitude-structured", sparsity=0.5, data=data, min_channels=2)
    assert caught[0].filename == __file__
    assert int(masks["3.weight"].flatten(1).any(1).sum()) == 2


def test_a_criterion_of_ones_own(convnet, data):
    model = copy.deepcopy(convnet)
    masks = sw.prune(model, f"{__name__}:LastFirst", sparsity=0.5, data=data, scope="local")
    assert masks["0.weight"].flatten(1).any(1).tolist() == sorted(
        masks["0.weight"].flatten(1).any(1).tolist(), reverse=True
    )


class LastFirst(ChannelCriterion):
    """Removes the last channel first."""

    def scores(self, subject: Subject, groups):
        return {group.name: -torch.arange(group.channels).float() for group in groups}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("ftt", {}, "unknown criterion 'ftt'. Did you mean 'ft'?"),
        ("ft", {"norms": "l2"}, "unknown option of ft 'norms'. Did you mean 'norm'?"),
        ("ft", {"norm": "max"}, "norm='max' is not known"),
        ("ft", {"scope": "erk"}, "unknown scope of a structured method 'erk'."),
        ("ft", {"of": "bytes"}, "of='bytes' is not known"),
        ("ft", {"sparsity": 1.0}, r"sparsity must be in \[0, 1\)"),
        (
            "ft",
            {"sparsity": 0.999},
            r"sparsity 0.999 cannot be reached by removing channels .* the largest that can is",
        ),
        ("ft", {"min_channels": 0}, "min_channels=0 must be at least 1"),
        ("ft", {"data": None}, "pass example_input=, a batch of inputs"),
        ("pfp", {"data": None}, "'pfp' looks at training data; pass data=inputs"),
        ("pfp", {"delta": 0.0}, r"delta=0.0 must be in \(0, 1\)"),
        ("snip-structured", {"data": torch.randn(4, 3, 16, 16)}, "'snip-structured' needs labels as well"),
        ("ft", {"dense": ["*"]}, "no channel of Sequential can be removed"),
        ("cropit-structured", {"steps": -1}, "steps=-1 must be at least 0"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(convnet, data, name, options, sentence):
    model = copy.deepcopy(convnet)
    with pytest.raises(InputError, match=sentence):
        sw.prune(model, name, **{"sparsity": 0.5, "data": data} | options)
    assert all(p.equal(q) for p, q in zip(model.parameters(), convnet.parameters(), strict=True))


def test_the_largest_reachable_sparsity_can_be_reached(convnet, data):
    with pytest.raises(InputError, match="the largest that can is") as error:
        sw.prune(copy.deepcopy(convnet), "ft", sparsity=0.999, data=data)
    largest = float(str(error.value).rstrip(".").rpartition(" ")[2])
    with pytest.warns(UserWarning, match="are left with 1 channel"):
        masks = sw.prune(copy.deepcopy(convnet), "ft", sparsity=largest, data=data)
    assert masks.sparsity == pytest.approx(largest, abs=0.002)


def test_only_channel_criteria_have_names_here():
    assert all(issubclass(resolve("structured method", name, STRUCTURED), ChannelCriterion) for name in STRUCTURED)
    with pytest.raises(InputError, match="is not a sinewy.structured.criterion.ChannelCriterion class"):
        make_channel_criterion("sinewy.criteria.simple:Magnitude")


def torchvision_model(path, **options):
    models = torchvision.models
    for part in path.split("."):
        models = getattr(models, part)
    return models(**options)


def timm_model(name, **options):
    return pytest.importorskip("timm").create_model(name, num_classes=10, **options)


NETWORKS = {
    "resnet20": (lambda: build("resnet20", classes=10), (3, 16, 16)),
    "resnet18": (lambda: build("resnet18", classes=10, width=16), (3, 16, 16)),
    "vgg11": (lambda: build("vgg11", classes=10), (3, 32, 32)),
    "mobilenet_v3_small": (lambda: torchvision_model("mobilenet_v3_small", num_classes=10), (3, 32, 32)),
    "deit_tiny": (lambda: timm_model("deit_tiny_patch16_224", img_size=32), (3, 32, 32)),
    "efficientnet_b0": (lambda: timm_model("efficientnet_b0"), (3, 32, 32)),
    "convnext_atto": (lambda: timm_model("convnext_atto"), (3, 64, 64)),
    "densenet121": (lambda: torchvision_model("densenet121", num_classes=10), (3, 32, 32)),
    "r3d_18": (lambda: torchvision_model("video.r3d_18", num_classes=10), (3, 4, 16, 16)),
    "deeplabv3_mobilenet": (
        lambda: torchvision_model(
            "segmentation.deeplabv3_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=10
        ),
        (3, 32, 32),
    ),
}


def check_network(network, name):
    make, shape = NETWORKS[network]
    torch.manual_seed(0)
    model = make().eval()
    inputs = torch.randn(2, *shape)
    labels = torch.randint(10, (2, *shape[1:])) if "deeplab" in network else torch.tensor([3, 7])
    groups = free_groups(model, inputs[:1])
    masks = sw.prune(model, name, sparsity=0.3, data=(inputs, labels), scope="local")
    assert masks.sparsity == pytest.approx(0.3, abs=0.005)
    kept = assert_consistent(groups, masks, model)
    small = without(model, groups, kept)
    with torch.no_grad():
        wanted, found = output(model, inputs), output(small, inputs)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))
    assert sum(p.numel() for p in small.parameters()) < 0.75 * sum(p.numel() for p in model.parameters())


def output(model, inputs):
    found = model(inputs)
    return found["out"] if isinstance(found, dict) else found


QUICK = [
    ("resnet20", "ft"),
    ("resnet18", "snip-structured"),
    ("vgg11", "pfp"),
    ("mobilenet_v3_small", "crop-structured"),
    ("deit_tiny", "snip-structured"),
    ("convnext_atto", "ft"),
]


@pytest.mark.parametrize(("network", "name"), QUICK)
def test_networks_of_every_kind(network, name):
    check_network(network, name)


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", ["ft", "pfp", "crop-structured"])
def test_more_methods_on_networks_of_every_kind(network, name):
    check_network(network, name)
