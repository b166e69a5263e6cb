"""What every sparsifier shares: it joins `optimizer.step()`, keeps the masks exact, and saves its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sinewy.allocation import allocate_among, check_sparsity, counts, stay_dense
from sinewy.errors import InputError
from sinewy.layers import Pattern, prunable, unwrap
from sinewy.masks import Masks
from sinewy.select import count, positions
from sinewy.sparsify import optimizer_state, saved
from sinewy.sparsify.hooks import StepHooks, holds_masks
from sinewy.sparsify.initialisation import draw_weights
from sinewy.sparsify.layer import SparseLayer, make_layer
from sinewy.sparsify.ranks import compare_masks
from sinewy.sparsify.timing import Length


class Sparsifier:
    """Keeps a model sparse through any torch optimizer, without touching the model's code.

    After every `optimizer.step()`: the number of kept weights is exactly what the method says, pruned weights are
    exactly 0, and the optimizer's per-weight state of pruned weights is as before the first step. `sparsity` in [0, 1)
    is the fraction of zeros among prunable weights; `allocation`, `include`, `exclude` and `dense` are those of
    `sinewy.allocate`; `weights` "swi" draws the kept weights of sparse tensors anew, with the spread that their density
    asks for (`sinewy.sparsify.initialisation`); `seed` fixes every random choice.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        allocation: str = "erk",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        weights: str | None = None,
        seed: int = 0,
    ) -> None:
        check_sparsity(sparsity)
        if weights not in ("swi", None):
            raise InputError(f"weights must be 'swi' (sparse weight initialisation) or None; got {weights!r}.")
        self.target = float(sparsity)
        self.allocation = "uniform" if allocation == "local" else allocation  # as `sinewy.prune` calls it
        self.include, self.exclude, self.dense = include, exclude, dense
        self.weights, self.seed = weights, seed
        self.step = 0
        self.length = Length()
        self._model: nn.Module | None = None
        self._data: Any = None
        self._layers: dict[str, SparseLayer] = {}
        self._hooks: StepHooks | None = None
        self.on_round_end: Callable[[int], None] | None = None
        """Called with the number of a round (from 0) that is not the last, before anything changes for the next."""

    # What a method decides. Static masks need none of it.

    needs_gradient = False
    """Whether an update reads gradients."""

    dense_gradient = False
    """Whether that is the gradient of pruned weights, too: the costly one, which the FLOPs ledger counts."""

    watches_gradient = False
    """Whether `observe` is given the dense gradients of every step (it costs FLOPs, and is counted)."""

    replace_step = True
    """Whether an update takes the place of the optimizer step it falls on."""

    settles_every_step = False
    """Whether `_settle` runs after every step, not only for optimizers that would wake pruned weights."""

    def prepare(self) -> None:
        """Settle what depends on `self.length`, the length of training; called by `attach` once it is known."""

    def is_update(self, step: int) -> bool:
        """Return whether the masks move at this optimizer step; the first step is 1."""
        del step
        return False

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity that the method has after optimizer step `step`; 0 is before the first."""
        del step
        return self.target

    def update(self, layer: SparseLayer, gradient: Tensor | None) -> Tensor:
        """Return the layer's new mask at an update step; `gradient` is the dense one, or None if there was none."""
        del gradient
        return layer.mask

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the new masks at an update step; by default `update` decides each tensor for itself."""
        return {name: self.named_update(layer, gradients[name]) for name, layer in self.movable.items()}

    def observe(self, gradients: Mapping[str, Tensor | None]) -> None:
        """Look at the dense gradients of a step, before they are masked; only if `watches_gradient`."""

    def start_weights(self, layer: SparseLayer, where: Tensor, grown: Tensor) -> Tensor:
        """Return the weights at the changed flat positions `where`: 0 where dropped, and 0 where `grown` as well."""
        del where
        return torch.zeros(len(grown), dtype=layer.parameter.dtype, device=layer.parameter.device)

    def pick(self, model: nn.Module) -> dict[str, nn.Parameter]:
        """Return the parameters that are to be sparse, by name: the prunable ones, without those excluded."""
        return prunable(model, include=self.include, exclude=self.exclude)

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return the masks to begin with: random places, in the counts that the allocation gives."""
        del model
        shapes = {name: p.shape for name, p in parameters.items()}
        return Masks.random(shapes, self.quota(parameters, self.sparsity_at(0)), seed=self.seed)

    def remembered(self) -> dict[str, Any]:
        """Return what else the method's state holds, as tensors and plain values; saved and loaded with its masks."""
        return {}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Put back what `remembered` returned."""

    # Training in rounds: the same schedule over and over, each time from `restart` on. Most methods have one round.

    rounds = 1
    """How many times the training schedule is gone through."""

    def total_steps(self, training: Length) -> int:
        """Return the optimizer steps of all rounds, for a training schedule of this length."""
        if training.steps is None:
            raise InputError(f"{type(self).__name__} needs the length of the training schedule to count its rounds.")
        return training.steps

    def position(self, step: int) -> int:
        """Return which step of the training schedule (from 0) follows optimizer step `step`: its data, its rate."""
        return step

    def _round_ends(self, number: int) -> None:
        if self.on_round_end is not None:
            self.on_round_end(number)

    # What a user calls.

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        steps: int | None = None,
        *,
        epoch_steps: int | None = None,
        masks: Mapping[str, Tensor] | None = None,
        data: Any = None,
    ) -> Self:
        """Prune `model` in place and join `optimizer.step()`; returns itself. The training loop does not change.

        `steps` is the length of training in optimizer steps (all rounds together), `epoch_steps` that of an epoch, for
        schedules that need them. `masks` replaces the initial masks, to go on from a model that is sparse already
        (`Masks.of_zeros(prunable(model))`). `data` is training data for methods that score weights by it, as
        `sinewy.prune` takes it: (inputs, labels), a loader of such batches, or inputs alone. In a distributed run,
        attach after wrapping the model; the ranks' masks are compared now and at each update. Raises InputError if the
        optimizer does not hold the model's prunable weights, the sparsity cannot be reached, or it is attached already.
        """
        if self._hooks is not None:
            raise InputError(f"this {type(self).__name__} is attached already; detach() it or make a new one.")
        if holds_masks(optimizer):
            raise InputError(
                "another sparsifier has joined this optimizer, and two would undo each other; detach() it."
            )
        for name, value in (("steps", steps), ("epoch_steps", epoch_steps)):
            if value is not None and value < 1:
                raise InputError(f"{name} is a number of optimizer steps, at least 1; got {value}.")
        parameters = self.pick(model)
        groups = _groups(parameters, optimizer)
        self.step, self.length = 0, Length(steps, epoch_steps)
        self._model, self._data = unwrap(model), data
        self.prepare()
        if self.sparsity_at(0) != self.target:
            self.quota(parameters, self.target)  # a target out of reach is refused now, not when it is too late
        start = masks if masks is not None else self.initial_masks(model, parameters)
        self._set_masks(parameters, groups, start, optimizer)
        if masks is None and self.weights == "swi":
            draw_weights(self.movable.values())
        compare_masks(self.masks, self.step)
        self._hooks = StepHooks(self, optimizer)
        return self

    def detach(self) -> Self:
        """Leave the optimizer; the weights stay sparse as they are, and `masks` stays readable. Returns itself."""
        if self._hooks is not None:
            self._hooks.remove()
            self._hooks = self._data = None  # a trained model shall not keep its training set alive
        return self

    @property
    def masks(self) -> Masks:
        """The masks now: parameter name to bool tensor, True = kept. Empty before `attach`."""
        return Masks({name: layer.mask for name, layer in self._layers.items()})

    @property
    def trained(self) -> Masks:
        """The weights that the optimizer works on: the kept ones, unless a method explores others as well."""
        return self.masks

    @property
    def sparsity(self) -> float:
        """The fraction of zeros reached; before `attach`, the one asked for."""
        return self.masks.sparsity if self._layers else self.target

    @property
    def moved(self) -> int:
        """How many weights have grown so far, over all updates."""
        return sum(layer.grown for layer in self._layers.values())

    def apply_(self, module: nn.Module) -> None:
        """Prune another copy of the model in place; an EMA over moving masks is not sparse until this is done."""
        self.masks.apply_(module)

    @torch.no_grad()
    def mask_gradients_(self) -> None:
        """Zero the gradients of untrained weights now, so that gradient clipping does not count them.

        Before a step that moves the masks it does nothing, since that step reads them; nor if the method reads them at
        every step.
        """
        if not self.is_update(self.step + 1) and not self.watches_gradient:
            self._mask_gradients()

    def state_dict(self) -> dict[str, Any]:
        """Return masks (bit-packed), step and counters, safe for `torch.load(weights_only=True)`."""
        return saved.pack(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`: masks, step and counters; pruned weights are set to 0.

        Call it after `attach`, with model and optimizer state loaded. Raises InputError if the state is of another
        method, other settings or another model, CorruptFileError if it is damaged.
        """
        saved.restore(self, state)
        self._zero_pruned_weights()

    def settings(self) -> dict[str, Any]:
        """Return what the constructor was given, as plain values."""
        return saved.settings(self)

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return the closed-form FLOPs of training on one example, from the forward FLOPs at the target and dense.

        3 x sparse: one forward and two backward products, all sparse (Wu et al. 2025, appendix A.3.2).
        """
        del dense
        return 3 * sparse

    def __repr__(self) -> str:
        state = (
            f"{len(self._layers)} tensors, step {self.step}, moved {self.moved:,}" if self._layers else "not attached"
        )
        return f"{type(self).__name__}(sparsity {self.sparsity:.4f}, {state})"

    # What methods and the hooks share.

    @property
    def movable(self) -> dict[str, SparseLayer]:
        """The tensors whose masks may move: all but those that the option `dense` names."""
        return {name: layer for name, layer in self._layers.items() if not layer.fixed}

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that are sparse, by name; empty before `attach`."""
        return {name: layer.parameter for name, layer in self._layers.items()}

    @property
    def _plain_model(self) -> nn.Module:
        assert self._model is not None, "known from attach on"
        return self._model

    def quota(self, parameters: Mapping[str, Tensor], sparsity: float) -> dict[str, int]:
        """Return how many weights each tensor keeps at this sparsity, as the allocation shares it; exact in total."""
        shares = allocate_among(parameters, sparsity, self.allocation, dense=self.dense)
        return counts(shares, {name: p.shape for name, p in parameters.items()})

    def named_update(self, layer: SparseLayer, gradient: Tensor | None) -> Tensor:
        """Call `update`, with the tensor's name and the step in front of any complaint."""
        try:
            return self.update(layer, gradient)
        except InputError as error:
            raise InputError(f"{layer.name}, step {self.step}: {error}") from None

    def _advance(self) -> bool:
        """Count one optimizer step; return whether it is an update."""
        self.step += 1
        return self.is_update(self.step)

    @torch.no_grad()
    def _constrain(self, scale: Tensor | None) -> None:
        """Act before an ordinary optimizer step: keep it from touching pruned weights.

        `scale` is the factor that GradScaler has left in the gradients for a fused optimizer to take out, if any.
        """
        del scale
        self._mask_gradients()

    @torch.no_grad()
    def _settle(self) -> None:
        """Act after an optimizer step: put pruned weights back to 0 if it moved them."""
        self._zero_pruned_weights()

    @torch.no_grad()
    def _mask_gradients(self) -> None:
        pairs = [(layer.parameter.grad, layer.multiplier) for layer in self._layers.values() if not layer.full]
        live = [(gradient, multiplier) for gradient, multiplier in pairs if gradient is not None]
        if live:
            torch._foreach_mul_([gradient for gradient, _ in live], [multiplier for _, multiplier in live])

    @torch.no_grad()
    def _zero_pruned_weights(self) -> None:
        layers = [layer for layer in self._layers.values() if not layer.full]
        if layers:
            torch._foreach_mul_([layer.parameter for layer in layers], [layer.multiplier for layer in layers])

    @torch.no_grad()
    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        """Give the layers their new masks; reset weights and optimizer state where they changed."""
        for name, mask in self.move(gradients).items():
            self._change(optimizer, self._layers[name], mask)
        compare_masks(self.masks, self.step)

    def _change(self, optimizer: torch.optim.Optimizer, layer: SparseLayer, mask: Tensor) -> None:
        moves = mask ^ layer.mask
        if layer.restart is not None:
            moves |= layer.restart
            layer.restart = None
        where = positions(moves)
        now = mask.reshape(-1)[where]
        values = self.start_weights(layer, where, now)
        state = optimizer_state.fresh(optimizer, layer.group, layer.parameter)
        optimizer_state.assign(where, [(layer.multiplier, now.to(values)), (layer.parameter, values), *state])
        layer.mask, layer.kept = mask, count(mask)
        layer.explored.view(-1)[where[now]] = True
        grown = int(now.sum())
        layer.grown += grown
        layer.dropped += len(where) - grown

    def _set_masks(
        self,
        parameters: Mapping[str, nn.Parameter],
        groups: Mapping[str, dict[str, Any]],
        masks: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
    ) -> None:
        for name, parameter in parameters.items():
            if name not in masks or masks[name].shape != parameter.shape:
                raise InputError(f"the given masks do not fit '{name}' of shape {tuple(parameter.shape)}.")
        self._layers = {}
        fixed = set(stay_dense(parameters, self.dense))
        for name, parameter in parameters.items():
            layer = make_layer(name, parameter, masks[name], groups[name], self.seed, fixed=name in fixed)
            self._layers[name] = layer
            optimizer_state.assign(positions(~layer.mask), optimizer_state.fresh(optimizer, groups[name], parameter))
        self._zero_pruned_weights()


def _groups(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Return each parameter's group; raises InputError for a parameter that the optimizer does not train."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise InputError("LBFGS mixes all weights in one history and cannot keep masks; use a per-weight optimizer.")
    by_id = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    by_id |= {id(p): {} for p in parameters.values() if not p.requires_grad and id(p) not in by_id}  # frozen: no state
    lost = [name for name, parameter in parameters.items() if id(parameter) not in by_id]
    if all(name in lost or not parameter.requires_grad for name, parameter in parameters.items()):
        raise InputError(
            "the optimizer holds none of the model's prunable weights; was it built for another copy of the model?"
        )
    if lost:
        raise InputError(
            f"the optimizer does not train '{lost[0]}'; add it, or pass exclude=['{lost[0]}'] to leave it dense."
        )
    return {name: by_id[id(parameter)] for name, parameter in parameters.items()}
