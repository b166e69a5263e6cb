"""Physical removal: the small model gives what the full one gives, for every kind of network, and can be saved."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

import sinewy as sw
import sinewy.structured.compacting
import sinewy.structured.irrelevant
from sinewy.cli import compacting
from sinewy.cli.main import app
from sinewy.models.opened import open_model
from sinewy.models.removal import Plan, apply_plan
from sinewy.structured import measuring
from sinewy.structured.compaction import Cut
from sinewy.structured.groups import channel_groups, silence
from sinewy.structured.measuring import peak_of_activations
from test_groups import Encoder

pytest.importorskip("torch_pruning")

IMAGE = (3, 32, 32)


def ours(name, **options):
    return lambda: sw.models.build(name, classes=10, **options)


def timms(name, **options):
    return lambda: pytest.importorskip("timm").create_model(name, num_classes=10, **options)


def vision(name, **options):
    return lambda: torchvision.models.get_model(name, weights=None, **options)


def odd_layers():
    return nn.Sequential(
        *(nn.Conv2d(3, 12, 3), nn.GroupNorm(4, 12), nn.ReLU(), nn.ConvTranspose2d(12, 6, 2, 2), nn.PReLU(6)),
        *(nn.Conv2d(6, 8, 1), nn.InstanceNorm2d(8, affine=True), nn.Conv2d(8, 8, 3, groups=4), nn.ELU()),
        *(nn.Conv2d(8, 2, 3, padding="same"), nn.Flatten()),
    )


SLOW = pytest.mark.slow
NETWORKS = [
    pytest.param(odd_layers, (3, 10, 10), id="odd layers"),
    pytest.param(Encoder, (5, 7), id="encoder"),
    pytest.param(ours("resnet20"), IMAGE, id="resnet20"),
    pytest.param(ours("resnet18", width=16), IMAGE, id="resnet18"),
    pytest.param(ours("vgg11", width=16), IMAGE, id="vgg11"),
    pytest.param(ours("convnet"), IMAGE, id="convnet"),
    pytest.param(ours("mlp"), IMAGE, id="mlp"),
    pytest.param(ours("lenet5"), IMAGE, id="lenet5"),
    pytest.param(vision("mobilenet_v3_small", num_classes=10), IMAGE, id="mobilenet_v3_small"),
    pytest.param(timms("deit_tiny_patch16_224", img_size=32, depth=3), IMAGE, id="deit_tiny"),
    pytest.param(timms("convnext_atto", depths=(1, 1, 2, 1)), (3, 64, 64), id="convnext"),
    pytest.param(timms("efficientnet_b0"), IMAGE, id="efficientnet_b0", marks=SLOW),
    pytest.param(vision("densenet121", num_classes=10), IMAGE, id="densenet121", marks=SLOW),
    pytest.param(vision("r3d_18", num_classes=10), (3, 4, 16, 16), id="r3d_18", marks=SLOW),
    pytest.param(vision("resnext50_32x4d", num_classes=10), IMAGE, id="resnext50", marks=SLOW),
    pytest.param(
        vision("deeplabv3_mobilenet_v3_large", weights_backbone=None, num_classes=5), IMAGE, id="deeplabv3", marks=SLOW
    ),
]


def settled(model):
    """The model in eval mode, with weights and statistics that leave no channel constant by its initialisation."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_mean"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) - 0.5)
        elif name.endswith(("running_var", "gamma")):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        elif tensor.ndim == 1:
            tensor.add_(0.2 * torch.rand(tensor.shape, generator=generator))
    return model.eval()


def outputs(model, x):
    with torch.no_grad():
        found = model(x)
    return found["out"] if isinstance(found, dict) else found


def close(model, other, x, tolerance=1e-4):
    wanted, got = outputs(model, x), outputs(other, x)
    assert (wanted - got).abs().max() <= tolerance * wanted.abs().max()


def half(groups):
    generator = torch.Generator().manual_seed(0)
    removable = [group for group in groups if not group.is_output and not group.mixes]
    return {
        group.name: torch.randperm(group.channels, generator=generator) < group.channels // 2 for group in removable
    }


@pytest.mark.parametrize(("build", "shape"), NETWORKS)
def test_silent_channels_leave_and_the_outputs_stay(build, shape):
    model = settled(build())
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    groups = channel_groups(model, x[:1])
    removed = half(groups)
    silence(model, groups, removed)
    before = copy.deepcopy(model.state_dict())
    small = sw.compact(model, x, timed=False)

    close(model, small, torch.randn(3, *shape, generator=torch.Generator().manual_seed(5)))
    done = small.compaction
    assert done.removed >= sum(int(flags.sum()) for flags in removed.values()) > 0
    assert done.after.parameters < done.before.parameters
    assert done.difference < 1e-5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for name, module in small.named_modules():  # what modules say of their sizes is true
        if isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features), name
        if isinstance(module, nn.Conv2d):
            assert module.weight.shape[:2] == (module.out_channels, module.in_channels // module.groups), name


def small_residual():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.norm = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
            self.inner, self.inner_norm = nn.Conv2d(6, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
            self.outer = nn.Conv2d(5, 6, 1)
            self.head = nn.Linear(6 * 4, 3)

        def forward(self, x):
            x = F.relu(self.norm(self.stem(x)))
            x = F.relu(x + self.outer(F.relu(self.inner_norm(self.inner(x)))))
            return self.head(F.avg_pool2d(x, 2).reshape(len(x), -1))

    return Net()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.3, 0.6, 0.9]), st.booleans())
def test_any_masks_at_all(seed, share, norms_too):
    """Unstructured, by rows, by columns, biases and norms: whatever is zero, the outputs stay."""
    torch.manual_seed(seed)
    model = settled(small_residual())
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            for dim in (None, 0, 1):
                shape = (
                    parameter.shape if dim is None else [n if d == dim else 1 for d, n in enumerate(parameter.shape)]
                )
                parameter.data.mul_(torch.rand(shape) > (share if dim is not None else 0.5))
        elif norms_too or "norm" not in name:
            parameter.data.mul_(torch.rand(parameter.shape) > share)
    x = torch.randn(2, 2, 4, 4)
    small = sw.compact(model, x, timed=False)
    close(model, small, torch.randn(4, 2, 4, 4), 1e-5)
    assert all(1 <= group.left <= group.channels for group in small.compaction.groups)


def test_each_reason_is_told_apart():
    """Five hidden units: 0 read by nothing, 1 zero, 2 constant, 3 a constant that ReLU cuts to zero, 4 alive."""
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(1.0, 16).view(5, 3))
        model[0].weight[1:4] = 0
        model[0].bias.copy_(torch.tensor([1.0, 0.0, 2.0, -3.0, 0.5]))
        model[2].weight.copy_(torch.tensor([[0.0, 5.0, 7.0, 1.0, 1.0], [0.0, 1.0, -1.0, 1.0, 2.0]]))
    small = sw.compact(model, torch.randn(4, 3), timed=False)
    done = small.compaction
    assert (done.unread, done.zero, done.folded, done.constant) == (1, 2, 1, 0)
    assert done.groups == (Cut("0.weight", 5, 4, 1),)
    assert small[0].weight.tolist() == [[13.0, 14.0, 15.0]]
    assert small[2].weight.tolist() == [[1.0], [2.0]]
    assert small[2].bias.tolist() == [14.0, -2.0]  # 2 x (7, -1)
    assert done.plan.biases == ("2",)
    assert "constant and now in a bias" in str(done)


def test_what_a_removed_channel_alone_read_goes_with_it():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[2].weight[:2, 1] = 0  # only unit 2 of the second layer reads unit 1 of the first
        model[4].weight[:, 2] = 0
    small = sw.compact(model, torch.randn(2, 3), timed=False)
    assert (small[0].out_features, small[2].out_features, small.compaction.unread) == (3, 2, 2)


@pytest.mark.parametrize(("padding", "mode", "folded"), [(0, "zeros", 1), (1, "zeros", 0), (1, "replicate", 1)])
def test_a_constant_channel_is_added_to_the_bias_only_where_that_is_exact(padding, mode, folded):
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3, padding=padding, padding_mode=mode))
    with torch.no_grad():
        model[0].weight[1] = 0
        model[0].bias[1] = 2
    small = sw.compact(model, torch.randn(2, 1, 8, 8), timed=False)
    assert (small.compaction.folded, small.compaction.constant) == (folded, 1 - folded)
    assert small[0].out_channels == 3 - folded
    close(model, small, torch.randn(2, 1, 8, 8), 1e-5)
    assert folded or "cannot take them" in str(small.compaction)


def test_a_channel_that_relu_only_happens_to_silence_stays():
    """Zero on the inputs at hand is no proof where the weights are not."""
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].bias[0] = -1e4
    assert sw.compact(model, torch.randn(8, 2), timed=False)[0].out_features == 3


def test_a_gate_does_not_keep_a_zero_channel_and_a_sum_does():
    class Gated(nn.Module):
        def __init__(self, product):
            super().__init__()
            self.a, self.b, self.c, self.product = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2), product

        def forward(self, x):
            return self.c(self.a(x) * self.b(x).sigmoid() if self.product else self.a(x) + self.b(x))

    for product, left in ((True, 2), (False, 3)):
        model = Gated(product)
        with torch.no_grad():
            model.a.weight[0], model.a.bias[0] = 0, 0
        small = sw.compact(model, torch.randn(5, 4), timed=False)
        assert small.c.in_features == left


def test_a_layer_of_zeros_keeps_one_channel():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].bias.zero_()
    small = sw.compact(model, torch.randn(2, 4), timed=False)
    assert small[0].out_features == small[2].in_features == 1
    assert "1 more are not needed and stay: each group keeps one channel" in str(small.compaction).replace("\n", " ")
    close(model, small, torch.randn(2, 4))


def test_nothing_to_remove_and_scattered_zeros_are_said():
    model = sw.models.build("convnet", classes=10).eval()
    small = sw.compact(model, torch.randn(1, *IMAGE), timed=False)
    assert "Nothing to remove: none of 224 channels in 4 groups is empty." in str(small.compaction)
    assert small is not model
    with torch.no_grad():
        for parameter in sw.prunable(model).values():
            parameter.mul_(torch.rand(parameter.shape) < 0.5)
    text = str(sw.compact(model, torch.randn(1, *IMAGE), timed=False).compaction).replace("\n", " ")
    assert "50 % of the weights were zero and 0 % of the channels could go" in text
    assert "no speed-up on dense kernels" in text


def test_shared_weights_stay_shared():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
            self.first, self.again = nn.Linear(5, 4), None
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.c(F.relu(self.b(F.relu(self.a(F.relu(self.first(x)))))))

    model = Tied()
    with torch.no_grad():  # unit 1 is zero in, zero out, everywhere it occurs
        for tensor in (model.a.weight, model.first.weight):
            tensor[1] = 0
        model.a.weight[:, 1] = 0
        model.c.weight[:, 1] = 0
        for layer in (model.a, model.b, model.first):
            layer.bias[1] = 0
    small = sw.compact(model, torch.randn(3, 5), timed=False)
    assert small.a.weight is small.b.weight
    close(model, small, torch.randn(3, 5), 1e-5)


def test_heads_of_an_attention_leave_whole():
    timm = pytest.importorskip("timm")
    model = settled(timm.create_model("deit_tiny_patch16_224", img_size=32, num_classes=4, depth=2))
    attention = model.blocks[0].attn
    with torch.no_grad():
        attention.proj.weight[:, 64:128] = 0  # of three heads of 64 features the second is read by nothing
        model.blocks[1].attn.proj.weight[:, 64:127] = 0  # not quite a head
    small = sw.compact(model, torch.randn(2, *IMAGE), timed=False)
    assert (small.blocks[0].attn.num_heads, small.blocks[0].attn.qkv.out_features) == (2, 3 * 2 * 64)
    assert small.blocks[1].attn.num_heads == 3
    close(model, small, torch.randn(2, *IMAGE))


def test_the_small_model_trains_on_in_the_mode_it_had():
    model = sw.models.build("resnet20", classes=10)
    groups = channel_groups(model, torch.randn(1, *IMAGE))
    silence(model, groups, half(groups))
    model.bn1.eval()
    small = sw.compact(model, torch.randn(2, *IMAGE), timed=False)
    assert small.training
    assert not small.bn1.training
    optimizer = torch.optim.SGD(small.parameters(), lr=0.05)
    x, y = torch.randn(8, *IMAGE), torch.arange(8)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        losses.append(F.cross_entropy(small(x), y))
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < losses[0]


def test_inference_mode_around_it_does_no_harm():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.inference_mode():
        model[2].weight[:, 1] = 0
        small = sw.compact(model, torch.randn(2, 3), timed=False)
    assert small[0].out_features == 3
    small(torch.randn(2, 3)).sum().backward()


def test_pruning_by_filters_is_removed_exactly():
    model = settled(sw.models.build("vgg11", classes=10, width=16))
    x = torch.randn(2, *IMAGE)
    sw.prune(model, "ft", sparsity=0.6, example_input=x)
    small = sw.compact(model, x, timed=False)
    assert small.compaction.zeros[0] > 0.55
    assert small.compaction.zeros[1] < 0.01
    close(model, small, torch.randn(2, *IMAGE))


def test_saved_and_built_again_without_pickle(tmp_path):
    model = settled(sw.models.build("convnet", classes=10))
    x = torch.randn(2, *IMAGE)
    groups = channel_groups(model, x)
    silence(model, groups, half(groups))
    small = sw.compact(model, x, timed=False)
    plan = small.compaction.plan
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan
    about = {"built": {"name": "convnet", "classes": 10}, "removal": [plan.as_json()]}
    sw.save_model(tmp_path / "small.safetensors", small, about=about)
    again = open_model(tmp_path / "small.safetensors").model
    assert torch.equal(outputs(again, x), outputs(small, x))
    # a second compaction adds a second plan
    channels = small[0].out_channels
    silence(again, channel_groups(again, x), {"0.weight": torch.arange(channels) == 0})
    smaller = sw.compact(again, x, timed=False)
    about["removal"].append(smaller.compaction.plan.as_json())
    sw.save_model(tmp_path / "smaller.safetensors", smaller, about=about)
    last = open_model(tmp_path / "smaller.safetensors").model
    assert last[0].out_channels == channels - 1
    assert torch.equal(outputs(last, x), outputs(smaller, x))


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan({"nothing": {0: (0,)}}), "names 'nothing', which this model does not have"),
        (Plan({"0.weight": {0: (9,)}}), r"does not fit '0.weight' of shape \(4, 3\)"),
        (Plan({}, {"7": {"in_features": 1}}), "names a module '7'"),
    ],
)
def test_a_plan_of_another_model_is_refused(plan, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        apply_plan(nn.Sequential(nn.Linear(3, 4)), plan)
    with pytest.raises(sw.InputError, match="not a removal plan"):
        Plan.from_json({"kept": []})


def test_cost_is_measured_and_channels_rounded_only_where_that_is_faster(monkeypatch):
    monkeypatch.setattr(measuring, "_SECONDS", 0.01)
    model = settled(sw.models.build("convnet", classes=10))
    x = torch.randn(2, *IMAGE)
    group = channel_groups(model, x)[0]
    silence(model, [group], {group.name: torch.arange(group.channels) < 5})
    done = sw.compact(model, x).compaction
    assert set(done.after.latency) == set(done.after.memory) == {1, 64}
    assert done.after.memory[64] > done.after.memory[1] > done.after.parameters * 4
    assert done.rounding is not None
    assert "latency, batch 64" in done.table()
    for ratio, left in ((0.5, group.channels), (1.5, group.channels - 5)):
        monkeypatch.setattr(sinewy.structured.compacting, "_time_ratio", lambda one, other, ratio=ratio: ratio)
        small = sw.compact(model, x, multiple=group.channels)
        assert small[0].out_channels == left
        assert small.compaction.multiple == (group.channels if ratio < 1 else None)
        close(model, small, x)


def test_peak_memory_counts_what_is_alive_at_once():
    model = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 10), nn.ReLU(), nn.Linear(10, 100))
    assert peak_of_activations(model, torch.randn(5, 10)) == 2 * 5 * 100 * 4  # a hidden layer before and after ReLU


def test_a_wrong_result_is_never_returned(monkeypatch):
    monkeypatch.setattr(sinewy.structured.irrelevant, "_unread", lambda model, group: torch.arange(group.channels) == 0)
    with pytest.raises(RuntimeError, match="a mistake of Sinewy"):
        sw.compact(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.randn(2, 3), timed=False)
    with pytest.raises(sw.InputError, match="multiple=0"):
        sw.compact(nn.Linear(2, 2), torch.randn(1, 2), multiple=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].bias.data[0] = value
    with pytest.raises(sw.InputError, match="1 of the 2 values of '1.bias' in Sequential are NaN or infinite"):
        sw.compact(model, torch.randn(2, 3), timed=False)


def test_the_command_writes_a_model_that_opens(tmp_path, monkeypatch):
    monkeypatch.setattr(measuring, "_SECONDS", 0.01)
    model = settled(sw.models.build("convnet", classes=10))
    x = torch.randn(2, *IMAGE)
    groups = channel_groups(model, x)
    silence(model, groups, half(groups))
    masks = sw.Masks.of_zeros(sw.prunable(model))
    sw.save_model(tmp_path / "full.safetensors", model, masks)
    out = tmp_path / "small.safetensors"
    words = ["compact", "convnet", "--weights", str(tmp_path / "full.safetensors"), "--classes", "10"]
    words += ["--out", str(out), "--input", "3x32x32", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["after"]["parameters"] < 0.5 * report["before"]["parameters"]
    assert report["threads"] == 1
    assert "next: sinewy audit" in done.stderr
    opened = open_model(out)
    close(model, opened.model, x)
    assert opened.masks.total == sum(p.numel() for p in sw.prunable(opened.model).values())


def test_the_command_takes_what_a_run_wrote(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(measuring, "_SECONDS", 0.01)
    model = settled(sw.models.build("convnet", classes=10))
    silence(model, channel_groups(model, torch.randn(1, 3, 8, 8)), {"0.weight": torch.arange(32) < 9})
    about = {"cell": {"model": {"name": "convnet"}}, "classes": list("0123456789"), "image": [3, 8, 8]}
    sw.save_model(tmp_path / "model.safetensors", model, about=about)
    compacting.compact(str(tmp_path), out=tmp_path / "small.safetensors", multiple=1)
    printed = capsys.readouterr().out
    assert "9 of 224 channels removed, in 1 of 4 groups" in printed
    assert "wrote " in printed
    assert open_model(tmp_path / "small.safetensors").model[0].out_channels == 23


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"classes": 10}, "add --input"),
        ({"classes": 10, "shape": "3xx"}, "--input 3xx is not a shape"),
        ({}, "add --classes"),
        ({"data": "digits", "shape": "3x8x8"}, "give one of them"),
    ],
)
def test_the_command_says_what_is_missing(given, sentence, tmp_path):
    with pytest.raises(sw.InputError, match=sentence):
        compacting.compact("convnet", out=tmp_path / "x.safetensors", **given)
