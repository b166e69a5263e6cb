"""What every objective is, and the plain one: cross-entropy on the batch as it is."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.families import check_options, resolve
from sinewy.objectives import OBJECTIVES


class Objective(ABC):
    """A loss of a batch: of its images, and of others that the objective makes or brings.

    `data` is the training set, whose `mean` and `std` the images are normalised with. `seed` fixes what is drawn.
    """

    def __init__(self, data: ImageSet, *, label_smoothing: float = 0.0, seed: int = 0) -> None:
        self.data, self.label_smoothing, self.seed = data, label_smoothing, seed

    @abstractmethod
    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return (loss, logits) of normalised images (N,3,H,W) and labels (N,) at optimizer step `step`.

        What is drawn depends on (seed, step) only, so that training goes on alike after a resume. The logits are those
        that training accuracy is taken from.
        """

    def cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy, labels smoothed as asked."""
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)


class CrossEntropy(Objective):
    """Cross-entropy on the batch as it is."""

    def __call__(self, model: nn.Module, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Return the loss and the logits."""
        del step
        logits = model(images)
        return self.cross_entropy(logits, labels), logits


def make_objective(name: str, data: ImageSet, *, label_smoothing: float, seed: int, **options: Any) -> Objective:
    """Return the objective of that name, or your own "package.module:Class"; raises InputError for unknown options."""
    kind = resolve("objective", name, OBJECTIVES)
    if not (isinstance(kind, type) and issubclass(kind, Objective)):
        raise InputError(f"'{name}' is not a sinewy.objectives.plain.Objective class.")
    parameters = inspect.signature(kind).parameters.values()
    own = {p.name: p for p in parameters if p.name not in ("data", "label_smoothing", "seed")}
    check_options(name, options, sorted(own))
    for option, parameter in own.items():
        required = parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
        if required and option not in options:
            raise InputError(f"objective '{name}' needs {option}: {{name: {name}, {option}: ...}}.")
    made: Objective = kind(data, label_smoothing=label_smoothing, seed=seed, **options)
    return made
