"""Channels by the size of their weights, or by chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sinewy.criteria.criterion import Subject
from sinewy.errors import InputError
from sinewy.structured.channels import ChannelGroup, Role, Slice
from sinewy.structured.criterion import ChannelCriterion, Scores, uniform_ranks

Norm = Literal["l1", "l2"]


class _Norms(ChannelCriterion):
    """What the criteria by norm share: which norm, and which slices of a channel it is taken over."""

    roles: ClassVar[tuple[Role, ...]] = ("out",)

    def __init__(self, *, norm: Norm = "l1") -> None:
        if norm not in ("l1", "l2"):
            raise InputError(f"norm='{norm}' is not known; use 'l1' or 'l2'.")
        self.norm = norm

    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return the norm of each channel's weights: summed over the tensors that have a part in it."""
        power = 1 if self.norm == "l1" else 2
        parameters = dict(subject.model.named_parameters())
        sums = {group.name: weight_sums(parameters, group, self.roles, power)[0] for group in groups}
        return sums if power == 1 else {name: total.sqrt() for name, total in sums.items()}


class FilterThresholding(_Norms):
    """FT: the norm of each filter, the same share of channels removed from every group.

    Liebenwein et al. 2021, Table 1, in the reading of its code: the filter that makes a channel; those that read it
    follow (Li et al. 2016; Renda et al. 2020). `norm` is "l1", or "l2" (SoftNet, He et al. 2018). Where filters are
    coupled (residual sums), a channel's norm is that of all its filters together and they go together; the code masks
    each by itself, so that few of them can really be removed.
    """

    def allocate(self, scores: Scores, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return ranks of which the same share is removed from every group."""
        return uniform_ranks(scores, groups)


class InputFilterThresholding(FilterThresholding):
    """FT as Liebenwein et al. 2021 print it in Table 1: the norm of the column W_:j by which a channel is read."""

    roles = ("in",)


class ChannelMagnitude(_Norms):
    """Mean |w| of a channel's filters ("l1"), or their root mean square ("l2"), ranked over the whole network.

    The mean makes filters of different size comparable; depthwise kernels count as part of the filter.
    """

    roles = ("out", "depthwise")

    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return the norm per weight, of each channel."""
        power = 1 if self.norm == "l1" else 2
        parameters = dict(subject.model.named_parameters())
        found = {group.name: weight_sums(parameters, group, self.roles, power) for group in groups}
        means = {name: total / max(count, 1) for name, (total, count) in found.items()}
        return means if power == 1 else {name: mean.sqrt() for name, mean in means.items()}


class RandomChannels(ChannelCriterion):
    """A uniform number per channel: the control that every criterion must beat."""

    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return uniform numbers, the same on every device."""
        device = next(subject.model.parameters()).device
        return {
            group.name: torch.rand(group.channels, generator=subject.generator, dtype=torch.float64).to(device)
            for group in groups
        }


@torch.no_grad()
def weight_sums(
    parameters: Mapping[str, Tensor], group: ChannelGroup, roles: Sequence[Role], power: int
) -> tuple[Tensor, int]:
    """Return the sum of |w|^power per channel (float64), and of how many weights, in slices of these roles.

    Only tensors of two or more dimensions count, so neither biases nor norms.
    """
    device = next(iter(parameters.values())).device
    total, count = torch.zeros(group.channels, dtype=torch.float64, device=device), 0
    for part in group.slices:
        weight = parameters.get(part.name)
        if part.role in roles and weight is not None and weight.ndim > 1:
            total += by_channel(weight.abs().pow(power), part)
            count += part.index.shape[1] * weight.numel() // weight.shape[part.dim]
    return total, count


def by_channel(values: Tensor, part: Slice) -> Tensor:
    """Return the sum of `values`, of the shape of a slice's tensor, over all that belongs to each channel (float64)."""
    sums = values.movedim(part.dim, 0).reshape(values.shape[part.dim], -1).sum(1, dtype=torch.float64)
    return sums[part.index.to(sums.device)].sum(1)
