"""Pruning once: before training, at a moment of it, or at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.sparsify.scored import ScoringSparsifier
from sinewy.sparsify.timing import Moment, check_moment, in_steps


class OneShot(ScoringSparsifier):
    """Prune once, with any criterion, and train what is left.

    `at` is "start" (before the first step), "end" (after the last: nothing is trained afterwards), or a moment of
    training (steps, "5ep", a share), up to which training is dense. Options as in `ScoringSparsifier`.
    """

    def __init__(
        self, sparsity: float = 0.0, *, at: Literal["start", "end"] | Moment = "start", **options: Any
    ) -> None:
        super().__init__(sparsity, **options)
        if at not in ("start", "end"):
            check_moment("at", at)
        self.at = at
        self._when = 0

    def prepare(self) -> None:
        """Settle the step after which to prune."""
        if self.at == "end":
            if self.length.steps is None:
                raise InputError(
                    f"at='end' needs the length of training: {type(self).__name__}.attach(..., steps=...)."
                )
            self._when = self.length.steps
        else:
            self._when = 0 if self.at == "start" else in_steps("at", self.at, self.length)

    def is_update(self, step: int) -> bool:
        """Return whether the pruning falls after `step`."""
        return step == self._when > 0

    def sparsity_at(self, step: int) -> float:
        """Return 0 before the pruning, the target from then on."""
        return self.target if step >= self._when else 0.0

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return the criterion's masks where pruning comes before training, else full ones."""
        if self._when == 0:
            return self.masks_at(self.target)
        return super().initial_masks(model, parameters)

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Return the criterion's masks."""
        del gradients
        return self.masks_at(self.target)


class SNIP(OneShot):
    """|w g| on one batch before training (Lee et al. 2019); `at="end"` is SNIP-After of Ayle et al. 2022."""

    def __init__(self, sparsity: float = 0.0, *, criterion: str = "snip", **options: Any) -> None:
        super().__init__(sparsity, criterion=criterion, **options)


class SNIPAfter(SNIP):
    """SNIP on the trained network, without any training afterwards (Ayle et al. 2022, section 2)."""

    def __init__(self, sparsity: float = 0.0, *, at: Literal["start", "end"] | Moment = "end", **options: Any) -> None:
        super().__init__(sparsity, at=at, **options)


class GraSP(OneShot):
    """Keep the largest w Hg, and with them the gradient flow, before training (Wang et al. 2020).

    `criterion` "grasp-snipit" is the reversed sign of the SNIP-it code, which Ayle et al. 2022 ran.
    """

    def __init__(self, sparsity: float = 0.0, *, criterion: str = "grasp", **options: Any) -> None:
        super().__init__(sparsity, criterion=criterion, **options)


class CroPit(OneShot):
    """|w Hg| in several stages before training (Rachwan et al. 2022); "cropit-structured" removes whole channels."""

    def __init__(self, sparsity: float = 0.0, *, criterion: str = "cropit", **options: Any) -> None:
        super().__init__(sparsity, criterion=criterion, **options)


class SynFlow(OneShot):
    """Synaptic flow without data, in 100 stages before training (Tanaka et al. 2020)."""

    def __init__(self, sparsity: float = 0.0, *, criterion: str = "synflow", **options: Any) -> None:
        super().__init__(sparsity, criterion=criterion, **options)


class MagnitudeAfter(OneShot):
    """The smallest magnitudes go from the trained network, without fine-tuning (Timpl et al. 2022)."""

    def __init__(self, sparsity: float = 0.0, *, at: Literal["start", "end"] | Moment = "end", **options: Any) -> None:
        super().__init__(sparsity, at=at, **options)
