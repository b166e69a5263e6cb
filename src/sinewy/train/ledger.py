"""What training cost, step by step: 3 x forward x examples at that step's density, plus dense gradients."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from sinewy.metrics.cost import layer_flops, measure_cost
from sinewy.records import Cost
from sinewy.sparsify.base import Sparsifier


class Ledger:
    """Training FLOPs so far, for the sparse model and for a dense one on the same examples."""

    def __init__(self, model: nn.Module, example: Tensor, sparsifier: Sparsifier) -> None:
        self._per_layer = layer_flops(model, example)
        self._sparsifier = sparsifier
        self._dense_forward = sum(self._per_layer.values())
        self._forward = self._masked_forward()
        self.dense = 0.0
        self.sparse = 0.0

    def _masked_forward(self) -> float:
        layers = {layer.name: layer.nonzero / layer.weights for layer in self._sparsifier.masks.layers}
        return sum(flops * layers.get(name, 1.0) for name, flops in self._per_layer.items())

    def count(self, examples: int) -> None:
        """Add one optimizer step on `examples` examples; call it after the step."""
        self.dense += 3 * self._dense_forward * examples
        self.sparse += 3 * self._forward * examples
        if self._sparsifier.is_update(self._sparsifier.step):
            if self._sparsifier.dense_gradient:  # the weight gradient of this step was needed in full
                self.sparse += (self._dense_forward - self._forward) * examples
            self._forward = self._masked_forward()

    def cost(self, model: nn.Module, example: Tensor) -> Cost:
        """Return inference and training cost together."""
        now = measure_cost(model, example, self._sparsifier.masks)
        return Cost(
            parameters=now.parameters,
            nonzero_parameters=now.nonzero_parameters,
            dense_inference_flops=now.dense_inference_flops,
            inference_flops=now.inference_flops,
            dense_training_flops=self.dense,
            training_flops=self.sparse,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return the counts so far."""
        return {"dense": self.dense, "sparse": self.sparse}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`; call it after the sparsifier's state is loaded."""
        self.dense, self.sparse = state["dense"], state["sparse"]
        self._forward = self._masked_forward()
