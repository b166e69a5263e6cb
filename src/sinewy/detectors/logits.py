"""Detectors that read the logits: four formulas."""

from __future__ import annotations

from torch import Tensor

from sinewy.detectors.detector import LogitsDetector
from sinewy.errors import InputError


class MSP(LogitsDetector):
    """Minus the largest softmax probability (Hendrycks and Gimpel 2017)."""

    def of_logits(self, logits: Tensor) -> Tensor:
        """Return -max p."""
        # The runner-ups' share is computed without 1 - p, which would round to 0 for confident inputs.
        ahead = logits.double() - logits.double().amax(1, keepdim=True)
        return -1 / ahead.exp().sum(1)


class MaxLogit(LogitsDetector):
    """Minus the largest logit (Hendrycks et al. 2022)."""

    def of_logits(self, logits: Tensor) -> Tensor:
        """Return -max z."""
        return -logits.amax(1)


class Energy(LogitsDetector):
    """Minus the free energy, -T logsumexp(z / T) (Liu et al. 2020)."""

    def __init__(self, *, temperature: float = 1.0) -> None:
        if not temperature > 0:
            raise InputError(f"temperature={temperature} must be above 0.")
        self.temperature = temperature

    def of_logits(self, logits: Tensor) -> Tensor:
        """Return -T logsumexp(z / T)."""
        return -self.temperature * (logits / self.temperature).logsumexp(1)


class Entropy(LogitsDetector):
    """The entropy of the softmax, in nats."""

    def of_logits(self, logits: Tensor) -> Tensor:
        """Return -sum p log p."""
        log_probability = logits.double().log_softmax(1)
        return -(log_probability.exp() * log_probability).sum(1)
