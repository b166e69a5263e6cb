"""Channel groups: what leaves together, by hand on small networks and against torch-pruning on large ones."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

import sinewy as sw
from sinewy.structured.groups import channel_groups, find_channels
from sinewy.structured.joining import Axis, Joined

torch_pruning = pytest.importorskip("torch_pruning")

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    """A network whose forward pass is the function it is given."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.function = forward

    def forward(self, x):
        return self.function(self, x)


def described(group):
    return {(part.name, part.dim): (part.role, part.index.tolist()) for part in group.slices}


def test_everything_that_a_channel_owns_is_in_its_slices():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 4, 3))
    hidden, output = channel_groups(model, torch.randn(2, 1, 4, 4))
    each = [[0], [1]]
    assert described(hidden) == {
        ("0.weight", 0): ("out", each),
        ("0.bias", 0): ("out", each),
        ("1.weight", 0): ("norm", each),
        ("1.bias", 0): ("norm", each),
        ("1.running_mean", 0): ("norm", each),
        ("1.running_var", 0): ("norm", each),
        ("4.weight", 1): ("in", [[0, 1, 2, 3], [4, 5, 6, 7]]),  # four pixels a channel
    }
    assert (hidden.name, hidden.channels, hidden.is_output, hidden.mixes) == ("0.weight", 2, False, False)
    assert described(output) == {("4.weight", 0): ("out", [[0], [1], [2]]), ("4.bias", 0): ("out", [[0], [1], [2]])}
    assert output.is_output


def test_a_sum_joins_and_a_concatenation_shifts():
    model = Net(
        lambda self, x: self.d(torch.cat([F.relu(self.a(x) + self.b(x)), self.c(x)], 1)),
        a=nn.Conv2d(1, 2, 1, bias=False),
        b=nn.Conv2d(1, 2, 1, bias=False),
        c=nn.Conv2d(1, 3, 1, bias=False),
        d=nn.Conv2d(5, 1, 1, bias=False),
    )
    both, alone, _ = channel_groups(model, torch.randn(1, 1, 2, 2))
    assert described(both) == {
        ("a.weight", 0): ("out", [[0], [1]]),
        ("b.weight", 0): ("out", [[0], [1]]),
        ("d.weight", 1): ("in", [[0], [1]]),
    }
    assert described(alone) == {("c.weight", 0): ("out", [[0], [1], [2]]), ("d.weight", 1): ("in", [[2], [3], [4]])}


def test_depthwise_kernels_belong_to_a_channel_and_grouped_ones_to_a_group():
    depthwise = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 3, groups=2, bias=False), nn.Conv2d(2, 1, 1))
    group = channel_groups(depthwise, torch.randn(1, 1, 4, 4))[0]
    assert described(group)["1.weight", 0] == ("depthwise", [[0], [1]])
    grouped = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 6, 1, groups=2, bias=False), nn.Conv2d(6, 1, 1))
    group = channel_groups(grouped, torch.randn(1, 1, 4, 4))[0]
    assert described(group) == {
        ("0.weight", 0): ("out", [[0, 1], [2, 3]]),
        ("0.bias", 0): ("out", [[0, 1], [2, 3]]),
        ("1.weight", 0): ("out", [[0, 1, 2], [3, 4, 5]]),
        ("2.weight", 1): ("in", [[0, 1, 2], [3, 4, 5]]),
    }


def test_padded_shortcuts_of_thin_resnets_are_followed():
    """Option A puts the channels of a stage in the middle of the next one's; the padding itself cannot shrink."""
    found = find_channels(sw.models.build("resnet20", classes=10), IMAGE)
    trunk = found.groups[0]
    slices = described(trunk)
    assert trunk.channels == 16
    assert slices["layer2.0.conv2.weight", 0][1][0] == [8]
    assert slices["layer3.0.conv2.weight", 0][1][15] == [16 + 8 + 15]
    assert "does not run" in found.left_alone["layer2.0.conv2.weight"]
    assert sum(group.channels for group in found.groups) == 16 + 3 * (16 + 32 + 64) + 10


def test_a_norm_over_all_channels_mixes_and_one_over_groups_makes_units():
    model = Net(
        lambda self, x: self.b(self.norm(self.a(x))), a=nn.Linear(3, 4), norm=nn.LayerNorm(4), b=nn.Linear(4, 2)
    )
    assert [group.mixes for group in channel_groups(model, torch.randn(2, 3))] == [True, False]
    model = nn.Sequential(nn.Conv2d(1, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 1, 1))
    group = channel_groups(model, torch.randn(1, 1, 2, 2))[0]
    assert (group.channels, group.mixes) == (3, False)
    assert described(group)["1.weight", 0] == ("norm", [[0, 1], [2, 3], [4, 5]])


class Encoder(nn.Module):
    """A transformer's layer, whose attention torch hides from tracing."""

    def __init__(self):
        super().__init__()
        self.before, self.block = nn.Linear(7, 16), nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.block(self.before(x)).mean(1))


def test_what_cannot_be_removed_is_left_alone_and_said():
    found = find_channels(Encoder(), torch.randn(1, 5, 7))
    assert [group.name for group in found.groups] == ["block.linear1.weight", "head.weight"]
    assert "MultiheadAttention, whose code fixes its size" in found.left_alone["before.weight"]
    # a softmax over the channels is not seen by tracing; the trial finds it out
    model = Net(lambda self, x: self.b(self.a(x).softmax(1)), a=nn.Linear(3, 8), b=nn.Linear(8, 2))
    found = find_channels(model, torch.randn(2, 3))
    assert "changes what the others give" in found.left_alone["a.weight"]
    # sizes written into the code
    model = Net(lambda self, x: self.b(self.a(x).view(-1, 8)), a=nn.Linear(3, 8), b=nn.Linear(8, 2))
    assert "does not run" in find_channels(model, torch.randn(2, 3)).left_alone["a.weight"]


def test_heads_of_an_attention_are_the_channels():
    timm = pytest.importorskip("timm")
    model = timm.create_model("deit_tiny_patch16_224", img_size=32, num_classes=4, depth=1)
    groups = {group.name: group for group in channel_groups(model, IMAGE)}
    heads = groups["blocks.0.attn.qkv.weight"]
    rows = described(heads)["blocks.0.attn.qkv.weight", 0][1]
    assert heads.channels == 3
    assert rows[1] == [part * 192 + 64 + feature for part in range(3) for feature in range(64)]  # of q, k and v
    assert described(heads)["blocks.0.attn.proj.weight", 1][1][1] == list(range(64, 128))
    assert groups["blocks.0.mlp.fc1.weight"].channels == 768


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "squeezenet1_1"])
def test_groups_are_those_of_torch_pruning(name):
    model = torchvision.models.get_model(name, weights=None, num_classes=10).eval()
    x = torch.randn(1, 3, 64, 64)
    graph = torch_pruning.DependencyGraph().build_dependency(copy.deepcopy(model), x)
    theirs = set()
    for group in graph.get_all_groups():
        modules = {graph._module2name[dep.target.module] for dep, _ in group if hasattr(dep.target.module, "weight")}
        theirs.add(frozenset(name for name in modules if name))
    ours = {frozenset(part.name.rpartition(".")[0] for part in group.slices) for group in channel_groups(model, x)}
    assert ours == theirs


def test_looking_leaves_no_trace():
    model = sw.models.build("convnet", classes=10)
    model.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with torch.no_grad():
        first = channel_groups(model, IMAGE)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    for parameter in model.parameters():
        parameter.zero_()  # groups are a matter of structure
    second = channel_groups(model, IMAGE)
    assert [described(group) for group in first] == [described(group) for group in second]


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(2, 4), nn.Linear(4, 2)

    def forward(self, left, right):
        return {"out": [self.c(F.relu(self.a(left) * self.b(right)))], "number": 3}


def test_inputs_and_outputs_of_other_kinds():
    left, right = torch.randn(2, 3), torch.randn(2, 2)
    for inputs in ((left, right), {"left": left, "right": right}):
        groups = channel_groups(TwoInputs(), inputs)
        assert [(group.name, group.is_output) for group in groups] == [("a.weight", False), ("c.weight", True)]


def test_one_sentence_where_a_model_cannot_be_traced(monkeypatch):
    with pytest.raises(sw.InputError, match=r"Sequential does not run on the example input: module '0' raised Runtime"):
        channel_groups(nn.Sequential(nn.Linear(3, 2)), torch.randn(1, 7))
    with pytest.raises(sw.InputError, match="no output depends on a parameter"):
        channel_groups(Net(lambda self, x: self.a(x).argmax(1), a=nn.Linear(3, 2)), torch.randn(1, 3))
    shuffle = torchvision.models.shufflenet_v2_x0_5(weights=None)
    with pytest.raises(sw.InputError, match=r"ShuffleNetV2 runs, but torch-pruning cannot follow .* channel shuffle"):
        channel_groups(shuffle, torch.randn(1, 3, 64, 64))
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    with pytest.raises(sw.MissingExtraError, match=r"pip install 'sinewy\[structured\]'"):
        channel_groups(nn.Linear(2, 2), torch.randn(1, 2))


def test_entries_join_into_channels():
    joined = Joined(("w", "b", "v"))
    rows, bias, columns = Axis("w", 0), Axis("b", 0), Axis("v", 1)
    joined.add(columns, 4, "in")
    joined.add(rows, 4, "out")
    joined.add(bias, 4, "out")
    joined.join(joined.entries(rows), joined.entries(bias))
    joined.join(joined.entries(columns), joined.entries(rows)[[2, 3, 0, 1]])
    joined.mark("kept", joined.entries(columns)[:1])
    (first, marks), (second, none) = joined.groups()
    assert described(first) == {
        ("w", 0): ("out", [[0], [1], [3]]),
        ("b", 0): ("out", [[0], [1], [3]]),
        ("v", 1): ("in", [[2], [3], [1]]),
    }
    assert (marks, none, second.name) == (frozenset(), frozenset({"kept"}), "w#2")
    joined.join_blocks(joined.entries(rows), torch.tensor([0, 0, 1, 1]).numpy())
    assert [group.channels for group, _ in joined.groups()] == [1, 1]
