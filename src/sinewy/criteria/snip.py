"""SNIP: how much the loss feels a connection at all."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from sinewy.criteria.criterion import Criterion, Need, Subject
from sinewy.criteria.gradients import mean_gradients


class SNIP(Criterion):
    """|w dL/dw|, the gradient averaged over the batches (Lee et al. 2019; Mozer and Smolensky 1989).

    On a trained network this is SNIP-After (Ayle et al. 2022). `reinit` scores copies of the weights drawn anew from
    Xavier's normal distribution, as the code of the paper's authors does, and prunes the weights as they are.
    """

    needs: ClassVar[Need] = "labels"

    def __init__(self, *, reinit: bool = False) -> None:
        self.reinit = reinit

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return |w g| per weight."""
        if self.reinit:
            draw_again(subject)
        gradients = mean_gradients(subject)
        return {name: (p.detach() * gradients[name]).abs() for name, p in subject.parameters.items()}


@torch.no_grad()
def draw_again(subject: Subject, *, linear_only: bool = False) -> None:
    """Draw the copy's prunable weights anew, from Xavier's normal distribution; pruned ones stay 0."""
    for parameter in subject.parameters.values():
        if not linear_only or parameter.ndim == 2:
            fresh = torch.empty(parameter.shape)
            torch.nn.init.xavier_normal_(fresh, generator=subject.generator)
            parameter.copy_(fresh)
    subject.masks.apply_(subject.model)
