"""Models on which an attack would say nothing are refused, with the reason, before any work."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.attacks.preflight import weaknesses
from sinewy.attacks.running import run
from sinewy.attacks.victim import Victim
from sinewy.data import ImageSet


class Rounded(nn.Module):
    """A model whose answers move in steps, so that its gradients are zero."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(torch.round(8 * x) / 8)


class Saturated(Rounded):
    """A model that is sure of everything; the attacks' loss does not saturate."""

    def forward(self, x):
        return 1e3 * self.model(x)


class Random(Rounded):
    """A model that answers at random."""

    def forward(self, x):
        return self.model(x + 0.1 * torch.rand_like(x))


class Softmax(Rounded):
    """A model that returns probabilities."""

    def forward(self, x):
        return self.model(x).softmax(1)


def plain() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


def examples() -> ImageSet:
    generator = np.random.default_rng(0)
    pixels, labels = generator.integers(0, 256, (40, 3, 8, 8), dtype=np.uint8), generator.integers(0, 4, 40)
    return ImageSet(pixels, labels, "noise", "test", tuple("0123"), (0.0,) * 3, (1.0,) * 3)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    data = examples()
    return torch.from_numpy(data.images).float() / 255, torch.from_numpy(data.labels)


FAULTY = {
    Softmax: ("probabilities", "outputs are probabilities"),
    Rounded: ("gradient", "gradient of its loss is exactly 0 on 100% of 40 images"),
    Random: ("randomness", "change from call to call"),
}


@pytest.mark.parametrize("kind", FAULTY)
def test_weaknesses_of_a_victim(kind):
    [weakness] = weaknesses(Victim(kind(plain()), None, None), *batch())
    assert (weakness.cause, weakness.fatal) == (FAULTY[kind][0], True)
    assert FAULTY[kind][1] in weakness.sentence


def test_a_sound_model_has_none():
    assert weaknesses(Victim(plain(), None, None), *batch()) == []
    assert weaknesses(Victim(plain(), [0.3] * 3, [0.2] * 3), *batch()) == []
    assert weaknesses(Victim(Saturated(plain()), None, None), *batch()) == []


@pytest.mark.parametrize("kind", FAULTY)
def test_what_cannot_be_attacked_in_earnest_is_refused(kind):
    model = kind(plain())
    with pytest.raises(sw.InputError, match="cannot be attacked in earnest: .* Or pass preflight=False"):
        run("pgd", model, *batch(), eps=0.1)
    assert run("pgd", model, *batch(), eps=0.1, preflight=False)
    settings = {"probes": ["attack"], "attacks": ["fgsm"], "eps": [4]}
    with pytest.raises(sw.InputError, match="model cannot be attacked in earnest: .* Or pass preflight='warn'"):
        sw.audit(model, examples(), **settings)
    with pytest.warns(UserWarning, match="attacks on model may look weaker than they are: "):
        found = sw.audit(model, examples(), preflight="warn", **settings)
    assert found.evidence["attack"].about["fgsm-linf"]["concerns"]["model"]


def test_an_attack_without_gradients_may_meet_none(monkeypatch):
    """A user's own attack may need no gradient, so that only gradients do not matter to it."""
    import sys
    import types

    module = types.ModuleType("blind")
    module.still = lambda *, norm, stop_when_fooled: (
        lambda victim, part, eps: (
            part.images,
            part.fooled(victim.logits(part.images)),
        )
    )
    monkeypatch.setitem(sys.modules, "blind", module)
    assert run("blind:still", Rounded(plain()), *batch(), eps=0.1)
    with pytest.raises(sw.InputError, match="outputs are probabilities"):
        run("blind:still", Softmax(plain()), *batch(), eps=0.1)


def test_a_model_in_training_mode_is_attacked_in_evaluation_mode():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 4)
    ).train()
    statistics = model[1].running_mean.clone()
    [(_, fooled)] = run("fgsm", model, *batch(), eps=0.05)
    assert model.training
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.equal(fooled, run("fgsm", model.eval(), *batch(), eps=0.05)[0][1])
