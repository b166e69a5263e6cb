"""Criteria that need no data: the size of a weight, and chance."""

from __future__ import annotations

import torch
from torch import Tensor

from sinewy.criteria.criterion import Criterion, Subject


class Magnitude(Criterion):
    """|w|: weight thresholding (WT of Liebenwein et al. 2021, with global scope; Han et al. 2015)."""

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return the absolute weights."""
        return {name: parameter.detach().abs() for name, parameter in subject.parameters.items()}


class Random(Criterion):
    """A uniform number per weight: the control that every criterion must beat."""

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return uniform numbers, the same on every device."""
        return {
            name: torch.rand(p.shape, generator=subject.generator, dtype=torch.float64).to(p.device)
            for name, p in subject.parameters.items()
        }
