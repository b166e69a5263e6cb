"""The report says what was found, keeps hostile text inert, and fetches nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from html import unescape

import pytest

from report_studies import HOSTILE, METHODS, Markup, build_study, csv_files, figures, hostile_study, write
from sinewy.analysis import Estimate, Panel
from sinewy.errors import InputError
from sinewy.outcomes import CLEAN
from sinewy.records import RunRecord
from sinewy.report import answer, summary, write_report
from sinewy.report.escaping import csv_text, figure_text, script_json
from sinewy.report.numbers import flat, flops, points
from sinewy.report.study.best import main_table, spread_table, standing
from sinewy.report.study.coverage import coverage_table
from sinewy.report.study.runs import cells_behind, command_of, store_of
from sinewy.report.study.settings import settings_json
from sinewy.report.study.won import wins_table
from sinewy.report.tables import differing_settings

FIGURES = {
    "sparsity",
    "cost",
    "gains",
    "kinds",
    "severity",
    "prune-accuracy",
    "potential",
    "sweep",
    "excess",
    "layers",
    "masks",
    "training",
}


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


def test_page_says_what_was_found_and_how(study, panel, page):
    text = Markup(page).text
    assert answer(study, panel) in text
    for part in (
        "sinewy run digits-c.yaml",
        "2.15.0",
        "normaliser.mean",
        "runs/digits/cells/granet80f9c2",
        "paired bootstrap",
        "1.56 T",
        "0.65 ×",
    ):
        assert part in text, part
    assert "PARTIAL" not in text
    assert 'role="alert"' not in page


def test_page_is_whole_and_small(page):
    assert len(page.encode()) < 6e6
    assert page.count("plotly.js v") == 1
    linked = [
        a for tag, a in Markup(page).tags for name in ("src", "href") if not a.get(name, "#").startswith(("#", "data:"))
    ]
    assert linked == []
    assert "default-src 'none'" in unescape(page)


def test_answer_is_honest(study, panel):
    assert answer(study, panel).startswith("Under 19 corruptions, SET 50 % gained most over dense: +")
    assert "cannot be told from dense" in answer(study, panel)
    only = replace(study, runs=tuple(r for r in study.runs if r.method in ("dense", "RigL 50 %")))
    assert "no difference between RigL 50 % and dense can be shown: " in answer(only)
    lost = replace(study, runs=tuple(r for r in study.runs if r.method in ("dense", "SET 90 %")))
    assert answer(lost).startswith("Under 19 corruptions, SET 90 % lost accuracy against dense: −")
    won = replace(study, runs=tuple(r for r in study.runs if r.method in ("dense", "SET 50 %")))
    assert answer(won).startswith("Under 19 corruptions, SET 50 % gained accuracy over dense: +")
    worse = replace(
        study, runs=tuple(replace(r, method=f"{r.method} {i}") if i else r for r in lost.runs for i in (0, 1))
    )
    worse = replace(worse, runs=tuple(r for r in worse.runs if r.method != "dense 1"))
    assert "every method lost accuracy" in answer(worse)
    lone = replace(study, runs=study.runs[:1])
    assert "no other method" in answer(lone)
    assert answer(lone).endswith("One seed only: another training run may differ.")
    assert answer(replace(study, partial="--limit 200"), panel).startswith("So far, and the study is not whole: ")


def test_partial_and_failed_runs_are_shown_first(study, tmp_path):
    failed = RunRecord(
        "77d2e0", "RigL 50 %", 9, 0.0, state="failed", error="Traceback\n  line 1\nRuntimeError: out of memory\n\n"
    )
    waiting = RunRecord("88e3f1", "RigL 50 %", 10, 0.0, state="waiting")
    page = write(replace(study, runs=(*study.runs, failed, waiting), partial="--limit 200"), tmp_path)
    text = Markup(page).text
    for part in (
        "PARTIAL: --limit 200",
        "1 of 17 runs failed",
        "1 of 17 runs not finished (waiting)",
        "RuntimeError: out of memory",
    ):
        assert part in text
    assert "line 1" not in text
    assert text.index("PARTIAL") < text.index("The answer")


def test_study_that_cannot_be_compared_still_gets_a_page(study, tmp_path):
    orphan = replace(study, runs=tuple(run for run in study.runs if run.method != "dense"))
    text = Markup(write(orphan, tmp_path)).text
    assert "No answer yet: unknown reference method 'dense'" in text
    assert text.count("unknown reference method 'dense'") == 3
    empty = replace(study, runs=())
    assert "No run has finished yet" in Markup(write(empty, tmp_path)).text
    assert summary(empty)["table"] == []


def test_bare_runs_without_costs_layers_or_history_are_reported(study, tmp_path):
    runs = tuple(replace(run, cost=None, layers=(), history=(), settings={}, folder=None) for run in study.runs[:6])
    page = write(replace(study, runs=runs, high_frequency={}), tmp_path)
    assert set(figures(page)) == {"sparsity", "gains", "kinds", "severity"}
    assert "in the order they were measured" in page


def test_summary_is_json_and_agrees_with_the_panel(study, panel):
    document = json.loads(json.dumps(summary(study, panel), allow_nan=False))
    assert document["answer"] == answer(study, panel)
    assert document["table"] == json.loads(json.dumps(panel.table()))
    assert len(document["gains"]) == 380
    assert len(document["runs"]) == 15
    assert document["environment"]["torch"] == "2.15.0"


def test_report_that_cannot_be_written_leaves_the_old_one(study, panel, tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="cannot write"):
        write_report(study, tmp_path / "file" / "report.html", panel=panel)
    assert (tmp_path / "file").read_text() == "old"


def test_hostile_text_stays_text(tmp_path):
    page = write(hostile_study(), tmp_path)
    markup = Markup(page)
    assert "img" not in {tag for tag, _ in markup.tags}
    assert not [name for _, attrs in markup.tags for name in attrs if name.startswith("on")]
    assert HOSTILE in markup.text
    assert len([tag for tag, _ in markup.tags if tag == "script"]) == len(figures(page)) + 1 + 2
    assert "<img" not in json.dumps(figures(page))
    assert f"{HOSTILE} &amp; more" not in page
    for rows in csv_files(page).values():
        assert not [v for row in rows for v in row.values() if v[:1] in tuple("=@+|%")]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-x", "@SUM(A1)", " =1", "\t=1", "%0A"])
def test_csv_text_never_starts_a_formula(text):
    (_, (cell,)) = csv.reader(io.StringIO(csv_text([{"name": text}])))
    assert cell.startswith("'")


def test_csv_numbers_are_left_alone():
    assert csv_text([{"a": -0.5, "b": None, "c": 3, "d": "plain"}]) == "a,b,c,d\r\n-0.5,,3,plain\r\n"
    assert csv_text([]) == ""


def test_figure_text_is_escaped_shortened_and_visible():
    assert figure_text("a<b> & c\nd") == "a&lt;b&gt; &amp; c d"
    assert figure_text("x\x00\u202ey") == "x\ufffd\ufffdy"
    assert figure_text("RigL with a long name at 90 %", 16) == "RigL wit…at 90 %"
    assert json.loads(script_json(json.dumps(HOSTILE))) == HOSTILE
    assert "<" not in script_json(json.dumps(HOSTILE))


def test_numbers_are_written_for_people():
    assert points(Estimate(-0.012, -0.02, 0.004, 9, 3), signed=True) == "−1.2 [−2.0, 0.4]"
    assert points(Estimate(0.0012, 0.0008, 0.0016, 9, 3)) == "0.12 [0.08, 0.16]"
    assert [flops(x) for x in (None, 0, 950, 4.1e7, 1.5e12)] == ["–", "0", "950", "41 M", "1.5 T"]
    assert flat({"a": {"b": [1, 2]}, "c": None, "d": "x"}) == {"a.b": "1, 2", "c": "null", "d": "x"}


def test_differing_settings_leave_out_what_is_shared(study):
    names, rows, shared = differing_settings(study.runs)
    assert names == ["sparsifier.name"]
    assert rows[1] == {"method": "SET 50 %", "sparsifier.name": "SET"}
    assert shared == {"model.name": "resnet20", "train.epochs": "15"}


def test_study_without_corruptions_reports_clean_accuracy(study, tmp_path):
    runs = tuple(replace(run, outcomes={CLEAN: run.outcomes[CLEAN]}) for run in study.runs)
    clean = replace(study, runs=runs)
    page = write(clean, tmp_path)
    assert set(figures(page)) == FIGURES - {"gains", "kinds", "severity", "excess"}
    assert "No corruption was measured." in Markup(page).text
    assert "the clean test set" in answer(clean)


def test_page_holds_every_section_in_order(page):
    titles = re.findall(r"<h2>(\d+) ([^<]*)</h2>", page)
    assert [int(number) for number, _ in titles] == list(range(1, len(titles) + 1))
    assert [title for _, title in titles][:3] == ["The answer", "Coverage", "Results"]
    assert [title for _, title in titles][-2:] == ["Failures and warnings", "How it was measured"]
    assert set(figures(page)) == FIGURES


def test_main_table_marks_what_cannot_be_told_apart(panel, page):
    rows = {r["method"]: r for r in csv_files(page)["sinewy-results.csv"]}
    assert list(rows) == list(METHODS)
    better, worse = panel.difference("SET 50 %"), panel.difference("SET 90 %")
    assert better.low > 0 > worse.high
    assert not panel.difference("RigL 50 %").distinguishable
    results = page[page.index('<section id="results">') : page.index('<section id="spread">')]
    body = results[results.index("<tbody>") : results.index("</tbody>")]
    cells = {m: Markup(row).text for m, row in zip(METHODS, body.split("<tr")[1:], strict=True)}
    assert f"{points(better, signed=True).split()[0]} ▲" in cells["SET 50 %"]
    assert f"{points(worse, signed=True).split()[0]} ▼" in cells["SET 90 %"]
    assert "▲" not in cells["RigL 50 %"]
    assert cells["RigL 50 %"].count("≈") == 2
    assert 'title="the best"' in body
    assert float(rows["SET 50 %"]["corruption_difference"]) == pytest.approx(better.value)
    assert rows["SET 50 %"]["epochs"] == "15"


def test_best_and_what_cannot_be_told_from_it(panel):
    stands = standing(panel, None)
    best = max(panel.methods, key=lambda m: panel.corruption_accuracy(m).value)
    assert stands[best] == "best"
    assert list(stands.values()).count("best") == 1
    for method in panel.methods:
        apart = panel.difference(method, None, against=best)
        assert (stands[method] == "tied") == (method != best and not apart.distinguishable)
    assert stands["SET 90 %"] == ""


def test_accuracies_come_with_their_deviation_over_seeds(study, panel):
    table = main_table(panel, "")
    row = table.rows[panel.methods.index("SET 50 %")]
    own = [r.outcomes[CLEAN].accuracy for r in study.runs if r.method == "SET 50 %"]
    mean = sum(own) / 3
    deviation = (sum((a - mean) ** 2 for a in own) / 2) ** 0.5
    assert row["clean_accuracy"].text == f"{100 * mean:.1f} ± {100 * deviation:.1f}"
    assert table.marked == 0
    assert table.data[1]["clean_seed_deviation"] == pytest.approx(deviation)


def test_spread_over_seeds_and_examples_stand_apart(study, panel):
    table = spread_table(panel)
    row = dict(zip(panel.methods, table.data, strict=True))["SET 90 %"]
    # Student's interval of three seeds reaches t = 4.30 standard errors
    assert row["clean_seeds_high"] - row["clean_seeds_low"] == pytest.approx(
        2 * 4.3027 * row["clean_seed_deviation"] / 3**0.5, rel=1e-3
    )
    assert row["clean_examples_low"] < panel.accuracy("SET 90 %").value < row["clean_examples_high"]
    lone = Panel.build([r for r in study.runs if r.seed == 0], "dense", resamples=50)
    assert spread_table(lone) is None


def test_wins_count_cells_and_those_beyond_chance(panel):
    table = wins_table(panel)
    rows = {row["method"].text: row for row in table.rows}
    lost = rows["SET 90 %"]["severity_lost_significantly"]
    assert lost.text == f"{lost.value} of 95"
    assert lost.value > rows["RigL 50 %"]["severity_lost_significantly"].value
    ahead = sum(panel.difference("SET 50 %", kind).value > 1e-12 for kind in panel.kinds)
    assert rows["SET 50 %"]["kind_won"].value == ahead


def test_coverage_says_done_failed_and_missing(study):
    runs = [r for r in study.runs if (r.method, r.seed) != ("SET 90 %", 1)]
    runs[0] = replace(runs[0], state="failed")
    table = coverage_table(runs)
    rows = {row["method"].text: row for row in table.rows}
    assert rows["dense"]["seed 0"].text == "✗ failed"
    assert rows["dense"]["whole"].text == "2 of 3"
    assert rows["SET 90 %"]["seed 1"].text == "– missing"
    assert rows["SET 90 %"]["seed 0"].link == f"run-{[r.method for r in runs].index('SET 90 %')}"
    assert {"method": "SET 90 %", "seed": 1, "state": "missing", "run": ""} in table.data
    many = coverage_table([replace(r, seed=r.seed + 10 * i) for i in range(4) for r in study.runs])
    assert many.rows[0]["seed 0"].text == "✓"
    assert many.rows[0]["seed 0"].hint == "done"


def test_every_figure_names_its_cells_and_its_command(study, page):
    assert store_of(study) == "runs/digits"
    assert command_of(study, "severity") == "sinewy figure severity runs/digits"
    text = Markup(page).text
    for key in FIGURES:
        assert f"sinewy figure {key} runs/digits" in text
    links, words = cells_behind(study, ["RigL"])
    assert [link["id"] for link in links] == ["rigl50f9c0", "rigl50f9c1", "rigl50f9c2"]
    assert words == "3 cells behind it in runs/digits/cells"
    anchors = {attrs["id"] for _, attrs in Markup(page).tags if attrs.get("id", "").startswith("run-")}
    assert {link["anchor"] for link in links} <= anchors
    elsewhere = replace(study, runs=tuple(replace(r, folder="model.safetensors") for r in study.runs))
    assert command_of(elsewhere, "severity") == ""


def test_settings_of_two_runs_hold_only_what_differs_between_any(study):
    document = json.loads(settings_json(study.runs))
    assert document["names"] == ["sparsifier.name", "seed"]
    assert document["shared"] == 2
    assert document["values"][4] == ["SET", "1"]
    assert document["second"] == 3
    assert "<" not in settings_json(hostile_study().runs)


def test_links_within_the_page_lead_somewhere(page):
    tags = Markup(page).tags
    anchors = {attrs["id"] for _, attrs in tags if "id" in attrs}
    wanted = {attrs["href"][1:] for tag, attrs in tags if tag == "a" and attrs.get("href", "").startswith("#")}
    assert wanted <= anchors
    assert len(anchors) == len([1 for _, attrs in tags if "id" in attrs])
