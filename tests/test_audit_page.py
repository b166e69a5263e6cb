"""The page of an audit: what was lost on which inputs, with its data, its pictures, and hostile names kept inert."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import sinewy as sw
from browsing import axe_faults, drawn_marks, open_page, width_on_a_phone
from limit_parts import load_digits, trained_network
from report_studies import HOSTILE, Markup, csv_files, figures
from sinewy.analysis.evidence import Evidence
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.report.numbers import points
from sinewy.report.practice.audit import Audited, audit_parts, write_audit_report
from sinewy.report.practice.audit_rows import audit_answer, group_rows, groups_of

SECTIONS = ["answer", "curves", "shifts", "breaks", "confidence", "ood", "layers", "cost", "method"]
KINDS = ("gaussian_noise", "fog", "brightness", "speckle_noise", "uniform_noise/0.5")


def pruned_network(sparsity=0.9):
    model = copy.deepcopy(trained_network())
    sw.prune(model, "magnitude", sparsity=sparsity)
    return model


@pytest.fixture(scope="module")
def audit(tmp_path_factory):
    probes = ["corruption", "ood", "calibration", "classes", "weight-noise"]
    options = {"kinds": KINDS, "severities": (1, 3), "draws": 2, "sigmas": (0.1,), "noises": ("relative",)}
    names = ("pruned", "dense")
    folder = tmp_path_factory.mktemp("audit") / "kept"
    digits = load_digits()
    return sw.audit(
        pruned_network(), digits.test, against=trained_network(), probes=probes, names=names, folder=folder, **options
    )


@pytest.fixture(scope="module")
def written(audit, tmp_path_factory):
    return audit.report(tmp_path_factory.mktemp("page") / "audit.html")


@pytest.fixture(scope="module")
def page(written):
    return written.read_text(encoding="utf-8")


def test_a_number_has_one_interval_wherever_it_stands(audit):
    panel = audit.panel
    rows = {row.group: row for row in group_rows(audit_of(audit).outcomes, panel.resamples) if row.network == "pruned"}
    assert str(rows["clean"].difference) == str(panel.difference("pruned", "clean"))
    assert str(rows["clean"].accuracy) == str(panel.accuracy("pruned"))
    assert f"{rows['noise'].difference:.4f}" == f"{panel.difference('pruned', 'gaussian_noise'):.4f}"


def test_the_page_has_the_intervals_of_its_panel(audit, page):
    for found in (audit.panel.accuracy("dense"), audit.panel.accuracy("pruned")):
        assert points(found).partition(" ")[2] in Markup(page).text


def test_an_audit_reads_as_its_table(audit, capsys):
    audit.show()
    shown = capsys.readouterr().out
    assert str(audit).split() == shown.split()
    assert repr(audit) == "<Audit of pruned against dense; print it, or .show(), .table(), .report(path)>"


def test_a_map_of_one_kind_has_room_for_its_colours():
    one = sw.audit(pruned_network(), load_digits().test.first(50), against=trained_network(), kinds=("fog",))
    [figure] = [f for part in audit_parts(audit_of(one)) if part.anchor == "shifts" for f in part.figures]
    bar = figure.plot.layout.coloraxis.colorbar
    assert bar.len >= 80
    margin = figure.plot.layout.margin
    assert figure.plot.layout.height - margin.t - margin.b >= bar.len


def audit_of(found):
    return Audited(found.record, found.panel, found.evidence)


def sections(page):
    return [attributes["id"] for tag, attributes in Markup(page).tags if tag == "section"]


def test_every_section_is_there_and_says_what_was_found(audit, page):
    assert sections(page) == [*SECTIONS[:6], "probe-weight-noise", *SECTIONS[6:]]
    text = Markup(page).text
    for part in (
        "pruned, against dense, loses",
        "weather (2 kinds)",
        "held-out",
        "of any strength",
        "The worst single shift of pruned: ",
        "saves neither time nor bytes here",
        "Single images: dense is right, pruned is wrong",
        "images of your test set are inside this file",
        f"sinewy figure map {audit.seen.folder}",
        "AUROC",
    ):
        assert part in text, part
    assert {"sparsity", "severity", "map", "losses", "confidence", "scores", "layers"} < set(figures(page))
    assert len(page.encode()) < 6e6


def test_numbers_of_the_groups(audit, page):
    rows = {row["group"]: row for row in csv_files(page)["sinewy-groups.csv"] if row["network"] == "pruned"}
    dense, pruned = audit.outcomes("dense"), audit.outcomes("pruned")
    weather = [(kind, severity) for kind in ("fog", "brightness") for severity in (1, 3)]
    for group, conditions in (("clean", [CLEAN]), ("weather", weather)):
        found = np.mean([pruned[c].accuracy - dense[c].accuracy for c in conditions])
        assert float(rows[group]["difference"]) == pytest.approx(found)
        assert float(rows[group]["difference_low"]) <= found <= float(rows[group]["difference_high"])
    cells = csv_files(page)["sinewy-map.csv"]
    fog = next(row for row in cells if (row["kind"], row["severity"]) == ("fog", "3"))
    assert float(fog["difference"]) == pytest.approx(pruned["fog", 3].accuracy - dense["fog", 3].accuracy)
    ood = audit.evidence["ood"]
    histogram = [r for r in csv_files(page)["sinewy-scores.csv"] if (r["method"], r["set"]) == ("pruned", "normal")]
    assert len(histogram) == 40 * 2
    assert sum(float(row["share"]) for row in histogram) == pytest.approx(2)
    assert set(ood.scores) == {"dense", "pruned"}


def test_pictures_of_shifts_are_what_the_probe_showed(audit):
    found = audit.shown()
    assert found.loser == "pruned"
    assert len(found.examples) == 12
    shifted = [example for example in found.examples if example.condition != CLEAN]
    whole = torch.from_numpy(load_digits().test.images)
    for example in shifted:
        kind, severity = example.condition
        assert audit.outcomes("dense")[example.condition].correct[example.index]
        assert not audit.outcomes("pruned")[example.condition].correct[example.index]
        if "/" not in kind:
            assert (example.pixels == sw.shifts.corrupt(whole, kind, severity)[example.index].numpy()).all()
    assert shifted


def test_groups_of_shifts():
    found = groups_of([("fog", 1), CLEAN, ("fog", 3), ("lines", 2), ("shot_noise", 1), ("my.mod:fn", 1)])
    assert list(found) == ["clean", "noise", "weather", "c-bar", "your own"]
    assert found["weather"] == (("fog", 1), ("fog", 3))


def hand_made(lost_clean, lost_fog, lost_snow, n=400):
    """A parent that is always right, and a network that errs on so many examples, first ones first."""
    label, column = np.zeros(n, np.int32), np.full(n, 0.5, np.float32)

    def erring(wrong, first=0):
        prediction = label.copy()
        prediction[first : first + wrong] = 1
        return Outcomes(label, prediction, column, column, column, column)

    conditions = {CLEAN: lost_clean, ("fog", 3): lost_fog, ("gaussian_noise", 3): lost_snow}
    right = {condition: erring(2, n - 2) for condition in conditions}
    return Evidence("dense", {"dense": right, "net": {c: erring(wrong) for c, wrong in conditions.items()}})


def test_the_answer_in_words():
    worse = audit_answer(group_rows(hand_made(2, 40, 3)), "dense")
    assert worse.startswith("net, against dense, shows no clear difference (+0.0 [−1.0, 1.0]")
    assert "loses accuracy under weather: −9.5 [" in worse
    assert worse.endswith("no other group is clearly worse.")
    both = audit_answer(group_rows(hand_made(40, 80, 40)), "dense")
    assert both.startswith("net, against dense, loses 9.5 [")
    assert "most under weather: −19.5" in both
    same = audit_answer(group_rows(hand_made(2, 2, 3)), "dense")
    assert same.endswith("under none of 2 groups of shifts is a difference clear.")
    nets = {f"net {lost}": hand_made(lost, 2 * lost, 3).outcomes["net"] for lost in (2, 10, 20, 40)}
    many = Evidence("dense", {"dense": hand_made(2, 2, 3).outcomes["dense"], **nets})
    said = audit_answer(group_rows(many), "dense")
    assert said.startswith("Of 4 networks, against dense, 3 lose and 0 gain clearly on your test set: from −9.5 [")
    assert "(net 40) to +0.0 [−1.0, 1.0] (net 2). Under shifts, " in said
    assert "net 40 loses most, under weather: −19.5 [" in said
    alone = Evidence("net", {"net": hand_made(4, 40, 4).outcomes["net"]})
    assert "There is no reference to compare it with" in audit_answer(group_rows(alone), "net")


def test_pages_of_less(tmp_path):
    """One network without a reference; nothing but clean data; several networks; a record without networks at hand."""
    digits = load_digits().test.first(60)
    alone = sw.audit(trained_network(), digits, probes=[])
    page = alone.report(tmp_path / "alone.html").read_text()
    assert "curves" not in sections(page)
    assert set(figures(page)) == {"confidence"}
    assert "Not measured: --probes ood." in Markup(page).text
    models = {"half": pruned_network(0.5), "tenth": pruned_network(0.9)}
    several = sw.audit(models, digits, against=trained_network(), probes=["corruption"], kinds=["fog"], severities=(3,))
    text = Markup(several.report(tmp_path / "several.html").read_text()).text
    assert "What is left of half" in text
    assert "Single images: parent is right, tenth is wrong" in text
    bare = Audited(several.record, several.panel)
    assert "No images: " in Markup(write_audit_report(bare, tmp_path / "bare.html").read_text()).text
    whole = sw.audit(models, load_digits().test, against=trained_network(), probes=[], limit=20)
    assert "So far, and this audit is not whole: " in Markup(whole.report(tmp_path / "part.html").read_text()).text


def test_images_can_be_left_out(audit, tmp_path):
    page = audit.report(tmp_path / "audit.html", images=False).read_text()
    assert "img" not in {tag for tag, _ in Markup(page).tags}


def hostile_audit():
    digits = load_digits().test.first(60)
    test = replace(digits, classes=tuple(f"{HOSTILE}{n}" for n in range(10)), name=HOSTILE)
    options = {"names": (f"{HOSTILE} pruned", f"{HOSTILE} dense"), "probes": ["corruption", "ood"], "kinds": ["fog"]}
    return sw.audit(pruned_network(0.95), test, against=trained_network(), command=HOSTILE, **options)


def test_hostile_text_stays_text(tmp_path):
    page = hostile_audit().report(tmp_path / "audit.html").read_text()
    tags = Markup(page).tags
    assert len([tag for tag, _ in tags if tag == "script"]) == 2 + len(figures(page))
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert all(a["src"].startswith("data:image/png;base64,") for tag, a in tags if tag == "img")
    assert HOSTILE in Markup(page).text


@pytest.mark.browser
def test_every_figure_draws_and_nothing_is_fetched(browser, written, page):
    assert open_page(browser, written) == []
    assert browser.get_log("browser") == []
    marks = drawn_marks(browser)
    assert set(marks) == set(figures(page))
    assert min(marks.values()) > 0
    assert browser.execute_script("return [...document.images].every(i => i.naturalWidth === 32 && i.alt)")
    links = browser.execute_script(
        "return [...document.querySelectorAll('nav a')].map(a => !!document.querySelector(a.getAttribute('href')))"
    )
    assert links
    assert all(links)


@pytest.mark.browser
def test_page_fits_a_phone(browser, written):
    assert width_on_a_phone(browser, written) <= 390


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_passes_axe(browser, written, scheme):
    assert axe_faults(browser, written, scheme) == []


@pytest.mark.browser
def test_hostile_text_is_inert_in_a_browser(browser, tmp_path):
    assert open_page(browser, hostile_audit().report(tmp_path / "audit.html")) == []
    assert browser.get_log("browser") == []
