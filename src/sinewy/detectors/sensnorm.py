"""SensNorm: inputs are anomalous where the loss is sensitive to other weights than on training data.

Ayle et al. 2022, section 6 and equation 1. Where the text is silent, what is done here is an option or said below.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sinewy.detectors.detector import Batches, Detector
from sinewy.detectors.network import Network
from sinewy.detectors.per_group import group_gradients
from sinewy.detectors.views import check_square, views
from sinewy.errors import InputError, unknown_name
from sinewy.layers import prunable

LABELS = ("predicted", "true", "uniform")
AUGMENT_UP_TO = 2
"""Groups of so few inputs are seen in eight views each (appendix A of the paper: "sizes 2 and 1")."""


class SensNorm(Detector):
    """The p-norm of the standardised sensitivities of the weights to the loss on a group of inputs.

    The sensitivity of a weight is w dL/dw, signed, L the mean cross-entropy over the group. Its mean and standard
    deviation are taken over groups of the same size of training data. Weights that never vary there (pruned ones, dead
    units) are left out. In the paper the training statistics are subtracted twice; once is meant, since standardised
    training sensitivities have mean 0. `labels` of test inputs are the predictions (not said in the paper) or
    "uniform"; a network that is sure of what it predicts has no gradient, so far inputs can look calm with predictions.
    `training_labels` are the true ones, or either of these. `augment` None sees groups of one or two inputs
    in eight views, as one batch.
    """

    fitted = True

    def __init__(
        self,
        *,
        p: float = 5.0,
        labels: str = "predicted",
        training_labels: str = "true",
        augment: bool | None = None,
    ) -> None:
        if not p >= 1:
            raise InputError(f"p={p} must be at least 1; the paper uses 5.")
        for choice, known in ((labels, ("predicted", "uniform")), (training_labels, LABELS)):
            if choice not in known:
                raise unknown_name("kind of labels", choice, known)
        self.p, self.labels, self.training_labels, self.augment = p, labels, training_labels, augment
        self._statistics: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def check(self, shape: Sequence[int], size: int) -> None:
        """Raise InputError for images that are not square, where groups of `size` are seen in turned views."""
        if self._augments(size):
            check_square(shape)

    def fit(self, network: Network, batches: Batches, size: int = 1) -> None:
        """Take mean and deviation of every weight's sensitivity over groups of `size` training inputs.

        A rest that fills no group is left out. Raises InputError for fewer than two groups. A network on which no
        sensitivity varies, because all its units are dead, is warned of: it will find every input alike, score 0.
        """
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for inputs, labels in regrouped(batches, size):
            for part in self._sensitivities(network, inputs, labels, self.training_labels):
                # Merging means and sums of squares of parts loses no digits, as a difference of large sums would.
                own, number = part.double().mean(0), len(part)
                apart = own - mean.to(own)
                share = number / (count + number)
                squares = squares.to(own) + (part.double() - own).square().sum(0) + apart.square() * count * share
                mean, count = mean.to(own) + apart * share, count + number
        if count < 2:
            raise InputError(f"SensNorm needs at least two groups of {size} training inputs, got {count}.")
        deviation = (squares / count).sqrt()
        varies = deviation > 1e-12 * deviation.max()
        if not varies.any():
            said = "no weight's sensitivity varies over the training data; every input scores 0. Is the network dead?"
            warnings.warn(said, stacklevel=2)
        self._statistics[size] = (mean[varies], deviation[varies], varies)

    def score(self, network: Network, inputs: Tensor, size: int = 1) -> Tensor:
        """Return one score (N // size,) per group; raises InputError if it was not fitted for groups of `size`."""
        if size not in self._statistics:
            raise InputError(f"SensNorm was not fitted for groups of {size}.")
        mean, deviation, varies = self._statistics[size]
        groups = inputs.view(-1, size, *inputs.shape[1:])
        if not varies.any():
            return torch.zeros(len(groups), dtype=torch.float64, device=inputs.device)
        parts = self._sensitivities(network, groups, None, self.labels)
        standardised = [(part.double()[:, varies] - mean) / deviation for part in parts]
        return torch.cat([torch.linalg.vector_norm(part, self.p, dim=1) for part in standardised])

    def _sensitivities(self, network: Network, groups: Tensor, labels: Tensor | None, which: str) -> Iterator[Tensor]:
        """Yield (some groups, weights): w dL/dw for groups (G, B, C, H, W) and labels (G, B)."""
        size = groups.shape[1]
        if self._augments(size):
            flat = groups.flatten(0, 1)
            groups = views(flat).view(len(groups), -1, *flat.shape[1:])
            labels = None if labels is None else labels.repeat_interleave(groups.shape[1] // size, dim=1)
        if labels is None or which != "true":
            logits = network.logits(groups.flatten(0, 1))
            labels = logits.argmax(1).view(groups.shape[:2])
        weights = dict(prunable(network.model))
        flat_weights = torch.cat([weight.detach().flatten() for weight in weights.values()])
        loss = _uniform if which == "uniform" else F.cross_entropy
        for gradients in group_gradients(network.model, weights, groups, labels, loss):
            yield gradients * flat_weights

    def _augments(self, size: int) -> bool:
        return size <= AUGMENT_UP_TO if self.augment is None else self.augment


def regrouped(batches: Batches, size: int, blocks: int = 256) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs (groups, size, C, H, W) and labels (groups, size) of consecutive inputs; a rest is left out."""
    inputs, labels = [], []
    for images, answers in batches:
        inputs.append(images)
        labels.append(answers)
        held = sum(map(len, labels))
        if held >= max(size, blocks):
            full = held // size * size
            pixels, numbers = torch.cat(inputs), torch.cat(labels)
            yield _grouped(pixels[:full], size), _grouped(numbers[:full], size)
            inputs, labels = [pixels[full:]], [numbers[full:]]
    held = sum(map(len, labels))
    if held >= size:
        full = held // size * size
        yield _grouped(torch.cat(inputs)[:full], size), _grouped(torch.cat(labels)[:full], size)


def _uniform(logits: Tensor, labels: Tensor) -> Tensor:
    del labels
    return -logits.log_softmax(1).mean(1).mean()


def _grouped(rows: Tensor, size: int) -> Tensor:
    return rows.reshape(-1, size, *rows.shape[1:])
