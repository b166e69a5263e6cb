"""The page of an audit, for somebody who wants to use a pruned network: what it lost, what breaks, what it saves."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sinewy.analysis import Panel
from sinewy.analysis.evidence import Evidence
from sinewy.analysis.shown import Shown
from sinewy.files import write_text
from sinewy.records import RunRecord, StudyRecord
from sinewy.report.document import render, resource
from sinewy.report.escaping import csv_uri
from sinewy.report.figure import Figure, Offered, all_drawn
from sinewy.report.findings import TITLES, findings_figure
from sinewy.report.maps import offered_maps
from sinewy.report.numbers import flat
from sinewy.report.practice import audit_rows, pruned
from sinewy.report.practice.breaks import class_figure
from sinewy.report.practice.confidence import confidence_rows, confidence_table, reliability_figure
from sinewy.report.practice.difference_maps import difference_maps
from sinewy.report.practice.pictures import cards, chosen_text
from sinewy.report.practice.pruned_layers import density_figure
from sinewy.report.practice.score_histograms import score_histograms
from sinewy.report.sentences import not_measured
from sinewy.report.study.robustness import against_severity, against_sparsity
from sinewy.report.style import Style, styles

HOMES = {"classes": "breaks", "calibration": "confidence", "ood": "ood"}
"""The sections that hold what a probe found; the other probes have one of their own."""

TABLED = 4
"""Networks whose layers are listed; all are in the figure."""

LIMITS = (
    "Adversarial inputs and inputs of no class, unless a section on attacks or detection is on this page.",
    "Speed and size on other machines: zeros in dense tensors save neither, and what channels save depends on it.",
)


@dataclass(frozen=True)
class Part:
    """One section of the page: its anchor and title, the figures it can have, and why it has none."""

    anchor: str
    title: str
    offered: Sequence[Offered] = ()
    missing: str = ""

    @cached_property
    def figures(self) -> list[Figure]:
        """The figures, drawn when they are first asked for."""
        return all_drawn(self.offered)


@dataclass(frozen=True)
class Audited:
    """What the page is made of: the record and its panel, the evidence by probe, and what is shown beside them.

    `folder` is that of the measurements, from which figures can be drawn again; None where they were not kept.
    """

    record: StudyRecord
    panel: Panel
    evidence: Mapping[str, Evidence] = field(default_factory=dict)
    shown: Shown = field(default_factory=Shown)
    folder: str | None = None

    @property
    def outcomes(self) -> Evidence:
        """The outcomes of every network on the clean set and under the shifts."""
        return Evidence(self.record.reference, {run.method: run.outcomes for run in self.record.runs})

    @property
    def drawn(self) -> dict[str, Style]:
        """How each network is drawn."""
        return styles([run.method for run in self.record.runs], self.record.reference)


def write_audit_report(audited: Audited, path: Path) -> Path:
    """Write the page of an audit to `path` as one HTML file that needs no network, and return `path`.

    Raises InputError if the file cannot be written; an earlier one then stays.
    """
    write_text(path, _page(audited))
    return path


def audit_parts(audited: Audited) -> list[Part]:
    """Return the sections in reading order; their figures have unique keys."""
    record, panel = audited.record, audited.panel
    probes = [*dict.fromkeys((*record.findings, *record.maps))]
    found = {probe: _figures_of(audited, probe) for probe in probes}
    of_home = {
        home: [f for probe in probes if HOMES.get(probe) == home for f in found[probe]] for home in HOMES.values()
    }
    networks = {run.method: run.layers for run in record.runs}
    reliability = Offered("confidence", "Confidence", lambda: reliability_figure(audited.outcomes, audited.drawn))
    layers = Offered("layers", "Where it was pruned", lambda: density_figure(networks, audited.drawn))
    parts = [
        Part("answer", "The answer"),
        Part("curves", "What the sparsity costs", _curves(audited)),
        Part("shifts", "Which shift breaks it", [_shifts(audited)], "No shift was measured: --probes corruption."),
        Part("breaks", "What breaks", [_classes(audited), *of_home["breaks"]]),
        Part("confidence", "Confidence", [reliability, *of_home["confidence"]]),
        Part("ood", "Inputs of no class", [_scores(audited), *of_home["ood"]], "Not measured: --probes ood."),
        *(Part(f"probe-{probe}", found[probe][0].title, found[probe]) for probe in probes if probe not in HOMES),
        Part("layers", "Where it was pruned", [layers], "None of these networks has a zero weight."),
        Part("cost", "What it saves"),
        Part("method", "How it was measured"),
    ]
    return [part for part in parts if part.anchor != "curves" or len(panel.methods) > 1]


def _page(audited: Audited) -> str:
    record, shown = audited.record, audited.shown
    rows = audit_rows.group_rows(audited.outcomes, audited.panel.resamples)
    parts = audit_parts(audited)
    reference = record.reference
    examples = cards(shown, ("reference", "audited"))
    costs = pruned.cost_rows({run.method: run.cost for run in record.runs}, shown.speed)
    return render(
        "practice/audit.html.j2",
        practice=resource("practice/practice.css"),
        record=record,
        parts=parts,
        commands={figure.key: _command(audited, figure.key) for part in parts for figure in part.figures},
        answer=("So far, and this audit is not whole: " if record.partial else "")
        + audit_rows.audit_answer(rows, reference),
        rows=audit_rows.written_rows(rows, reference),
        worst_shifts=audit_rows.worst_sentences(audited.panel),
        rows_csv=csv_uri(audit_rows.flat_rows(rows)),
        several=len(audited.panel.methods) > 2,
        n=f"{audited.panel.n:,}",
        networks=audited.outcomes.methods,
        examples=examples,
        heading=f"Single images: {reference} is right, {shown.loser or 'the other network'} is wrong",
        chosen=chosen_text(shown, examples),
        confidence=confidence_table(audited.outcomes),
        confidence_csv=csv_uri(confidence_rows(audited.outcomes)),
        layers=[_layer_table(run, shown) for run in record.runs if run.sparsity > 0][:TABLED],
        costs=pruned.written_costs(costs),
        batches=pruned.batches_of(costs),
        costs_csv=csv_uri(costs),
        said=pruned.speed_sentences(shown.speed),
        clocked=pruned.speed_protocol(shown.speed),
        convention=pruned.FLOPS_CONVENTION,
        notes=audited.panel.notes,
        protocol=flat(record.protocol),
        environment=flat(record.environment),
        limits=[*LIMITS, *not_measured(audited.panel)[2:]],
    )


def _command(audited: Audited, key: str) -> str:
    """Return the command that draws a figure again; "" where nothing was kept."""
    return shlex.join(["sinewy", "figure", key, audited.folder]) if audited.folder else ""


def _figures_of(audited: Audited, probe: str) -> list[Offered]:
    """Return what a probe found: its numbers, and its maps."""
    rows, maps = audited.record.findings.get(probe, ()), audited.record.maps.get(probe, ())
    numbers = Offered(probe, TITLES.get(probe, probe), lambda: findings_figure(probe, rows, audited.drawn))
    return [*([numbers] if rows else []), *offered_maps(probe, maps)]


def _curves(audited: Audited) -> list[Offered]:
    """Return accuracy over sparsity where networks differ in it, and over severity where there are several."""
    panel = audited.panel
    apart = len({round(panel.sparsity(method), 3) for method in panel.methods}) > 1
    several = len(panel.severities) > 1
    return [
        Offered(
            "sparsity",
            "Robustness versus sparsity",
            lambda: against_sparsity(panel, audited.drawn) if apart else None,
        ),
        Offered(
            "severity", "Accuracy against severity", lambda: against_severity(panel, audited.drawn) if several else None
        ),
    ]


def _shifts(audited: Audited) -> Offered:
    panel, frequency = audited.panel, audited.record.high_frequency
    several = panel.kinds and len(panel.methods) > 1
    return Offered("map", "Which shift breaks it", lambda: difference_maps(panel, frequency) if several else None)


def _classes(audited: Audited) -> Offered:
    return Offered("losses", "Which classes pay", lambda: class_figure(audited.outcomes, audited.shown, audited.drawn))


def _scores(audited: Audited) -> Offered:
    evidence = audited.evidence.get("ood")
    return Offered(
        "scores",
        "Scores of normal inputs and anomalies",
        lambda: None if evidence is None else score_histograms(evidence),
    )


def _layer_table(run: RunRecord, shown: Shown) -> dict[str, Any]:
    left = shown.left.get(run.method, ())
    rows = pruned.layer_rows(run.layers, left)
    return {
        "network": run.method,
        "said": pruned.left_sentence(left),
        "rows": pruned.written_layers(rows),
        "csv": csv_uri(rows),
    }
