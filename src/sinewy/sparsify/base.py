"""What every sparsifier shares: it joins `optimizer.step()`, keeps the masks exact, and saves its state."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from sinewy.allocation import allocate, check_sparsity, counts
from sinewy.errors import CorruptFileError, InputError
from sinewy.layers import Pattern, prunable
from sinewy.masks import Masks
from sinewy.select import positions
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.hooks import StepHooks
from sinewy.sparsify.layer import SparseLayer, make_layer

STATE_FORMAT = 1


class Sparsifier:
    """Keeps a model sparse through any torch optimizer, without touching the model's code.

    After every `optimizer.step()`: the number of kept weights is exactly what the method says, pruned weights are
    exactly 0, and the optimizer's per-weight state of pruned weights is as before the first step. `sparsity` in [0, 1)
    is the fraction of zeros among prunable weights; `allocation`, `include`, `exclude` and `dense` are those of
    `sinewy.allocate`; `seed` fixes every random choice.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        allocation: str = "erk",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        check_sparsity(sparsity)
        self.target = float(sparsity)
        self.allocation = allocation
        self.include, self.exclude, self.dense = include, exclude, dense
        self.seed = seed
        self.step = 0
        self.moved = 0
        self.steps: int | None = None
        self._layers: dict[str, SparseLayer] = {}
        self._hooks: StepHooks | None = None

    # What a method decides. Static masks need none of it.

    needs_gradient = False
    """Whether an update reads the dense gradient of pruned weights (it costs FLOPs, and is counted)."""

    replace_step = True
    """Whether an update takes the place of the optimizer step it falls on."""

    def prepare(self) -> None:
        """Settle what depends on the length of training; called by `attach` once `self.steps` is known."""

    def is_update(self, step: int) -> bool:
        """Return whether the masks move at this optimizer step; the first step is 1."""
        del step
        return False

    def update(self, layer: SparseLayer, gradient: Tensor | None) -> Tensor:
        """Return the layer's new mask at an update step; `gradient` is the dense one, or None if there was none."""
        del gradient
        return layer.mask

    # What a user calls.

    def attach(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        steps: int | None = None,
        *,
        masks: Mapping[str, Tensor] | None = None,
    ) -> Self:
        """Prune `model` in place and join `optimizer.step()`; returns itself. The training loop does not change.

        `steps` is the length of training in optimizer steps, for schedules that need it. `masks` replaces the initial
        masks, to go on from a model that is sparse already (`Masks.of_zeros(prunable(model))`). Raises InputError if
        the optimizer does not hold the model's prunable weights, the sparsity cannot be reached, or it is attached
        already.
        """
        if self._hooks is not None:
            raise InputError(f"this {type(self).__name__} is attached already; detach() it or make a new one.")
        if steps is not None and steps < 1:
            raise InputError(f"steps is the number of optimizer steps of training, at least 1; got {steps}.")
        parameters = prunable(model, include=self.include, exclude=self.exclude)
        groups = _groups(parameters, optimizer)
        self.step, self.moved, self.steps = 0, 0, steps
        self.prepare()
        start = masks if masks is not None else self._initial_masks(model, parameters)
        self._set_masks(parameters, groups, start, optimizer)
        self._hooks = StepHooks(self, optimizer)
        return self

    def detach(self) -> Self:
        """Leave the optimizer; the weights stay sparse as they are, and `masks` stays readable. Returns itself."""
        if self._hooks is not None:
            self._hooks.remove()
            self._hooks = None
        return self

    @property
    def masks(self) -> Masks:
        """The masks now: parameter name to bool tensor, True = kept. Empty before `attach`."""
        return Masks({name: layer.mask for name, layer in self._layers.items()})

    @property
    def sparsity(self) -> float:
        """The fraction of zeros reached; before `attach`, the one asked for."""
        return self.masks.sparsity if self._layers else self.target

    def apply_(self, module: nn.Module) -> None:
        """Prune another copy of the model in place; an EMA over moving masks is not sparse until this is done."""
        self.masks.apply_(module)

    @torch.no_grad()
    def mask_gradients_(self) -> None:
        """Zero the gradients of pruned weights now, so that gradient clipping does not count them.

        Before a step that moves the masks it does nothing, since that step reads them (and applies none).
        """
        if not self.is_update(self.step + 1):
            self._mask_gradients()

    def state_dict(self) -> dict[str, Any]:
        """Return masks (bit-packed), step and counters, safe for `torch.load(weights_only=True)`."""
        return {
            "format": STATE_FORMAT,
            "method": type(self).__name__,
            "settings": self.settings(),
            "step": self.step,
            "moved": self.moved,
            "masks": self.masks.pack(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict()`: masks, step and counters; pruned weights are set to 0.

        Call it after `attach`, with model and optimizer state loaded. Raises InputError if the state is of another
        method, other settings or another model, CorruptFileError if it is damaged.
        """
        if not self._layers:
            raise InputError(f"attach this {type(self).__name__} to the model and optimizer before loading its state.")
        self._check_same_method(state)
        shapes = {name: layer.parameter.shape for name, layer in self._layers.items()}
        if set(state["masks"]) != set(shapes):
            differing = sorted(set(state["masks"]) ^ set(shapes))
            raise InputError(f"the saved masks are of another model: {differing[0]} is in only one of the two.")
        for name, mask in Masks.unpack({name: state["masks"][name] for name in shapes}, shapes).items():
            old = self._layers[name]
            self._layers[name] = make_layer(name, old.parameter, mask, old.group, self.seed)
        self.step, self.moved = int(state["step"]), int(state["moved"])
        self._zero_pruned_weights()

    def settings(self) -> dict[str, Any]:
        """Return what the constructor was given, as plain values."""
        plain: dict[str, Any] = {"sparsity": self.target}
        for name in constructor_options(type(self)):
            value = getattr(self, name, None)
            plain[name] = value if isinstance(value, (bool, int, float, str, type(None))) else _text(value)
        return plain

    def __repr__(self) -> str:
        state = (
            f"{len(self._layers)} tensors, step {self.step}, moved {self.moved:,}" if self._layers else "not attached"
        )
        return f"{type(self).__name__}(sparsity {self.sparsity:.4f}, {state})"

    # What the hooks call.

    def _advance(self) -> bool:
        """Count one optimizer step; return whether it is an update."""
        self.step += 1
        return self.is_update(self.step)

    @torch.no_grad()
    def _mask_gradients(self) -> None:
        pairs = [(layer.parameter.grad, layer.multiplier) for layer in self._layers.values()]
        live = [(gradient, multiplier) for gradient, multiplier in pairs if gradient is not None]
        if live:
            torch._foreach_mul_([gradient for gradient, _ in live], [multiplier for _, multiplier in live])

    @torch.no_grad()
    def _zero_pruned_weights(self) -> None:
        layers = self._layers.values()
        torch._foreach_mul_([layer.parameter for layer in layers], [layer.multiplier for layer in layers])

    @torch.no_grad()
    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        """Give every layer its new mask; reset weights and optimizer state where it changed."""
        for name, layer in self._layers.items():
            try:
                mask = self.update(layer, gradients[name])
            except InputError as error:
                raise InputError(f"{name}, step {self.step}: {error}") from None
            changed = positions(mask ^ layer.mask)
            now = mask.reshape(-1)[changed]
            values = self.start_weights(layer, changed, now)
            state = optimizer_state.fresh(optimizer, layer.group, layer.parameter)
            optimizer_state.assign(changed, [(layer.multiplier, now.to(values)), (layer.parameter, values), *state])
            layer.mask = mask
            self.moved += int(now.sum())

    def start_weights(self, layer: SparseLayer, where: Tensor, grown: Tensor) -> Tensor:
        """Return the weights at the changed flat positions `where`: 0 where dropped, and 0 where `grown` as well."""
        del where
        return torch.zeros(len(grown), dtype=layer.parameter.dtype, device=layer.parameter.device)

    def _initial_masks(self, model: nn.Module, parameters: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        sparsities = allocate(
            model, self.target, self.allocation, include=self.include, exclude=self.exclude, dense=self.dense
        )
        shapes = {name: p.shape for name, p in parameters.items()}
        return Masks.random(shapes, counts(sparsities, shapes), seed=self.seed)

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
        for name, parameter in parameters.items():
            self._layers[name] = make_layer(name, parameter, masks[name], groups[name], self.seed)
            pruned = positions(~self._layers[name].mask)
            optimizer_state.assign(pruned, optimizer_state.fresh(optimizer, groups[name], parameter))
        self._zero_pruned_weights()

    def _check_same_method(self, state: Mapping[str, Any]) -> None:
        try:
            version, method, settings = state["format"], state["method"], state["settings"]
        except (KeyError, TypeError):
            raise CorruptFileError("this is not the state of a sparsifier.") from None
        if version != STATE_FORMAT or method != type(self).__name__:
            raise InputError(
                f"the state is of {method} (format {version}), this is {type(self).__name__} (format {STATE_FORMAT})."
            )
        for name, value in self.settings().items():
            if settings.get(name) != value:
                raise InputError(
                    f"the state was saved with {name}={settings.get(name)!r}, this {method} has {value!r}."
                )


def _groups(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Any]]:
    """Return each parameter's group; raises InputError for a parameter that the optimizer does not train."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise InputError("LBFGS mixes all weights in one history and cannot keep masks; use a per-weight optimizer.")
    by_id = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    lost = [name for name, parameter in parameters.items() if id(parameter) not in by_id]
    if len(lost) == len(parameters):
        raise InputError(
            "the optimizer holds none of the model's prunable weights; was it built for another copy of the model?"
        )
    if lost:
        raise InputError(
            f"the optimizer does not train '{lost[0]}'; add it, or pass exclude=['{lost[0]}'] to leave it dense."
        )
    return {name: by_id[id(parameter)] for name, parameter in parameters.items()}


def constructor_options(cls: type) -> list[str]:
    """Return the keyword options of the constructors of `cls` and its bases, `sparsity` and `seed` included once."""
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__[:-1]):
        for name, parameter in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                names[name] = None
    return list(names)


def _text(value: Any) -> str:
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    return repr([_text(entry) if isinstance(entry, type) else entry for entry in value])
