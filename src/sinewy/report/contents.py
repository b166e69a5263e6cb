"""Every figure and every table of a page, by its key: what `sinewy figure` and `sinewy table` offer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sinewy.analysis.limit_record import LimitRecord
from sinewy.errors import InputError, unknown_name
from sinewy.records import StudyRecord
from sinewy.report.figure import Figure, Offered, all_drawn
from sinewy.report.practice.audit import Audited, audit_parts
from sinewy.report.practice.limit_figures import limit_figures, offered_figures
from sinewy.report.sentences import compare
from sinewy.report.study.sections import Section, sections
from sinewy.report.table import Cell, Column, Table
from sinewy.report.written.findings import findings_rows
from sinewy.report.written.limit import LIMIT_TABLES, limit_tables

Record = StudyRecord | LimitRecord | Audited


def figures(record: Record, methods: Collection[str] | None = None) -> dict[str, Figure]:
    """Return the figures of the page of a study, an audit or a limit, by key, in reading order.

    `methods` are the ones to compare, beside the reference; all by default. Raises InputError for an unknown one.
    """
    return {figure.key: figure for figure in all_drawn(_offered(record, methods))}


def figure_of(record: Record, key: str, methods: Collection[str] | None = None) -> Figure | None:
    """Return one figure of the page, computing no other; None if there is none of this key.

    `methods` and errors are those of `figures`.
    """
    return next(iter(all_drawn(one for one in _offered(record, methods) if one.key == key)), None)


def tables(record: Record, methods: Collection[str] | None = None) -> dict[str, Table]:
    """Return the tables of the page by key, the findings of each probe, and the numbers of each figure.

    `methods` and errors are those of `figures`.
    """
    if isinstance(record, LimitRecord):
        _refuse_methods(methods)
        own = limit_tables(record)
        return {table.key: table for table in own} | _numbers(limit_figures(record), {table.key for table in own})
    drawn = list(figures(record, methods).values())
    study = record.record if isinstance(record, Audited) else record
    parts = _sections(study, methods)
    found = {part.table.key: part.table for part in parts if part.table}
    found |= {probe: findings_rows(probe, rows) for probe, rows in _chosen(study, methods).findings.items()}
    return found | _numbers(drawn, set(found))


def table_of(record: Record, key: str, methods: Collection[str] | None = None) -> Table | None:
    """Return one of `tables`, computing no other; None if there is none of this key."""
    if isinstance(record, LimitRecord):
        _refuse_methods(methods)
        if key in LIMIT_TABLES:
            return LIMIT_TABLES[key](record)
    else:
        study = record.record if isinstance(record, Audited) else record
        rows = _chosen(study, methods).findings.get(key)
        found = next((part.table for part in _sections(study, methods) if part.anchor == key), None)
        if rows or found:
            return findings_rows(key, rows) if rows else found
    drawn = figure_of(record, key, methods)
    return _of_rows(drawn) if drawn and drawn.rows else None


def missing(record: Record) -> dict[str, str]:
    """Return why a figure or table that pages can have is not there, by the anchor of its section."""
    if isinstance(record, LimitRecord):
        return {}
    if isinstance(record, Audited):
        return {part.anchor: part.missing for part in audit_parts(record) if part.missing and not part.figures}
    return {part.anchor: part.missing for part in _sections(record, None) if part.missing}


def _offered(record: Record, methods: Collection[str] | None) -> list[Offered]:
    """Return the figures that the page may have, not yet drawn, in reading order."""
    if isinstance(record, LimitRecord):
        _refuse_methods(methods)
        return offered_figures(record)
    if isinstance(record, Audited):
        return [one for part in audit_parts(_compared(record, methods)) for one in part.offered]
    return [Offered(part.anchor, part.title, part.drawing) for part in _sections(record, methods) if part.drawing]


def _sections(study: StudyRecord, methods: Collection[str] | None) -> list[Section]:
    chosen = _chosen(study, methods)
    return sections(chosen, *compare(chosen))


def _compared(audit: Audited, methods: Collection[str] | None) -> Audited:
    """Return an audit of these networks and the reference only; the drawings of single probes hold all."""
    if methods is None:
        return audit
    record = _chosen(audit.record, methods)
    panel, reason = compare(record)
    if panel is None:
        raise InputError(reason)
    return replace(audit, record=record, panel=panel)


def _chosen(study: StudyRecord, methods: Collection[str] | None) -> StudyRecord:
    """Return `study` with the runs, findings and maps of these methods and of the reference only."""
    if methods is None:
        return study
    known = list(dict.fromkeys(run.method for run in study.runs))
    for name in methods:
        if name not in known:
            raise unknown_name("method of this study", name, known)
    kept = {study.reference, *methods}

    def of_these(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Mapping[str, Any]]]:
        own = {probe: [row for row in rows if row["method"] in ("", *kept)] for probe, rows in found.items()}
        return {probe: rows for probe, rows in own.items() if rows}

    runs = tuple(run for run in study.runs if run.method in kept)
    return replace(study, runs=runs, findings=of_these(study.findings), maps=of_these(study.maps))


def _numbers(drawn: Sequence[Figure], taken: Collection[str]) -> dict[str, Table]:
    """Return what each figure draws as a table of plain numbers."""
    return {figure.key: _of_rows(figure) for figure in drawn if figure.key not in taken and figure.rows}


def _of_rows(figure: Figure) -> Table:
    names = list(dict.fromkeys(name for row in figure.rows for name in row))
    columns = [Column(n, n.replace("_", " "), words=_holds_words(figure.rows, n)) for n in names]
    rows = [{name: Cell(_plain(row.get(name))) for name in names} for row in figure.rows]
    caption = "The numbers of the figure. Accuracies, losses and sparsities are shares from 0 to 1."
    return Table(figure.key, figure.title, caption, columns, rows, figure.rows)


def _holds_words(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(isinstance(row.get(name), str) for row in rows)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−")
    return str(value)


def _refuse_methods(methods: Collection[str] | None) -> None:
    if methods is not None:
        raise InputError("a limit has one network at several sparsities and no methods to choose; leave them out.")
