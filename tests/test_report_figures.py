"""The figures of the report show the numbers of the study, and stay readable whatever its size."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import spearmanr

from report_studies import LIFTS, Markup, build_study, csv_files, figures, one_run, population, write
from sinewy.analysis import Panel
from sinewy.records import Layer
from sinewy.report import write_report
from sinewy.report.study.costs import mean_cost, round_numbers
from sinewy.report.study.crowd import MOST, WORST, crowd
from sinewy.report.study.gains import by_frequency, gain_maps
from sinewy.report.study.kinds import gains_of_kinds
from sinewy.report.study.layer_zeros import erk_sparsities
from sinewy.report.study.overparameterised import potential_rows
from sinewy.report.study.potentials import MARGINS, potential_bars, potential_sweep
from sinewy.report.study.pruned_families import one_severity, pruned_families
from sinewy.report.study.sections import sections
from sinewy.report.style import family, styles


@pytest.fixture(scope="module")
def study():
    return build_study()


@pytest.fixture(scope="module")
def panel(study):
    return Panel.build(study.done, study.reference, resamples=400)


@pytest.fixture(scope="module")
def page(study, panel, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    assert write_report(study, path, panel=panel) == path
    return path.read_text(encoding="utf-8")


def test_csv_files_hold_the_numbers_of_the_figures(panel, page):
    files = csv_files(page)
    assert {f"sinewy-{key}.csv" for key in ("sparsity", "gains", "severity", "layers", "training", "runs")} < set(files)
    gains = files["sinewy-gains.csv"]
    assert len(gains) == 4 * 19 * 5
    cell = next(r for r in gains if (r["method"], r["kind"], r["severity"]) == ("SET 90 %", "fog", "4"))
    assert float(cell["relative_gain"]) == pytest.approx(panel.relative_gain("SET 90 %", "fog", 4).value)
    assert len(files["sinewy-training.csv"]) == 15 * 15
    severity = next(r for r in files["sinewy-severity.csv"] if (r["method"], r["severity"]) == ("RigL 50 %", "3"))
    assert float(severity["difference"]) == pytest.approx(panel.difference("RigL 50 %", None, 3).value)


def test_gain_maps_are_ordered_centred_and_marked(panel, page):
    figure = figures(page)["gains"]
    axis = figure["layout"]["coloraxis"]
    assert axis["cmin"] == -axis["cmax"]
    assert [heat["y"][0] for heat in figure["data"]] == ["gaussian noise"] * 4
    clear = panel.relative_gain("SET 90 %", "shot_noise", 5).distinguishable
    assert (figure["data"][1]["text"][1][4] == "•") == clear
    assert by_frequency(["a", "b", "c"], {"c": 0.9, "a": 0.1}) == ["c", "a", "b"]


def test_error_bars_reach_the_ends_of_the_interval(panel, page):
    estimate = panel.difference("SET 90 %", None, 4)
    lower = [t for t in figures(page)["severity"]["data"] if t["yaxis"] == "y2" and t["customdata"][0][0] == "SET 90 %"]
    bars = lower[0]["error_y"]
    assert lower[0]["y"][4] == pytest.approx(100 * estimate.value)
    assert lower[0]["y"][4] + bars["array"][4] == pytest.approx(100 * estimate.high)
    assert lower[0]["y"][4] - bars["arrayminus"][4] == pytest.approx(100 * estimate.low)


def test_methods_are_told_apart_by_more_than_colour():
    names = ["dense", *(f"{m} {p} %" for m in ("SET", "RigL", "MEST", "GraNet") for p in (30, 50, 70))]
    drawn = styles(names, "dense")
    assert len({(s.colour, s.symbol, s.dash) for s in drawn.values()}) == len(names)
    assert len({s.symbol for s in drawn.values()}) == 5
    assert drawn["SET 30 %"].colour == drawn["SET 70 %"].colour
    assert [family(n) for n in ("RigL 90 %", "RigL 90%", "SET @ 12.5 %", "dense", "90 %", "rigl 90 %, seed 1")] == [
        "RigL",
        "RigL",
        "SET",
        "dense",
        "90 %",
        "rigl, seed 1",
    ]


def test_diverged_training_is_drawn_with_gaps(study, tmp_path):
    history = tuple(replace(epoch, loss=float("nan")) for epoch in study.runs[0].history)
    page = write(replace(study, runs=(replace(study.runs[0], history=history), *study.runs[1:])), tmp_path)
    assert any(None in trace["y"] for trace in figures(page)["training"]["data"])


def pruned_study(examples=120, seeds=2):
    """One method at three sparsities, the sparsest of which is much worse, mostly under corruption."""
    difficulty, label = population(examples)
    methods = {"dense": (0.0, 0.0), "WT 30 %": (0.3, 0.05), "WT 60 %": (0.6, 0.0), "WT 90 %": (0.9, -0.4)}
    runs = tuple(
        one_run(m, sparsity, seed, difficulty, label, lift, number=i)
        for i, (m, (sparsity, lift)) in enumerate(methods.items())
        for seed in range(seeds)
    )
    return replace(build_study(examples=20, seeds=1), runs=runs)


@pytest.fixture(scope="module")
def pruned():
    return Panel.build(pruned_study().runs, "dense", resamples=200)


def test_families_hold_the_verdicts_of_their_members(pruned):
    (found,) = pruned_families(pruned, pruned.methods)
    assert (found.name, found.members) == ("WT", ("WT 30 %", "WT 60 %", "WT 90 %"))
    assert found.pruned_shifted.shape == (2, 3, 19, 120)
    own = pruned.runs["WT 60 %"][1].outcomes["fog", 3].correct
    assert np.array_equal(found.pruned_shifted[1, 1, found.shifts.index(("fog", 3))], own)
    assert {severity for _, severity in one_severity(pruned)} == {3}
    assert pruned_families(pruned, ["dense", "WT 30 %"]) == []


def test_prune_potential_is_the_largest_sparsity_within_the_margin(pruned):
    families = pruned_families(pruned, pruned.methods)
    style = styles(["dense", "WT"], "dense")
    rows = {row["kind"]: row for row in potential_bars(pruned, families, style, {}).rows}
    for kind, severity in (("clean", 0), ("fog", 3)):
        own = []
        for seed in (0, 1):
            base = pruned.runs["dense"][seed].outcomes[kind, severity].accuracy
            kept = [
                sparsity
                for method, sparsity in zip(families[0].members, families[0].sparsities, strict=True)
                if base - pruned.runs[method][seed].outcomes[kind, severity].accuracy <= 0.005 + 1e-9
            ]
            own.append(max(kept, default=0.0))
        assert rows[kind]["potential"] == pytest.approx(np.mean(own))
        assert (rows[kind]["least"], rows[kind]["most"]) == pytest.approx((min(own), max(own)))
    sweep = [r for r in potential_sweep(families, style).rows if r["set"] == "corruptions"]
    assert [row["margin"] for row in sweep] == list(MARGINS)
    assert all(a["potential"] <= b["potential"] + 1e-9 for a, b in pairwise(sweep))
    at = next(row for row in sweep if row["margin"] == 0.005)
    shifted = [row["potential"] for kind, row in rows.items() if kind != "clean"]
    assert at["potential"] == pytest.approx(np.mean(shifted))
    table = potential_rows(pruned, families)
    assert table.data[1]["average"] == pytest.approx(np.mean(shifted))


def test_method_without_several_sparsities_says_so(study, panel):
    alone = replace(study, runs=tuple(r for r in study.runs if r.method in ("dense", "RigL 50 %")))
    parts = {part.anchor: part for part in sections(alone, Panel.build(alone.runs, "dense", resamples=20))}
    assert parts["potentials"].missing == "No method was run at two sparsities or more."
    assert "sweep" not in parts


def test_costs_are_the_means_over_seeds(study, panel):
    assert mean_cost(panel, "SET 90 %", "nonzero_parameters") == 1814
    free = replace(study.runs[0], cost=None)
    runs = [free, *study.runs[1:]]
    assert mean_cost(Panel.build(runs, "dense", resamples=10), "dense", "nonzero_parameters") is None
    assert round_numbers([9e5, 4.3e6]) == [1e6, 2e6, 5e6]
    assert round_numbers([1, 5e6]) == [1, 10, 100, 1e3, 1e4, 1e5, 1e6]


def test_gain_by_kind_carries_its_trend(study, panel):
    style = styles(list(panel.methods), "dense")
    figure = gains_of_kinds(panel, style, study.high_frequency)
    rows = [row for row in figure.rows if row["method"] == "SET 50 %"]
    assert rows[0]["kind"] == "gaussian_noise"
    assert rows[0]["relative_gain"] == pytest.approx(panel.relative_gain("SET 50 %", "gaussian_noise").value)
    found = spearmanr([row["high_frequency"] for row in rows], [row["relative_gain"] for row in rows])
    assert rows[0]["trend"] == pytest.approx(found.statistic)
    assert found.pvalue * 0.8 < rows[0]["trend_p"] < 4 * found.pvalue * 1.2
    unknown = gains_of_kinds(panel, style, {})
    assert unknown.rows[0]["trend"] is None
    assert "in the order they were measured" in unknown.caption


def test_erk_targets_are_those_of_the_allocation():
    import torch

    from sinewy.allocation import erk

    shapes = {"a": (16, 3, 3, 3), "b": (32, 16, 3, 3), "c": (64, 32, 3, 3), "d": (10, 64)}
    layers = [Layer(name, shape, int(np.prod(shape)), 1) for name, shape in shapes.items()]
    for density in (0.05, 0.3, 0.9):
        wanted = erk({name: torch.empty(shape) for name, shape in shapes.items()}, density)
        found = erk_sparsities(layers, 1 - density)
        assert {name: 1 - s for name, s in found.items()} == pytest.approx(wanted)


def test_masks_over_time_show_what_was_recorded(page):
    rows = [row for row in csv_files(page)["sinewy-masks.csv"] if row["method"] == "SET 90 %"]
    assert (rows[0]["epoch"], rows[0]["grown"], rows[0]["explored"]) == ("1", str(32 * 6), "0.5")
    assert {row["method"] for row in csv_files(page)["sinewy-masks.csv"]} == set(LIFTS) - {"dense"}


def test_many_methods_are_drawn_as_the_best_the_worst_and_the_rest(tmp_path):
    difficulty, label = population(40)
    lifts = np.linspace(-0.6, 0.6, 24)
    names = ["dense", *(f"M{i}" for i in range(24))]
    runs = tuple(
        one_run(name, 0.0 if i == 0 else 0.5, 0, difficulty, label, 0.0 if i == 0 else lifts[i - 1], severities=[3])
        for i, name in enumerate(names)
    )
    panel = Panel.build(runs, "dense", resamples=100)
    some = crowd(names, panel)
    assert len(some.shown) == MOST
    assert "dense" in some.shown
    ranked = sorted(panel.methods[1:], key=lambda m: panel.difference(m).value)
    assert set(ranked[:WORST]) < set(some.shown)
    assert set(ranked[WORST : -(MOST - 1 - WORST)]) == set(some.others)
    assert crowd(names[:MOST]).others == ()
    study = replace(build_study(examples=20, seeds=1), runs=runs)
    page = write(study, tmp_path, panel=panel)
    assert "Of 25 methods the figures draw" in page
    assert len(csv_files(page)["sinewy-sparsity.csv"]) == 2 * 25
    drawn = figures(page)
    assert len(drawn["gains"]["data"]) == MOST - 1
    assert any(len(trace["x"]) == len(some.others) for trace in drawn["sparsity"]["data"])


def test_one_kind_and_one_cell_are_spoken_of_as_one(study, tmp_path):
    some = {"dense", "SET 50 %"}
    only = [replace(r, outcomes={c: o for c, o in r.outcomes.items() if c[0] in ("clean", "fog")}) for r in study.runs]
    runs = tuple(r for r in only if r.method in some and r.seed == 0)
    page = Markup(write_report(replace(study, runs=runs), tmp_path / "one.html").read_text(encoding="utf-8")).text
    assert "Under fog alone. Above: accuracy" in page
    assert "1 cell behind it" in page
    for wrong in ("1 kinds", "1 cells"):
        assert wrong not in page
    bar = gain_maps(Panel.build(runs, "dense", resamples=20), {}).plot.layout.coloraxis.colorbar
    assert bar.nticks == 3
    assert bar.len >= 80
