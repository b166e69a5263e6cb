"""`sinewy.audit`: any trained model against a reference, on the same shifted bytes, with paired intervals."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sinewy.analysis.evidence import Evidence
from sinewy.data import ImageSet, as_image_set
from sinewy.environment import environment
from sinewy.errors import InputError, unknown_name
from sinewy.families import resolve
from sinewy.metrics.cost import measure_cost
from sinewy.outcomes import CLEAN, Condition, Outcomes
from sinewy.probes import PROBES
from sinewy.probes.audited import Audit, Seen, example_for, zeros_of
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import CleanProbe, Measurement, Probe
from sinewy.probes.stored import Stored
from sinewy.records import RunRecord, StudyRecord
from sinewy.report.practice.kept_audit import write_audit

MOST_NAMED = 3
"""Networks that the title of an audit names."""


def audit(
    model: nn.Module | Mapping[str, nn.Module],
    data: Any,
    *,
    against: nn.Module | None = None,
    probes: Sequence[str | Probe] = ("corruption",),
    names: tuple[str, str] = ("model", "parent"),
    limit: int | None = None,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
    command: str = "sinewy.audit(...)",
    on_event: Callable[[dict[str, Any]], None] | None = None,
    **options: Any,
) -> Audit:
    """Measure `model` on the clean set and under each probe, paired with `against` on the same bytes.

    `model` may be several models by name; `names` then only names the reference, and without one it is the first.
    `data` is a sinewy ImageSet, a pair (uint8 images (N,3,H,W), integer labels), or a data set of (image, label) pairs
    without a transform; its `mean` and `std` normalise the model's inputs (0 and 1 unless an ImageSet says otherwise).
    `probes` are names of PROBES, "package.module:class", or probes. `options` go to each probe named by string that has
    them (kinds, severities, eps, sigmas, seed, ...). `limit` takes only the first examples, and marks the result
    partial. With a `folder`, every measurement is kept there, and one that is there already, of the same model, data
    and protocol, is not repeated. Raises InputError for data, models or options that do not fit, MissingExtraError for
    a package that is not installed, before anything is measured.
    """
    full = as_image_set(data)
    examples = full if limit is None else full.first(limit)
    active = [CleanProbe(), *make_probes(probes, options)]
    own = dict(model) if isinstance(model, Mapping) else {names[0]: model}
    if not own:
        raise InputError("there is no model to audit.")
    models = own if against is None else {names[1]: against, **own}
    reference = next(iter(models))
    for probe in active:
        probe.check(tuple(models), examples)
    measured: dict[str, list[Measurement]] = {}
    for probe in active:
        measured[probe.name] = []
        steps = _measurements(probe, models, examples, device, folder)
        for number, measurement in enumerate(steps, start=1):
            measured[probe.name].append(measurement)
            if on_event is not None:
                said = {"probe": probe.name, "kind": measurement.kind, "number": number, "of": len(probe.kinds)}
                on_event({"event": "measured", **said})
    shifts = [m for probe in active if probe.shifts for m in measured[probe.name]]
    clean = measured[CleanProbe.name]
    evidence = {probe.name: _evidence(reference, models, clean + measured[probe.name]) for probe in active[1:]}
    found = {probe.name: [f.as_dict() for f in probe.findings(evidence[probe.name])] for probe in active[1:]}
    drawn = {probe.name: [m.as_dict() for m in probe.maps(evidence[probe.name])] for probe in active[1:]}
    shown = {"name": full.name, "split": full.split, "examples": len(examples), "hash": examples.hash}
    protocol = {"data": shown | {"mean": list(map(float, full.mean)), "std": list(map(float, full.std))}}
    record = StudyRecord(
        title=_title(list(own), reference if against is not None else None),
        reference=reference,
        runs=tuple(_run(name, models[name], examples, _outcomes(name, shifts)) for name in models),
        command=command,
        protocol=protocol | {probe.name: probe.protocol() for probe in active[1:]},
        environment=environment(),
        high_frequency={m.kind: m.about["high_frequency"] for m in shifts if "high_frequency" in m.about},
        partial=None if limit is None or limit >= len(full) else f"only the first {limit} of {len(full)} examples",
        findings={name: rows for name, rows in found.items() if rows},
        maps={name: rows for name, rows in drawn.items() if rows},
    )
    kept = str(folder) if folder is not None else None
    if folder is not None:
        write_audit(Path(folder), record, evidence, examples.classes)
    return Audit(
        record, {probe.name: evidence[probe.name] for probe in active[1:]}, Seen(models, examples, active, kept)
    )


def _title(names: Sequence[str], reference: str | None) -> str:
    said = " and ".join(names) if len(names) <= MOST_NAMED else f"{len(names)} networks"
    return said if reference is None else f"{said} against {reference}"


def make_probes(probes: Sequence[str | Probe], options: Mapping[str, Any]) -> list[Probe]:
    """Return the probes, those named by string made with the options that they have.

    Raises InputError for an unknown probe, a probe named twice, or an option that none of them has.
    """
    made: list[Probe] = []
    used: set[str] = set()
    for probe in probes:
        if isinstance(probe, str):
            kind = resolve("probe", probe, PROBES)
            own = {name: value for name, value in options.items() if _takes(kind, name)}
            used |= set(own)
            made.append(kind(**own))
        else:
            made.append(probe)
    names = [probe.name for probe in made]
    if len(set(names)) < len(names):
        raise InputError(f"probes must differ, got {', '.join(names)}.")
    for option in options:
        if option not in used:
            known = {n for p in probes if isinstance(p, str) for n in _parameters(resolve("probe", p, PROBES))}
            raise unknown_name("option of these probes", option, known or {"none"})
    return made


def _takes(kind: Any, option: str) -> bool:
    parameters = _parameters(kind)
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _parameters(kind: Any) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(kind).parameters


def _measurements(
    probe: Probe,
    models: Mapping[str, nn.Module],
    data: ImageSet,
    device: str | torch.device,
    folder: str | Path | None,
) -> Iterator[Measurement]:
    """Yield what a probe measures; what the folder holds is read, and only models it does not hold are measured."""
    if folder is None:
        yield from probe.measure(models, data, device=device)
        return
    stored = Stored(Path(folder), probe.name, probe.protocol(), data, models, together=probe.together)
    evaluators: dict[tuple[str, ...], Evaluator] = {}
    for kind in probe.kinds:
        missing = tuple(stored.missing(kind))
        if missing:
            needed = tuple(models) if probe.together else missing
            if needed not in evaluators:
                evaluators[needed] = probe.evaluator({name: models[name] for name in needed}, data, device=device)
            evaluators[needed].parts = stored.parts
            stored.save(probe.measure_kind(kind, evaluators[needed], data), missing)
        yield stored.load(kind)


def _outcomes(name: str, measured: Sequence[Measurement]) -> dict[Condition, Outcomes]:
    return {(m.kind, severity): o for m in measured for severity, o in m.outcomes.get(name, {}).items()}


def _evidence(reference: str, models: Mapping[str, nn.Module], measured: Sequence[Measurement]) -> Evidence:
    return Evidence(
        reference,
        {name: _outcomes(name, measured) for name in models},
        {name: {m.kind: m.scores[name] for m in measured if name in m.scores} for name in models},
        {m.kind: m.about for m in measured if m.kind != CLEAN[0]},
    )


def _run(name: str, model: nn.Module, data: ImageSet, outcomes: Mapping[Condition, Outcomes]) -> RunRecord:
    masks = zeros_of(model)
    example = example_for({name: model}, data)
    return RunRecord(
        id=name,
        method=name,
        seed=0,
        sparsity=masks.sparsity if masks else 0.0,
        layers=masks.layers,
        cost=measure_cost(model, example, masks),
        outcomes=outcomes,
    )
