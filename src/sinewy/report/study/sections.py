"""The sections of the page of a study, in reading order: which figure or table each holds, or why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sinewy.analysis import Panel
from sinewy.records import StudyRecord
from sinewy.report.figure import Figure
from sinewy.report.findings import findings_figure
from sinewy.report.maps import map_figures
from sinewy.report.study.best import main_table, spread_table
from sinewy.report.study.certified import certified_table
from sinewy.report.study.costs import against_costs
from sinewy.report.study.coverage import coverage_table
from sinewy.report.study.crowd import crowd
from sinewy.report.study.excess_errors import excess_figure
from sinewy.report.study.gains import gain_maps
from sinewy.report.study.kinds import gains_of_kinds
from sinewy.report.study.layer_zeros import layer_sparsity
from sinewy.report.study.overparameterised import potential_rows
from sinewy.report.study.potentials import potential_bars, potential_sweep, prune_curves
from sinewy.report.study.pruned_families import pruned_families
from sinewy.report.study.robustness import against_severity, against_sparsity
from sinewy.report.study.runs import open_runs_table, runs_table
from sinewy.report.study.training import mask_curves, training_curves
from sinewy.report.study.won import wins_table
from sinewy.report.style import Style, styles
from sinewy.report.table import Table

FLOP_CONVENTION = (
    "One multiply-accumulate is 2 FLOPs; convolutions and linear layers, each times the density of its mask. "
    "Inference is one example; training is 3 × forward × examples seen, plus what the method adds."
)
FAMILIES_FIT = 6
"""Methods with several sparsities that one figure can hold apart."""


@dataclass(frozen=True)
class Section:
    """One section of the page: its anchor, its title, and its figure or table if it is one; `missing` says why not."""

    anchor: str
    title: str
    figure: Figure | None = None
    missing: str = ""
    table: Table | None = None


def sections(study: StudyRecord, panel: Panel | None, reason: str = "") -> list[Section]:
    """Return the sections in reading order; `reason` says why there is no `panel`, if there is none."""
    methods = list(dict.fromkeys(run.method for run in study.runs))
    some = crowd(methods, panel)
    style = styles(some.shown, study.reference) if some.shown else {}
    return [
        Section("answer", "The answer"),
        _section("coverage", "Coverage", coverage_table(study.runs), "There is no run."),
        *_compared(study, panel, reason, style),
        _section(
            "layers", "Sparsity by layer", layer_sparsity(study.runs, style), "No run recorded a layer with zeros."
        ),
        _section("masks", "Masks over time", mask_curves(study.runs, style), "No run recorded its masks."),
        _section("training", "Training", training_curves(study.runs, style), "No run recorded its training."),
        *(_found(probe, rows, style) for probe, rows in study.findings.items()),
        *(Section(f.key, f.title, f) for probe, maps in study.maps.items() for f in map_figures(probe, maps)),
        Section("runs", "Runs", table=runs_table(study.runs)),
        Section("settings", "Settings of any two runs"),
        _section("failures", "Failures and warnings", open_runs_table(study.runs), "All runs are done."),
        Section("method", "How it was measured"),
    ]


def _compared(study: StudyRecord, panel: Panel | None, reason: str, style: dict[str, Style]) -> list[Section]:
    """Return the sections that compare methods."""
    if panel is None:
        return [_section("results", "Results", None, reason or "There is nothing to compare yet.")]
    drawn = {method: style[method] for method in panel.methods if method in style}
    others = [method for method in panel.methods if method not in style]
    alone = "There is no method to compare with the reference." if len(panel.methods) < 2 else ""
    unshifted = alone or "No corruption was measured."
    several = bool(panel.kinds) and not alone

    def shifted(make: Callable[[], Any]) -> Any:
        return make() if several else None

    frequency = study.high_frequency
    return [
        _section("results", "Results", main_table(panel, FLOP_CONVENTION), ""),
        _section("spread", "Spread over seeds and over examples", spread_table(panel), "Every method has one seed."),
        _section("wins", "Wins over the reference", wins_table(panel), unshifted),
        _section("sparsity", "Robustness versus sparsity", against_sparsity(panel, drawn, others), ""),
        _section("cost", "Accuracy against cost", against_costs(panel, drawn, others), "Some runs recorded no cost."),
        _section(
            "gains",
            "Relative gain by corruption and severity",
            shifted(lambda: gain_maps(panel, frequency, list(drawn))),
            unshifted,
        ),
        _section("kinds", "Relative gain by kind", shifted(lambda: gains_of_kinds(panel, drawn, frequency)), unshifted),
        _section(
            "severity",
            "Accuracy against severity",
            against_severity(panel, drawn, others) if panel.kinds else None,
            "No corruption was measured.",
        ),
        *_pruned(study, panel, list(drawn)),
    ]


def _pruned(study: StudyRecord, panel: Panel, methods: Sequence[str]) -> list[Section]:
    """Return the sections on methods that were run at several sparsities, as one line if there are none."""
    families = pruned_families(panel, methods)[:FAMILIES_FIT]
    if not families:
        return [Section("potentials", "Prune potential", missing="No method was run at two sparsities or more.")]
    style = styles([panel.reference, *(found.name for found in families)], panel.reference)
    return [
        _section("prune-accuracy", "Prune-accuracy curves", prune_curves(panel, families, style), ""),
        Section("potentials", "How overparameterised", table=potential_rows(panel, families)),
        Section("certified", "What is proved", table=certified_table(panel, families)),
        _section(
            "potential", "Prune potential by shift", potential_bars(panel, families, style, study.high_frequency), ""
        ),
        _section("sweep", "Prune potential by margin", potential_sweep(families, style), ""),
        _section(
            "excess",
            "Excess error",
            excess_figure(panel.reference, families, style),
            "Excess error needs corruptions; none was measured.",
        ),
    ]


def _found(probe: str, rows: Any, style: Mapping[str, Style]) -> Section:
    figure = findings_figure(probe, rows, dict(style))
    return Section(probe, figure.title, figure)


def _section(anchor: str, title: str, part: Figure | Table | None, missing: str) -> Section:
    if isinstance(part, Table):
        return Section(anchor, title, table=part)
    return Section(anchor, title, part, "" if part else missing)
