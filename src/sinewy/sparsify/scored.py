"""What every sparsifier shares that prunes by a criterion of `sinewy.prune`, and keeps what is left."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from sinewy.errors import InputError
from sinewy.pruning import data_needed, make_criterion, prune
from sinewy.sparsify.base import Sparsifier
from sinewy.sparsify.closed_form import mean_forward
from sinewy.sparsify.ranks import of_first_rank
from sinewy.structured import STRUCTURED
from sinewy.structured.pruning import make_channel_criterion

_OF_CHANNELS = ("of", "min_channels")
"""What `scoring` may hold for structured criteria besides the criterion's own options."""


class ScoringSparsifier(Sparsifier):
    """Starts dense, unless a subclass says otherwise, and prunes with the criterion `criterion` of `sinewy.prune`.

    `allocation` is its scope ("global" ranks all weights together; "uniform", "erk", ... rank within each tensor), and
    `batches`, `batch_size` and `train_mode` say on how much of the training data it scores and in which mode; `scoring`
    holds the criterion's own options. Data come from `attach(..., data=...)`, for criteria that read them. The FLOPs of
    scoring are not in the ledger of training.
    """

    replace_step = False

    def __init__(
        self,
        sparsity: float = 0.0,
        *,
        criterion: str = "magnitude",
        batches: int | None = None,
        batch_size: int | None = None,
        train_mode: bool = False,
        scoring: Mapping[str, Any] | None = None,
        allocation: str = "global",
        **options: Any,
    ) -> None:
        super().__init__(sparsity, allocation=allocation, **options)
        self.criterion, self.batches, self.batch_size = criterion, batches, batch_size
        self.train_mode, self.scoring = train_mode, dict(scoring or {})
        _check(criterion, self.scoring, self.allocation)
        self._needs = data_needed(criterion)

    def attach(self, *args: Any, **options: Any) -> Self:
        """Attach as every sparsifier does; data that the criterion will ask for must be here now, not when it asks."""
        if options.get("data") is None and self._needs != "nothing":
            what = "data=(inputs, labels)" if self._needs == "labels" else "data=inputs"
            raise InputError(f"'{self.criterion}' looks at training data; attach with {what}, or a loader of batches.")
        return super().attach(*args, **options)

    def masks_at(self, sparsity: float) -> dict[str, Tensor]:
        """Return the masks that the criterion gives the model as it is now; weights that are 0 already go first.

        In a distributed run they are those of rank 0, whose data are scored.
        """
        masks = prune(
            copy.deepcopy(self._plain_model),
            self.criterion,
            sparsity=sparsity,
            data=self._data,
            scope=self.allocation,
            batches=self.batches,
            batch_size=self.batch_size,
            train_mode=self.train_mode,
            include=self.include,
            exclude=self.exclude,
            dense=self.dense,
            seed=self.seed,
            **self.scoring,
        )
        return of_first_rank({name: masks[name] for name in self.pick(self._plain_model)})

    def initial_masks(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Mapping[str, Tensor]:
        """Return full masks: training begins dense."""
        del model
        return {name: torch.ones(p.shape, dtype=torch.bool) for name, p in parameters.items()}

    def training_flops(self, sparse: float, dense: float) -> float:
        """Return 3 f at the mean density over training, FLOPs taken as linear in density."""
        return 3 * mean_forward(self, sparse, dense)


def _check(name: str, scoring: Mapping[str, Any], allocation: str) -> None:
    """Raise InputError now for a criterion, option or allocation that could never work later."""
    if ":" in name:
        return  # one's own, which `data_needed` finds or refuses
    if name not in STRUCTURED:
        make_criterion(name, **scoring)
        return
    if allocation not in ("global", "uniform"):
        raise InputError(f"'{name}' shares channels by allocation 'global' or 'uniform'; got '{allocation}'.")
    make_channel_criterion(name, **{key: value for key, value in scoring.items() if key not in _OF_CHANNELS})
