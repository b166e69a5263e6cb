"""What every probe is: it takes models and data, and yields outcomes, one shift at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sinewy.analysis.evidence import Evidence, Finding
from sinewy.analysis.maps import Map
from sinewy.data import ImageSet
from sinewy.errors import InputError
from sinewy.outcomes import Outcomes
from sinewy.probes.evaluate import Evaluator

BLOCK = 512
"""Images shifted at a time: bounds memory, whatever the size of the set."""


@dataclass(frozen=True)
class Measurement:
    """The outcomes of every model on one shift, by model and severity; `about` describes the shift.

    `scores` are other numbers, one per example or group of examples, by model and then by name, for probes that measure
    such.
    """

    kind: str
    outcomes: Mapping[str, Mapping[int, Outcomes]]
    about: Mapping[str, Any] = field(default_factory=dict)
    scores: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)


class Probe(ABC):
    """Measures models on one family of shifts; every model sees the same bytes.

    A subclass names its shifts in `kinds` and writes `measure_kind`; checks, evaluation mode and normalisation are
    settled here.
    """

    name: str

    shifts = True
    """Whether the kinds are shifts of the images, whose mean accuracy the main table shows."""

    together = False
    """Whether what is measured of a model depends on which others are measured with it."""

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

    def findings(self, evidence: Evidence) -> list[Finding]:
        """Return what is read from the measurements beside the main table; nothing, unless a probe says otherwise."""
        del evidence
        return []

    def maps(self, evidence: Evidence) -> list[Map]:
        """Return what is read from the measurements as matrices; nothing, unless a probe says otherwise."""
        del evidence
        return []

    def check(self, names: Sequence[str], data: ImageSet) -> None:
        """Raise InputError where the options do not fit the models' names or the data, before any work."""
        del names, data

    def measure(
        self, models: Mapping[str, nn.Module], data: ImageSet, *, device: str | torch.device = "cpu"
    ) -> Iterator[Measurement]:
        """Yield the measurement of each kind in turn; raises InputError for an empty set or a model that misfits."""
        evaluator = self.evaluator(models, data, device=device) if self.kinds else None
        for kind in self.kinds:
            assert evaluator is not None
            yield self.measure_kind(kind, evaluator, data)

    def evaluator(
        self, models: Mapping[str, nn.Module], data: ImageSet, *, device: str | torch.device = "cpu"
    ) -> Evaluator:
        """Return frozen copies of the models that normalise as `data` does; raises InputError for an empty set."""
        if len(data) == 0:
            raise InputError("there is nothing to audit on: the set is empty.")
        return Evaluator(models, mean=data.mean, std=data.std, device=device)


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
        found = evaluator.outcomes(pixel_blocks(data), data.labels)
        return Measurement(kind, {name: {0: outcomes} for name, outcomes in found.items()})


def pixel_blocks(data: ImageSet, size: int = BLOCK) -> Iterator[Tensor]:
    """Yield the images as uint8 tensors (up to `size`, 3, H, W), in order."""
    for start in range(0, len(data), size):
        yield torch.from_numpy(np.ascontiguousarray(data.images[start : start + size]))
