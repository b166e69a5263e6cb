"""AUROC, average precision and the false positive rate by hand and against sklearn; every detector by one contract."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from torch import nn

import sinewy as sw
from sinewy.analysis import detected
from sinewy.analysis.evidence import Evidence
from sinewy.detectors import DETECTORS
from sinewy.detectors.gradnorm import GradNorm, gradnorm
from sinewy.detectors.logits import MSP, Energy, Entropy
from sinewy.detectors.network import Network
from sinewy.detectors.per_group import HOWS, group_gradients
from sinewy.families import resolve
from sinewy.metrics.detection import auroc, average_precision, false_positive_rate, placements

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=25).map(lambda values: np.array(values, float))
HAS_PACKAGE = importlib.util.find_spec("pytorch_ood") is not None


def test_by_hand():
    normal, odd = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0])
    assert auroc(normal, odd) == pytest.approx((1.5 + 3) / 6)
    assert average_precision(normal, odd) == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)
    assert false_positive_rate(normal, odd) == pytest.approx(2 / 3)  # threshold 2 finds both anomalies
    assert false_positive_rate(normal, odd, recall=0.5) == 0  # threshold 4
    # Of the normal ones at most 3 must be accepted, and so is the anomaly at 2, but not that at 4.
    assert false_positive_rate(normal, odd, positive="normal") == 0.5


@given(SCORES, SCORES)
@settings(max_examples=80, deadline=None)
def test_sklearn_agrees(normal, odd):
    truth = np.repeat([0, 1], [len(normal), len(odd)])
    scores = np.concatenate([normal, odd])
    assert auroc(normal, odd) == pytest.approx(roc_auc_score(truth, scores))
    assert average_precision(normal, odd) == pytest.approx(average_precision_score(truth, scores))
    flipped = average_precision_score(1 - truth, -scores)
    assert average_precision(normal, odd, positive="normal") == pytest.approx(flipped)
    flagged, found, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert false_positive_rate(normal, odd) == pytest.approx(flagged[found >= 0.95 - 1e-9].min())
    accepted, kept, _ = roc_curve(1 - truth, -scores, drop_intermediate=False)
    assert false_positive_rate(normal, odd, positive="normal") == pytest.approx(accepted[kept >= 0.95 - 1e-9].min())


@given(SCORES, SCORES)
@settings(max_examples=40, deadline=None)
def test_placements_and_monotone_scores(normal, odd):
    above, below = placements(normal, odd)
    assert above.mean() == pytest.approx(below.mean())
    assert auroc(np.exp(normal), np.exp(odd)) == pytest.approx(auroc(normal, odd))
    assert auroc(odd, normal) == pytest.approx(1 - auroc(normal, odd))


@pytest.mark.skipif(not HAS_PACKAGE, reason="pytorch-ood is an extra")
def test_pytorch_ood_agrees():
    from pytorch_ood.metrics import OODMetrics

    generator = np.random.default_rng(0)
    normal, odd = generator.normal(size=400), generator.normal(1, 1.5, size=300)
    meter = OODMetrics()
    truth = torch.cat([torch.zeros(400), -torch.ones(300)]).long()
    meter.update(torch.tensor(np.concatenate([normal, odd])), truth)
    theirs = meter.compute()
    assert auroc(normal, odd) == pytest.approx(float(theirs["AUROC"]), abs=1e-6)
    assert false_positive_rate(normal, odd) == pytest.approx(float(theirs["FPR95TPR"]), abs=1e-6)
    # Theirs is the trapezoid under the curve, which differs from the sum over steps by little.
    assert average_precision(normal, odd) == pytest.approx(float(theirs["AUPR-OUT"]), abs=5e-3)


def test_intervals_of_auroc_cover_and_cancel():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        normal, odd = generator.normal(size=60), generator.normal(1.0, 1, size=50)
        scores = {"m": {"normal": {"d/1": normal}, "odd": {"d/1": odd}}}
        [own] = [f for f in detected.findings(Evidence("m", {"m": {}}, scores)) if f.measure == "AUROC"]
        covered += own.estimate.low <= 0.7602 <= own.estimate.high  # Phi(1 / sqrt(2))
    assert 180 <= covered <= 200
    twice = {name: {"normal": {"d/1": normal}, "odd": {"d/1": odd}} for name in ("a", "b")}
    findings = detected.findings(Evidence("a", {"a": {}, "b": {}}, twice))
    [difference] = [f.difference for f in findings if f.measure == "AUROC" and f.method == "b"]
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)  # the same scores, pair by pair


@pytest.mark.parametrize(("count", "low"), [(10, 0.800), (100, 0.9804)])
def test_a_perfect_auroc_of_few_scores_is_not_certain(count, low):
    """At 0.8 and 10 scores each, 100 * 0.2 = 20.0 is about 3.84 * 0.8 * (1 + 9 * (0.2 / 1.2 + 0.8 / 1.8)) = 19.98."""
    scores = {"m": {"normal": {"d/1": np.arange(count)}, "odd": {"d/1": np.arange(count) + 1000.0}}}
    [own] = [f for f in detected.findings(Evidence("m", {"m": {}}, scores)) if f.measure == "AUROC"]
    assert (own.estimate.value, own.estimate.high) == (1, 1)
    assert own.estimate.low == pytest.approx(low, abs=1e-3)
    turned = {"m": {"normal": scores["m"]["odd"], "odd": scores["m"]["normal"]}}
    [other] = [f for f in detected.findings(Evidence("m", {"m": {}}, turned)) if f.measure == "AUROC"]
    assert (other.estimate.value, other.estimate.low) == (0, 0)
    assert other.estimate.high == pytest.approx(1 - own.estimate.low)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: auroc(np.array([]), np.array([1.0])), "normal scores must be"),
        (lambda: auroc(np.array([1.0]), np.array([np.nan, 1])), "1 of 2 anomalous scores are NaN"),
        (lambda: average_precision(np.ones(2), np.ones(2), positive="odd"), "unknown positive class 'odd'"),
        (lambda: false_positive_rate(np.ones(2), np.ones(2), recall=0), "recall=0"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(sw.InputError, match=sentence):
        call()


def blobs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of three classes, each bright in its own channel."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (n,), generator=generator)
    images = 0.3 * torch.randn(n, 3, 8, 8, generator=generator)
    images[torch.arange(n), labels] += 1
    return images, labels


@pytest.fixture(scope="module")
def network() -> Network:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 16),
        nn.ReLU(),
        nn.Linear(16, 3),
    )
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    images, labels = blobs(256, 0)
    for _ in range(40):
        adam.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        adam.step()
    adam.zero_grad()
    return Network(model.eval().requires_grad_(requires_grad=False))


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("size", [1, 5])
def test_every_detector(name, size, network):
    if "external" in DETECTORS[name] and not HAS_PACKAGE:
        pytest.skip("pytorch-ood is an extra")
    detector = resolve("detector", name, DETECTORS)()
    images, _ = blobs(100, 1)
    mixed = (images + images.roll(1, 1)) / 2  # bright in two channels: between the classes
    before = {key: value.clone() for key, value in network.model.state_dict().items()}
    if detector.fitted:
        training, labels = blobs(300, 2)
        detector.fit(network, zip(training.split(64), labels.split(64), strict=True), size)
    normal, odd = (detector.score(network, part, size).double() for part in (images, mixed))
    assert normal.shape == odd.shape == (100 // size,)
    assert normal.isfinite().all()
    assert torch.allclose(detector.score(network, images, size).double(), normal)
    assert auroc(normal.numpy(), odd.numpy()) > 0.7
    if size == 1:  # an input's score does not depend on what is scored with it
        assert torch.allclose(detector.score(network, images[:7], 1).double(), normal[:7], atol=1e-4)
    assert all(torch.equal(value, before[key]) for key, value in network.model.state_dict().items())
    assert not any(parameter.grad is not None for parameter in network.model.parameters())


def test_formulas():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    p = np.exp(2) / (np.exp(2) + 2)
    assert MSP().of_logits(logits).tolist() == pytest.approx([-p, -1 / 3])
    assert Energy().of_logits(logits).tolist() == pytest.approx([-np.log(np.exp(2) + 2), -np.log(3)], abs=1e-6)
    assert Energy(temperature=2.0).of_logits(logits)[1].item() == pytest.approx(-2 * np.log(3))
    assert Entropy().of_logits(logits)[1].item() == pytest.approx(np.log(3))
    sure = torch.tensor([[60.0, 0.0], [80.0, 0.0]])
    assert MSP().of_logits(torch.tensor([[30.0, 0.0], [33.0, 0.0]])).diff() < 0  # float32 alone would call both -1
    assert torch.isfinite(Entropy().of_logits(sure)).all()


def test_gradnorm_in_closed_form_is_the_gradient(network):
    images, labels = blobs(6, 3)
    features, logits, layer = network.features(images)
    name = next(key for key, module in network.model.named_modules() if module is layer)
    weights = {f"{name}.weight": layer.weight}

    def to_uniform(outputs: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
        return -(outputs / 2.0).log_softmax(1).sum(1).mean()

    [gradients] = group_gradients(network.model, weights, images[:, None], labels[:, None], to_uniform)
    assert gradnorm(features, logits, 2.0).tolist() == pytest.approx(gradients.abs().sum(1).tolist(), rel=1e-4)
    assert torch.equal(GradNorm(temperature=2.0).each(network, images), -gradnorm(features, logits, 2.0))


class Odd(nn.Module):
    """Strides, dilation, groups, a shortcut and a linear layer on three dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
        self.two = nn.Conv2d(6, 6, 3, padding=2, dilation=2, bias=False)
        self.three, self.four = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.one(x))
        x = torch.relu(x + self.two(x)).flatten(2).transpose(1, 2)
        return self.four(torch.relu(self.three(x)).mean(1))


class Shared(nn.Module):
    """One layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 3, 1), nn.Linear(3, 3)

    def forward(self, x):
        return self.two(self.one(torch.relu(self.one(x))).mean((2, 3)))


@pytest.mark.parametrize("model", [Odd(), Shared(), "network"], ids=["odd", "shared", "small"])
def test_gradients_of_groups_are_the_same_in_every_way(model, network):
    model = network.model if model == "network" else model
    images, labels = blobs(12, 4)
    weights = {name: p for name, p in model.named_parameters() if p.ndim > 1}
    grouped = images.view(3, 4, 3, 8, 8), labels.view(3, 4)
    loss = nn.functional.cross_entropy
    found = {how: torch.cat(list(group_gradients(model, weights, *grouped, loss, how=how))) for how in (*HOWS, None)}
    assert found["in turn"].shape == (3, sum(w.numel() for w in weights.values()))
    assert found["in turn"].abs().max() > 1e-6
    for values in found.values():
        assert torch.allclose(values, found["in turn"], atol=1e-6 * float(found["in turn"].abs().max()), rtol=1e-3)


class Branching(nn.Module):
    """A model that torch.func cannot map, for it looks at its values."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 3)

    def forward(self, x):
        x = x.flatten(1)
        return self.linear(x if float(x.detach().sum()) > 1e9 else 2 * x)


def test_a_model_that_cannot_be_mapped_goes_in_turn():
    model, (images, labels) = Branching(), blobs(6, 4)
    weights, grouped = {"linear.weight": model.linear.weight}, (images[:, None], labels[:, None])
    ways = [
        list(group_gradients(model, weights, *grouped, nn.functional.cross_entropy, how=how))
        for how in (None, "in turn")
    ]
    assert torch.equal(*(torch.cat(way) for way in ways))


def test_a_model_without_a_last_linear_layer():
    pooled = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(sw.InputError, match="last step is an nn.Linear"):
        GradNorm().each(Network(pooled), torch.rand(2, 3, 4, 4))
