"""What `sinewy.limit` returns: how far each group of shifts lets a network be pruned, and the pruned networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sinewy.analysis import Certificate, Potential
from sinewy.analysis.limit_record import LimitRecord
from sinewy.analysis.shown import Shown
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.limits.levels import MODEL_FILE
from sinewy.modelfile import load_model
from sinewy.probes.corruption import CorruptionProbe
from sinewy.probes.probe import Probe
from sinewy.probes.showing import examples_lost
from sinewy.probes.speed import measure_speed
from sinewy.report.practice.limit import UNPRUNED, level_name, limit_rows, limit_summary, limit_text, write_limit_report

NEAR = 0.006
"""How far a sparsity given to `at` may be from a level's: 0.49 is enough for 0.488."""


class Safe(float):
    """The largest sparsity that is safe on one group of shifts: a number, with what stands behind it.

    `low` and `high` bound it (95 % over the choice of examples); `certified` is the sparsity that the certificate of
    the group gives; `first_break` is the smallest sparsity beyond the margin, None if there is none.
    """

    def __new__(cls, found: Potential, certificate: Certificate) -> Safe:
        safe = super().__new__(cls, found.sparsity)
        safe.low, safe.high = found.low, found.high
        safe.certified, safe.first_break = certificate.sparsity, found.first_break
        return safe

    low: float
    high: float
    certified: float
    first_break: float | None

    def __str__(self) -> str:
        return f"{float(self):.4g} [{self.low:.4g}, {self.high:.4g}], certified {self.certified:.4g}"


@dataclass(frozen=True, eq=False)
class Seen:
    """What the networks were shown: the test images, the probe that shifts them, and one input as networks take it."""

    test: ImageSet
    shifting: Probe | None
    example: Tensor


@dataclass(frozen=True)
class Limit:
    """How far a network can be pruned; `record` holds every per-example outcome, `files` the folder of each level."""

    record: LimitRecord
    parent: nn.Module
    files: Mapping[float, Path]
    keep: Any = None
    """What must live as long as this does: the temporary folder, where none was given."""
    seen: Seen | None = None

    @property
    def sparsities(self) -> tuple[float, ...]:
        """The sparsities that were tried, ascending."""
        return self.record.sparsities

    @cached_property
    def safe(self) -> dict[str, Safe]:
        """The largest safe sparsity by group of shifts, with interval and certificate; "clean" is the test set."""
        record = self.record
        return {name: Safe(found, record.certificates[name]) for name, found in record.potentials.items()}

    @property
    def certificate(self) -> Certificate:
        """The certificate over every shift that was measured."""
        return self.record.certificate

    @property
    def certificates(self) -> dict[str, Certificate]:
        """The certificate of each group."""
        return self.record.certificates

    def at(self, sparsity: float) -> nn.Module:
        """Return a copy of the network at this sparsity, with plain weights, in evaluation mode; 0 is the parent.

        Raises InputError if no level is within 0.006 of `sparsity`.
        """
        model = copy.deepcopy(self.parent).eval()
        if sparsity == 0:
            return model
        nearest = min(self.files, key=lambda level: abs(level - sparsity))
        if abs(nearest - sparsity) > NEAR:
            known = ", ".join(f"{level:.4g}" for level in self.files)
            raise InputError(f"no network of sparsity {sparsity:g} was made; there are: {known}.")
        load_model(self.files[nearest] / MODEL_FILE, model)
        return model

    def losses(self, group: str) -> dict[float, float]:
        """Return the accuracy loss in points by sparsity; raises InputError for an unknown group."""
        if group not in self.record.potentials:
            raise unknown_name("group", group, self.record.potentials)
        found = self.record.potentials[group]
        return {s: 100 * e.value for s, e in zip(found.sparsities, found.losses, strict=True)}

    def table(self) -> list[dict[str, Any]]:
        """Return one JSON-able row per group: accuracy, safe sparsity, interval, first break, certified sparsity."""
        return limit_rows(self.record)

    def as_dict(self) -> dict[str, Any]:
        """Return the whole result as one JSON-able document."""
        return limit_summary(self.record)

    def report(self, path: str | Path, *, images: bool = True) -> Path:
        """Write one offline HTML page and return its path; raises InputError if it cannot be written.

        The page holds up to 12 of the test images, which the network of the answer gets wrong; none if not `images`.
        The unpruned network and that of the answer are timed for it, which takes a second or two.
        """
        return write_limit_report(self.record, Path(path), self.shown(images=images))

    def shown(self, *, images: bool = True) -> Shown:
        """Return what the page shows beside the record: images that are lost, bytes, and times of this machine."""
        if self.seen is None:
            return Shown(self.record.classes)
        level, seen = self.record.answer, self.seen
        probes = [seen.shifting] if isinstance(seen.shifting, CorruptionProbe) else []
        networks = {UNPRUNED: self.at(0), level_name(self.record, level): self.at(level.sparsity)}
        place = {name: network.to(seen.example.device) for name, network in networks.items()}
        return Shown(
            self.record.classes,
            examples_lost(self.record.parent, level.outcomes, seen.test, probes) if images else (),
            level_name(self.record, level),
            {level_name(self.record, level): level.left},
            measure_speed(place, seen.example),
        )

    def show(self) -> None:
        """Print the table and what it means."""
        print(self)

    def __str__(self) -> str:
        return limit_text(self.record)
