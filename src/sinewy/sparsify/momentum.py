"""Growth by momentum: a running mean of the dense gradient says where weights are missing, and in which tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.select import largest_mask
from sinewy.sparsify.dynamic import DynamicSparsifier, require
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.timing import Moment


class SNFS(DynamicSparsifier):
    """Grow by momentum magnitude, and move weights to the tensors where it is largest (Dettmers and Zettlemoyer 2019).

    Each epoch `fraction` (0.2, falling along a cosine) of each tensor's smallest magnitudes go; all that went is shared
    among tensors in proportion to the mean momentum magnitude of their kept weights (`redistribute`; RigL's code of
    SNFS leaves each tensor its own number), and grows where the momentum of pruned weights is largest. The momentum is
    a running mean, with `momentum` 0.9, of the dense gradient of every step (they cost FLOPs, and are counted); it is
    the method's own, so that any optimizer will do.
    """

    watches_gradient = True

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        momentum: float = 0.9,
        redistribute: bool = True,
        every: Moment = "1ep",
        fraction: float = 0.2,
        stop: float = 1.0,
        replace_step: bool = False,
        **options: Any,
    ) -> None:
        require("momentum", momentum, 0 <= momentum < 1, "in [0, 1)")
        self.momentum, self.redistribute = momentum, redistribute
        super().__init__(sparsity, every=every, fraction=fraction, stop=stop, replace_step=replace_step, **options)
        if self.initial is not None or self.grow != "random":
            raise InputError("SNFS grows by momentum at constant sparsity; it takes no grow and no initial.")
        self.grow = "momentum"

    @torch.no_grad()
    def observe(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Take the dense gradients of this step into the running means."""
        for name, layer in self.movable.items():
            if "momentum" not in layer.memory:
                layer.memory["momentum"] = torch.zeros_like(layer.weight)
            gradient = gradients[name]
            if gradient is not None:
                layer.memory["momentum"].lerp_(gradient, 1 - self.momentum)

    def budgets(self) -> dict[str, int]:
        """Return what survives in each tensor plus its share of what went."""
        kept = super().budgets()
        if not self.redistribute:
            return kept
        training = {name: layer for name, layer in self.movable.items() if layer.parameter.requires_grad}
        drops = {name: int(layer.kept * self.drop_fraction(self.step)) for name, layer in training.items()}
        room = {name: layer.mask.numel() - layer.kept + drops[name] for name, layer in training.items()}
        gains = share_out(sum(drops.values()), {name: _mean_size(layer) for name, layer in training.items()}, room)
        return kept | {name: kept[name] - drops[name] + gains[name] for name in training}

    def survivors(self, layer: SparseLayer, gradient: Tensor | None, budget: int) -> Tensor:
        """Return the kept weights of largest magnitude; the budget binds growth, not survival."""
        del gradient, budget
        kept = layer.kept
        number = kept - int(kept * self.drop_fraction(self.step))
        return largest_mask(layer.weight.abs(), number, among=layer.mask)

    def growth(self, layer: SparseLayer, gradient: Tensor | None, kept: Tensor, number: int) -> Tensor:
        """Return a mask of the `number` largest momenta beside `kept`."""
        del gradient
        return largest_mask(layer.memory["momentum"].abs(), number, among=self.free(layer, kept))

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 2 f_S + f_D: the weight gradient is dense at every step (Evci et al. 2020, appendix H)."""
        return 2 * sparse + dense


def _mean_size(layer: SparseLayer) -> float:
    return float(layer.memory["momentum"][layer.mask].abs().mean())


def share_out(amount: int, weights: Mapping[str, float], room: Mapping[str, int]) -> dict[str, int]:
    """Return `amount` shared in proportion to `weights`, no share above its `room`, exact in total.

    What a full one cannot take goes to the others in the same proportion; what the floors leave goes to the largest
    fractions, then in order. Raises InputError if there is not room for all.
    """
    if amount > sum(room.values()):
        raise InputError(f"cannot share out {amount} weights, there is room for {sum(room.values())}.")
    shares: dict[str, int] = {}
    while True:
        left = amount - sum(shares.values())
        exact = _proportional(left, {name: weight for name, weight in weights.items() if name not in shares})
        full = {name: room[name] for name, share in exact.items() if share >= room[name]}
        if not full:
            break
        shares |= full
    shares |= {name: int(share) for name, share in exact.items()}
    missing = amount - sum(shares.values())
    for name in sorted(exact, key=lambda name: shares[name] - exact[name])[:missing]:
        shares[name] += 1
    return {name: shares[name] for name in weights}


def _proportional(amount: int, weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: amount * (weight / total if total > 0 else 1 / len(weights)) for name, weight in weights.items()}
