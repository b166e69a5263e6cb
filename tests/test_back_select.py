"""BackSelect: the order by hand, the exact form by a plain loop, and what the other forms share with it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from sinewy.errors import InputError
from sinewy.metrics.back_select import back_select, confidence_map, keep_informative, sufficient_subset


class Weighted(nn.Module):
    """Logits (sum of weight x pixel, 0): masking a pixel costs the class 0 exactly its term."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, x):
        score = (x.mean(1) * self.weight).sum((1, 2))
        return torch.stack([score, torch.zeros_like(score)], 1)


WEIGHT = [[0.5, -1.0], [2.0, 0.1]]
ONES = torch.ones(1, 3, 2, 2)


def network(seed=0, side=5):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Linear(6 * (side - 2) ** 2, 3)
    ).eval()


def images(n=3, side=5):
    return torch.randn(n, 1, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "options", [{"form": "exact"}, {"step": 1}, {"step": 4}, {"form": "filtered", "step": 1, "candidates": 2}]
)
def test_order_of_an_additive_model_is_that_of_its_terms(options):
    assert back_select(Weighted(WEIGHT), ONES, **options).pixels.tolist() == [[1, 3, 0, 2]]


def test_confidence_of_the_exact_form_by_hand():
    found = back_select(Weighted(WEIGHT), ONES, form="exact")
    scores = torch.tensor([2.6, 2.5, 2.0, 0.0])  # the terms that are left
    assert found.confidence[0].tolist() == pytest.approx(torch.sigmoid(scores).tolist())
    assert sufficient_subset(found, 0.9).tolist() == [2]  # sigmoid(2.5) = 0.924, sigmoid(2.0) = 0.881
    assert sufficient_subset(found, 0.99).tolist() == [4]
    assert sufficient_subset(found, 0.5).tolist() == [0]


def test_a_confidence_that_rounds_to_one_orders_pixels_all_the_same():
    sure = Weighted([[80.0, 30.0], [60.0, 50.0]])  # in single precision the confidence is 1 until only one is left
    for options in ({"form": "exact"}, {"step": 1}, {"form": "filtered", "step": 1, "candidates": 3}):
        assert back_select(sure, ONES, **options).pixels.tolist() == [[1, 3, 2, 0]]


def test_the_other_class_turns_the_order_round():
    found = back_select(Weighted(WEIGHT), ONES, form="exact", classes=torch.tensor([1]))
    assert found.pixels.tolist() == [[2, 0, 3, 1]]


def test_equal_pixels_are_masked_from_the_first():
    for form in ("exact", "gradient"):
        assert back_select(Weighted([[1.0, 1.0], [1.0, 1.0]]), ONES, form=form, step=1).pixels.tolist() == [
            [0, 1, 2, 3]
        ]


def plain_exact(model, image, value=0.0):
    with torch.no_grad():
        target = int(model(image[None]).argmax())
        left, order, confidence = list(range(image[0].numel())), [], []
        current = image.clone().flatten(1)
        while left:
            tried = []
            for pixel in left:
                other = current.clone()
                other[:, pixel] = value
                tried.append(float(model(other.view_as(image)[None]).softmax(1)[0, target]))
            best = int(np.argmax(tried))
            confidence.append(tried[best])
            order.append(left.pop(best))
            current[:, order[-1]] = value
    return order, confidence


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_exact_form_agrees_with_a_plain_loop(value):
    model, x = network(), images()
    found = back_select(model, x, form="exact", masked_value=value, batch=17)
    for index, image in enumerate(x):
        order, confidence = plain_exact(model, image, value)
        assert found.pixels[index].tolist() == order
        assert found.confidence[index].numpy() == pytest.approx(confidence, abs=1e-6)


def test_filtered_form_with_all_candidates_is_the_exact_form():
    model, x = network(3), images(4)
    exact = back_select(model, x, form="exact")
    filtered = back_select(model, x, form="filtered", step=1, candidates=25)
    assert torch.equal(exact.pixels, filtered.pixels)
    assert torch.equal(exact.confidence, filtered.confidence)


@pytest.mark.parametrize(
    "options", [{"step": 1}, {"step": 3}, {"form": "filtered", "step": 2, "candidates": 6}, {"form": "exact"}]
)
def test_every_pixel_is_masked_once_and_batches_do_not_matter(options):
    model, x = network(4), images(5)
    whole = back_select(model, x, **options)
    assert (whole.pixels.sort(1).values == torch.arange(25)).all()
    assert torch.equal(back_select(model, x, batch=2, **options).pixels, whole.pixels)


def test_gradient_form_masks_by_the_derivative_of_the_mask():
    model, x = network(5).double(), images(1).double()
    target = model(x).argmax(1)
    mask = torch.zeros(1, 1, 5, 5, dtype=torch.double, requires_grad=True)
    model((1 - mask) * x).softmax(1)[0, target].sum().backward()
    assert back_select(model, x, step=25).pixels[0].tolist() == mask.grad.flatten().argsort(descending=True).tolist()


def test_filtered_form_is_nearer_to_the_exact_one_than_the_gradient_form():
    model, x = network(6, side=7), images(6, side=7)
    ranks = {}
    settings = {
        "exact": {"form": "exact"},
        "gradient": {"step": 4},
        "filtered": {"form": "filtered", "step": 1, "candidates": 12},
    }
    for name, options in settings.items():
        ranks[name] = back_select(model, x, **options).pixels.argsort(1).numpy()
    agreement = {n: np.mean([spearmanr(a, b).statistic for a, b in zip(ranks["exact"], ranks[n], strict=True)])
                 for n in ("gradient", "filtered")}  # fmt: skip
    assert 0.4 < agreement["gradient"] < agreement["filtered"]


def test_keeping_the_most_informative_pixels_by_hand():
    x = torch.arange(1.0, 9).view(1, 2, 2, 2)
    kept = keep_informative(x, torch.tensor([[1, 3, 0, 2]]), 0.5)
    assert kept.tolist() == [[[[1, 0], [3, 0]], [[5, 0], [7, 0]]]]
    assert torch.equal(keep_informative(x, torch.tensor([[1, 3, 0, 2]]), 1.0), x)
    assert keep_informative(x, torch.tensor([[1, 3, 0, 2]]), 0, masked_value=9).unique().tolist() == [9]


def test_confidence_map_has_whose_pixels_in_rows_and_who_looks_in_columns():
    top, bottom = Weighted([[5.0, 0.0], [0.0, 0.0]]), Weighted([[0.0, 0.0], [0.0, 5.0]])
    models = {"top": top, "bottom": bottom}
    orders = {name: back_select(model, ONES, step=1).pixels for name, model in models.items()}
    table = confidence_map(models, ONES, torch.tensor([0]), orders, share=0.25)
    sure = torch.sigmoid(torch.tensor(5.0)).item()
    assert table.shape == (2, 2, 1)
    assert table[:, :, 0].flatten().tolist() == pytest.approx([sure, 0.5, 0.5, sure])


def test_model_is_given_back_as_it_was():
    model = network().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    back_select(model, images(1), step=5)
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: back_select(network(), images(), form="random"), "form of BackSelect"),
        (lambda: back_select(network(), images(), step=26), "step must be"),
        (lambda: back_select(network(), images(), form="filtered", step=8, candidates=4), "candidates must be"),
        (lambda: back_select(network(), images(), classes=torch.tensor([0])), "one per image"),
        (lambda: back_select(network(), images()[0]), "must be floats"),
        (lambda: keep_informative(images(), torch.zeros(3, 4).long()), "must be the order"),
        (lambda: keep_informative(images(), torch.zeros(3, 25).long(), 10), "share"),
        (lambda: sufficient_subset(back_select(network(), images()), 0.5), "form='exact'"),
    ],
)
def test_bad_requests_get_a_sentence(call, sentence):
    with pytest.raises(InputError, match=sentence):
        call()
