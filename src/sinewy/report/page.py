"""The report of a study: one HTML file that needs no network, and the same as plain data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sinewy.analysis import Panel
from sinewy.files import write_text
from sinewy.records import StudyRecord
from sinewy.report import tables
from sinewy.report.document import render
from sinewy.report.escaping import csv_uri
from sinewy.report.figure import Figure
from sinewy.report.findings import findings_figure
from sinewy.report.gains import gain_maps
from sinewy.report.numbers import flat
from sinewy.report.robustness import against_severity, against_sparsity
from sinewy.report.sentences import answer, compare, not_measured, warnings
from sinewy.report.style import styles
from sinewy.report.training import layer_sparsity, training_curves

FLOP_CONVENTION = (
    "One multiply-accumulate is 2 FLOPs; convolutions and linear layers, each times the density of its mask. "
    "Inference is one example; training is 3 × forward × examples seen, plus what the method adds."
)


@dataclass(frozen=True)
class Section:
    """One numbered section of the page: its anchor, its title, and its figure if it is one."""

    anchor: str
    title: str
    figure: Figure | None = None
    missing: str = ""


def write_report(study: StudyRecord, path: Path, *, panel: Panel | None = None) -> Path:
    """Write the report of `study` to `path` as one HTML file that needs no network, and return `path`.

    `panel` saves computing it again. Raises InputError if the file cannot be written; an earlier one then stays.
    """
    reason = ""
    if panel is None:
        panel, reason = compare(study)
    write_text(path, _page(study, panel, reason))
    return path


def summary(study: StudyRecord, panel: Panel | None = None) -> dict[str, Any]:
    """Return what the report says as one JSON-able document: the answer, the tables, the runs, how it was measured."""
    reason = ""
    if panel is None:
        panel, reason = compare(study)
    document = {
        "title": study.title,
        "answer": answer(study, panel),
        "reference": study.reference,
        "partial": study.partial,
        "warnings": warnings(study),
        "notes": panel.notes if panel else [reason],
        "table": panel.table() if panel else [],
        "gains": panel.gains() if panel else [],
        "findings": {probe: [dict(row) for row in rows] for probe, rows in study.findings.items()},
        "runs": tables.run_table(study.runs),
        "not_measured": not_measured(panel),
        "protocol": dict(study.protocol),
        "environment": dict(study.environment),
        "command": study.command,
    }
    return dict(json.loads(json.dumps(document, default=str, allow_nan=False)))


def _page(study: StudyRecord, panel: Panel | None, reason: str) -> str:
    parts = sections(study, panel, reason)
    differing, settings, shared = tables.differing_settings(study.runs)
    return render(
        "page.html.j2",
        study=study,
        answer=answer(study, panel),
        warnings=warnings(study),
        notes=panel.notes if panel else [reason],
        sections=parts,
        results=tables.results(panel) if panel else [],
        results_csv=csv_uri(tables.results_csv(panel)) if panel else "",
        marks=tables.MARKS,
        runs=tables.run_table(study.runs),
        runs_csv=csv_uri(tables.run_table(study.runs)),
        differing=differing,
        settings=settings,
        shared=shared,
        protocol=flat(study.protocol),
        environment=flat(study.environment),
        not_measured=not_measured(panel),
        convention=FLOP_CONVENTION,
    )


def sections(study: StudyRecord, panel: Panel | None, reason: str) -> list[Section]:
    """Return the numbered sections in reading order; a figure that cannot be drawn says why."""
    methods = list(dict.fromkeys(run.method for run in study.runs))
    style = styles(methods, study.reference)
    compared = {method: style[method] for method in panel.methods} if panel else {}
    shifted = panel if panel and panel.kinds else None
    unshifted = reason or "No corruption was measured."
    return [
        Section("answer", "The answer"),
        Section("results", "Results"),
        _drawn("sparsity", "Robustness versus sparsity", against_sparsity(panel, compared) if panel else None, reason),
        _drawn(
            "gains",
            "Relative gain by corruption and severity",
            gain_maps(shifted, study.high_frequency) if shifted and len(shifted.methods) > 1 else None,
            unshifted if not shifted else "There is no method to compare with the reference.",
        ),
        _drawn(
            "severity", "Accuracy against severity", against_severity(shifted, compared) if shifted else None, unshifted
        ),
        _drawn("layers", "Sparsity by layer", layer_sparsity(study.runs, style), "No run recorded a layer with zeros."),
        _drawn("training", "Training", training_curves(study.runs, style), "No run recorded its training."),
        Section("runs", "Runs"),
        Section("method", "How it was measured"),
        *(_found(probe, rows, style) for probe, rows in study.findings.items()),
    ]


def _found(probe: str, rows: Any, style: dict[str, Any]) -> Section:
    figure = findings_figure(probe, rows, style)
    return Section(probe, figure.title, figure)


def _drawn(anchor: str, title: str, figure: Figure | None, missing: str) -> Section:
    return Section(anchor, title, figure, "" if figure else missing)
