"""What a detector is: fitted on normal data, it gives every group of inputs a score, larger for more anomalous ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from sinewy.detectors.network import Network

Batches = Iterable[tuple[Tensor, Tensor]]
"""Normalised inputs (N, C, H, W) and labels (N,)."""


class Detector(ABC):
    """Scores groups of `size` inputs that are known to be of one kind; single inputs are groups of one."""

    fitted = False
    """Whether `fit` must be called first."""

    def check(self, shape: Sequence[int], size: int) -> None:
        """Raise InputError where groups of `size` images of `shape` (C, H, W) cannot be scored; most score all."""
        del shape, size

    def fit(self, network: Network, batches: Batches, size: int = 1) -> None:
        """Learn from training data what is normal, for groups of `size` inputs; most detectors learn nothing."""
        del network, batches, size

    @abstractmethod
    def score(self, network: Network, inputs: Tensor, size: int = 1) -> Tensor:
        """Return one score (N // size,) per group of `size` consecutive inputs, larger is more anomalous.

        N must be a multiple of `size`.
        """


class SingleDetector(Detector):
    """A detector of single inputs; the score of a group is the mean of its inputs' scores."""

    def score(self, network: Network, inputs: Tensor, size: int = 1) -> Tensor:
        """Return one score (N // size,) per group."""
        return self.each(network, inputs).double().view(-1, size).mean(1)

    @abstractmethod
    def each(self, network: Network, inputs: Tensor) -> Tensor:
        """Return the score (N,) of each input, larger is more anomalous."""


class LogitsDetector(SingleDetector):
    """A detector that looks at the logits only."""

    def each(self, network: Network, inputs: Tensor) -> Tensor:
        """Return the score (N,) of each input."""
        return self.of_logits(network.logits(inputs))

    @abstractmethod
    def of_logits(self, logits: Tensor) -> Tensor:
        """Return the score (N,) of logits (N, classes)."""


def features_of(network: Network, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return the features (N, D) and labels (N,) of all batches."""
    pairs = [(network.features(inputs)[0], labels) for inputs, labels in batches]
    return torch.cat([features for features, _ in pairs]), torch.cat([labels for _, labels in pairs])
