"""What every probe is: it takes models and data, and yields outcomes, one shift at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.outcomes import Outcomes
from sinewy.probes.evaluate import Evaluator

BLOCK = 512
"""Images shifted at a time: bounds memory, whatever the size of the set."""


@dataclass(frozen=True)
class Measurement:
    """The outcomes of every model on one shift, by model and severity; `about` describes the shift."""

    kind: str
    outcomes: Mapping[str, Mapping[int, Outcomes]]
    about: Mapping[str, Any] = field(default_factory=dict)


class Probe(ABC):
    """Measures models on one family of shifts; every model sees the same bytes.

    A subclass names its shifts in `kinds` and writes `measure_kind`; checks, evaluation mode and normalisation are
    settled here.
    """

    name: str

    @property
    @abstractmethod
    def kinds(self) -> tuple[str, ...]:
        """The shifts, in order; each is measured and stored by itself, so that an audit can go on from the next."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """Return everything the shifted bytes depend on besides the data, as JSON-able values."""

    @abstractmethod
    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes of the evaluator's models on one shift of `data`, at all severities."""

    def measure(
        self, models: Mapping[str, nn.Module], data: ImageSet, *, device: str | torch.device = "cpu"
    ) -> Iterator[Measurement]:
        """Yield the measurement of each kind in turn; raises InputError for an empty set or a model that misfits."""
        if len(data) == 0:
            raise InputError("there is nothing to audit on: the set is empty.")
        evaluator = Evaluator(models, mean=data.mean, std=data.std, device=device)
        for kind in self.kinds:
            yield self.measure_kind(kind, evaluator, data)


class CleanProbe(Probe):
    """The unshifted set: what every other measurement is compared with."""

    name = "clean"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The one condition."""
        return ("clean",)

    def protocol(self) -> dict[str, Any]:
        """Return nothing: the bytes are the data's own."""
        return {}

    def measure_kind(self, kind: str, evaluator: Evaluator, data: ImageSet) -> Measurement:
        """Return the outcomes on the data as it is, as severity 0."""
        blocks = (
            torch.from_numpy(np.ascontiguousarray(data.images[i : i + BLOCK])) for i in range(0, len(data), BLOCK)
        )
        return Measurement(kind, {name: {0: found} for name, found in evaluator.outcomes(blocks, data.labels).items()})
