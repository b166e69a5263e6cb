"""`sinewy.audit`: any trained model against a reference, on the same shifted bytes, with paired intervals."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from sinewy.analysis import Panel
from sinewy.data import ImageSet, as_image_set
from sinewy.environment import environment
from sinewy.errors import InputError
from sinewy.families import resolve
from sinewy.layers import prunable
from sinewy.masks import Masks
from sinewy.metrics.cost import measure_cost
from sinewy.outcomes import Condition, Outcomes
from sinewy.probes import PROBES
from sinewy.probes.probe import CleanProbe, Probe
from sinewy.records import RunRecord, StudyRecord
from sinewy.report import answer, write_report
from sinewy.report.text import results_table


@dataclasses.dataclass(frozen=True)
class Audit:
    """What `audit` found: the record of both models with all per-example outcomes."""

    record: StudyRecord

    @cached_property
    def panel(self) -> Panel:
        """The outcomes as a paired comparison; every number of the table is a query on it."""
        return Panel.build(self.record.done, self.record.reference)

    def table(self) -> list[dict[str, Any]]:
        """Return one row per model: accuracies with 95 % intervals, differences against the reference, cost."""
        return self.panel.table()

    def show(self) -> None:
        """Print the table and the answer in one sentence."""
        console = Console(width=None if sys.stdout.isatty() else 160, soft_wrap=True)
        console.print(results_table(self.panel))
        console.print(answer(self.record, self.panel), markup=False, highlight=False)

    def report(self, path: str | Path) -> Path:
        """Write one offline HTML page and return its path; raises InputError if it cannot be written."""
        return write_report(self.record, Path(path), panel=self.panel)

    def outcomes(self, method: str) -> Mapping[Condition, Outcomes]:
        """Return the per-example outcomes of one model by (kind, severity); ("clean", 0) is the unshifted set."""
        return next(run.outcomes for run in self.record.runs if run.method == method)


def audit(
    model: nn.Module,
    data: Any,
    *,
    against: nn.Module | None = None,
    probes: Sequence[str | Probe] = ("corruption",),
    names: tuple[str, str] = ("model", "parent"),
    limit: int | None = None,
    device: str | torch.device = "cpu",
    command: str = "sinewy.audit(...)",
    on_event: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> Audit:
    """Measure `model` on the clean set and under each probe, paired with `against` on the same bytes.

    `data` is a sinewy ImageSet, a pair (uint8 images (N,3,H,W), integer labels), or a data set of (image, label) pairs
    without a transform; its `mean` and `std` normalise the model's inputs (0 and 1 unless an ImageSet says otherwise).
    `options` go to the probes named by string (kinds, severities, preset, seed). `limit` takes only the first examples,
    and marks the result partial. Raises InputError for data or models that do not fit, before anything is measured.
    """
    full = as_image_set(data)
    examples = full if limit is None else full.first(limit)
    active = [CleanProbe(), *(resolve("probe", p, PROBES)(**options) if isinstance(p, str) else p for p in probes)]
    models = {names[0]: model} if against is None else {names[1]: against, names[0]: model}
    found: dict[str, dict[Condition, Outcomes]] = {name: {} for name in models}
    frequency: dict[str, float] = {}
    for probe in active:
        for number, measured in enumerate(probe.measure(models, examples, device=device), start=1):
            for name, by_severity in measured.outcomes.items():
                found[name] |= {(measured.kind, severity): o for severity, o in by_severity.items()}
            if "high_frequency" in measured.about:
                frequency[measured.kind] = measured.about["high_frequency"]
            if on_event is not None:
                on_event(
                    {
                        "event": "measured",
                        "probe": probe.name,
                        "kind": measured.kind,
                        "number": number,
                        "of": len(probe.kinds),
                    }
                )
    protocol = {"data": {"name": full.name, "split": full.split, "examples": len(examples), "hash": examples.hash}}
    record = StudyRecord(
        title=f"{names[0]} against {names[1]}" if against is not None else names[0],
        reference=names[1] if against is not None else names[0],
        runs=tuple(_run(name, models[name], examples, found[name]) for name in models),
        command=command,
        protocol=protocol | {probe.name: probe.protocol() for probe in active[1:]},
        environment=environment(),
        high_frequency=frequency,
        partial=None if limit is None or limit >= len(full) else f"only the first {limit} of {len(full)} examples",
    )
    return Audit(record)


def _run(name: str, model: nn.Module, data: ImageSet, outcomes: Mapping[Condition, Outcomes]) -> RunRecord:
    try:
        masks = Masks.of_zeros(prunable(model))
    except InputError:  # nothing prunable in it: it can be audited all the same
        masks = Masks({})
    example = torch.zeros(1, *data.images.shape[1:], device=next(iter(model.parameters()), torch.empty(0)).device)
    return RunRecord(
        id=name,
        method=name,
        seed=0,
        sparsity=masks.sparsity if masks else 0.0,
        layers=masks.layers,
        cost=measure_cost(model, example, masks),
        outcomes=outcomes,
    )
