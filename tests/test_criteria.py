"""Criteria against finite differences, explicit Hessians, and layers worked out by hand."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

from sinewy.criteria.criterion import Criterion, Subject
from sinewy.criteria.curvature import CroP, CroPit, GraSP, GraSPSnipIt
from sinewy.criteria.gradients import mean_gradients
from sinewy.criteria.losses import cross_entropy, logits_of
from sinewy.criteria.patches import as_matrices, columns
from sinewy.criteria.simple import Magnitude
from sinewy.criteria.sipp import SiPP, SiPPRandom, largest_share, sensitivities
from sinewy.criteria.snip import SNIP
from sinewy.criteria.subject import private
from sinewy.criteria.synflow import SynFlow
from sinewy.errors import InputError
from sinewy.layers import prunable


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()


def examples(number: int = 2, size: int = 6) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 3, generator=generator, dtype=torch.float64),
            torch.randint(2, (size,), generator=generator),
        )
        for _ in range(number)
    ]


def scores_of(model: nn.Module, criterion: Criterion, batches=(), masks=None, **options) -> dict[str, Tensor]:
    with private(model, prunable(model), batches=batches, masks=masks, **options) as subject:
        return criterion.scores(subject)


def mean_loss(model: nn.Module, batches, temperature: float = 1.0):
    """Return the mean loss as a function of the prunable weights, laid end to end, and these."""
    weights = prunable(model)
    shapes = {name: p.shape for name, p in weights.items()}

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([shape.numel() for shape in shapes.values()])
        given = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
        losses = [F.cross_entropy(functional_call(model, given, (x,)) / temperature, y) for x, y in batches]
        return torch.stack(losses).mean()

    return loss, torch.cat([p.detach().flatten() for p in weights.values()])


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def flow(model: nn.Module, batches, temperature: float = 1.0, kept: Tensor | None = None) -> Tensor:
    """Return w (H g) from the explicit Hessian of the kept weights."""
    loss, w = mean_loss(model, batches, temperature)
    kept = torch.ones_like(w) if kept is None else kept
    g = torch.autograd.functional.jacobian(loss, w) * kept
    return w * (torch.autograd.functional.hessian(loss, w) @ g)


def test_snip_is_the_finite_difference_of_a_gate_on_each_weight():
    model, batches = tiny(), examples()
    loss, w = mean_loss(model, batches)
    steps = 1e-5 * torch.diag(w)
    slopes = torch.stack([(loss(w + step) - loss(w - step)) / 2e-5 for step in steps])
    torch.testing.assert_close(flat(scores_of(model, SNIP(), batches)), slopes.abs().detach(), rtol=1e-6, atol=1e-9)


def test_grasp_is_the_explicit_hessian_product_at_its_temperature():
    model, batches = tiny(), examples()
    for temperature, parts in ((1.0, 1), (1.0, 3), (200.0, 2)):
        found = flat(scores_of(model, GraSP(temperature=temperature, parts=parts), batches))
        torch.testing.assert_close(found, flow(model, batches, temperature), rtol=1e-8, atol=1e-14)


def test_grasp_removes_what_raises_the_gradient_norm():
    """Shrinking w by a little changes |g|^2 by -2 w (H g) times that: the lowest score raises it most."""
    model, batches = tiny(), examples()
    loss, w = mean_loss(model, batches)

    def norm(at: Tensor) -> Tensor:
        return torch.autograd.functional.jacobian(loss, at).square().sum()

    changes = torch.stack([(norm(w - step) - norm(w + step)) / 2e-5 for step in 1e-5 * torch.diag(w)])
    scores = flat(scores_of(model, GraSP(temperature=1.0), batches))
    torch.testing.assert_close(changes, -2 * scores, rtol=1e-5, atol=1e-8)
    assert scores.argmin() == changes.argmax()


def test_the_reversed_grasp_is_only_the_sign():
    model, batches = tiny(), examples()
    assert torch.equal(flat(scores_of(model, GraSPSnipIt(), batches)), -flat(scores_of(model, GraSP(), batches)))


def test_crop_takes_gradient_and_hessian_of_the_kept_weights_only():
    model, batches = tiny(), examples()
    masks = {
        name: torch.rand(p.shape, generator=torch.Generator().manual_seed(3)) < 0.6
        for name, p in prunable(model).items()
    }
    with torch.no_grad():
        for name, parameter in prunable(model).items():
            parameter.mul_(masks[name])
    found = flat(scores_of(model, CroP(), batches, masks))
    torch.testing.assert_close(found, flow(model, batches, kept=flat(masks).double()).abs(), rtol=1e-8, atol=1e-14)
    assert not torch.allclose(found, flow(model, batches).abs())


def test_cropit_halves_the_distance_and_never_starts_above_its_target():
    assert CroPit().stages(0.98) == pytest.approx((0.5, 0.74, 0.86, 0.92, 0.95, 0.965, 0.98))
    assert CroPit(steps=1).stages(0.5) == pytest.approx((0.25, 0.375, 0.5))
    assert CroPit().stages(0.2) == (0.2,)
    assert CroP().stages(0.98) == (0.98,)


def test_attention_has_second_derivatives():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.head = nn.Linear(3, 9), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x[:, None] * torch.ones(4, 1).cumsum(0)).chunk(3, -1)
            return self.head(F.scaled_dot_product_attention(q, k, v).mean(1))

    torch.manual_seed(0)
    assert float(flat(scores_of(Attention(), CroP(), [(x.float(), y) for x, y in examples()])).max()) > 0


def test_synflow_by_hand():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    model[0].weight.data = torch.tensor([[1.0, -2.0], [3.0, 0.5]])
    model[2].weight.data = torch.tensor([[2.0, -1.0]])
    found = scores_of(model, SynFlow(), [(torch.randn(5, 2), None)])
    assert found["0.weight"].tolist() == [[2.0, 4.0], [3.0, 0.5]]
    assert found["2.weight"].tolist() == [[6.0, 3.5]]


def test_synflow_conserves_its_scores_from_layer_to_layer():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3, bias=False), nn.ReLU()]
    model = nn.Sequential(*layers, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(20, 3, bias=False))
    model[1].running_var.uniform_(0.5, 2)
    totals = [float(score.sum()) for score in scores_of(model, SynFlow(), [(torch.randn(2, 3, 8, 8), None)]).values()]
    assert totals == pytest.approx([totals[0]] * 3, rel=1e-12)


def test_synflow_stages_have_equal_ratios_of_density():
    densities = [1 - stage for stage in SynFlow(steps=4).stages(0.9999)]
    assert densities == pytest.approx([1e-1, 1e-2, 1e-3, 1e-4])


def test_sipp_on_a_linear_layer_by_hand():
    """Positive and negative weights share their own sums; a negative input is an example of its own."""
    model = nn.Linear(3, 1).double()
    model.weight.data = torch.tensor([[1.0, 3.0, -2.0]], dtype=torch.float64)
    # a+ = (0, 1, 0): 3/3 for the second; a- = (1, 0, 0.5): 1/1 for the first, and 1/1 for the third, alone in its sum.
    for a, shares in (([2.0, 1.0, 4.0], [0.4, 0.6, 1.0]), ([-1.0, 1.0, -0.5], [1, 1, 1]), ([0.0, 0.0, 0.0], [0, 0, 0])):
        inputs = [(torch.tensor([a, a], dtype=torch.float64), None)]
        assert scores_of(model, SiPP(), inputs)["weight"][0].tolist() == pytest.approx(shares)


def test_sipp_on_a_convolution_by_hand():
    """Patches (1, 3), (3, 1) and (1, 1): means 0.5 and 0.5; largest 0.75."""
    model = nn.Conv1d(1, 1, 2, bias=False)
    model.weight.data.fill_(1.0)
    inputs = [(torch.tensor([[[1.0, 3.0, 1.0, 1.0]]]), None)]
    assert scores_of(model, SiPP(), inputs)["weight"].tolist() == [[[0.5, 0.5]]]
    with private(model, prunable(model), batches=inputs) as subject:
        assert sensitivities(subject, largest_share)["weight"].tolist() == [[[0.75, 0.75]]]


@pytest.mark.parametrize("over_patches", ["mean", "max"])
def test_sipp_is_what_loops_over_every_weight_give(over_patches):
    torch.manual_seed(0)
    model = nn.Conv2d(4, 6, 2, stride=2, groups=2, bias=False).double()
    inputs = torch.randn(3, 4, 6, 6, dtype=torch.float64)
    with private(model, prunable(model), batches=[(inputs, None)]) as subject:
        found = SiPP().scores(subject) if over_patches == "mean" else sensitivities(subject, largest_share)
    expected = torch.zeros_like(model.weight)
    for x, sign, o in itertools.product(range(3), (1, -1), range(6)):
        window = slice(0, 2) if o < 3 else slice(2, 4)
        for side in (1, -1):
            w = (side * model.weight[o]).detach().clamp(min=0)
            shares = []
            for i, j in itertools.product(range(0, 6, 2), range(0, 6, 2)):
                a = (sign * inputs[x, window, i : i + 2, j : j + 2]).clamp(min=0)
                total = (w * a).sum()
                shares.append(w * a / total if total > 0 else torch.zeros_like(w))
            stacked = torch.stack(shares)
            share = stacked.mean(0) if over_patches == "mean" else stacked.amax(0)
            expected[o] = torch.maximum(expected[o], share).detach()
    torch.testing.assert_close(found["weight"], expected.detach())


LAYERS = {
    "linear": (nn.Linear(4, 3), (2, 4)),
    "tokens": (nn.Linear(4, 3), (2, 5, 4)),
    "conv1d": (nn.Conv1d(4, 6, 3, padding=1, groups=2), (2, 4, 7)),
    "conv2d": (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)), (2, 4, 9, 8)),
    "depthwise": (nn.Conv2d(4, 8, 3, groups=4, padding="same"), (2, 4, 5, 6)),
    "same, even kernel": (nn.Conv2d(4, 5, 4, padding="same"), (2, 4, 5, 6)),
    "circular": (nn.Conv2d(4, 5, 3, padding=2, padding_mode="circular"), (2, 4, 5, 6)),
    "conv3d": (nn.Conv3d(2, 3, 2, stride=2, padding="valid"), (2, 2, 4, 5, 6)),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kind", LAYERS)
def test_columns_are_what_the_layer_multiplies(kind):
    layer, shape = LAYERS[kind]
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    product = as_matrices(layer, layer.weight) @ columns(layer, inputs)
    outputs = layer(inputs) - layer.bias.view(-1, *[1] * (len(shape) - 2 if "conv" in kind or len(shape) > 3 else 0))
    if isinstance(layer, nn.Linear):
        outputs = outputs.reshape(2, -1, 3).transpose(1, 2)
    torch.testing.assert_close(product.flatten(1, 2), outputs.flatten(2) if outputs.ndim > 2 else outputs[..., None])


def test_random_sipp_draws_in_proportion_to_the_shares():
    model = nn.Linear(3, 1).double()
    model.weight.data = torch.tensor([[1.0, 2.0, 5.0]], dtype=torch.float64)
    inputs = [(torch.ones(1, 3).double(), None)]
    best = [int(scores_of(model, SiPPRandom(), inputs, seed=seed)["weight"].argmax()) for seed in range(600)]
    shares = torch.bincount(torch.tensor(best), minlength=3) / 600
    torch.testing.assert_close(shares, torch.tensor([1, 2, 5]) / 8, atol=0.06, rtol=0)  # 3 standard deviations


def test_sipp_sees_every_use_of_a_shared_layer():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(2, 2, bias=False)
            self.second = self.first

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(x) * 0 + torch.tensor([1.0, 3.0]))

    model = Twice()
    model.first.weight.data = torch.ones(2, 2)
    found = scores_of(model, SiPP(), [(torch.tensor([[4.0, 1.0]]), None)])
    torch.testing.assert_close(found["first.weight"], torch.tensor([[0.8, 0.75], [0.8, 0.75]]))


def test_sipp_names_the_layer_that_it_cannot_score():
    transposed = nn.Sequential(nn.ConvTranspose2d(3, 2, 2))
    with pytest.raises(InputError, match="'0.weight' belongs to a ConvTranspose2d; pass exclude"):
        scores_of(transposed, SiPP(), [(torch.randn(1, 3, 4, 4), None)])

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.aside = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.used(x)

    with pytest.raises(InputError, match="does not call the layer of 'aside.weight'"):
        scores_of(Aside(), SiPP(), [(torch.randn(1, 3), None)])


def test_reinit_scores_other_weights_than_it_prunes():
    model, batches = tiny(), examples()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    plain, again = (flat(scores_of(model, SNIP(reinit=reinit), batches)) for reinit in (False, True))
    assert not torch.allclose(plain, again)
    torch.testing.assert_close(again, flat(scores_of(model, SNIP(reinit=True), batches)))
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert not torch.equal(
        flat(scores_of(model, GraSP(reinit=True), batches)), flat(scores_of(model, GraSP(), batches))
    )


def test_gradients_are_means_over_batches_and_zero_where_none_arrive():
    model, batches = tiny(), examples(3)
    with private(model, prunable(model), batches=batches) as subject:
        whole = mean_gradients(subject)
    one = [mean_gradients_of(model, batch) for batch in batches]
    torch.testing.assert_close(flat(whole), torch.stack(one).mean(0))


def mean_gradients_of(model: nn.Module, batch) -> Tensor:
    with private(model, prunable(model), batches=[batch]) as subject:
        return flat(mean_gradients(subject))


def test_loss_takes_what_common_models_return():
    logits, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    expected = F.cross_entropy(logits, labels)
    named = type("Output", (), {"logits": logits})()
    for outputs in (logits, {"out": logits, "aux": logits * 2}, {"logits": logits}, (logits, None), named):
        assert torch.equal(cross_entropy(outputs, labels), expected)
    pixels = torch.randint(3, (2, 5, 5))
    pixels[0, 0, 0] = 255
    maps = torch.randn(2, 3, 5, 5)
    assert torch.equal(cross_entropy({"out": maps}, pixels), F.cross_entropy(maps, pixels, ignore_index=255))
    assert torch.equal(cross_entropy(logits, logits.softmax(1)), F.cross_entropy(logits, logits.softmax(1)))
    assert torch.equal(cross_entropy(logits, labels.double()), expected)
    assert torch.equal(cross_entropy(maps, pixels.float()), F.cross_entropy(maps, pixels, ignore_index=255))


def test_the_reader_of_logits_gives_the_advice_of_who_asks():
    assert logits_of({"out": torch.ones(2, 3)}).shape == (2, 3)
    with pytest.raises(InputError, match="in which no logits .* were found; wrap the model."):
        logits_of(torch.zeros(3), advice="wrap the model")


@pytest.mark.parametrize(
    ("outputs", "labels", "sentence"),
    [
        ({"boxes": torch.zeros(2, 3)}, torch.tensor([0, 1]), "returned dict, in which no logits"),
        (torch.zeros(2), torch.tensor([0, 1]), "returned Tensor, in which no logits"),
        (torch.zeros(2, 3), torch.tensor([[0, 1]]), "labels of shape \\(1, 2\\) do not fit logits of shape \\(2, 3\\)"),
        (torch.zeros(2, 3), torch.tensor([0, 3]), "labels reach from 0 to 3, but the model has 3 outputs"),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.5]), "are class numbers, and 1.5 is not a whole number"),
        (torch.zeros(2, 3), torch.tensor([0.0, float("nan")]), "nan is not a whole number"),
        (torch.zeros(2, 3), torch.zeros(2, 2), "labels of shape \\(2, 2\\) do not fit logits of shape \\(2, 3\\)"),
        (torch.zeros(2, 3), None, "labels as a tensor of class numbers, got NoneType"),
    ],
)
def test_loss_refuses_with_a_sentence(outputs, labels, sentence):
    with pytest.raises(InputError, match=sentence):
        cross_entropy(outputs, labels)


@pytest.mark.parametrize(
    ("loss", "sentence"),
    [
        (lambda outputs, labels: outputs, "one number as a tensor, got shape"),
        (lambda outputs, labels: 1.0, "one number as a tensor, got float"),
        (lambda outputs, labels: outputs.sum() * float("nan"), "the loss of a training batch is nan"),
        (lambda outputs, labels: outputs.detach().sum(), "does not depend on the weights"),
    ],
)
def test_a_loss_of_the_users_own_is_checked(loss, sentence):
    with pytest.raises(InputError, match=sentence):
        scores_of(tiny(), SNIP(), examples(), loss=loss)


def test_second_order_of_a_piecewise_linear_loss_is_zero_not_an_error():
    found = scores_of(nn.Linear(3, 2).double(), CroP(), examples(), loss=lambda outputs, labels: outputs.sum())
    assert float(found["weight"].abs().max()) == 0


def test_a_private_copy_shares_nothing():
    model = tiny()
    model[0].weight.requires_grad_(False)
    with private(model, prunable(model)) as subject:
        assert isinstance(subject, Subject)
        assert not {p.data_ptr() for p in subject.model.parameters()} & {p.data_ptr() for p in model.parameters()}
        assert [name for name, p in subject.model.named_parameters() if p.requires_grad] == ["0.weight", "2.weight"]
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("criterion", [GraSP(), CroP(), SNIP()])
def test_half_precision_is_scored_in_float32(criterion, dtype):
    """In float16 the products of GraSP, with logits at a temperature of 200, underflow."""
    model = tiny().to(dtype)
    half = [(inputs.to(dtype), labels) for inputs, labels in examples()]
    whole = [(inputs.float(), labels) for inputs, labels in half]
    found = flat(scores_of(model, criterion, half))
    assert found.dtype is torch.float32
    assert torch.equal(found, flat(scores_of(copy.deepcopy(model).float(), criterion, whole)))
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_the_users_hooks_do_not_fire():
    model, seen = tiny(), []
    for register in ("forward_pre_hook", "forward_hook", "full_backward_pre_hook", "full_backward_hook"):
        getattr(model[0], f"register_{register}")(lambda *_, name=register: seen.append(name))
    scores_of(model, GraSP(), examples())
    scores_of(model, SiPP(), examples())
    assert seen == []
    model(examples()[0][0].requires_grad_()).sum().backward()
    assert len(set(seen)) == 4


def test_torchs_own_hooks_that_make_weights_stay():
    model, batches = tiny(), examples()
    mask = torch.arange(12).view(4, 3) % 2
    torch_prune.custom_from_mask(model[0], "weight", mask)
    with torch.no_grad():
        model(batches[0][0])  # a weight with a graph cannot be copied
    found = scores_of(model, SNIP(), batches)["0.weight_orig"]
    assert torch.equal(found != 0, mask.bool())


def test_a_forward_pass_that_fails_names_its_module_and_the_reason():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x) + torch.ones(7)

    sentence = "Sequential of torch.float32 does not run: module '{}' raised RuntimeError: .*; pass inputs"
    model = nn.Sequential(nn.Linear(3, 4), Block())
    wide = [(torch.randn(6, 5), torch.zeros(6, dtype=torch.long))]
    fits = [(torch.randn(6, 3), torch.zeros(6, dtype=torch.long))]
    for criterion in (SNIP(), GraSP(), SiPP()):
        with pytest.raises(InputError, match=sentence.format("0")):
            scores_of(model, criterion, wide)
        with pytest.raises(InputError, match=sentence.format("1")):  # after '1.inner' has returned
            scores_of(model, criterion, fits)
        with pytest.raises(InputError, match=sentence.format("1.0")):
            scores_of(nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.Linear(5, 2))), criterion, fits)


def test_scoring_works_inside_no_grad_and_inference_mode():
    expected = flat(scores_of(tiny(), SNIP(), examples()))
    for mode in (torch.no_grad, torch.inference_mode):
        model, batches = tiny(), examples()
        with mode():
            assert torch.equal(flat(scores_of(model, SNIP(), batches)), expected)


def test_magnitude_and_options_out_of_range():
    assert torch.equal(scores_of(tiny(), Magnitude())["0.weight"], tiny()[0].weight.abs())
    for make in (
        lambda: GraSP(temperature=0),
        lambda: GraSP(parts=0),
        lambda: CroP(parts=0),
        lambda: CroPit(steps=-1),
        lambda: SynFlow(steps=0),
    ):
        with pytest.raises(InputError, match="must be"):
            make()


def test_hard_sigmoids_have_second_derivatives():
    """Torch has none for them; they are run as the relu6 that they are."""
    torch.manual_seed(0)
    first, last = nn.Linear(3, 4), nn.Linear(4, 2)
    hard = nn.Sequential(first, nn.Hardsigmoid(), last).double()
    twin = nn.Sequential(first, Relu6Sigmoid(), last).double()
    batches = examples()
    torch.testing.assert_close(flat(scores_of(hard, CroP(), batches)), flow(twin, batches).abs(), rtol=1e-8, atol=1e-14)


class Relu6Sigmoid(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu6(x + 3) / 6


def test_what_cannot_be_differentiated_twice_is_said():
    class Once(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x * 2

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, gradient: Tensor) -> Tensor:
            return gradient * 2

    class Doubling(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Once.apply(super().forward(x))

    with pytest.raises(InputError, match="cannot be differentiated twice .*; take a criterion of first order"):
        scores_of(Doubling(3, 2).double(), CroP(), examples())
