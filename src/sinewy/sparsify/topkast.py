"""Top-KAST: the forward pass sees the largest weights, the backward pass trains some more of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sinewy.layers import Pattern
from sinewy.masks import Masks
from sinewy.select import count, largest_mask, positions
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.dynamic import require
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.ranks import compare_masks
from sinewy.sparsify.timing import Moment, Timing, check_moment, in_steps, share_of


class TopKAST(Sparsifier):
    """Use the largest weights, train a larger set of them, choose both anew every so often (Jayakumar et al. 2020).

    The forward pass uses the set A of largest magnitudes (1 - `sparsity` of each tensor), and the optimizer trains the
    superset B (1 - `backward_sparsity`; by default twice as many, as in the paper's 0.9/0.8 and 0.95/0.9). The other
    weights rest: they keep their last value, out of the model, and come back if those in use fall below them. `masks`
    is A, `trained` is B. `penalty` times the squared weight is added to the loss, 1 / density of A times as much in B
    without A (the paper's exploration regularisation, section 2.3; 1e-4). Both sets are chosen every `every` steps, up
    to `stop` of training; with `explore_until`, a moment, B is A from there on.
    """

    replace_step = False
    settles_every_step = True

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        backward_sparsity: float | None = None,
        every: Moment = 100,
        stop: float = 1.0,
        explore_until: Moment | None = None,
        penalty: float = 1e-4,
        allocation: str = "uniform",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(sparsity, allocation=allocation, include=include, exclude=exclude, dense=dense, seed=seed)
        self.backward_sparsity = max(0.0, 2 * sparsity - 1) if backward_sparsity is None else backward_sparsity
        require("backward_sparsity", backward_sparsity, 0 <= self.backward_sparsity <= sparsity, "in [0, sparsity]")
        require("penalty", penalty, penalty >= 0, "at least 0")
        check_moment("every", every)
        if explore_until is not None:
            check_moment("explore_until", explore_until)
        self.every, self.stop, self.explore_until, self.penalty = every, stop, explore_until, penalty
        self._timing = Timing(1, 1, None)
        self._explores_to: int | None = None

    def prepare(self) -> None:
        """Settle the updates and the end of exploration from the length of training."""
        every = in_steps("every", self.every, self.length)
        end = None if self.length.steps is None else share_of(self.stop, self.length.steps)
        self._timing = Timing(every, every, end)
        if self.explore_until is not None:
            self._explores_to = in_steps("explore_until", self.explore_until, self.length)

    def is_update(self, step: int) -> bool:
        """Return whether both sets are chosen anew after `step`."""
        return self._timing.is_update(step)

    def attach(self, model: nn.Module, *args: Any, **options: Any) -> Self:
        """Attach as every sparsifier does; the weights outside A are put aside, not lost."""
        before = {name: p.detach().clone() for name, p in self.pick(model).items()}
        super().attach(model, *args, **options)
        for name, layer in self._layers.items():
            layer.memory["resting"] = before[name].masked_fill_(layer.mask, 0)
        self._choose_trained(lambda layer: layer.weight + layer.memory["resting"])
        return self

    @property
    def trained(self) -> Masks:
        """The weights that the optimizer works on: B."""
        return Masks({name: layer.memory["trained"] != 0 for name, layer in self._layers.items()})

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return the largest initial magnitudes of each tensor."""
        del model
        quota = self.quota(parameters, self.target)
        return {name: largest_mask(p.detach().abs(), quota[name]) for name, p in parameters.items()}

    def _choose_trained(self, values: Callable[[SparseLayer], Tensor]) -> None:
        """Set B to the largest of `values` over each tensor's weights; A is among them, being the very largest."""
        explores = self._explores_to is None or self.step < self._explores_to
        sparsity = self.backward_sparsity if explores else self.target
        quota = self.quota(self.parameters, sparsity)
        for name, layer in self._layers.items():
            number = max(quota[name], layer.kept)
            size = values(layer).abs().masked_fill_(layer.mask, math.inf)
            layer.memory["trained"] = torch.empty_like(layer.multiplier).copy_(largest_mask(size, number))

    @torch.no_grad()
    def _constrain(self, scale: Tensor | None) -> None:
        """Bring the explored weights into the model for this step, and mask the gradients of those at rest."""
        for layer in self._layers.values():
            layer.parameter.addcmul_(layer.memory["resting"], layer.memory["trained"])
            if self.penalty and layer.parameter.grad is not None:
                inverse = layer.mask.numel() / max(layer.kept, 1)
                strength = torch.where(layer.mask, 2 * self.penalty, 2 * self.penalty * inverse)
                layer.parameter.grad.add_(layer.weight * strength * (1 if scale is None else scale))
        self._mask_gradients()

    @torch.no_grad()
    def _settle(self) -> None:
        """Take the explored weights out of the model again, at their new values."""
        for layer in self._layers.values():
            explored = (layer.memory["trained"] != 0) & ~layer.mask
            layer.memory["resting"] = torch.where(explored, layer.weight, layer.memory["resting"])
        self._zero_pruned_weights()

    @torch.no_grad()
    def _mask_gradients(self) -> None:
        for layer in self._layers.values():
            if layer.parameter.grad is not None:
                layer.parameter.grad.mul_(layer.memory["trained"])

    @torch.no_grad()
    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        """Choose A and B among all values; what leaves B rests, what enters it starts from fresh optimizer state."""
        del gradients
        quota = self.quota(self.parameters, self.target)
        before = self.trained
        for name, layer in self._layers.items():
            layer.parameter.copy_(torch.where(before[name], layer.weight, layer.memory["resting"]))
            mask = layer.mask if layer.fixed else largest_mask(layer.weight.abs(), quota[name])
            layer.grown += count(mask & ~layer.mask)
            layer.dropped += count(layer.mask & ~mask)
            layer.explored |= mask
            layer.set_mask(mask)
            layer.memory["resting"] = layer.weight.masked_fill(mask, 0)
        self._choose_trained(lambda layer: layer.weight)
        for name, layer in self._layers.items():
            changed = positions(before[name] ^ (layer.memory["trained"] != 0))
            optimizer_state.assign(changed, optimizer_state.fresh(optimizer, layer.group, layer.parameter))
        compare_masks(self.masks, self.step)

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 2 f_S + f_B: the weight gradient is taken on B (Jayakumar et al. 2020, section 2.3)."""
        backward = (1 - self.backward_sparsity) / (1 - self.target)
        return 2 * sparse + min(backward * sparse, dense)
