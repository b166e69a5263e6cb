"""Every detector against pytorch-ood's own pipeline: its fitting, its encoder and head, its scores."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sinewy as sw
from sinewy.detectors import DETECTORS
from sinewy.detectors.network import Network
from sinewy.families import resolve

theirs = pytest.importorskip("pytorch_ood.detector")


def blobs(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of four classes, each bright in its own corner."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    images = 0.4 * torch.randn(n, 3, 8, 8, generator=generator)
    for number in range(4):
        images[labels == number, :, 4 * (number % 2) :, 4 * (number // 2) :] += 0.7
    return images, labels


@pytest.fixture(scope="module")
def model() -> nn.Sequential:
    """A backbone that ends in non-negative features, and a last linear layer."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 24), nn.ReLU()
    )
    found = nn.Sequential(backbone, nn.Linear(24, 4))
    adam, (images, labels) = torch.optim.Adam(found.parameters(), lr=1e-2), blobs(256, 0)
    for _ in range(60):
        adam.zero_grad()
        nn.functional.cross_entropy(found(images), labels).backward()
        adam.step()
    return found.eval().requires_grad_(requires_grad=False)


def as_map(features: torch.Tensor) -> torch.Tensor:
    return features[:, :, None, None]


ORACLES = {
    "msp": lambda m: theirs.MaxSoftmax(m),
    "max-logit": lambda m: theirs.MaxLogit(m),
    "energy": lambda m: theirs.EnergyBased(m),
    "entropy": lambda m: theirs.Entropy(m),
    "gradnorm": lambda m: theirs.GradNorm(m, param_filter=lambda name: name == "1.weight"),
    "gradnorm-all": lambda m: theirs.GradNorm(m, param_filter=lambda name: name.endswith("weight")),
    "odin": lambda m: theirs.ODIN(m),
    "mahalanobis": lambda m: theirs.Mahalanobis(m[0]),
    "knn": lambda m: theirs.KNN(m[0], k=50),
    "react": lambda m: theirs.ReAct(m[0], m[1]),
    "ash": lambda m: theirs.ASH(lambda x: as_map(m[0](x)), nn.Sequential(nn.Flatten(), m[1]), variant="ash-s"),
    "vim": lambda m: theirs.ViM(m[0], d=12, w=m[1].weight, b=m[1].bias),
}


def test_all_but_sensnorm_have_an_oracle():
    assert set(DETECTORS) - set(ORACLES) == {"sensnorm"}


@pytest.mark.parametrize("name", ORACLES)
def test_scores_are_those_of_pytorch_ood(name, model):
    network, (images, _) = Network(model), blobs(60, 1)
    images[30:] = images[30:].flip(2) + 0.5 * torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(2))
    training, labels = blobs(300, 3)
    detector, oracle = resolve("detector", name, DETECTORS)(), ORACLES[name](model)
    if detector.fitted:
        detector.fit(network, zip(training.split(64), labels.split(64), strict=True))
        oracle.fit(DataLoader(TensorDataset(training, labels), batch_size=64))
    found = detector.score(network, images).float()
    # Their gradients are averaged over classes, ours summed, as in the authors' code.
    scale = 4 if name.startswith("gradnorm") else 1
    expected = scale * oracle.predict(images).detach().float()
    assert found.std() > 0
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max())), name


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("knn", {"k": 999}, "KNN needs at least k=999 training images, got 64"),
        ("knn", {"k": 0}, "k=0"),
        ("vim", {"d": 24}, "ViM's d=24 must lie between 0 and 24"),
        ("mahalanobis", {}, "class 1 has none"),
    ],
)
def test_bad_input(name, options, sentence, model):
    images, labels = blobs(64, 0)
    with pytest.raises(sw.InputError, match=sentence):
        resolve("detector", name, DETECTORS)(**options).fit(Network(model), [(images, labels.where(labels != 1, 0))])


@pytest.mark.parametrize("name", ["ash", "vim", "react", "knn", "mahalanobis", "gradnorm"])
def test_images_and_networks_without_any_feature_have_a_score(name, model):
    """A ReLU before the last layer can leave an image, or all of them, nothing."""
    images, labels = blobs(64, 0)
    dead = copy.deepcopy(model)
    dead[0][4].weight.zero_()
    dead[0][4].bias.fill_(-1.0)
    for own, shown in ((dead, images), (model, torch.full_like(images[:2], -9e3))):
        network, detector = Network(own), resolve("detector", name, DETECTORS)()
        if detector.fitted:
            detector.fit(network, [(images, labels)])
        assert detector.score(network, shown).isfinite().all()


def test_without_a_feature_above_zero_ash_is_the_energy_of_the_bias(model):
    alive, dead = torch.randn(24).abs(), torch.zeros(24)
    head = Network(nn.Sequential(nn.Flatten(), model[1]))
    found = resolve("detector", "ash", DETECTORS)().score(head, torch.stack([alive, dead]).view(2, 1, 4, 6))
    assert float(found[1]) == pytest.approx(-float(model[1].bias.logsumexp(0)))
    expected = theirs.ASH(None, nn.Sequential(nn.Flatten(), model[1]), variant="ash-s")
    assert float(found[0]) == pytest.approx(float(expected.predict_feature_maps(alive.view(1, 24, 1, 1).clone())))
