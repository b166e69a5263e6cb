"""GradNorm: in-distribution inputs pull the weights harder towards a uniform answer (Huang, Geng and Li 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.detectors.detector import Detector, SingleDetector
from sinewy.detectors.network import Network
from sinewy.detectors.per_group import group_gradients
from sinewy.errors import InputError
from sinewy.layers import prunable


class GradNorm(SingleDetector):
    """Minus the L1 norm of the gradient of sum_c -log p_c with respect to the last layer's weights, in closed form.

    It is |h|_1 sum_c |C p_c - 1| / T for features h and C classes; the published code sums over classes as well.
    """

    def __init__(self, *, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise InputError(f"temperature={temperature} must be above 0.")
        self.temperature = temperature

    def each(self, network: Network, inputs: Tensor) -> Tensor:
        """Return the score (N,) of each input; needs a model that ends in a linear layer."""
        features, logits, _ = network.features(inputs)
        return -gradnorm(features, logits, self.temperature)


class GradNormAll(Detector):
    """Minus the L1 norm of the same gradient with respect to all prunable weights; a group counts as one batch."""

    def score(self, network: Network, inputs: Tensor, size: int = 1) -> Tensor:
        """Return one score (N // size,) per group."""
        groups = inputs.view(-1, size, *inputs.shape[1:])
        unused = torch.zeros(groups.shape[:2], dtype=torch.int64, device=inputs.device)
        weights = dict(prunable(network.model))
        parts = group_gradients(network.model, weights, groups, unused, _uniform)
        return torch.cat([-part.double().abs().sum(1) for part in parts])


def gradnorm(features: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Return the L1 norm (N,) of the gradient with respect to the weights of the layer from features to logits."""
    probability = (logits.double() / temperature).softmax(1)
    pull = (logits.shape[1] * probability - 1).abs().sum(1) / temperature
    return features.double().abs().sum(1) * pull


def _uniform(logits: Tensor, labels: Tensor) -> Tensor:
    del labels
    return -logits.log_softmax(1).sum(1).mean()
