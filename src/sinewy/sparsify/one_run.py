"""Iterative magnitude pruning within a single run of training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sinewy.errors import InputError
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.scored import ScoringSparsifier
from sinewy.sparsify.timing import Moment, Timing, check_moment, in_steps


class OneRunIMP(ScoringSparsifier):
    """Prune the smallest magnitudes every so often during one run, at halving distances to the target.

    The IMP of the code of Rachwan et al. 2022, which Ayle et al. 2022 ran: not trained to completion between prunings.
    Every `every`, `stages` times, the sparsity becomes S - (S - s) / 2^i for i = 0, 1, ..., s being `first` (0.5, or
    half of S where S is not above 0.5), and S at last. With `restore` all weights go back to their initial values each
    time.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        every: Moment = 0.1,
        stages: int = 7,
        first: float = 0.5,
        restore: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(sparsity, **options)
        check_moment("every", every)
        if stages < 1 or not 0 < first < 1:
            raise InputError(f"stages must be at least 1 and first in (0, 1); got {stages} and {first:g}.")
        self.every, self.stages, self.first, self.restore = every, stages, first, restore
        self._timing = Timing(1, 1, 0)
        self._initial: dict[str, Tensor] = {}

    def prepare(self) -> None:
        """Settle when to prune."""
        every = in_steps("every", self.every, self.length)
        last = every * self.stages
        if self.length.steps is not None and last > self.length.steps:
            raise InputError(
                f"{self.stages} prunings every {every} steps end at step {last}, after the {self.length.steps} steps of"
                " training; lower every or stages."
            )
        self._timing = Timing(every, every, last)

    def attach(self, *args: Any, **options: Any) -> Any:
        """Attach as every sparsifier does, and keep the initial weights if they are to come back."""
        super().attach(*args, **options)
        self._initial = copy.deepcopy(self._plain_model.state_dict()) if self.restore else {}
        return self

    def is_update(self, step: int) -> bool:
        """Return whether a pruning falls after `step`."""
        return self._timing.is_update(step)

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity of the latest pruning, 0 before the first."""
        latest = self._timing.latest(step)
        if latest is None:
            return 0.0
        stage = latest // self._timing.every
        start = self.first if self.target > self.first else self.target / 2
        return self.target if stage >= self.stages else self.target - (self.target - start) * 0.5 ** (stage - 1)

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the masks of the next stage."""
        del gradients
        return self.masks_at(self.sparsity_at(self.step))

    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        super()._move(optimizer, gradients)
        if self.restore:
            self._plain_model.load_state_dict(self._initial)
            optimizer_state.forget(optimizer)
            self._zero_pruned_weights()

    def remembered(self) -> dict[str, Any]:
        """Return the initial weights."""
        return {"initial": dict(self._initial)}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Put back the initial weights."""
        self._initial = dict(state["initial"])
