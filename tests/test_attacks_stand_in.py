"""Attacks run on a faster copy of the model where it answers alike, and on the model itself where it may not."""

from __future__ import annotations

import copy
import sys
import types

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

import sinewy as sw
from sinewy.attacks import run, running, stand_in
from sinewy.attacks.losses import cross_entropy
from sinewy.attacks.overwriting import overwrite
from sinewy.attacks.victim import Victim
from sinewy.errors import InputError
from sinewy.models.freeze import freeze


def images_and_labels(count=12, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    return torch.rand(count, 3, 8, 8, generator=generator, dtype=dtype), torch.arange(count) % 5


def settled(model):
    """Give batch norms statistics and weights of their own, as training does."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.reset_parameters()
            if isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.5, 2, generator=generator)
                module.weight.uniform_(-1, 1, generator=generator)
    return model.eval()


class Block(nn.Module):
    """Convolutions and norms around one body."""

    def __init__(self, body):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.fc, self.body = nn.Linear(64, 5), body

    def first(self, x):
        return self.bn(self.conv(x))

    def second(self, x):
        return self.bn2(self.conv2(x))

    def forward(self, x):
        return self.fc(F.adaptive_avg_pool2d(self.body(self, x), 4).flatten(1))


def changed_sum(net, x):
    out = net.first(x)
    out += 0.5
    return F.relu(out) + out


BODIES = {
    "relu": lambda net, x: F.relu(net.first(x)),
    "shortcut": lambda net, x: F.relu(net.second(h := F.relu(net.first(x))) + h),
    "the other way round": lambda net, x: torch.relu((h := F.relu(net.first(x))) + net.second(h)),
    "twice the same": lambda net, x: F.relu((h := net.first(x)) + h),
    "read again": lambda net, x: F.relu(h := net.first(x)) - h,
    "read by the sum and after": lambda net, x: (h := net.first(x)) * F.relu(h + net.second(h)),
    "changed by the model": changed_sum,
    "a number": lambda net, x: F.relu(1 + net.first(x)),
    "two convolutions": lambda net, x: F.relu(net.first(x) + net.second(net.first(x))),
    "sigmoid": lambda net, x: (h := torch.sigmoid(net.first(x))) * F.relu(h + net.second(h)),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_overwriting_changes_no_bit(body):
    model, (images, labels) = freeze(settled(Block(body))), images_and_labels()
    own = copy.deepcopy(model)
    overwrite(own)
    before = images.clone()
    for found, expected in zip(
        Victim(own, None, None).gradient(images, cross_entropy, labels, None),
        Victim(model, None, None).gradient(images, cross_entropy, labels, None),
        strict=True,
    ):
        assert torch.equal(found, expected)
    assert torch.equal(images, before)


def test_a_residual_network_overwrites_every_sum_and_relu():
    model = freeze(settled(sw.models.build("resnet20", classes=5)))
    overwrite(model)
    targets = [node.target.__name__ for node in model.graph.nodes if node.op == "call_function"]
    inplace = [node for node in model.graph.nodes if node.kwargs.get("inplace")]
    assert targets.count("iadd") == 9
    assert "add" not in targets
    assert len(inplace) == 19


def of(model, images):
    return stand_in.quickest(model, None, None, images)._model


def test_a_copy_attacks_like_its_model(monkeypatch):
    model = settled(Block(BODIES["shortcut"])).double()
    images, labels = images_and_labels(dtype=torch.float64)
    state = copy.deepcopy(model.state_dict())
    assert isinstance(of(model, images), fx.GraphModule)
    results = {}
    for kind, victim in (("copy", stand_in.quickest), ("model", lambda *given: Victim(*given[:3]))):
        monkeypatch.setattr(running, "quickest", victim)
        results[kind] = [
            run(name, model, images, labels, eps=[0.02, 0.1], steps=5, stop_when_fooled=stop)
            for name in ("pgd", "apgd-ce")
            for stop in (True, False)
        ]
    for ours, theirs in zip(results["copy"], results["model"], strict=True):
        for (images_a, fooled_a), (images_b, fooled_b) in zip(ours, theirs, strict=True):
            assert torch.allclose(images_a, images_b, rtol=0, atol=1e-9)
            assert torch.equal(fooled_a, fooled_b)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_sum_larger_than_the_convolution_is_not_overwritten():
    def wider(net, x):
        h = net.first(x)
        return F.relu(net.second(h.mean((2, 3), keepdim=True)) + h)

    model, (images, _) = settled(Block(wider)), images_and_labels()
    copied = of(model, images)
    assert isinstance(copied, fx.GraphModule)
    assert torch.allclose(copied(images), model(images), atol=1e-5)


def baked(net, x):
    """Its random numbers would be drawn once and for all while it is traced."""
    return net.first(x) + 0.1 * torch.randn(4, 1, 1)


def rounded(net, x):
    """Tracing does not see the context."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return net.first(x).float()


def branching(net, x):
    return net.first(x) if x.sum() > 0 else x


@pytest.mark.parametrize("body", [baked, rounded, branching])
def test_a_model_that_a_copy_would_not_be_is_attacked_itself(body):
    model, (images, _) = settled(Block(body)), images_and_labels()
    state = torch.get_rng_state()
    copied = of(model, images)
    assert copied is model or not isinstance(copied, fx.GraphModule)
    assert torch.equal(torch.get_rng_state(), state)


def test_hooks_stay():
    model, (images, labels) = settled(Block(BODIES["relu"])), images_and_labels()
    seen = []
    model.bn.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    assert of(model, images) is model
    run("fgsm", model, images, labels, eps=0.1)
    assert seen


def test_without_norms_there_is_no_copy():
    model, (images, _) = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 5)), images_and_labels()
    assert of(model, images) is model


@pytest.mark.parametrize("kind", ["half", "bfloat16", "double"])
def test_a_model_of_another_type_takes_the_images(kind):
    model, (images, labels) = settled(Block(BODIES["relu"])), images_and_labels()
    other = getattr(copy.deepcopy(model), kind)()
    [(expected, _)] = run("bim", model, images, labels, eps=0.1, stop_when_fooled=False)
    [(found, fooled)] = run("bim", other, images, labels, eps=0.1, stop_when_fooled=False)
    assert found.dtype == torch.float32
    assert (found - images).abs().max() <= 0.1 + 1e-6
    assert torch.equal(fooled, other(found.to(other.fc.weight.dtype)).argmax(1) != labels)
    assert F.cosine_similarity((found - images).flatten(1), (expected - images).flatten(1)).min() > 0.8


def test_answers_that_depend_on_the_batch_are_refused():
    model = settled(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False), nn.Flatten(), nn.Linear(192, 5)))
    images, labels = images_and_labels()
    images[6:] *= 0.2
    with pytest.raises(InputError, match="depend on the others of the batch"):
        run("pgd", model, images, labels, eps=0.1)
    run("pgd", model, images, labels, eps=0.1, preflight=False)


class Counting(nn.Module):
    """Counts the images it sees, and answers the dark ones with NaN."""

    def __init__(self):
        super().__init__()
        self.model, self.seen = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), 0

    def forward(self, images):
        self.seen += len(images)
        dark = images.amax((1, 2, 3)) == 0
        return self.model(images).masked_fill(dark[:, None], torch.nan)


def test_without_a_stop_few_clean_images_are_looked_at():
    images, labels = images_and_labels(40)
    model = Counting()
    run("fgsm", model, images, labels, eps=0.1, stop_when_fooled=False, preflight=False)
    assert model.seen == running.SOME + 2 * 40
    whole = run("fgsm", Counting(), images, labels, eps=[0.0], stop_when_fooled=False)[0][1]
    assert whole.any()


def test_nan_is_no_success(monkeypatch):
    module = types.ModuleType("dark_attack")
    module.dark = lambda **options: lambda victim, examples, eps: (
        0 * examples.images, examples.fooled(victim.logits(0 * examples.images))
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "dark_attack", module)
    with pytest.raises(InputError, match="returns NaN for [0-9]+ of"):
        run("dark_attack:dark", Counting(), *images_and_labels(), eps=1.0)


def test_images_that_do_not_fit_get_a_sentence():
    with pytest.raises(InputError, match=r"does not take images of shape \(12, 3, 8, 8\): addmm: mat1 and mat2"):
        run("pgd", nn.Sequential(nn.Flatten(), nn.Linear(7, 5)), *images_and_labels(), eps=0.1)
