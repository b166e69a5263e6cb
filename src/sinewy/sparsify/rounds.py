"""Training in rounds: the same schedule again and again, with fewer weights each time."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sinewy.allocation import check_sparsity
from sinewy.errors import InputError
from sinewy.sparsify import optimizer_state
from sinewy.sparsify.scored import ScoringSparsifier
from sinewy.sparsify.timing import Length, Moment, check_moment, in_steps


class Iterative(ScoringSparsifier):
    """Train, prune, go back to `rewind` of the schedule, train again, until the target is reached.

    Each round but the last ends by pruning the share `fraction` of the weights that are left; the last of these prunes
    as much as meets the target. Or `levels` names the sparsity of every round after the first, the target being the
    last. `rewind` is a moment of the schedule (0: its start), at which data order and learning rate go on; with
    `restore`, weights and batch statistics go back to what they were then, without it they stay as trained. The
    optimizer starts each round afresh. `prunes=False` trains the same rounds and prunes nothing: the reference that is
    retrained alike.

    In `sinewy.fit`, epochs are those of one round, and with a folder the network at the end of each round is saved in
    "levels". In a loop of one's own, `steps` counts all rounds together (`total_steps`), and `position(step)` says
    which step of the schedule follows.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        fraction: float = 0.2,
        levels: Sequence[float] | None = None,
        rewind: Literal[0] | Moment = 0,
        restore: bool = True,
        prunes: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(sparsity, **options)
        if not 0 < fraction < 1:
            raise InputError(
                f"fraction is the share of the remaining weights pruned per round, in (0, 1); got {fraction!r}."
            )
        if rewind != 0:
            check_moment("rewind", rewind)
        self.fraction, self.rewind, self.restore, self.prunes = fraction, rewind, restore, prunes
        self.levels = None if levels is None else _checked(levels, self.target)
        self._sparsities = (0.0, *(self.levels or geometric(self.target, fraction)))
        self.rounds = len(self._sparsities)
        self._first, self._restart = 0, 0
        self._snapshot: dict[str, Tensor] = {}

    def total_steps(self, training: Length) -> int:
        """Return the steps of all rounds: a whole schedule, then what follows `rewind`, over and over."""
        whole, restart = super().total_steps(training), self._rewound(training)
        if restart >= whole:
            raise InputError(f"rewind={self.rewind!r} is step {restart}, but the schedule ends at step {whole}.")
        return whole + (self.rounds - 1) * (whole - restart)

    def prepare(self) -> None:
        """Find the schedule's length from the total: each round after the first lacks what comes before `rewind`."""
        total = self.length.steps
        if total is None:
            raise InputError(
                f"{type(self).__name__} trains in rounds: attach(model, optimizer, steps=...), for all of them."
            )
        self._first = _schedule_length(
            total, self.rounds, lambda whole: self._rewound(Length(whole, self.length.epoch_steps))
        )
        self._restart = self._rewound(Length(self._first, self.length.epoch_steps))
        if not 0 <= self._restart < self._first:
            raise InputError(
                f"{total} steps are too few for {self.rounds} rounds that go back to step {self._restart};"
                " train longer, prune more per round (fraction), or rewind to an earlier moment."
            )

    @property
    def _later(self) -> int:
        return self._first - self._restart

    def round_at(self, step: int) -> int:
        """Return the round (from 0) to which the optimizer step after `step` belongs."""
        return 0 if step < self._first else min(1 + (step - self._first) // self._later, self.rounds - 1)

    def position(self, step: int) -> int:
        """Return which step of the training schedule follows optimizer step `step`."""
        number = self.round_at(step)
        if number == 0:
            return step
        # Steps that the rounds cannot share evenly lengthen the last, at the schedule's end.
        return min(self._restart + step - self._first - (number - 1) * self._later, self._first - 1)

    def is_update(self, step: int) -> bool:
        """Return whether a round other than the last ends with `step`, or the weights to go back to are kept then."""
        ended = step - self._first
        ends_round = ended >= 0 and ended % self._later == 0 and ended // self._later < self.rounds - 1
        return ends_round or (self.restore and step == self._restart)

    def sparsity_at(self, step: int) -> float:
        """Return the sparsity of the round."""
        return self._sparsities[self.round_at(step)] if self.prunes else 0.0

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the masks of the round that begins."""
        del gradients
        if not self.prunes:
            return {name: layer.mask for name, layer in self.movable.items()}
        return self.masks_at(self.sparsity_at(self.step))

    def _move(self, optimizer: torch.optim.Optimizer, gradients: Mapping[str, Tensor | None]) -> None:
        if self.step == self._restart:
            self._keep_snapshot()
            return
        self._round_ends(self.round_at(self.step - 1))
        super()._move(optimizer, gradients)
        optimizer_state.forget(optimizer)
        if self.restore:
            self._plain_model.load_state_dict(self._snapshot)
            self._zero_pruned_weights()

    def attach(self, *args: Any, **options: Any) -> Any:
        """Attach as every sparsifier does, and keep the weights to go back to if that is the start."""
        super().attach(*args, **options)
        if self._restart == 0:
            self._keep_snapshot()
        return self

    def _keep_snapshot(self) -> None:
        self._snapshot = copy.deepcopy(self._plain_model.state_dict()) if self.restore else {}

    def remembered(self) -> dict[str, Any]:
        """Return the weights to go back to."""
        return {"snapshot": dict(self._snapshot)}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Put back the weights to go back to."""
        self._snapshot = dict(state["snapshot"])

    def _rewound(self, training: Length) -> int:
        return 0 if self.rewind == 0 else in_steps("rewind", self.rewind, training)


class IMP(Iterative):
    """Iterative magnitude pruning with rewinding: the lottery ticket (Frankle and Carbin 2019; Frankle et al. 2020).

    Each level removes 20 % of what is left by global magnitude, over all prunable tensors with the output layer, and
    goes back to the weights of step `rewind` (0, 500, "10ep"), where data order and schedule go on too. The removed
    number is round(0.2 n), where the published code takes one more and all ties. `restore=False` is learning-rate
    rewinding (Renda et al. 2020): trained weights stay, only the schedule goes back.
    """


class PruneRetrain(Iterative):
    """Prune and retrain with the original schedule, cycle by cycle (Liebenwein et al. 2021, Algorithm 1).

    `fraction` of the remaining weights goes per cycle, as the paper has it; `levels` takes the keep ratios of its code
    instead, as sparsities of the original (0.15, 0.224, ... for ResNet-20). `criterion` is "magnitude" (WT), "sipp",
    "ft" or "pfp", or any other of `sinewy.prune`. Weights stay as trained. With `prunes=False` it is the reference that
    is retrained alike.
    """

    def __init__(self, sparsity: float = 0.0, *, fraction: float = 0.15, restore: bool = False, **options: Any) -> None:
        super().__init__(sparsity, fraction=fraction, restore=restore, **options)


def geometric(sparsity: float, fraction: float) -> tuple[float, ...]:
    """Return 1 - (1 - fraction)^j for j = 1, 2, ... below `sparsity`, and `sparsity` itself; empty for 0."""
    if sparsity == 0:
        return ()
    number = math.ceil(math.log(1 - sparsity) / math.log(1 - fraction) - 1e-9)
    return (*(1 - (1 - fraction) ** level for level in range(1, number)), sparsity)


def _checked(levels: Sequence[float], target: float) -> tuple[float, ...]:
    for level in levels:
        check_sparsity(level)
    if not levels or list(levels) != sorted(set(levels)) or levels[-1] != target or levels[0] <= 0:
        raise InputError(
            f"levels must be rising sparsities above 0 that end with the target {target:g}; got {list(levels)}."
        )
    return tuple(levels)


def _schedule_length(total: int, rounds: int, rewound: Callable[[int], int]) -> int:
    """Return the longest schedule of which all rounds fit into `total` steps."""
    low, high = 0, total
    while low < high:
        middle = (low + high + 1) // 2
        if middle + (rounds - 1) * (middle - min(rewound(middle), middle)) <= total:
            low = middle
        else:
            high = middle - 1
    return low
