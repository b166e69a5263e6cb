"""Edge-popup: the weights stay as they are, and training chooses which of them to use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from sinewy.allocation import allocate_among, counts
from sinewy.errors import InputError, unknown_name
from sinewy.layers import unwrap
from sinewy.masks import Masks
from sinewy.select import count, joint_masks, largest_mask
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.layer import SparseLayer
from sinewy.sparsify.ranks import compare_masks
from sinewy.sparsify.timing import Length

WEIGHTS = ("signed-constant", "kaiming-normal", "given")
SCORES = ("kaiming-uniform", "kaiming-normal")


class EdgePopup(Sparsifier):
    """Learn a score per weight, and use the weights with the largest |score| (Ramanujan et al. 2020).

    The optimizer trains the scores in the weights' place, whatever optimizer it is: the gradient of a score is that of
    the weight in use times the frozen weight (straight through the choice, and through |.|). `init` sets the frozen
    weights: "signed-constant" (+- the Kaiming deviation, the paper's best), "kaiming-normal", or "given", those the
    model has. With `scale_fan` their deviation counts only the fan-in that is kept. `scores` is how the scores begin:
    "kaiming-uniform" (a = sqrt 5; the paper) or "kaiming-normal" (Ayle et al. 2022, Algorithm 1). Everything that is
    not prunable stays as it is unless `train_rest`; `allocation` "uniform" chooses within each tensor, "global" among
    all. An optimizer's weight decay decays the scores; gradient clipping still sees the weights' gradients. An average
    over training takes the frozen weights that are in use at its end (`apply_`).
    """

    replace_step = False
    settles_every_step = True
    watches_gradient = True

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        init: Literal["signed-constant", "kaiming-normal", "given"] = "signed-constant",
        scores: Literal["kaiming-uniform", "kaiming-normal"] = "kaiming-uniform",
        scale_fan: bool = False,
        train_rest: bool = False,
        allocation: str = "uniform",
        **options: Any,
    ) -> None:
        super().__init__(sparsity, allocation=allocation, **options)
        if init not in WEIGHTS:
            raise unknown_name("init", init, WEIGHTS)
        if scores not in SCORES:
            raise unknown_name("scores", scores, SCORES)
        if self.weights is not None:
            raise InputError(f"EdgePopup draws its own weights; take init= instead of weights={self.weights!r}.")
        self.init, self.scores, self.scale_fan, self.train_rest = init, scores, scale_fan, train_rest
        self._optimizer: torch.optim.Optimizer | None = None
        self._counts: dict[str, int] = {}

    def attach(self, model: nn.Module, optimizer: torch.optim.Optimizer, *args: Any, **options: Any) -> Self:
        """Attach as every sparsifier does; the prunable weights are set as `init` says, and frozen."""
        if options.get("masks") is not None:
            raise InputError(f"{type(self).__name__} finds its masks by scores; it cannot go on from given ones.")
        super().attach(model, optimizer, *args, **options)
        self._optimizer = optimizer
        if self._choosing_at(0):
            self._begin()
        return self

    @torch.no_grad()
    def apply_(self, module: nn.Module) -> None:
        """Give another copy of the model the weights in use, frozen as they are: an average of them is none of them."""
        super().apply_(module)
        copies = dict(unwrap(module).named_parameters())
        for name, layer in self._layers.items():
            copies[name].copy_(layer.weight)

    @property
    def trained(self) -> Masks:
        """The weights that the optimizer works on: all of them, by their scores."""
        return Masks({name: torch.ones_like(layer.mask) for name, layer in self._layers.items()})

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return full masks; the scores choose at once."""
        del model
        return {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()}

    def _choosing_at(self, step: int) -> bool:
        """Return whether the scores are in charge at the optimizer step after `step`."""
        del step
        return True

    @torch.no_grad()
    def _begin(self) -> None:
        """Freeze the weights, draw the scores, and make the first choice."""
        for layer in self._layers.values():
            frozen = layer.weight.clone() if self.init == "given" else self._drawn(layer)
            layer.memory["frozen"] = frozen
            layer.memory["scores"] = _start_scores(layer, self.scores)
        self._choose()
        compare_masks(self.masks, self.step)

    def _drawn(self, layer: SparseLayer) -> Tensor:
        fan = _fan_in(layer.weight.shape) * (1 - self.target if self.scale_fan else 1.0)
        deviation = math.sqrt(2 / fan)
        drawn = torch.randn(layer.weight.shape, generator=layer.generator("popup-weights", 0))
        drawn = drawn.sign() * deviation if self.init == "signed-constant" else drawn * deviation
        return torch.empty_like(layer.weight).copy_(drawn)

    @torch.no_grad()
    def _constrain(self, scale: Tensor | None) -> None:
        """Put the scores where the optimizer looks for weights, with their gradients."""
        del scale  # the scores' gradient is linear in the weights', and so keeps GradScaler's factor
        if not self._choosing_at(self.step - 1):
            self._mask_gradients()
            return
        for layer in self._layers.values():
            parameter, frozen, scores = layer.parameter, layer.memory["frozen"], layer.memory["scores"]
            if parameter.grad is not None:
                parameter.grad.mul_(frozen).mul_(scores.sign())
            parameter.copy_(scores)
        if not self.train_rest:
            self._rest()

    def _rest(self) -> None:
        assert self._optimizer is not None, "known from attach on"
        prunable = {id(layer.parameter) for layer in self._layers.values()}
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                if id(parameter) not in prunable:
                    parameter.grad = None

    @torch.no_grad()
    def _settle(self) -> None:
        """Take the trained scores out again, choose by them, and put the chosen weights back."""
        if not self._choosing_at(self.step - 1):
            self._zero_pruned_weights()
            return
        for layer in self._layers.values():
            layer.memory["scores"] = layer.weight.clone()
        self._choose()

    def _choose(self) -> None:
        for name, mask in self._largest().items():
            layer = self._layers[name]
            grown = count(mask & ~layer.mask)
            layer.grown += grown
            layer.dropped += layer.kept + grown - count(mask)
            layer.explored |= mask
            layer.set_mask(mask)
            layer.parameter.copy_(layer.memory["frozen"] * layer.multiplier)

    def _largest(self) -> dict[str, Tensor]:
        layers = self._layers
        quota = self._quota()
        sizes = {name: layer.memory["scores"].abs() for name, layer in layers.items()}
        if self.allocation != "global":
            return {
                name: torch.ones_like(layer.mask) if layer.fixed else largest_mask(sizes[name], quota[name])
                for name, layer in layers.items()
            }
        free = [name for name, layer in layers.items() if not layer.fixed]
        chosen = joint_masks([sizes[name] for name in free], sum(quota[name] for name in free))
        fixed = {name: torch.ones_like(layer.mask) for name, layer in layers.items() if layer.fixed}
        return fixed | dict(zip(free, chosen, strict=True))

    def _quota(self) -> dict[str, int]:
        """Return how many weights each tensor uses (of "global", only the sum counts); settled once."""
        if not self._counts:
            how = "uniform" if self.allocation == "global" else self.allocation
            shares = allocate_among(self.parameters, self.target, how, dense=self.dense)
            self._counts = counts(shares, {name: p.shape for name, p in self.parameters.items()})
        return self._counts

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 2 f_S + f_D: every score needs its weight's gradient."""
        return 2 * sparse + dense


class EdgePopupAfter(EdgePopup):
    """Edge-popup on a trained network (Ayle et al. 2022): a round of dense training, then a round that trains scores.

    In `sinewy.fit`, each round takes the epochs asked for; in a loop of one's own, `steps` counts both.
    """

    rounds = 2

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        init: Literal["signed-constant", "kaiming-normal", "given"] = "given",
        scores: Literal["kaiming-uniform", "kaiming-normal"] = "kaiming-normal",
        **options: Any,
    ) -> None:
        super().__init__(sparsity, init=init, scores=scores, **options)
        self._begins = 0

    def prepare(self) -> None:
        """Settle the end of dense training: half of all steps."""
        if self.length.steps is None or self.length.steps < 2:
            raise InputError(
                "EdgePopupAfter trains in two rounds: attach(model, optimizer, steps=...), for both of them."
            )
        self._begins = self.length.steps // 2

    def total_steps(self, training: Length) -> int:
        """Return twice the schedule."""
        return 2 * super().total_steps(training)

    def position(self, step: int) -> int:
        """Return which step of the training schedule follows optimizer step `step`."""
        return step if step < self._begins else step - self._begins

    def is_update(self, step: int) -> bool:
        """Return whether the scores take over after `step`."""
        return step == self._begins

    def sparsity_at(self, step: int) -> float:
        """Return 0 while training is dense, the target from then on."""
        return self.target if step >= self._begins else 0.0

    def _choosing_at(self, step: int) -> bool:
        return step >= self._begins

    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        del gradients
        self._round_ends(0)
        optimizer_state.forget(optimizer)
        self._begin()


def _start_scores(layer: SparseLayer, how: str) -> Tensor:
    """Return scores with the deviation that He's rule gives: uniform for a = sqrt 5, or normal for ReLU."""
    fan, generator = _fan_in(layer.weight.shape), layer.generator("popup-scores", 0)
    if how == "kaiming-uniform":
        drawn = (2 * torch.rand(layer.weight.shape, generator=generator) - 1) / math.sqrt(fan)
    else:
        drawn = torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / fan)
    return torch.empty_like(layer.weight).copy_(drawn)


def _fan_in(shape: torch.Size) -> int:
    return math.prod(shape[1:])
