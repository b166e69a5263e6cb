"""What every structured criterion is: a score per channel, and how channels of different groups are weighed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sinewy.criteria.criterion import Need, Subject
from sinewy.structured.channels import ChannelGroup

Scores = Mapping[str, Tensor]
"""A tensor (channels,) by the name of the group; larger is kept."""


class ChannelCriterion(ABC):
    """Scores every channel of every group; the largest scores are kept."""

    needs: ClassVar[Need] = "nothing"
    """What of the training data the scores depend on."""

    batches: ClassVar[int] = 1
    """How many batches it looks at unless told otherwise."""

    def stages(self, sparsity: float) -> Sequence[float]:
        """Return the ascending targets at which to score and remove in turn; the last is `sparsity`."""
        return (sparsity,)

    @abstractmethod
    def scores(self, subject: Subject, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return a score per channel, by name of the group; larger is kept. Removed channels' are unused."""

    def allocate(self, scores: Scores, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
        """Return the ranks by which channels of all groups are compared, from what `scores` returned.

        Float64, larger is kept. The default ranks by the scores themselves: one ranking over the network.
        """
        return {group.name: scores[group.name].double() for group in groups}


def uniform_ranks(scores: Scores, groups: Sequence[ChannelGroup]) -> dict[str, Tensor]:
    """Return ranks in (0, 1) by which every group loses the same share of its channels, the lowest scores first.

    The channel with the k-th lowest of C scores has the rank (k - 1/2) / C; among ties the earlier ranks higher.
    """
    return {group.name: _shares(scores[group.name]) for group in groups}


def _shares(scores: Tensor) -> Tensor:
    order = scores.flip(0).argsort(stable=True)
    places = torch.arange(len(scores), dtype=torch.float64, device=scores.device).add_(0.5).div_(len(scores))
    return torch.empty_like(places).index_copy_(0, order, places).flip(0)
