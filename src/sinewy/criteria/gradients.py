"""First and second derivatives of the loss over a few batches, of all prunable weights at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from sinewy.criteria.criterion import Batch, Subject
from sinewy.criteria.losses import scaled
from sinewy.criteria.running import explained
from sinewy.errors import InputError

Tensors = dict[str, Tensor]


def mean_gradients(subject: Subject, *, temperature: float = 1.0, parts: int = 1) -> Tensors:
    """Return the gradient of the mean loss over the batches, by parameter name; zero where the loss does not reach.

    Logits are divided by `temperature`. `parts` cuts every batch in so many, to bound memory; their losses weigh alike.
    """
    total: Tensors = {}
    batches = list(_cut(subject.batches, parts))
    for batch in batches:
        _add(total, _gradients(subject, _loss(subject, batch, temperature)), 1 / len(batches))
    return total


def curvature(subject: Subject, *, temperature: float = 1.0, parts: int = 1) -> Tensors:
    """Return H g by parameter name: the Hessian of the mean loss times its gradient, both of the kept weights only.

    By double backward; logits are divided by `temperature`, and `parts` cuts every batch in so many. Raises InputError
    for a model with an operation that torch cannot differentiate twice.
    """
    with _differentiable_twice():
        direction = mean_gradients(subject, temperature=temperature, parts=parts)
        direction = {name: g * subject.masks[name] for name, g in direction.items()}
        total: Tensors = {}
        batches = list(_cut(subject.batches, parts))
        for batch in batches:
            slopes = _gradients(subject, _loss(subject, batch, temperature), create_graph=True)
            along = sum(((slopes[name] * direction[name]).sum() for name in slopes), torch.zeros(()))
            _add(total, _backward(subject, along), 1 / len(batches))
        return total


def _loss(subject: Subject, batch: Batch, temperature: float) -> Tensor:
    inputs, labels = batch
    with explained(subject.model):
        outputs = subject.model(inputs)
    loss = subject.loss(scaled(outputs, 1 / temperature) if temperature != 1 else outputs, labels)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        raise InputError(f"the loss must return one number as a tensor, got {_text(loss)}.")
    if not loss.isfinite():
        raise InputError(f"the loss of a training batch is {loss.item()}; are all inputs and labels finite?")
    if not loss.requires_grad:
        raise InputError("the loss does not depend on the weights through gradients; is the model run without them?")
    return loss.squeeze()


def _gradients(subject: Subject, value: Tensor, *, create_graph: bool = False) -> Tensors:
    names, parameters = list(subject.parameters), list(subject.parameters.values())
    found = torch.autograd.grad(value, parameters, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    return dict(zip(names, found, strict=True))


def _backward(subject: Subject, value: Tensor) -> Tensors:
    """Return gradients as `_gradients` does, but reach every leaf: what refuses a second derivative gets to say so."""
    for parameter in subject.parameters.values():
        parameter.grad = None
    if value.requires_grad:  # of a piecewise linear loss the first derivative is constant
        value.backward()  # type: ignore[no-untyped-call]
    found = {name: torch.zeros_like(p) if p.grad is None else p.grad for name, p in subject.parameters.items()}
    for parameter in subject.parameters.values():
        parameter.grad = None
    return found


def _add(total: Tensors, found: Mapping[str, Tensor], factor: float) -> None:
    for name, tensor in found.items():
        part = tensor.detach() * factor
        total[name] = total[name] + part if name in total else part


def _cut(batches: Any, parts: int) -> Iterator[Batch]:
    """Yield the batches, each cut in `parts` where inputs and labels are tensors and long enough."""
    for inputs, labels in batches:
        if parts > 1 and isinstance(inputs, Tensor) and isinstance(labels, Tensor) and len(inputs) >= parts:
            yield from zip(inputs.chunk(parts), labels.chunk(parts), strict=True)
        else:
            yield inputs, labels


@contextmanager
def _differentiable_twice() -> Iterator[None]:
    """Run operations that have no second derivative in torch as equal ones that have: attention, hard sigmoids."""
    try:
        with sdpa_kernel(SDPBackend.MATH), _PiecewiseSigmoid():
            yield
    except (RuntimeError, NotImplementedError) as error:
        if "is not implemented" not in str(error) and "differentiate twice" not in str(error):
            raise
        raise InputError(
            f"the model cannot be differentiated twice ({error}); take a criterion of first order, such as 'snip'."
        ) from None


class _PiecewiseSigmoid(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is F.hardsigmoid:
            return F.relu6(args[0] + 3) / 6
        return func(*args, **(kwargs or {}))


def _text(value: Any) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
