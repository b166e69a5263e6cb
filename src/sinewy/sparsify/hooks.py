"""How a sparsifier joins `optimizer.step()`: gradients masked or masks moved before, zeros kept after."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sinewy.sparsify.optimizer_state import ZERO_KEEPING

if TYPE_CHECKING:
    from sinewy.sparsify.base import Sparsifier


class StepHooks:
    """The pair of hooks on one optimizer.

    A step that moves the masks reads the dense `.grad`, moves them, and (unless the method says otherwise) sets every
    `.grad` to None, which makes any torch optimizer skip the step. Other steps multiply the gradients by the masks.
    With a closure the gradient only exists inside `step`, so the closure is wrapped. A step that GradScaler found to
    overflow changes nothing.
    """

    def __init__(self, sparsifier: Sparsifier, optimizer: torch.optim.Optimizer) -> None:
        self._sparsifier = sparsifier
        self._settles = sparsifier.settles_every_step or type(optimizer) not in ZERO_KEEPING
        self._pending: dict[str, Tensor | None] | None = None
        self._stepping = False
        self._unborn: list[Tensor] = []
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        """Take the hooks off the optimizer."""
        for handle in self._handles:
            handle.remove()

    def _before(
        self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if closure is None:
            self._prepare(optimizer)
            return None
        wrapped = self._wrap(optimizer, closure)
        return (args[0], wrapped, *args[2:]) if len(args) > 1 else args, kwargs if len(args) > 1 else kwargs | {
            "closure": wrapped
        }

    def _wrap(self, optimizer: torch.optim.Optimizer, closure: Callable[[], Any]) -> Callable[[], Any]:
        def masked_closure() -> Any:
            loss = closure()
            self._prepare(optimizer)
            return loss

        return masked_closure

    def _prepare(self, optimizer: torch.optim.Optimizer) -> None:
        """Act on the gradients that the step is about to use."""
        if _overflowed(optimizer):
            # A fused optimizer makes its state even so, and torch's SGD then takes uninitialised memory for momentum.
            self._unborn = [
                p for group in optimizer.param_groups for p in group["params"] if not optimizer.state.get(p)
            ]
            return
        sparsifier = self._sparsifier
        self._stepping = True
        moves = sparsifier._advance()
        if sparsifier.watches_gradient:
            sparsifier.observe(_dense_gradients(sparsifier, optimizer))
        if moves and sparsifier.replace_step:
            sparsifier._move(optimizer, _dense_gradients(sparsifier, optimizer))
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = None
            return
        if moves:
            self._pending = _kept_for_later(sparsifier, optimizer)
        sparsifier._constrain(getattr(optimizer, "grad_scale", None))

    def _after(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        del args, kwargs
        while self._unborn:
            optimizer.state.pop(self._unborn.pop(), None)
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self._sparsifier._move(optimizer, pending)
        if self._settles and self._stepping:
            self._sparsifier._settle()
        self._stepping = False


def holds_masks(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether a sparsifier has joined this optimizer already."""
    hooks = optimizer._optimizer_step_pre_hooks.values()
    return any(isinstance(getattr(hook, "__self__", None), StepHooks) for hook in hooks)


def _overflowed(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether GradScaler handed a fused optimizer gradients with infinities, which its kernel will skip."""
    found = getattr(optimizer, "found_inf", None)
    return found is not None and float(found) > 0


def _dense_gradients(sparsifier: Sparsifier, optimizer: torch.optim.Optimizer) -> dict[str, Tensor | None]:
    """Return the gradients of all prunable weights, unscaled if GradScaler left that to a fused optimizer."""
    scale = getattr(optimizer, "grad_scale", None)
    gradients = {name: layer.parameter.grad for name, layer in sparsifier._layers.items()}
    if scale is None:
        return gradients
    return {name: None if g is None else g / scale for name, g in gradients.items()}


def _kept_for_later(sparsifier: Sparsifier, optimizer: torch.optim.Optimizer) -> dict[str, Tensor | None]:
    """Return copies of the dense gradients, for an update after the step; none if the method reads none."""
    if not sparsifier.needs_gradient:
        return dict.fromkeys(sparsifier._layers)
    return {name: None if g is None else g.clone() for name, g in _dense_gradients(sparsifier, optimizer).items()}
