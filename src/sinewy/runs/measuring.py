"""How a worker makes the further probes of a study, measures with them, and reads what they found."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sinewy.analysis.evidence import Evidence
from sinewy.data import ImageSet, Splits
from sinewy.errors import InputError
from sinewy.families import check_options, resolve
from sinewy.files import write_json
from sinewy.outcomes import CLEAN, load_outcomes
from sinewy.probes import PROBES
from sinewy.probes.evaluate import Evaluator
from sinewy.probes.probe import Measurement, Probe
from sinewy.probes.stored import parts_folder, read_measured, write_measured
from sinewy.recipe import AuditSpec, Named

GIVEN = ("train", "validation", "root")
"""Options of probes that the study gives, and a recipe may not."""


def make_probes(audit: AuditSpec, splits: Splits, root: str | None) -> list[Probe]:
    """Return the further probes of a recipe; raises InputError, which names the probe, for options that do not fit."""
    given = {"train": splits.train, "validation": splits.validation, "root": root}
    defaults = {"preset": audit.preset, "seed": audit.seed}
    made: list[Probe] = []
    for spec in audit.probes:
        try:
            made.append(_made(spec, given | defaults))
        except InputError as error:
            raise type(error)(f"audit.probes: {spec.name}: {error}") from error
        except (TypeError, ValueError) as error:  # an option of the wrong type
            raise InputError(f"audit.probes: {spec.name} cannot be made with {spec.options}: {error}.") from error
    _tell_apart(made)
    return made


def describe(probe: Probe, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `sinewy.runs.probed.Probed` but its number."""
    protocol = {"data": dict(data), probe.name: probe.protocol()}
    about = {"name": probe.name, "kinds": list(probe.kinds), "shifts": probe.shifts, "together": probe.together}
    return {**about, "protocol": json.loads(json.dumps(protocol, default=str))}


def measure(probe: Probe, kind: str, evaluator: Evaluator, data: ImageSet, files: Mapping[str, str]) -> list[str]:
    """Measure the evaluator's models on a kind, write what `files` ask for, and return the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        evaluator.parts = lambda cell, _: parts_folder(Path(files[cell]))
        measured = probe.measure_kind(kind, evaluator, data)
    for cell, path in files.items():
        write_measured(Path(path), measured, cell)
    return list(dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)))


def read_findings(
    probe: Probe,
    labels: Mapping[str, str],
    files: Mapping[str, Mapping[str, str]],
    clean: Mapping[str, str],
) -> dict[str, Any]:
    """Return the findings and maps of a probe on cells of one seed, by what `labels` call them, the reference first.

    `files` are the measurements by cell and kind, `clean` the outcomes on the unshifted set by cell.
    """
    measured = [
        read_measured(kind, {label: Path(files[cell][kind]) for cell, label in labels.items()}, labels)
        for kind in probe.kinds
    ]
    unshifted = {labels[cell]: load_outcomes(Path(path))[0][CLEAN[1]] for cell, path in clean.items()}
    evidence = Evidence(
        next(iter(labels.values())),
        {name: {CLEAN: unshifted[name], **_outcomes(name, measured)} for name in labels.values()},
        {name: {m.kind: m.scores[name] for m in measured if name in m.scores} for name in labels.values()},
        {m.kind: m.about for m in measured},
    )
    rows = [finding.as_dict() for finding in probe.findings(evidence)]
    return {"rows": rows, "maps": [drawn.as_dict() for drawn in probe.maps(evidence)]}


def write_findings(path: Path, key: str, found: Mapping[str, Any]) -> None:
    """Write what was read, with the key that says what of."""
    write_json(path, {"key": key, **found})


def _made(spec: Named, given: Mapping[str, Any]) -> Probe:
    kind = resolve("probe", spec.name, PROBES)
    parameters = inspect.signature(kind).parameters
    free = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    known = [name for name in parameters if name not in GIVEN]
    for option in spec.options:
        if option in GIVEN:
            raise InputError(f"the study itself gives '{option}'; leave it out.")
    check_options(spec.name, () if free else spec.options, known)
    own = {name: _listed(value, parameters.get(name)) for name, value in spec.options.items()}
    made: Probe = kind(**{name: value for name, value in given.items() if name in parameters}, **own)
    return made


def _listed(value: Any, parameter: inspect.Parameter | None) -> Any:
    """Return one value as a tuple where the option takes several, so that `eps: 8` reads as `eps: [8]`."""
    several = parameter is not None and isinstance(parameter.default, tuple)
    return (value,) if several and isinstance(value, str | int | float) else value


def _tell_apart(probes: Sequence[Probe]) -> None:
    """Raise InputError if two probes of one name measure the same, for what they find would be mixed."""
    for number, probe in enumerate(probes):
        for other in probes[:number]:
            shared = set(probe.kinds) & set(other.kinds)
            if other.name == probe.name and (shared or not probe.kinds):
                what = f" on {min(shared)}" if shared else ""
                raise InputError(f"audit.probes: {probe.name} is asked for twice{what}; put the options in one entry.")


def _outcomes(name: str, measured: Sequence[Measurement]) -> dict[tuple[str, int], Any]:
    return {(m.kind, severity): o for m in measured for severity, o in m.outcomes.get(name, {}).items()}
