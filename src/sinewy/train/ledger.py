"""What training cost, step by step: forward and backward products at that step's density, dense gradients in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from sinewy.masks import Masks
from sinewy.metrics.cost import layer_flops, measure_cost
from sinewy.records import Cost
from sinewy.sparsify.base import Sparsifier


class Ledger:
    """Training FLOPs so far, for the sparse model and for a dense one on the same examples.

    A step costs two products with the kept weights (forward, gradient of the inputs) and one for the gradient of the
    weights: of those that the method trains, or of all of them where it reads the dense gradient.
    """

    def __init__(self, model: nn.Module, example: Tensor, sparsifier: Sparsifier) -> None:
        self._per_layer = layer_flops(model, example)
        self._sparsifier = sparsifier
        self._dense_forward = sum(self._per_layer.values())
        self._look()
        self.examples = 0
        self.sparse = 0.0

    def _look(self) -> None:
        self._forward = self._masked(self._sparsifier.masks)
        self._gradient = self._masked(self._sparsifier.trained)

    def _masked(self, masks: Masks) -> float:
        layers = {layer.name: layer.nonzero / layer.weights for layer in masks.layers}
        return sum(flops * layers.get(name, 1.0) for name, flops in self._per_layer.items())

    @property
    def dense(self) -> float:
        """What a dense model would have cost so far."""
        return 3 * self._dense_forward * self.examples

    def count(self, examples: int) -> None:
        """Add one optimizer step on `examples` examples; call it after the step."""
        sparsifier = self._sparsifier
        moved = sparsifier.is_update(sparsifier.step)
        reads_all = sparsifier.watches_gradient or (moved and sparsifier.dense_gradient)
        gradient = self._dense_forward if reads_all else self._gradient
        self.examples += examples
        self.sparse += (2 * self._forward + gradient) * examples
        if moved:
            self._look()

    def cost(self, model: nn.Module, example: Tensor) -> Cost:
        """Return inference and training cost together."""
        now = measure_cost(model, example, self._sparsifier.masks)
        formula = self._sparsifier.training_flops(now.inference_flops, now.dense_inference_flops)
        return replace(
            now,
            dense_training_flops=self.dense,
            training_flops=self.sparse,
            closed_form_training_flops=formula * self.examples,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts so far."""
        return {"examples": self.examples, "sparse": self.sparse}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`; call it after the sparsifier's state is loaded."""
        self.examples, self.sparse = state["examples"], state["sparse"]
        self._look()
