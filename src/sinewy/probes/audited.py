"""What `sinewy.audit` returns: the record of all models, what each probe found, and the page of both."""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from sinewy.analysis import Panel
from sinewy.analysis.evidence import Evidence
from sinewy.analysis.shown import Shown
from sinewy.data import ImageSet
from sinewy.errors import InputError, unknown_name
from sinewy.layers import prunable
from sinewy.masks import Masks
from sinewy.outcomes import Condition, Outcomes
from sinewy.probes.corruption import CorruptionProbe
from sinewy.probes.evaluate import input_type
from sinewy.probes.probe import Probe
from sinewy.probes.showing import examples_lost, filters_left
from sinewy.probes.speed import measure_speed
from sinewy.records import StudyRecord
from sinewy.report import answer
from sinewy.report.findings import findings_table
from sinewy.report.practice.audit import Audited, write_audit_report
from sinewy.report.text import results_table


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What was audited, on which images, by which probes, and where the measurements are kept, if they are."""

    models: Mapping[str, nn.Module]
    data: ImageSet
    probes: Sequence[Probe]
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class Audit:
    """What `audit` found: the record of all models with their per-example outcomes, and the evidence of each probe."""

    record: StudyRecord
    evidence: Mapping[str, Evidence] = dataclasses.field(default_factory=dict)
    seen: Seen | None = None
    """The networks and what they were shown, which the page is written with."""

    @cached_property
    def panel(self) -> Panel:
        """The outcomes as a paired comparison; every number of the table is a query on it."""
        return Panel.build(self.record.done, self.record.reference)

    def table(self) -> list[dict[str, Any]]:
        """Return one row per model: accuracies with 95 % intervals, differences against the reference, cost."""
        return self.panel.table()

    def findings(self, probe: str) -> list[dict[str, Any]]:
        """Return what a probe found beside the table, one JSON-able row per number (see `Finding`)."""
        if probe not in self.record.findings:
            raise unknown_name("probe with findings", probe, self.record.findings)
        return [dict(row) for row in self.record.findings[probe]]

    def __repr__(self) -> str:
        others = [run.method for run in self.record.runs if run.method != self.record.reference]
        against = f"{', '.join(others)} against {self.record.reference}" if others else self.record.reference
        return f"<Audit of {against}; print it, or .show(), .table(), .report(path)>"

    def __str__(self) -> str:
        console = Console(width=160, soft_wrap=True, file=io.StringIO())
        with console.capture() as written:
            self._print(console)
        return written.get().rstrip("\n")

    def show(self) -> None:
        """Print the table, what each further probe found, and the answer in one sentence."""
        self._print(Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True))

    def _print(self, console: Console) -> None:
        console.print(results_table(self.panel))
        for probe, rows in self.record.findings.items():
            console.print(findings_table(probe, rows))
        console.print(answer(self.record, self.panel), markup=False, highlight=False)

    def report(self, path: str | Path, *, images: bool = True) -> Path:
        """Write one offline HTML page and return its path; raises InputError if it cannot be written.

        The page holds up to 12 of the images, which the network that lost most gets wrong; none if not `images`. The
        networks are timed for it, which takes a second or two.
        """
        shown = self.shown(images=images)
        folder = self.seen.folder if self.seen is not None else None
        return write_audit_report(Audited(self.record, self.panel, self.evidence, shown, folder), Path(path))

    def shown(self, *, images: bool = True) -> Shown:
        """Return what the page shows beside the record: images that are lost, filters, bytes, times of this machine."""
        if self.seen is None:
            return Shown()
        models, data = self.seen.models, self.seen.data
        loser = self._loser()
        probes = [probe for probe in self.seen.probes if isinstance(probe, CorruptionProbe)]
        parent = self.outcomes(self.record.reference)
        lost = examples_lost(parent, self.outcomes(loser), data, probes) if images and loser else ()
        left = {name: filters_left(zeros_of(model)) for name, model in models.items()}
        return Shown(tuple(data.classes), lost, loser, left, measure_speed(models, example_for(models, data)))

    def _loser(self) -> str:
        """Return the network that lost most accuracy, mean over all conditions; "" where there is no other."""
        others = [run for run in self.record.runs if run.method != self.record.reference]
        lowest = min(others, key=lambda run: sum(o.accuracy for o in run.outcomes.values()), default=None)
        return lowest.method if lowest is not None else ""

    def outcomes(self, method: str) -> Mapping[Condition, Outcomes]:
        """Return the per-example outcomes of one model by (kind, severity); ("clean", 0) is the unshifted set."""
        return next(run.outcomes for run in self.record.runs if run.method == method)


def zeros_of(model: nn.Module) -> Masks:
    """Return the masks of what is not zero; none of a model without prunable weights, which can be audited as well."""
    try:
        return Masks.of_zeros(prunable(model))
    except InputError:
        return Masks({})


def example_for(models: Mapping[str, nn.Module], data: ImageSet) -> torch.Tensor:
    """Return an input of the shape, type and place of the first of `models`."""
    first = next(iter(models.values()))
    place = next(iter(first.parameters()), torch.empty(0)).device
    return torch.zeros(1, *data.images.shape[1:], device=place, dtype=input_type(first))
