"""FLOPs: worked by hand, the numbers of papers and torchvision, torch's own counter; counting changes nothing."""

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sinewy.errors import InputError
from sinewy.metrics.cost import inference_flops, layer_flops, measure_cost
from sinewy.models import build

IMAGE = torch.zeros(1, 3, 32, 32)


def two_layers():
    """A convolution 3 -> 4 with 3 x 3 kernels on 6 x 6 pixels, stride 2 (3 x 3 out), then 36 -> 5."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 5))


def test_by_hand():
    x = torch.zeros(8, 3, 6, 6)
    convolution, linear = 2 * 4 * 3 * 9 * 9, 2 * 36 * 5
    assert layer_flops(two_layers(), x) == {"0.weight": convolution, "3.weight": linear}
    masks = {"0.weight": torch.zeros(4, 3, 3, 3, dtype=torch.bool), "3.weight": torch.ones(5, 36, dtype=torch.bool)}
    masks["0.weight"][0] = True
    cost = measure_cost(two_layers(), x, masks)
    assert cost.dense_inference_flops == convolution + linear
    assert cost.inference_flops == convolution / 4 + linear
    assert cost.parameters == (108 + 4) + 8 + (180 + 5)
    assert cost.nonzero_parameters == cost.parameters - 81
    assert cost.training_flops is None


@pytest.mark.parametrize(
    ("name", "classes", "macs"),
    [
        ("resnet20", 10, 40_551_040),
        ("vgg16", 10, 313_725_952),
        ("resnet34", 100, 1_159_448_576),
        ("convnet", 10, 2_138_752),
    ],
)
def test_published_multiply_accumulates(name, classes, macs):
    assert inference_flops(build(name, classes=classes), IMAGE) == (2 * macs, 2 * macs)


def test_torchvision_resnet50():
    flops = layer_flops(torchvision.models.resnet50(), torch.zeros(1, 3, 224, 224))
    assert sum(flops.values()) == 2 * 4_089_184_256
    assert len(flops) == 54


def test_vgg16_of_paper_001_at_density_0_3():
    # uniform, but first convolution and linear layers dense; its Table 5 says 1.92e8, batch norm counted
    model = build("vgg16", classes=10)
    convolutions = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)][1:]
    masks = {}
    for name in convolutions:
        weight = model.get_submodule(name).weight
        masks[f"{name}.weight"] = torch.arange(weight.numel()).view(weight.shape) % 10 < 3
    cost = measure_cost(model, IMAGE, masks)
    assert cost.inference_flops == pytest.approx(1.914e8, rel=1e-3)
    assert cost.nonzero_parameters == pytest.approx(4.952e6, rel=1e-3)


def test_erk_densities_of_resnet20():
    # densities of ERK at sparsity 0.9 (Evci et al. 2020) cost 0.1858 of the dense multiply-accumulates
    densities = {
        "layer1": 0.3027,
        "layer2.0.conv1": 0.2151,
        "layer2": 0.1394,
        "layer3.0.conv1": 0.1016,
        "layer3": 0.0667,
    }
    model = build("resnet20", classes=10)
    masks = {}
    for name, parameter in model.named_parameters():
        density = next((d for key, d in densities.items() if name.startswith(key) and parameter.ndim == 4), None)
        if density is not None:
            mask = torch.arange(parameter.numel()) < round(density * parameter.numel())
            masks[name] = mask.view(parameter.shape)
    dense, sparse = inference_flops(model, IMAGE, masks)
    assert sparse / dense == pytest.approx(0.1858, abs=2e-4)


class Attention(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True, **options)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


@pytest.mark.parametrize("frozen", [False, True])
def test_attention_counts_its_projections_only(frozen):
    model = Attention().requires_grad_(not frozen)
    flops = layer_flops(model, torch.rand(2, 5, 16))
    assert flops == {"attention.in_proj_weight": 2 * 5 * 16 * 48, "attention.out_proj.weight": 2 * 5 * 16 * 16}
    encoder = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True).requires_grad_(not frozen)
    assert sum(layer_flops(encoder, torch.rand(2, 5, 16)).values()) == 2 * 5 * 16 * (48 + 16 + 32 + 32)


def test_attention_with_separate_projections_and_returned_weights():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 4, kdim=8, vdim=8, batch_first=True)

        def forward(self, x):
            return self.attention(x, x[..., :8], x[..., :8], need_weights=True)[0]

    assert layer_flops(Cross(), torch.rand(1, 5, 16)) == {
        "attention.q_proj_weight": 2 * 5 * 16 * 16,
        "attention.k_proj_weight": 2 * 5 * 8 * 16,
        "attention.v_proj_weight": 2 * 5 * 8 * 16,
        "attention.out_proj.weight": 2 * 5 * 16 * 16,
    }


def test_agrees_with_the_counter_of_torch():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, groups=1, dilation=2),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.ConvTranspose2d(8, 4, 2, stride=2),
        nn.Flatten(2),
        nn.Conv1d(4, 2, 5),
        nn.Linear(2700, 7, bias=False),
    ).eval()
    x = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        x = torch.rand(1, 3, 28, 28)
        features = model[:5](x)
        model[5] = nn.Linear(features.shape[-1], 7, bias=False)
        with FlopCounterMode(display=False) as counter:
            model(x)
    assert sum(layer_flops(model, x).values()) == counter.get_total_flops()
    assert list(layer_flops(model, x)) == ["0.weight", "1.weight", "2.weight", "4.weight", "5.weight"]


def test_shared_and_parametrized_and_functional_weights():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.again = nn.Linear(6, 6)
            self.again.weight = self.first.weight
            self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))
            self.free = nn.Parameter(torch.rand(3, 2))

        def forward(self, x):
            x = self.normed(self.again(self.first(x)).transpose(1, 2).transpose(1, 2))
            return (x @ x.transpose(1, 2)) @ (x @ self.free)

    assert layer_flops(Odd(), torch.rand(4, 5, 6)) == {
        "first.weight": 2 * 2 * 5 * 36,
        "normed.weight": 2 * 5 * 18,
        "free": 2 * 5 * 6,
    }


def test_counting_changes_nothing():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(64, 2)).train()
    model[1].eval()
    model(torch.rand(2, 3, 6, 6)).sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    grads = [p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    state, fast = torch.random.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    first = measure_cost(model, torch.rand(5, 3, 6, 6))
    torch.random.set_rng_state(state)
    assert measure_cost(model, torch.zeros(1, 3, 6, 6)) == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.backends.mha.get_fastpath_enabled() == fast
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(torch.equal(a, p.grad) for a, p in zip(grads, model.parameters(), strict=True))
    assert modes == [m.training for m in model.modules()]
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def test_a_failing_forward_is_said_and_leaves_attention_as_it_was():
    with pytest.raises(InputError, match=r"cannot run on an example of shape \(1, 5\)"):
        measure_cost(two_layers(), torch.zeros(1, 5))
    assert torch.backends.mha.get_fastpath_enabled()
    with pytest.raises(InputError, match="uint8"):
        measure_cost(two_layers(), torch.zeros(1, 3, 6, 6, dtype=torch.uint8))
    with pytest.raises(InputError, match="at least one example"):
        measure_cost(two_layers(), torch.zeros(0, 3, 6, 6))


@pytest.mark.parametrize("masks", [{"nothing": torch.ones(2)}, {"0.weight": torch.ones(4, 3, 3, 2)}])
def test_foreign_masks_are_refused(masks):
    with pytest.raises(InputError, match="mask"):
        measure_cost(two_layers(), torch.zeros(1, 3, 6, 6), masks)


def test_wrapped_models_count_like_the_model_inside():
    model = two_layers()
    x = torch.zeros(1, 3, 6, 6)
    assert layer_flops(nn.DataParallel(model), x) == layer_flops(model, x)
    assert measure_cost(torch.compile(model), x) == measure_cost(model, x)
