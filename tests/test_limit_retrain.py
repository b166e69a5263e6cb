"""Levels that are retrained: masks held, by our loop or by a function, and what is refused."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import sinewy as sw
from limit_parts import FOG, load_digits, trained_network, zeros
from sinewy.errors import InputError


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture(scope="module")
def trained():
    return trained_network()


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


def test_what_retraining_by_epochs_cannot_train_is_refused_before_anything_is_measured(trained, digits):
    class Mapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = copy.deepcopy(trained)

        def forward(self, x):
            return {"logits": self.inner(x)}

    frozen = copy.deepcopy(trained)
    frozen[2].requires_grad_(False)
    wholly_frozen = copy.deepcopy(frozen)
    wholly_frozen[4].weight.requires_grad_(False)
    cases = (
        (wholly_frozen, r"everything that was pruned is frozen .* pass exclude=\['2.weight', '4.weight'\]"),
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
    with pytest.warns(UserWarning, match=r"'2.weight' is frozen .* exclude=\['2.weight'\]"):
        held = sw.limit(frozen, digits, retrain="1ep", grid=[0.5], **FOG).at(0.5)
    left = held[2].weight != 0
    assert torch.equal(held[2].weight[left], trained[2].weight[left])
    assert not torch.equal(held[4].weight, trained[4].weight)
    assert zeros(held) == pytest.approx(0.5, abs=1e-3)
    assert zeros(sw.limit(frozen, digits, grid=[0.5], **FOG).at(0.5)) == pytest.approx(0.5, abs=1e-3)


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
