"""From dense to sparse during training: gradual magnitude pruning, and alternating dense and sparse phases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.layers import Pattern
from sinewy.select import joint_masks, largest_mask
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.closed_form import mean_forward
from sinewy.sparsify.dynamic import DynamicSparsifier
from sinewy.sparsify.timing import Moment, check_moment, in_steps


class GradualMagnitude(DynamicSparsifier):
    """Prune the smallest magnitudes step by step, from dense to the target; none grow back (Zhu and Gupta 2017).

    The sparsity follows `sparsity_schedule` ("cubic", the paper's; "exponential": the density falls by the same factor
    per update; "linear") from `initial` to the target between `begin` and `until` (or `stop` of training), `every`
    steps, after the step. `allocation` "uniform" prunes each tensor alike, as in the paper; "global" ranks all weights
    together.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        allocation: str = "uniform",
        initial: float | None = 0.0,
        fraction: float = 0.0,
        schedule: str | None = "constant",
        replace_step: bool = False,
        **options: Any,
    ) -> None:
        if fraction:
            raise InputError(f"GradualMagnitude only prunes; for fraction={fraction:g} take GraNet, which also grows.")
        super().__init__(
            sparsity,
            allocation=allocation,
            initial=initial,
            fraction=fraction,
            schedule=schedule,
            replace_step=replace_step,
            **options,
        )

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 3 f at the mean density over training, FLOPs taken as linear in density."""
        return 3 * mean_forward(self, sparse, dense)


class ACDC(Sparsifier):
    """Alternate compressed and decompressed phases: sparse, dense, sparse, ... ending sparse (Peste et al. 2021).

    Training is dense for `warmup`, then phases of length `phase` alternate, sparse first, up to `last_dense`; it is
    dense from there to `final`, and sparse to the end. Each sparse phase keeps the largest magnitudes over all tensors
    (`allocation` "global"; or a share of each, "uniform", "erk"); a dense phase lets every weight train again, from 0,
    and with `reset_state` the optimizer forgets its momentum at its start, as in the published runs. The defaults are
    the shares of training of the paper's ImageNet runs (dense 0-10 of 100 epochs, phases of 5, dense 75-85); lengths
    are steps, epochs ("5ep") or shares in (0, 1).
    """

    replace_step = False

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        warmup: Moment = 0.1,
        phase: Moment = 0.05,
        last_dense: Moment = 0.75,
        final: Moment = 0.85,
        reset_state: bool = True,
        allocation: str = "global",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        dense: Sequence[str] = (),
        seed: int = 0,
    ) -> None:
        super().__init__(sparsity, allocation=allocation, include=include, exclude=exclude, dense=dense, seed=seed)
        for name, moment in (("warmup", warmup), ("phase", phase), ("last_dense", last_dense), ("final", final)):
            check_moment(name, moment)
        self.warmup, self.phase, self.last_dense, self.final = warmup, phase, last_dense, final
        self.reset_state = reset_state
        self._turns: dict[int, bool] = {}

    def prepare(self) -> None:
        """Lay out the phases: the step after which each begins, and whether it is sparse."""
        names = ("warmup", "phase", "last_dense", "final")
        warmup, phase, last_dense, final = (in_steps(name, getattr(self, name), self.length) for name in names)
        if min(warmup, phase) < 1 or not warmup < last_dense < final or final >= (self.length.steps or final + 1):
            raise InputError(
                f"the phases of AC/DC (warmup {warmup}, phase {phase}, last_dense {last_dense}, final {final} steps)"
                f" must be at least a step long and in order, within {self.length.steps} steps of training."
            )
        starts = range(warmup, last_dense, phase)
        self._turns = {start: index % 2 == 0 for index, start in enumerate(starts)} | {last_dense: False, final: True}

    def is_update(self, step: int) -> bool:
        """Return whether a phase begins after `step`."""
        return step in self._turns

    def sparsity_at(self, step: int) -> float:
        """Return 0 in a dense phase, the target in a sparse one (with `dense` tensors as they are)."""
        begun = [turn for turn in self._turns if turn <= step]
        return self.target if begun and self._turns[max(begun)] else 0.0

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return full masks: training begins dense."""
        del model
        return {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()}

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return full masks at the start of a dense phase, the largest magnitudes at that of a sparse one."""
        del gradients
        layers = self.movable
        if not self._turns[self.step]:
            return {name: torch.ones_like(layer.mask) for name, layer in layers.items()}
        quota = self.quota(self.parameters, self.target)
        if self.allocation == "global":
            number = sum(quota[name] for name in layers)
            chosen = joint_masks([layer.weight for layer in layers.values()], number, magnitude=True)
            return dict(zip(layers, chosen, strict=True))
        return {name: largest_mask(layer.weight.abs(), quota[name]) for name, layer in layers.items()}

    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        super()._move(optimizer, gradients)
        if self.reset_state and not self._turns[self.step]:
            optimizer_state.forget(optimizer)

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 3 f_S over the sparse phases and 3 f_D over the dense ones."""
        steps = self.length.steps or max(self._turns, default=1)
        share = sum(self.sparsity_at(step) > 0 for step in range(steps)) / steps
        return 3 * (share * sparse + (1 - share) * dense)
