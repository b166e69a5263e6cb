"""Early pruning: dense until the weights have stopped drifting, then pruned once, and trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from sinewy.errors import InputError, unknown_name
from sinewy.sparsify.scored import ScoringSparsifier
from sinewy.sparsify.timing import Moment, Timing, check_moment, in_steps
from sinewy.structured import STRUCTURED

REFERENCES = ("start", "first")


class EarlyCroP(ScoringSparsifier):
    """CroPit at the moment at which training has left its first, chaotic phase (Rachwan et al. 2022).

    Every `every` (an epoch), the drift d = |w_ref - w| / |w_ref| of all parameters is taken, and once it changes by
    less than d_1 (1 - sparsity) from one look to the next (of structured criteria d_1 (0.9 - sparsity), as in the
    published code), or `latest` is reached, the network is pruned; d_1 is the first drift. `reference` is what the
    drift is measured from: "start", the initial weights, as the paper says, or "first", the weights at the first look,
    as the code has it. `criterion` "crop-structured" removes channels, in one step as that code does.
    """

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        every: Moment = "1ep",
        latest: Moment = 0.5,
        reference: Literal["start", "first"] = "start",
        criterion: str = "cropit",
        **options: Any,
    ) -> None:
        super().__init__(sparsity, criterion=criterion, **options)
        check_moment("every", every)
        check_moment("latest", latest)
        if reference not in REFERENCES:
            raise unknown_name("reference", reference, REFERENCES)
        self.every, self.latest, self.reference = every, latest, reference
        self._looks = Timing(1, 1, None)
        self._reference: dict[str, Tensor] = {}
        self._drifts: list[float] = []
        self._pruned_at: int | None = None

    def prepare(self) -> None:
        """Settle the looks, and by when to prune."""
        every, latest = (in_steps(name, getattr(self, name), self.length) for name in ("every", "latest"))
        if every > latest:
            raise InputError(f"EarlyCroP looks every {every} steps, but is to prune by step {latest}; lower every.")
        self._looks = Timing(every, every, latest)
        self._reference, self._drifts, self._pruned_at = {}, [], None

    def attach(self, *args: Any, **options: Any) -> Any:
        """Attach as every sparsifier does, and keep the initial weights if the drift is measured from them."""
        super().attach(*args, **options)
        if self.reference == "start":
            self._reference = self._weights()
        return self

    @property
    def pruned_at(self) -> int | None:
        """The optimizer step after which the network was pruned; None before."""
        return self._pruned_at

    @property
    def drifts(self) -> tuple[float, ...]:
        """The relative distances from the reference, one per look."""
        return tuple(self._drifts)

    def is_update(self, step: int) -> bool:
        """Return whether the drift is looked at after `step`: until the network is pruned, every so many steps."""
        return self._looks.is_update(step) and (self._pruned_at is None or step <= self._pruned_at)

    def sparsity_at(self, step: int) -> float:
        """Return 0 before the pruning, the target from then on; what lies ahead is taken to be as late as it can."""
        moment = self._pruned_at or self._looks.last
        return self.target if moment is not None and step >= moment else 0.0

    def move(self, gradients: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Look at the drift; return CroPit's masks once it has settled, and until then the masks as they are."""
        del gradients
        if not (self._settled() or self.step == self._looks.last):
            return {name: layer.mask for name, layer in self.movable.items()}
        self._pruned_at, self._reference = self.step, {}
        return self.masks_at(self.target)

    def _settled(self) -> bool:
        """Return whether the drift has changed little since the last look; it takes two looks to say so."""
        now = self._weights()
        if not self._reference:
            self._reference = now
            return False
        size = _norm(self._reference)
        self._drifts.append(_norm({name: now[name] - before for name, before in self._reference.items()}) / size)
        if len(self._drifts) < 2:
            return False
        share = 1 - self.target - (0.1 if self.criterion in STRUCTURED else 0.0)
        return abs(self._drifts[-1] - self._drifts[-2]) < self._drifts[0] * share

    def _weights(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._plain_model.named_parameters()}

    def remembered(self) -> dict[str, Any]:
        """Return the reference, the drifts and when the network was pruned."""
        return {"reference": dict(self._reference), "drifts": list(self._drifts), "pruned_at": self._pruned_at}

    def remember(self, state: Mapping[str, Any]) -> None:
        """Put back what `remembered` returned."""
        self._reference, self._drifts = dict(state["reference"]), list(state["drifts"])
        self._pruned_at = state["pruned_at"]


def _norm(tensors: Mapping[str, Tensor]) -> float:
    return float(torch.stack([tensor.double().square().sum() for tensor in tensors.values()]).sum().sqrt())
