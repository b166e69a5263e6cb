"""SynFlow: how much of the network's total path strength flows through a weight; needs no data, only its shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sinewy.criteria.criterion import Criterion, Need, Subject
from sinewy.criteria.losses import float_tensors
from sinewy.criteria.running import explained
from sinewy.errors import InputError


class SynFlow(Criterion):
    """|w| dR/d|w|, R the sum of the outputs for an input of ones, all parameters absolute (Tanaka et al. 2020).

    Pruned in `steps` (100) stages of equal density ratio. As in the authors' code, biases and batch norm's parameters
    and running statistics are made absolute too, and evaluation mode makes batch norm linear; in that mode always,
    whatever train_mode says. In float64 if `double`, which deep networks overflow later than float32. Networks that
    normalise by the activations themselves (LayerNorm, GroupNorm) or whose activations can be negative break the
    conservation of scores that its promise, never to empty a layer, rests on.
    """

    needs: ClassVar[Need] = "shape"

    def __init__(self, *, steps: int = 100, double: bool = True) -> None:
        if steps < 1:
            raise InputError(f"steps={steps} must be at least 1.")
        self.steps, self.double = steps, double

    def stages(self, sparsity: float) -> Sequence[float]:
        """Return 1 - (1 - S)^(i / steps) for i = 1..steps."""
        return (*(1 - (1 - sparsity) ** (i / self.steps) for i in range(1, self.steps)), sparsity)

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return |w| dR/d|w| per weight."""
        if self.double:
            subject.model.double()
        _linearise(subject.model)
        ones = _ones(subject.batches[0][0], next(iter(subject.parameters.values())).dtype)
        with explained(subject.model, "if it makes tensors of its own, double=False may help"):
            outputs = subject.model(ones)
        strength = torch.stack([part.sum() for part in float_tensors(outputs)]).sum()
        names, weights = list(subject.parameters), list(subject.parameters.values())
        slopes = torch.autograd.grad(strength, weights, allow_unused=True, materialize_grads=True)
        found = {name: (w.detach() * g).abs() for name, w, g in zip(names, weights, slopes, strict=True)}
        if not all(bool(score.isfinite().all()) for score in found.values()):
            raise InputError(
                "SynFlow's scores overflow in this network; if double=True does not help, take 'magnitude' or 'snip'."
            )
        return found


@torch.no_grad()
def _linearise(model: nn.Module) -> None:
    """Make every parameter and buffer of the private copy absolute; doing it again changes nothing."""
    model.eval()
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.abs_()


def _ones(inputs: Any, dtype: torch.dtype) -> Tensor:
    """Return ones in the shape of the first example."""
    if isinstance(inputs, Tensor) and inputs.is_floating_point():
        return torch.ones_like(inputs[:1], dtype=dtype)
    raise InputError("SynFlow feeds ones to the network and needs its inputs to be one floating-point tensor.")
