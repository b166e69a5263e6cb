"""SensNorm by hand, and the properties its paper relies on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import sinewy as sw
from sinewy.detectors.network import Network
from sinewy.detectors.sensnorm import SensNorm, regrouped
from sinewy.detectors.views import views


def linear(weight: torch.Tensor) -> Network:
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight.clone()
    return Network(nn.Sequential(nn.Flatten(), layer).eval().requires_grad_(requires_grad=False))


def images(n: int, seed: int = 0, size: int = 2) -> torch.Tensor:
    return torch.randn(n, 1, size, size, generator=torch.Generator().manual_seed(seed))


def sensitivities(weight: np.ndarray, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """w dL/dw of softmax regression, by the textbook gradient (p - onehot) x."""
    logits = inputs @ weight.T
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    gradient = (p - np.eye(len(weight))[labels]).T @ inputs / len(inputs)
    return (weight * gradient).ravel()


@pytest.mark.parametrize("size", [3, 1])
@pytest.mark.parametrize("p", [5.0, 2.0])
def test_by_hand(size, p):
    weight = torch.tensor([[1.0, -1.0, 0.5, 2.0], [0.3, 0.4, -0.7, 0.1]])
    network, training, labels = linear(weight), images(12), torch.arange(12) % 2
    detector = SensNorm(p=p, augment=False)
    detector.fit(network, [(training[:7], labels[:7]), (training[7:], labels[7:])], size)
    w, x, y = weight.double().numpy(), training.flatten(1).double().numpy(), labels.numpy()
    rows = np.stack([sensitivities(w, x[i : i + size], y[i : i + size]) for i in range(0, 12, size)])
    test = images(2 * size, 1)
    t = test.flatten(1).double().numpy()
    predicted = (t @ w.T).argmax(1)
    own = np.stack([sensitivities(w, t[i : i + size], predicted[i : i + size]) for i in (0, size)])
    expected = (np.abs((own - rows.mean(0)) / rows.std(0)) ** p).sum(1) ** (1 / p)
    assert detector.score(network, test, size).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_pruned_weights_do_not_count():
    weight = torch.tensor([[1.0, 0.0, 0.5, 0.0], [0.3, 0.0, -0.7, 0.1]])
    network, detector = linear(weight), SensNorm(augment=False)
    detector.fit(network, [(images(40), torch.arange(40) % 2)], 2)
    mean, deviation, varies = detector._statistics[2]
    assert varies.tolist() == (weight != 0).flatten().tolist()
    assert len(mean) == len(deviation) == int((weight != 0).sum())
    assert detector.score(network, images(4, 1), 2).isfinite().all()


def test_sensitivity_does_not_see_how_a_layer_is_scaled():
    """w dL/dw is the same if w is scaled and its input scaled back, as folding a norm does."""
    torch.manual_seed(0)
    first, second = nn.Linear(4, 5, bias=False), nn.Linear(5, 2, bias=False)
    scores = []
    for scale in (1.0, 3.0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(4, 5, bias=False), nn.ReLU(), nn.Linear(5, 2, bias=False))
        model[1].weight.data, model[3].weight.data = first.weight.data * scale, second.weight.data / scale
        detector, network = SensNorm(augment=False), Network(model.requires_grad_(requires_grad=False))
        detector.fit(network, [(images(60), torch.arange(60) % 2)], 3)
        scores.append(detector.score(network, images(9, 1), 3))
    assert torch.allclose(*scores, rtol=1e-3)


def test_out_of_domain_pixels_are_anomalous_where_labels_cannot_saturate():
    """With predicted labels a network that is sure of everything has no gradient, and nothing is left to see."""
    network = linear(torch.randn(3, 16, generator=torch.Generator().manual_seed(3)))
    training, far = images(90, 0, 4), 2550 * images(20, 5, 4)
    labels = network.logits(training).argmax(1)
    for size in (1, 5):
        uniform = SensNorm(labels="uniform", training_labels="uniform")
        uniform.fit(network, [(training, labels)], size)
        normal = uniform.score(network, images(20, 5, 4), size)
        assert uniform.score(network, far, size).min() > 5 * normal.max()
    predicted = SensNorm(augment=False)
    predicted.fit(network, [(training, labels)], 1)
    mean, deviation, _ = predicted._statistics[1]
    nothing = torch.linalg.vector_norm(mean / deviation, 5)
    assert predicted.score(network, far, 1).median() == pytest.approx(float(nothing))


def test_only_small_groups_are_seen_in_eight_views():
    network, calls = linear(torch.randn(2, 4, generator=torch.Generator().manual_seed(0))), []
    network.model.register_forward_hook(lambda module, args, out: calls.append(len(args[0])))
    detector = SensNorm(training_labels="predicted")
    detector.fit(network, [(images(12), torch.arange(12) % 2)], 2)
    detector.fit(network, [(images(12), torch.arange(12) % 2)], 3)
    # predictions, then gradients: of 2 x 8 views group by group, of plain groups at once, in the shape of one
    assert calls == [12 * 8, *[2 * 8] * 6, 12, 3]
    calls.clear()
    SensNorm(augment=True).fit(network, [(images(12), torch.arange(12) % 2)], 3)
    assert calls == [3 * 8] * 4


def test_views():
    pictures = images(3, 0, 6)
    seen = views(pictures)
    assert seen.shape == (3, 8, 1, 6, 6)
    assert torch.equal(seen[:, 0], pictures)
    assert torch.equal(seen[:, 2], pictures.flip(-1).flip(-2))  # half a turn is both flips
    assert torch.equal(seen[:, 4].flip(-1), pictures)
    assert len({tuple(view.flatten().tolist()) for view in seen[0]}) == 8
    flat = torch.full((1, 1, 6, 6), 0.7)
    assert torch.allclose(views(flat), torch.full((1, 8, 1, 6, 6), 0.7))  # nothing is brought in from outside
    with pytest.raises(sw.InputError, match=r"square images, got \(4, 6\)"):
        views(torch.zeros(1, 1, 4, 6))


def test_groups_are_consecutive_whatever_the_batches():
    x, y = torch.arange(23.0).view(23, 1, 1, 1), torch.arange(23)
    for cuts in ([23], [1] * 23, [7, 9, 7]):
        parts = list(regrouped(zip(x.split(cuts), y.split(cuts), strict=True), 5, blocks=8))
        assert torch.cat([labels for _, labels in parts]).tolist() == torch.arange(20).view(4, 5).tolist()
        assert torch.cat([inputs for inputs, _ in parts]).flatten().tolist() == list(range(20))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: SensNorm(p=0.5), "p=0.5"),
        (lambda: SensNorm(labels="true"), "unknown kind of labels 'true'"),
        (lambda: SensNorm().score(linear(torch.ones(2, 4)), images(2), 1), "not fitted for groups of 1"),
        (lambda: SensNorm().fit(linear(torch.ones(2, 4)), [(images(3), torch.zeros(3).long())], 2), "two groups of 2"),
        (lambda: SensNorm().check((3, 8, 7), 2), "square images, got \\(8, 7\\); see groups of more than two"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        call()


def test_a_dead_network_finds_all_inputs_alike():
    dead, detector = linear(torch.zeros(2, 4)), SensNorm(augment=False)
    with pytest.warns(UserWarning, match="no weight's sensitivity varies"):
        detector.fit(dead, [(images(8), torch.zeros(8).long())], 2)
    assert detector.score(dead, images(6, 1), 2).tolist() == [0, 0, 0]


def test_images_of_any_shape_are_seen_where_none_is_turned():
    SensNorm().check((3, 8, 7), 3)
    SensNorm(augment=False).check((3, 8, 7), 1)
