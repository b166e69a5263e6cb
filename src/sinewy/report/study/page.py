"""The report of a study: one HTML file that needs no network, and the same as plain data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sinewy.analysis import Panel
from sinewy.files import write_text
from sinewy.records import StudyRecord
from sinewy.report import tables
from sinewy.report.document import render
from sinewy.report.numbers import flat
from sinewy.report.sentences import answer, compare, not_measured, warnings
from sinewy.report.study.crowd import crowd
from sinewy.report.study.runs import cells_behind, command_of, store_of
from sinewy.report.study.sections import Section, sections
from sinewy.report.study.settings import settings_json

__all__ = ["Section", "sections", "summary", "write_report"]


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
    keys = [part.figure.key for part in parts if part.figure]
    return render(
        "study/page.html.j2",
        study=study,
        answer=answer(study, panel),
        warnings=warnings(study),
        notes=[*(panel.notes if panel else [reason]), *_left_out(study, panel)],
        sections=parts,
        commands={key: command_of(study, key) for key in keys},
        behind={part.figure.key: cells_behind(study, list(part.figure.legend)) for part in parts if part.figure},
        store=store_of(study),
        settings_json=settings_json(study.runs),
        differing=differing,
        settings=settings,
        shared=shared,
        protocol=flat(study.protocol),
        environment=flat(study.environment),
        not_measured=not_measured(panel),
    )


def _left_out(study: StudyRecord, panel: Panel | None) -> list[str]:
    words = crowd(list(dict.fromkeys(run.method for run in study.runs)), panel).words
    return [words] if words else []
