"""What every criterion is: scores for the weights of a network, from its data where it needs any."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from sinewy.masks import Masks

Batch = tuple[Any, Any]
"""Inputs as the model takes them, and labels as the loss takes them."""

Loss = Callable[[Any, Any], Tensor]
"""(outputs, labels) to a scalar, the mean over the batch."""

Need = Literal["nothing", "shape", "inputs", "labels"]
"""What of the training data scores depend on: nothing, only the shape of inputs, inputs, or inputs and labels."""


@dataclass(frozen=True)
class Subject:
    """What a criterion may look at: a private copy of the model, with its present masks applied.

    `parameters` are the prunable ones of that copy, by name; `batches` are training data on the model's device (inputs
    alone come with labels None); `generator` lives on the CPU. Nothing done to the copy reaches the user's model.
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    masks: Masks
    batches: Sequence[Batch]
    loss: Loss
    generator: torch.Generator


class Criterion(ABC):
    """Scores every prunable weight; the largest scores are kept."""

    needs: ClassVar[Need] = "nothing"
    """What of the training data the scores depend on."""

    batches: ClassVar[int] = 1
    """How many batches of it `sw.prune` takes unless told."""

    def stages(self, sparsity: float) -> Sequence[float]:
        """Return the ascending sparsities at which to score and prune in turn; the last is `sparsity`."""
        return (sparsity,)

    @abstractmethod
    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return a score per weight, by parameter name and of its shape; larger is kept. Pruned weights' are unused."""
