"""The sections of the page of a study, in reading order: which figure or table each holds, or why it has none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from sinewy.analysis import Panel
from sinewy.records import StudyRecord
from sinewy.report.figure import Figure
from sinewy.report.findings import TITLES, findings_figure
from sinewy.report.maps import offered_maps
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
    """One section of the page: its anchor, its title, and its figure or table if it is one; `missing` says why not.

    Figure and table are computed when they are first asked for; the anchor is their key. `reason` is what `missing`
    says where neither is there.
    """

    anchor: str
    title: str
    drawing: Callable[[], Figure | None] | None = None
    listing: Callable[[], Table | None] | None = None
    reason: str = ""

    @cached_property
    def figure(self) -> Figure | None:
        """The figure of the section, if it is one."""
        return self.drawing() if self.drawing else None

    @cached_property
    def table(self) -> Table | None:
        """The table of the section, if it is one."""
        return self.listing() if self.listing else None

    @property
    def missing(self) -> str:
        """Why there is neither figure nor table; "" if there is one."""
        return self.reason if self.figure is None and self.table is None else ""


@dataclass(frozen=True)
class _Shown:
    """How the methods are drawn, found when a figure first asks."""

    study: StudyRecord
    panel: Panel | None

    @cached_property
    def style(self) -> dict[str, Style]:
        """The styles of the methods that figures draw."""
        some = crowd(list(dict.fromkeys(run.method for run in self.study.runs)), self.panel)
        return styles(some.shown, self.study.reference) if some.shown else {}

    @cached_property
    def drawn(self) -> dict[str, Style]:
        """Those of the methods that are compared."""
        return {method: self.style[method] for method in self._compared if method in self.style}

    @cached_property
    def others(self) -> list[str]:
        """The methods that are compared, and that figures leave out."""
        return [method for method in self._compared if method not in self.style]

    @property
    def _compared(self) -> Sequence[str]:
        return self.panel.methods if self.panel else ()


def sections(study: StudyRecord, panel: Panel | None, reason: str = "") -> list[Section]:
    """Return the sections in reading order; `reason` says why there is no `panel`, if there is none."""
    shown = _Shown(study, panel)
    return [
        Section("answer", "The answer"),
        _table("coverage", "Coverage", lambda: coverage_table(study.runs), "There is no run."),
        *_compared(study, panel, reason, shown),
        _figure(
            "layers",
            "Sparsity by layer",
            lambda: layer_sparsity(study.runs, shown.style),
            "No run recorded a layer with zeros.",
        ),
        _figure("masks", "Masks over time", lambda: mask_curves(study.runs, shown.style), "No run recorded its masks."),
        _figure(
            "training", "Training", lambda: training_curves(study.runs, shown.style), "No run recorded its training."
        ),
        *(_found(probe, rows, shown) for probe, rows in study.findings.items()),
        *(_figure(m.key, m.title, m.draw) for probe, own in study.maps.items() for m in offered_maps(probe, own)),
        _table("runs", "Runs", lambda: runs_table(study.runs)),
        Section("settings", "Settings of any two runs"),
        _table("failures", "Failures and warnings", lambda: open_runs_table(study.runs), "All runs are done."),
        Section("method", "How it was measured"),
    ]


def _compared(study: StudyRecord, panel: Panel | None, reason: str, shown: _Shown) -> list[Section]:
    """Return the sections that compare methods."""
    if panel is None:
        return [Section("results", "Results", reason=reason or "There is nothing to compare yet.")]
    alone = "There is no method to compare with the reference." if len(panel.methods) < 2 else ""
    unshifted = alone or "No corruption was measured."
    several = bool(panel.kinds) and not alone
    frequency = study.high_frequency
    return [
        _table("results", "Results", lambda: main_table(panel, FLOP_CONVENTION)),
        _table(
            "spread", "Spread over seeds and over examples", lambda: spread_table(panel), "Every method has one seed."
        ),
        _table("wins", "Wins over the reference", lambda: wins_table(panel) if several else None, unshifted),
        _figure("sparsity", "Robustness versus sparsity", lambda: against_sparsity(panel, shown.drawn, shown.others)),
        _figure(
            "cost",
            "Accuracy against cost",
            lambda: against_costs(panel, shown.drawn, shown.others),
            "Some runs recorded no cost.",
        ),
        _figure(
            "gains",
            "Relative gain by corruption and severity",
            lambda: gain_maps(panel, frequency, list(shown.drawn)) if several else None,
            unshifted,
        ),
        _figure(
            "kinds",
            "Relative gain by kind",
            lambda: gains_of_kinds(panel, shown.drawn, frequency) if several else None,
            unshifted,
        ),
        _figure(
            "severity",
            "Accuracy against severity",
            lambda: against_severity(panel, shown.drawn, shown.others) if panel.kinds else None,
            "No corruption was measured.",
        ),
        *_pruned(study, panel, shown),
    ]


def _pruned(study: StudyRecord, panel: Panel, shown: _Shown) -> list[Section]:
    """Return the sections on methods that were run at several sparsities, as one line if there are none."""
    families = pruned_families(panel, list(shown.drawn))[:FAMILIES_FIT]
    if not families:
        return [Section("potentials", "Prune potential", reason="No method was run at two sparsities or more.")]
    style = styles([panel.reference, *(found.name for found in families)], panel.reference)
    return [
        _figure("prune-accuracy", "Prune-accuracy curves", lambda: prune_curves(panel, families, style)),
        _table("potentials", "How overparameterised", lambda: potential_rows(panel, families)),
        _table("certified", "What is proved", lambda: certified_table(panel, families)),
        _figure(
            "potential",
            "Prune potential by shift",
            lambda: potential_bars(panel, families, style, study.high_frequency),
        ),
        _figure("sweep", "Prune potential by margin", lambda: potential_sweep(families, style)),
        _figure(
            "excess",
            "Excess error",
            lambda: excess_figure(panel.reference, families, style),
            "Excess error needs corruptions; none was measured.",
        ),
    ]


def _found(probe: str, rows: Sequence[Mapping[str, Any]], shown: _Shown) -> Section:
    return _figure(probe, TITLES.get(probe, probe), lambda: findings_figure(probe, rows, shown.style))


def _figure(anchor: str, title: str, drawing: Callable[[], Figure | None], reason: str = "") -> Section:
    return Section(anchor, title, drawing=drawing, reason=reason)


def _table(anchor: str, title: str, listing: Callable[[], Table | None], reason: str = "") -> Section:
    return Section(anchor, title, listing=listing, reason=reason)
