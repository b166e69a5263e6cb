"""A classifier seen as features and a last linear layer, which is how most detectors look at it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sinewy.errors import InputError


class Network:
    """A frozen classifier: logits of normalised inputs, and the features that its last linear layer turns into them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, classes), without a graph."""
        with torch.no_grad():
            found: Tensor = self.model(inputs)
        return found

    def features(self, inputs: Tensor) -> tuple[Tensor, Tensor, nn.Linear]:
        """Return the features (N, D), the logits (N, classes), and the layer between them.

        Raises InputError for a model that does not end in a linear layer.
        """
        seen: list[tuple[nn.Linear, Tensor, Tensor]] = []
        hooks = [
            module.register_forward_hook(lambda layer, args, out: seen.append((layer, args[0], out)))
            for module in self.model.modules()
            if isinstance(module, nn.Linear)
        ]
        try:
            logits = self.logits(inputs)
        finally:
            for hook in hooks:
                hook.remove()
        if not seen or seen[-1][2].shape != logits.shape or not torch.equal(seen[-1][2], logits):
            raise InputError("this detector needs a model whose last step is an nn.Linear that returns the logits.")
        layer, features, _ = seen[-1]
        return features, logits, layer
