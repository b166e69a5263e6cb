"""Detectors run by pytorch-ood, on features that are computed here; each says what it is given."""

from __future__ import annotations

import importlib.util
import math
from abc import abstractmethod
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from sinewy.detectors.detector import Batches, SingleDetector, features_of
from sinewy.detectors.network import Network
from sinewy.errors import InputError, MissingExtraError


def package() -> Any:
    """Return pytorch_ood.detector; raises MissingExtraError where it is not installed."""
    try:
        return import_module("pytorch_ood.detector")
    except ModuleNotFoundError:
        raise MissingExtraError("these detectors need pytorch-ood: pip install 'sinewy[ood]'") from None


class _OnFeatures(SingleDetector):
    """A detector that is fitted on the training features, those before the last linear layer."""

    fitted = True

    def __init__(self) -> None:
        self._package = package()
        self._detector: Any = None

    def fit(self, network: Network, batches: Batches, size: int = 1) -> None:
        """Fit on features and labels; the size of groups does not matter."""
        del size
        batches = iter(batches)
        first = next(batches)
        features, labels = features_of(network, (first,))
        rest = [features_of(network, (batch,)) for batch in batches]
        everything = torch.cat([features, *(f for f, _ in rest)]), torch.cat([labels, *(n for _, n in rest)])
        layer = network.features(first[0][:1])[2]
        self._detector = self._fitted(layer, *(part.cpu() for part in everything))

    def each(self, network: Network, inputs: Tensor) -> Tensor:
        """Return the score (N,) of each input."""
        features, _, layer = network.features(inputs)
        scores: Tensor = self._scores(layer, features.cpu())
        return scores.to(inputs.device)

    @abstractmethod
    def _fitted(self, layer: torch.nn.Linear, features: Tensor, labels: Tensor) -> Any: ...

    def _scores(self, layer: torch.nn.Linear, features: Tensor) -> Tensor:
        del layer
        scores: Tensor = self._detector.predict_features(features)
        return scores


class Mahalanobis(_OnFeatures):
    """Half the squared Mahalanobis distance to the nearest class mean, shared covariance (Lee et al. 2018)."""

    def _fitted(self, layer: torch.nn.Linear, features: Tensor, labels: Tensor) -> Any:
        del layer
        absent = sorted(set(range(int(labels.max()) + 1)) - set(labels.tolist()))
        if absent:
            raise InputError(f"Mahalanobis needs training images of every class; class {absent[0]} has none.")
        return self._package.Mahalanobis(None).fit_features(features, labels)


class KNN(_OnFeatures):
    """The distance to the k-th nearest training feature, all of length 1 (Sun et al. 2022)."""

    def __init__(self, *, k: int = 50) -> None:
        super().__init__()
        if importlib.util.find_spec("sklearn") is None:
            raise MissingExtraError("detector 'knn' of pytorch-ood needs scikit-learn: pip install scikit-learn")
        if k < 1:
            raise InputError(f"k={k} must be at least 1.")
        self.k = k

    def _fitted(self, layer: torch.nn.Linear, features: Tensor, labels: Tensor) -> Any:
        del layer
        if len(features) < self.k:
            raise InputError(f"KNN needs at least k={self.k} training images, got {len(features)}; set a smaller k.")
        return self._package.KNN(None, k=self.k).fit_features(features, labels)


class ViM(_OnFeatures):
    """Virtual-logit matching: what lies outside the features' main subspace, against the energy (Wang et al. 2022).

    `d` is the dimension of that subspace; None is half the number of features.
    """

    def __init__(self, *, d: int | None = None) -> None:
        super().__init__()
        self.d = d

    def _fitted(self, layer: torch.nn.Linear, features: Tensor, labels: Tensor) -> Any:
        weight = layer.weight.detach().cpu()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu()
        dimension = features.shape[1] // 2 if self.d is None else self.d
        if not 0 < dimension < features.shape[1]:
            raise InputError(f"ViM's d={dimension} must lie between 0 and {features.shape[1]}, the number of features.")
        detector = self._package.ViM(None, d=dimension, w=weight, b=bias).fit_features(features, labels)
        if not math.isfinite(detector.alpha):
            detector.alpha = 0.0  # no training feature leaves the subspace, so nothing sets the two in proportion
        return detector


class ReAct(_OnFeatures):
    """The energy after features are cut at a high percentile of the training ones (Sun et al. 2021)."""

    def __init__(self, *, percentile: float = 0.9) -> None:
        super().__init__()
        self.percentile = percentile

    def _fitted(self, layer: torch.nn.Linear, features: Tensor, labels: Tensor) -> Any:
        return self._package.ReAct(None, _on_cpu(layer), percentile=self.percentile).fit_feature_maps(features, labels)

    def _scores(self, layer: torch.nn.Linear, features: Tensor) -> Tensor:
        self._detector.head = _on_cpu(layer)
        scores: Tensor = self._detector.predict_feature_maps(features)
        return scores


class ASH(SingleDetector):
    """The energy after each input's smaller features are removed and the others scaled up (Djurisic et al. 2023).

    Applied to the features before the last linear layer; negative ones are cut to 0, as the method assumes.
    """

    def __init__(self, *, percentile: float = 0.65, variant: str = "ash-s") -> None:
        self._package = package()
        self.percentile, self.variant = percentile, variant

    def each(self, network: Network, inputs: Tensor) -> Tensor:
        """Return the score (N,) of each input."""
        features, _, layer = network.features(inputs)
        head = torch.nn.Sequential(torch.nn.Flatten(), layer)
        detector = self._package.ASH(None, head, variant=self.variant, percentile=self.percentile)
        positive = features.clamp(min=0)
        scores: Tensor = detector.predict_feature_maps(positive[:, :, None, None].clone())
        # Where no feature is above 0 nothing can be removed or scaled, which the package makes 0 / 0.
        return torch.where(positive.sum(1) > 0, scores, -layer(positive).logsumexp(1))


class ODIN(SingleDetector):
    """The largest softmax probability at a high temperature after a small step towards it (Liang et al. 2018).

    `eps` is in units of the normalised inputs.
    """

    def __init__(self, *, temperature: float = 1000.0, eps: float = 0.0014) -> None:
        self._package = package()
        self.temperature, self.eps = temperature, eps

    def each(self, network: Network, inputs: Tensor) -> Tensor:
        """Return the score (N,) of each input."""
        detector = self._package.ODIN(network.model, eps=self.eps, temperature=self.temperature)
        with torch.enable_grad():
            scores: Tensor = detector.predict(inputs.clone()).detach()
        return scores


def _on_cpu(layer: torch.nn.Linear) -> torch.nn.Linear:
    if layer.weight.device.type == "cpu":
        return layer
    copied = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    copied.load_state_dict({name: value.cpu() for name, value in layer.state_dict().items()})
    return copied
