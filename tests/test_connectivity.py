"""What masks leave connected: hand-worked tensors, and real layers asked by running them."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.connectivity import connectivity, disconnected, warn_disconnected


def mask(rows):
    return torch.tensor(rows).bool()


LINEAR = mask([[1, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_a_linear_layer_by_hand():
    found = connectivity({"fc.weight": LINEAR})["fc.weight"]
    assert found == (3, 3, 4, 1, 2)  # kept, outputs, inputs; row 1, columns 1 and 2
    assert not found.is_whole
    assert not found.is_cut


def test_a_convolution_is_linked_by_any_place_of_its_kernel():
    kernel = torch.zeros(2, 2, 3, 3, dtype=torch.bool)
    kernel[0, 1, 2, 2] = True
    assert connectivity({"c": kernel})["c"] == (1, 2, 2, 1, 1)
    kernel[1, 0, 0, 1] = True
    assert disconnected({"c": kernel}) == {}


def test_an_empty_tensor_cuts_the_network():
    found = disconnected({"fc.weight": torch.zeros(3, 5, dtype=torch.bool)})["fc.weight"]
    assert found == (0, 3, 5, 3, 5)
    assert found.is_cut


LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "conv1d": (lambda: nn.Conv1d(6, 9, 3, padding=1, groups=3), (6, 5)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1), (4, 5, 5)),
    "grouped": (lambda: nn.Conv2d(8, 12, 3, padding=1, groups=4), (8, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(6, 6, 3, padding=1, groups=6), (6, 5, 5)),
    "depthwise, two filters a channel": (lambda: nn.Conv2d(6, 12, 3, padding=1, groups=6), (6, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, padding=1), (4, 5, 5)),
    "transposed, grouped": (lambda: nn.ConvTranspose2d(8, 6, 3, padding=1, groups=2), (8, 5, 5)),
}


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("kind", LAYERS)
def test_against_running_the_layer(kind, density):
    make, shape = LAYERS[kind]
    for seed in range(4):
        layer, generator = make().double(), torch.Generator().manual_seed(seed)
        kept = torch.rand(layer.weight.shape, generator=generator) < density
        with torch.no_grad():
            layer.weight.copy_(kept * (torch.rand(kept.shape, generator=generator) + 0.1))
            layer.bias.zero_()
        inputs = torch.rand(1, *shape, generator=generator, dtype=torch.float64).requires_grad_()
        outputs = layer(inputs)
        outputs.sum().backward()
        silent = (outputs[0].flatten(1) if outputs.ndim > 2 else outputs[0].unsqueeze(1)) == 0
        unread = (inputs.grad[0].flatten(1) if inputs.ndim > 2 else inputs.grad[0].unsqueeze(1)) == 0
        found = connectivity({"weight": kept}, layer)["weight"]
        assert found.kept == int(kept.sum())
        assert (found.outputs, found.dead_outputs) == (len(silent), int(silent.all(1).sum()))
        assert (found.inputs, found.dead_inputs) == (len(unread), int(unread.all(1).sum()))


def test_attention_and_grouped_layers_with_all_weights_raise_no_alarm():
    model = nn.ModuleDict(
        {
            "attention": nn.MultiheadAttention(8, 2),
            "other": nn.MultiheadAttention(8, 2, kdim=6, vdim=4),
            "depthwise": nn.Conv2d(8, 8, 3, groups=8),
            "up": nn.ConvTranspose2d(8, 4, 2, groups=2),
        }
    )
    masks = {name: torch.ones_like(p, dtype=torch.bool) for name, p in sw.prunable(model).items()}
    assert disconnected(masks, model) == disconnected(masks) == {}
    masks["attention.in_proj_weight"][8] = False  # the first key
    masks["depthwise.weight"][3, 0, 1, 1] = False
    assert disconnected(masks, model) == {"attention.in_proj_weight": (23 * 8, 24, 8, 1, 0)}


def test_a_channel_that_another_group_reads_is_not_missed():
    model = nn.Sequential(nn.Conv2d(4, 4, 1, groups=2))
    kept = torch.ones(4, 2, 1, 1, dtype=torch.bool)
    kept[:2, 0] = False  # the first channel of the first group only
    assert disconnected({"0.weight": kept}, model)["0.weight"] == (6, 4, 4, 0, 1)
    assert disconnected({"0.weight": kept}) == {}


def test_wrapped_models_and_channels_last_masks():
    model = nn.DataParallel(nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)))
    kept = torch.ones(4, 2, 3, 3, dtype=torch.bool).to(memory_format=torch.channels_last)
    kept[1] = False
    assert disconnected({"0.weight": kept}, model)["0.weight"] == (54, 4, 4, 1, 0)


def test_masks_of_another_model_are_refused():
    model = nn.Sequential(nn.Linear(4, 3))
    for masks in ({"1.weight": LINEAR}, {"0.weight": LINEAR[:2]}):
        with pytest.raises(sw.InputError, match="is not of this model"):
            connectivity(masks, model)


def test_one_warning_for_all_layers():
    conv = torch.ones(4, 2, 3, 3, dtype=torch.bool)
    conv[1:3] = False
    masks = {
        "conv1.weight": conv,
        "whole.weight": torch.ones(3, 3, dtype=torch.bool),
        "fc2.weight": LINEAR,
        "fc3.weight": torch.ones(2000, 3, dtype=torch.bool),
        "fc4.weight": torch.zeros(2, 2, dtype=torch.bool),
    }
    masks["fc3.weight"][:1500] = False
    with pytest.warns(UserWarning, match="leave parts unconnected") as caught:
        warn_disconnected(masks)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert str(caught[0].message) == (
        "the masks leave parts unconnected: fc4: no weight is kept, the network is cut there; conv1: 2 of 4 filters"
        " have no incoming weight; fc2: 1 of 3 neurons have no incoming weight and 2 of 4 inputs have no outgoing"
        " weight; and 1 more. They take no part in the network; lower the sparsity, or keep small layers dense."
    )
    with pytest.warns(UserWarning, match="fc3: 1,500 of 2,000 neurons have no incoming weight. They"):
        warn_disconnected({"fc3.weight": masks["fc3.weight"]})


def test_no_warning_where_all_is_connected():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_disconnected({"fc.weight": torch.eye(5, dtype=torch.bool)})
        warn_disconnected({})
