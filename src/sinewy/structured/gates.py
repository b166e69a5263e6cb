"""Gates: a factor c = 1 on each channel where it is made, before any norm, and what the loss says about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sinewy.criteria.criterion import Subject
from sinewy.criteria.gradients import curvature, mean_gradients
from sinewy.criteria.running import explained
from sinewy.errors import InputError
from sinewy.masks import Masks
from sinewy.structured.channels import ChannelGroup
from sinewy.structured.criterion import ChannelCriterion

_GATE = "gate of "


class GateGradient(ChannelCriterion):
    """SNIP-S: |dL/dc| for a gate c = 1 on each channel, ranked over the whole network (the code of ayle2022).

    In evaluation mode: with statistics of the batch a norm would undo any gate. A channel that several layers make
    together (residual sums, projections of an attention head, the scale of squeeze-excite before its sigmoid) has one
    gate on all of them, so its score is the size of the sum of their gradients.
    """

    needs = "labels"

    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return the absolute gradient of the mean loss by each gate."""
        gated = Gated(subject.model, groups)
        gradients = mean_gradients(replace(subject, model=gated, parameters=gated.gates))
        return {group.name: gradients[_GATE + group.name].abs() for group in groups}


class GateGradientFlow(ChannelCriterion):
    """CroP-S: |d(g^T dL/dw)/dc|, g the gradient by the kept prunable weights at c = 1; one step to the target.

    The second-order score of Rachwan et al. 2022 (EarlyCroP-S, whose code takes a single step), as ayle2022 runs it:
    cross-entropy, evaluation mode, five batches, no temperature. Gates are those of `GateGradient`. Since a weight only
    enters multiplied by its gate, the derivative also holds the squared gradient of the channel's own weights.
    """

    needs = "labels"
    batches = 5

    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return the absolute derivative of the gradient's flow by each gate."""
        gated = Gated(subject.model, groups)
        # The Hessian over weights and gates, times a gradient that is masked to its weights' part.
        masks = {name: torch.zeros_like(gate, dtype=torch.bool) for name, gate in gated.gates.items()}
        joint = {**subject.parameters, **gated.gates}
        flow = curvature(replace(subject, model=gated, parameters=joint, masks=Masks({**subject.masks, **masks})))
        return {group.name: flow[_GATE + group.name].abs() for group in groups}


class IteratedGateGradientFlow(GateGradientFlow):
    """CroPit-S: the score of CroP-S, taken again on the smaller network at each of `steps` + 1 stages and the target.

    The targets are S - (S - a) / 2^i for i = 0, ..., steps, then S (Rachwan et al. 2022), with a = 0.5, or 0.25 where
    S <= 0.5; a start above the target, which would remove too much, is left out.
    """

    def __init__(self, *, steps: int = 5) -> None:
        if steps < 0:
            raise InputError(f"steps={steps} must be at least 0.")
        self.steps = steps

    def stages(self, sparsity: float) -> Sequence[float]:
        """Return the ascending targets, the last of them `sparsity`."""
        start = 0.5 if sparsity > 0.5 else 0.25
        between = [sparsity - (sparsity - start) * 0.5**i for i in range(self.steps + 1)]
        return (*(target for target in between if target < sparsity), sparsity)


class Gated(nn.Module):
    """A model with a gate of ones on each channel of the groups; `gates` are the factors, by name.

    A gate multiplies the rows and biases of the layers that make its channel: as if it multiplied their outputs,
    whatever kind of layer they are and whatever code runs them.
    """

    def __init__(self, model: nn.Module, groups: Sequence[ChannelGroup]) -> None:
        super().__init__()
        self.model, self.groups = model, groups
        first = next(model.parameters())
        self.gates = {_GATE + g.name: nn.Parameter(first.new_ones(g.channels)) for g in groups}

    def forward(self, inputs: Any) -> Any:
        """Return what the model returns."""
        gates = {group.name: self.gates[_GATE + group.name] for group in self.groups}
        parameters = scaled(dict(self.model.named_parameters()), self.groups, gates)
        with explained(self.model):  # by its own name and its modules' names
            return functional_call(self.model, parameters, (inputs,))


def scaled(
    parameters: Mapping[str, Tensor], groups: Sequence[ChannelGroup], gates: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the parameters, each maker's rows and bias multiplied by the gate of their channel, by group name."""
    found = dict(parameters)
    for group in groups:
        for part in group.slices:
            if part.role == "out" and part.name in found:
                parameter = found[part.name]
                index, gate = part.index.to(parameter.device), gates[group.name].to(parameter.dtype)
                factor = torch.ones(parameter.shape[part.dim], dtype=parameter.dtype, device=parameter.device)
                factor = factor.index_copy(0, index.reshape(-1), gate.repeat_interleave(index.shape[1]))
                found[part.name] = parameter * factor.view([-1 if d == part.dim else 1 for d in range(parameter.ndim)])
    return found
