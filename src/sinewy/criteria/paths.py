"""Which kept weights still lie on a path from the inputs to the outputs: those that do not are dead."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from sinewy.criteria.losses import float_tensors
from sinewy.criteria.running import explained
from sinewy.errors import InputError
from sinewy.seeds import derive


class Paths:
    """Finds the dead weights of a network whose graph nobody has drawn; changes the private copy that it is given.

    Weights become random positive numbers, biases and running means 0, rectifiers smooth; then the derivative of the
    outputs after a weight is 0 only if no path of kept weights leads to it or none leads on, whatever the model's
    joints: sums, concatenations, gates, attention. A channel that only carries the constant of a bias is not on a path.
    Weights without a path in the dense network as well (kernel corners that only ever see padding) are not dead.
    """

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter], inputs: Any, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(derive("paths", seed))
        self.model, self.parameters = model.double().eval(), parameters
        self.inputs = _first(inputs, generator)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.copy_(_positive(parameter.shape, generator) * (not name.endswith("bias")))
            for name, buffer in model.named_buffers():
                if name.endswith(("running_mean", "bias")):
                    buffer.zero_()
                elif name.endswith("running_var"):
                    buffer.fill_(1.0)
        self.weights = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        whole = {name: torch.ones_like(p, dtype=torch.bool) for name, p in parameters.items()}
        self.always = {name: ~mask for name, mask in self._reached(whole).items()}

    def live(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return `masks` without the dead weights."""
        found = self._reached(masks)
        return {name: masks[name] & (found[name] | self.always[name]) for name in self.parameters}

    def _reached(self, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                mask = masks[name].to(parameter.device)
                # Every row sums to about 1, so that a single path through many layers does not vanish.
                size = mask.flatten(1).sum(1).clamp(min=1).view(-1, *[1] * (mask.ndim - 1))
                parameter.copy_(self.weights[name] * mask / size)
        generator = torch.Generator().manual_seed(0)
        with _Smooth(), explained(self.model, "paths are followed in float64; count='kept' does without"):
            outputs = float_tensors(self.model(self.inputs))
            total = torch.stack([(y * _positive(y.shape, generator).to(y.device)).sum() for y in outputs]).sum()
        if not total.requires_grad:
            return {name: torch.zeros_like(mask) for name, mask in masks.items()}
        slopes = torch.autograd.grad(total, list(self.parameters.values()), allow_unused=True, materialize_grads=True)
        return {name: slope != 0 for name, slope in zip(self.parameters, slopes, strict=True)}


class _Smooth(TorchFunctionMode):
    """Rectifiers whose slope is 0 nowhere, and which pass on 0 as 0."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in _RECTIFIERS:
            return F.elu(args[0])
        if func is F.hardsigmoid:
            return torch.sigmoid(args[0])
        if func is F.hardswish:
            return F.elu(args[0]) * torch.sigmoid(args[0])
        return func(*args, **(kwargs or {}))


_RECTIFIERS = frozenset(
    {F.relu, F.relu_, F.relu6, F.hardtanh, F.leaky_relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
)


def _positive(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator, dtype=torch.float64) / 2 + 0.5


def _first(inputs: Any, generator: torch.Generator) -> Any:
    """Return random positive numbers like the first example, or the inputs as they are if they are no such tensor."""
    if not isinstance(inputs, Tensor):
        raise InputError("counting dead weights needs the model's inputs to be one tensor; count='kept' does without.")
    if not inputs.is_floating_point():
        return inputs[:1]
    return _positive(inputs[:1].shape, generator).to(inputs.device)
