"""Criteria of second order: what the removal of a weight does to the gradient flow, w times (H g)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from sinewy.criteria.criterion import Criterion, Need, Subject
from sinewy.criteria.gradients import curvature
from sinewy.criteria.snip import draw_again
from sinewy.errors import InputError


class GraSP(Criterion):
    """w (H g), signed: weights go whose removal raises the gradient norm most, or lowers it least (Wang et al. 2020).

    Setting w to 0 changes |g|^2 by about -2 w (H g), so a weight of large w (H g) stays. As in the authors' code,
    logits are divided by a `temperature` of 200 and each batch cut in 2 `parts`, but unlike there the network is in
    evaluation mode (unless train_mode), and no weight is drawn anew before scoring; `reinit` does that with the linear
    layers, from Xavier's normal distribution. Their code scores 10 examples of each class: batch_size=100 for 10.
    """

    needs: ClassVar[Need] = "labels"
    sign: ClassVar[int] = 1

    def __init__(self, *, temperature: float = 200.0, parts: int = 2, reinit: bool = False) -> None:
        if not temperature > 0 or parts < 1:
            raise InputError(f"temperature={temperature} must be above 0, parts={parts} at least 1.")
        self.temperature, self.parts, self.reinit = temperature, parts, reinit

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return w (H g) per weight."""
        if self.reinit:
            draw_again(subject, linear_only=True)
        return {name: self.sign * score for name, score in _flow(subject, self.temperature, self.parts).items()}


class GraSPSnipIt(GraSP):
    """-w (H g): GraSP with its sign reversed, which keeps what GraSP removes. Only to replicate Ayle et al. 2022.

    The code that their GraSP rows come from, a fork of SNIP-it, hands -w (H g) to SNIP's "keep the largest", over 5
    batches.
    """

    sign: ClassVar[int] = -1
    batches: ClassVar[int] = 5


class CroP(Criterion):
    """|w (H g)|: weights stay that matter for the gradient flow either way; in one step (Rachwan et al. 2022).

    H and g are of the kept weights only, over 5 batches, in evaluation mode, without temperature. EarlyCroP scores
    alike early in training. `parts` cuts each batch, to bound memory.
    """

    needs: ClassVar[Need] = "labels"
    batches: ClassVar[int] = 5

    def __init__(self, *, parts: int = 1) -> None:
        if parts < 1:
            raise InputError(f"parts={parts} must be at least 1.")
        self.parts = parts

    def scores(self, subject: Subject) -> dict[str, Tensor]:
        """Return |w (H g)| per weight."""
        return {name: score.abs() for name, score in _flow(subject, 1.0, self.parts).items()}


class CroPit(CroP):
    """CroP in stages: scored anew on each smaller network (Rachwan et al. 2022; Ayle et al. 2022).

    Stage i = 0..steps prunes to S - (S - start) / 2^i, a last one to S; `start` is 0.5, and 0.25 for S of 0.5 or less,
    as in the authors' EarlyCroP. (Their CroPit starts at 0.5 always, and so prunes too much below it.)
    """

    def __init__(self, *, steps: int = 5, parts: int = 1) -> None:
        super().__init__(parts=parts)
        if steps < 0:
            raise InputError(f"steps={steps} must be at least 0.")
        self.steps = steps

    def stages(self, sparsity: float) -> Sequence[float]:
        """Return the sparsities that halve the distance from the start each time, and the target."""
        start = 0.5 if sparsity > 0.5 else 0.25
        if sparsity <= start:
            return (sparsity,)
        return (*(sparsity - (sparsity - start) * 0.5**i for i in range(self.steps + 1)), sparsity)


def _flow(subject: Subject, temperature: float, parts: int) -> dict[str, Tensor]:
    along = curvature(subject, temperature=temperature, parts=parts)
    return {name: parameter.detach() * along[name] for name, parameter in subject.parameters.items()}
