"""Attacks by hand: random numbers, losses, projections, Auto-PGD's step size, and linear models in closed form."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest
from torch import nn

from sinewy.attacks import ATTACKS, NORMS, draws, losses, run
from sinewy.attacks.apgd import Walk, checkpoints, wrong_class
from sinewy.attacks.examples import Examples
from sinewy.attacks.projections import BALLS

OURS = [name for name in ATTACKS if name != "autoattack"]
ORDER = {"linf": math.inf, "l2": 2.0}


def distance(adversarial, images, norm):
    return (adversarial - images).flatten(1).norm(p=ORDER[norm], dim=1)


def test_philox_gives_the_published_words():
    """The known-answer vectors of Random123 for philox4x32-10."""
    ones = 2**32 - 1
    cases = [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ones,) * 4, (ones, ones), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ]
    for counter, key, expected in cases:
        assert tuple(int(w) for w in draws.philox([torch.tensor(c) for c in counter], key)) == expected


def test_an_image_draws_the_same_in_any_company():
    everyone = draws.normal(7, torch.arange(50), (3, 5, 5))
    some = torch.tensor([40, 3, 17])
    assert torch.equal(draws.normal(7, some, (3, 5, 5)), everyone[some])
    assert not torch.equal(draws.normal(8, some, (3, 5, 5)), everyone[some])
    assert len(everyone.flatten().unique()) > 0.99 * everyone.numel()


def test_draws_have_their_distributions():
    numbers = torch.arange(400)
    assert kstest(draws.uniform(1, numbers, (25,)).flatten().numpy(), "uniform").pvalue > 0.001
    assert kstest(draws.normal(1, numbers, (25,)).flatten().numpy(), "norm").pvalue > 0.001


def test_losses_by_hand():
    logits = torch.tensor([[2.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    label, target = torch.tensor([0]), torch.tensor([2])
    assert losses.cross_entropy(logits, label, None).item() == pytest.approx(math.log(math.e + 1 + 1 / math.e) - 2)
    assert losses.margin(logits, label, None).item() == -1
    assert losses.margin(logits, label, target).item() == -2
    assert losses.difference_of_logits_ratio(logits, label, None).item() == pytest.approx(-1 / 2)
    assert losses.difference_of_logits_ratio(logits, label, target).item() == pytest.approx(-2 / 2.5)
    scaled = losses.difference_of_logits_ratio(9 * logits, label, None).item()
    assert scaled == pytest.approx(-1 / 2)


@pytest.mark.parametrize("targeted", [False, True])
def test_the_cross_entropy_points_where_torch_does_and_does_not_saturate(targeted):
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels, targets = torch.arange(6) % 5, (torch.arange(6) + 1) % 5
    (ours,) = torch.autograd.grad(
        losses.cross_entropy(logits, labels, targets if targeted else None).sum(), logits, retain_graph=True
    )
    theirs = -F.cross_entropy(logits, targets) if targeted else F.cross_entropy(logits, labels)
    (theirs,) = torch.autograd.grad(theirs, logits)
    assert torch.allclose(F.cosine_similarity(ours, theirs), torch.ones(6, dtype=torch.float64))
    sure = torch.tensor([[300.0, 0.0, 1.0]], requires_grad=True)
    zero = torch.tensor([0])
    assert torch.autograd.grad(F.cross_entropy(sure, zero), sure)[0].count_nonzero() == 0
    assert torch.autograd.grad(losses.cross_entropy(sure, zero, None).sum(), sure)[0].count_nonzero() == 3


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), eps=st.floats(1e-3, 2.0), norm=st.sampled_from(NORMS))
def test_a_projection_is_allowed_and_leaves_the_allowed_alone(seed, eps, norm):
    generator = torch.Generator().manual_seed(seed)
    clean = torch.rand(4, 3, 2, 2, dtype=torch.float64, generator=generator)
    ball = BALLS[norm](clean, eps)
    far = clean + 3 * torch.randn(clean.shape, dtype=torch.float64, generator=generator)
    near = ball.project(far)
    assert (distance(near, clean, norm) <= eps * (1 + 1e-12)).all()
    assert near.min() >= 0
    assert near.max() <= 1
    assert torch.allclose(ball.project(near), near, rtol=0, atol=1e-12)
    if norm == "linf":
        assert torch.equal(near, far.clamp((clean - eps).clamp(0, 1), (clean + eps).clamp(0, 1)))
    for start in (ball.inside(seed, torch.arange(4)), ball.edge(seed, torch.arange(4))):
        assert torch.allclose(ball.project(start), start, rtol=0, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_direction_has_length_one_however_small_the_gradient(norm):
    gradient = torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + 0.1
    gradient[1] *= 1e-36
    gradient[2] = 0
    direction = BALLS[norm](torch.zeros_like(gradient), 0.1).direction(gradient)
    lengths = direction.flatten(1).norm(p=ORDER[norm], dim=1)
    assert torch.allclose(lengths, torch.tensor([1.0, 1.0, 0.0, 1.0, 1.0]))
    assert torch.all((direction * gradient).flatten(1).sum(1) >= 0)


def test_starts_are_uniform_in_the_ball_and_on_its_edge():
    clean, numbers = torch.full((500, 3, 2, 2), 0.5, dtype=torch.float64), torch.arange(500)
    for norm, ball in ((norm, BALLS[norm](clean, 0.1)) for norm in NORMS):
        radius = distance(ball.inside(3, numbers), clean, norm) / 0.1
        assert kstest(radius.pow(12).numpy(), "uniform").pvalue > 0.001
        assert torch.allclose(distance(ball.edge(3, numbers), clean, norm), torch.full((500,), 0.1).double(), atol=1e-7)


def test_the_checks_of_auto_pgd_are_where_the_paper_has_them():
    assert [taken for taken, _ in checkpoints(100)] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert [window for _, window in checkpoints(100)] == [22, 19, 16, 13, 10, 7, 6, 6]
    assert [taken for taken, _ in checkpoints(10)] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert not list(checkpoints(1))


def test_auto_pgd_halves_the_step_where_it_should():
    """Four images after a window of 4: rising 4 times, 3 times, 4 times without a new best twice over."""
    here, best = torch.zeros(4, 1, 1, 1), torch.ones(4, 1, 1, 1)
    example = Examples(here, torch.zeros(4, dtype=torch.int64), None, torch.arange(4), 0)
    walk = Walk(
        examples=example, aims=None, ball=BALLS["linf"](here, 0.1), images=here, previous=here,
        value=torch.tensor([1.0, 1.0, 1.0, 1.0]), gradient=here, best=best,
        best_value=torch.tensor([2.0, 2.0, 2.0, 2.0]), best_gradient=best,
        checked_value=torch.tensor([1.5, 1.5, 2.0, 2.0]), step=torch.full((4,), 0.2),
        halved=torch.tensor([False, False, False, True]), rises=torch.tensor([4, 3, 4, 4]),
    )  # fmt: skip
    walk.check(4)
    assert walk.halved.tolist() == [False, True, True, False]
    assert torch.allclose(walk.step, torch.tensor([0.2, 0.1, 0.1, 0.2]))
    assert walk.images.flatten().tolist() == walk.gradient.flatten().tolist() == [0, 1, 1, 0]
    assert walk.value.tolist() == [1, 2, 2, 1]
    assert walk.rises.tolist() == [0, 0, 0, 0]


def test_wrong_class_ranks_all_but_the_label():
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0], [0.0, 5.0, 9.0, 7.0]])
    labels = torch.tensor([0, 3])
    assert [wrong_class(logits, labels, rank).tolist() for rank in range(3)] == [[1, 2], [2, 1], [3, 0]]


def linear(weight, bias):
    """A model that is linear in the pixels, in float64."""
    layer = nn.Linear(weight.shape[1], len(weight)).double()
    layer.weight.data, layer.bias.data = weight.double(), bias.double()
    return nn.Sequential(nn.Flatten(), layer)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", OURS)
def test_the_radius_of_a_linear_model_is_found(name, norm):
    """Logit 1 exceeds logit 0 by w.x + b; it can be raised by eps times the dual norm of w, and not by more."""
    generator = torch.Generator().manual_seed(5)
    w = torch.randn(12, generator=generator, dtype=torch.float64)
    images = 0.4 + 0.2 * torch.rand(8, 3, 2, 2, generator=generator, dtype=torch.float64)
    score = images.flatten(1) @ w
    weight, bias = torch.stack([0 * w, w, 0 * w, 0 * w]), torch.tensor([0.0, -float(score.max()) - 0.1, -50.0, -90.0])
    radius = -(score + bias[1]) / w.norm(p=1 if norm == "linf" else 2)
    options = {"steps": 40} if name in ("bim", "pgd") else {}
    # From a random start one step of 1.25 eps does not reach every corner.
    slack = 1.7 if name == "ffgsm" else 1.03
    wanted = [0.99 * float(radius.min()), slack * float(radius.median()), slack * float(radius.max())]
    assert wanted[-1] < 0.35
    labels = torch.zeros(8, dtype=torch.int64)
    results = run(name, linear(weight, bias), images, labels, eps=wanted, norm=norm, **options)
    assert [int(fooled.sum()) for _, fooled in results][::2] == [0, 8]
    for eps, (adversarial, fooled) in zip(wanted, results, strict=True):
        assert fooled[radius * slack < eps].all()
        assert not fooled[radius > eps].any()
        assert torch.equal(fooled, (adversarial.flatten(1) @ w + bias[1]) > 0)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_targeted_attack_finds_the_nearest_of_many_classes(seed):
    """Of several linear classes the one nearest in the dual norm decides; the attack aimed at each must find it."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 27, generator=generator, dtype=torch.float64)
    images = 0.5 + 0.02 * torch.randn(16, 3, 3, 3, generator=generator, dtype=torch.float64)
    logits = images.flatten(1) @ weight.T
    labels = logits.argmax(1)
    gaps = logits.gather(1, labels[:, None]) - logits
    reach = (weight[labels][:, None] - weight[None]).abs().sum(2)
    radius = (gaps / reach).masked_fill(F.one_hot(labels, 5).bool(), math.inf).amin(1)
    eps = float(radius.median())
    [(_, fooled)] = run("apgd-t", linear(weight, torch.zeros(5)), images, labels, eps=eps, steps=25)
    clear = (radius / eps - 1).abs() > 0.02
    assert torch.equal(fooled[clear], (radius < eps)[clear])
