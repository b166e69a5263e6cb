"""The report says what was found, draws it, keeps hostile text inert, and fetches nothing."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from sinewy.analysis import Estimate, Panel
from sinewy.errors import InputError
from sinewy.outcomes import CLEAN, Outcomes
from sinewy.records import Cost, Epoch, Layer, RunRecord, StudyRecord
from sinewy.report import answer, summary, write_report
from sinewy.report.escaping import csv_text, figure_text, script_json
from sinewy.report.gains import by_frequency
from sinewy.report.numbers import flat, flops, points
from sinewy.report.style import family, styles
from sinewy.report.tables import differing_settings

KINDS = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "speckle_noise",
    "defocus_blur",
    "gaussian_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "spatter",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
    "saturate",
]
METHODS = {"dense": 0.0, "SET 50 %": 0.5, "SET 90 %": 0.9, "RigL 50 %": 0.5, "GraNet 80 %": 0.8}
HOSTILE = "</script><img src=x onerror=alert(1)>"


def _outcomes(correct, label):
    ones = np.ones(len(label), np.float32)
    return Outcomes(label, np.where(correct, label, (label + 1) % 10).astype(np.int32), ones, ones, ones, ones)


def _audit(rng, difficulty, label, lift):
    """Outcomes whose accuracy falls with severity and, on the noise kinds, rises by `lift`."""
    found = {CLEAN: _outcomes(difficulty + 0.4 * rng.normal(size=len(label)) > -1.5 + lift / 4, label)}
    for index, kind in enumerate(KINDS):
        for severity in range(1, 6):
            threshold = -1.4 + 0.12 * severity + 0.05 * (index % 7) * severity - lift * (1.5 if index < 4 else 0.3)
            found[kind, severity] = _outcomes(difficulty + 0.5 * rng.normal(size=len(label)) > threshold, label)
    return found


def _run(method, sparsity, seed, difficulty, label, lift):
    rng = np.random.default_rng([seed, list(METHODS).index(method)])
    names = ["conv1", "layer1.conv1", "layer1.conv2", "layer2.conv1", "layer2.conv2", "fc"]
    layers = tuple(
        Layer(f"{name}.weight", (32, 9 * 2**i), 288 * 2**i, round(288 * 2**i * (1 - sparsity * (0.6 + 0.08 * i))))
        for i, name in enumerate(names)
    )
    pace = 0.8 + 0.05 * sparsity + 0.01 * rng.random()
    history = tuple(
        Epoch(
            e,
            2.2 * pace**e + 0.04 * rng.random(),
            1 - pace**e,
            0.95 - 0.7 * pace**e,
            0.1,
            sparsity * min(1, e / 5),
            9,
            3.5,
        )
        for e in range(1, 16)
    )
    cost = Cost(
        18144, round(18144 * (1 - sparsity)), 4.1e7, 4.1e7 * (1 - 0.8 * sparsity), 2.4e12, 2.4e12 * (1 - 0.7 * sparsity)
    )
    settings = {"model.name": "resnet20", "train.epochs": 15, "sparsifier.name": method.split()[0], "seed": seed}
    outcomes = _audit(rng, difficulty, label, lift)
    folder = f"runs/{method.split()[0].lower()}-{seed}"
    return RunRecord(
        f"{method.split()[0].lower()}{round(100 * sparsity):02d}f9c{seed}",
        method,
        seed,
        sparsity,
        folder=folder,
        settings=settings,
        layers=layers,
        history=history,
        cost=cost,
        outcomes=outcomes,
    )


def build_study(examples=200, seeds=3):
    rng = np.random.default_rng(0)
    difficulty, label = rng.normal(size=examples), rng.integers(0, 10, examples).astype(np.int32)
    lifts = dict(zip(METHODS, (0.0, 0.12, -0.3, 0.0, 0.03), strict=True))
    runs = tuple(_run(m, s, seed, difficulty, label, lifts[m]) for m, s in METHODS.items() for seed in range(seeds))
    return StudyRecord(
        "Dynamic sparse training on digits-C",
        "dense",
        runs,
        "sinewy run digits-c.yaml",
        protocol={
            "data": "digits",
            "severities": [1, 2, 3, 4, 5],
            "preset": "mnist",
            "normaliser": {"mean": 0.13, "std": 0.31},
        },
        environment={"sinewy": "0.1.0", "torch": "2.15.0", "device": "cpu"},
        high_frequency={kind: round(0.95 - 0.045 * i, 3) for i, kind in enumerate(KINDS)},
    )


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


def hostile_study():
    """A study whose every text tries to become markup, a script, a template or a formula; one run has failed."""
    plain = build_study(examples=30, seeds=1)
    names = {m: f"{HOSTILE} %{{x}} {m}" for m in METHODS}
    runs = [
        replace(
            r,
            id=f"{HOSTILE}{i}",
            method=names[r.method],
            folder=f"=cmd()|{HOSTILE}",
            settings={HOSTILE: HOSTILE + r.method},
        )
        for i, r in enumerate(plain.runs)
    ]
    runs.append(RunRecord("bad", names["dense"], 7, 0.0, state="failed", error=f"Traceback\n{HOSTILE} & more\n"))
    layers = tuple(replace(layer, name=HOSTILE + layer.name) for layer in runs[1].layers)
    runs[1] = replace(runs[1], layers=layers)
    texts = {HOSTILE: [HOSTILE, {"a": HOSTILE}]}
    return StudyRecord(
        HOSTILE,
        names["dense"],
        tuple(runs),
        HOSTILE,
        protocol=texts,
        environment=texts,
        partial=f"--limit 30 {HOSTILE}",
    )


class Markup(HTMLParser):
    """What a browser would make of the page: every tag with its attributes, and the text outside scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self._inside = [], [], ""
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside not in ("script", "style"):
            self.words.append(data)


def csv_files(page):
    links = [a for tag, a in Markup(page).tags if tag == "a" and "download" in a]
    contents = {a["download"]: base64.b64decode(a["href"].partition("base64,")[2]).decode() for a in links}
    return {name: list(csv.DictReader(io.StringIO(text))) for name, text in contents.items()}


def figures(page):
    found = re.findall(r'<script type="application/json" id="data-(\w+)">(.*?)</script>', page, re.DOTALL)
    return {key: json.loads(document) for key, document in found}


def write(study, tmp_path, **options):
    return write_report(study, tmp_path / "report.html", **options).read_text(encoding="utf-8")


def test_page_holds_every_section_in_order(page):
    titles = re.findall(r"<h2>(\d) ([^<]*)</h2>", page)
    assert [int(number) for number, _ in titles] == list(range(1, 10))
    assert [title for _, title in titles][:2] == ["The answer", "Results"]
    assert set(figures(page)) == {"sparsity", "gains", "severity", "layers", "training"}


def test_page_says_what_was_found_and_how(study, panel, page):
    text = Markup(page).text
    assert answer(study, panel) in text
    for part in (
        "sinewy run digits-c.yaml",
        "2.15.0",
        "normaliser.mean",
        "runs/granet-2",
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


def test_main_table_marks_what_cannot_be_told_apart(panel, page):
    rows = {r["method"]: r for r in csv_files(page)["sinewy-results.csv"]}
    assert list(rows) == list(METHODS)
    better, worse = panel.difference("SET 50 %"), panel.difference("SET 90 %")
    assert better.low > 0 > worse.high
    assert not panel.difference("RigL 50 %").distinguishable
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    cells = dict(zip(METHODS, body.split("<tr")[1:], strict=True))
    assert f"{points(better, signed=True).split()[0]} ▲" in cells["SET 50 %"]
    assert f"{points(worse, signed=True).split()[0]} ▼" in cells["SET 90 %"]
    assert "▲" not in cells["RigL 50 %"]
    assert cells["RigL 50 %"].count("≈") == 2
    assert float(rows["SET 50 %"]["corruption_difference"]) == pytest.approx(better.value)
    assert rows["SET 50 %"]["epochs"] == "15"


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
    assert [family(n) for n in ("RigL 90 %", "RigL 90%", "SET @ 12.5 %", "dense", "90 %")] == [
        "RigL",
        "RigL",
        "SET",
        "dense",
        "90 %",
    ]


def test_answer_is_honest(study, panel):
    assert answer(study, panel).startswith("Under 19 corruptions, SET 50 % gained most over dense: +")
    assert "cannot be told from dense" in answer(study, panel)
    only = replace(study, runs=tuple(r for r in study.runs if r.method in ("dense", "RigL 50 %")))
    assert "no method can be shown to beat dense" in answer(only)
    lost = replace(study, runs=tuple(r for r in study.runs if r.method in ("dense", "SET 90 %")))
    assert "every method lost accuracy" in answer(lost)
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
    assert "There is nothing to compare yet." in text
    empty = replace(study, runs=())
    assert "No run has finished yet" in Markup(write(empty, tmp_path)).text
    assert summary(empty)["table"] == []


def test_study_without_corruptions_reports_clean_accuracy(study, tmp_path):
    runs = tuple(replace(run, outcomes={CLEAN: run.outcomes[CLEAN]}) for run in study.runs)
    clean = replace(study, runs=runs)
    page = write(clean, tmp_path)
    assert set(figures(page)) == {"sparsity", "layers", "training"}
    assert "No corruption was measured." in Markup(page).text
    assert "the clean test set" in answer(clean)


def test_bare_runs_without_costs_layers_or_history_are_reported(study, tmp_path):
    runs = tuple(replace(run, cost=None, layers=(), history=(), settings={}, folder=None) for run in study.runs[:6])
    page = write(replace(study, runs=runs, high_frequency={}), tmp_path)
    assert set(figures(page)) == {"sparsity", "gains", "severity"}
    assert "in the order they were measured" in page


def test_diverged_training_is_drawn_with_gaps(study, tmp_path):
    history = tuple(replace(epoch, loss=float("nan")) for epoch in study.runs[0].history)
    page = write(replace(study, runs=(replace(study.runs[0], history=history), *study.runs[1:])), tmp_path)
    assert any(None in trace["y"] for trace in figures(page)["training"]["data"])


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
    assert len([tag for tag, _ in markup.tags if tag == "script"]) == 5 + 2
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


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run "
    "--window-size=1280,900"
)


@pytest.fixture(scope="module")
def browser():
    driver = shutil.which("chromedriver")
    if CHROMIUM is None or driver is None:
        pytest.skip("needs Chromium and chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options, Service(executable_path=driver))
    yield session
    session.quit()


def open_page(browser, path):
    """Open the page, wait until it has drawn, and return the addresses it asked for."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.drawn"))
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


@pytest.mark.browser
def test_every_figure_draws_and_nothing_is_fetched(browser, study, panel, tmp_path):
    path = write_report(study, tmp_path / "report.html", panel=panel)
    asked = open_page(browser, path)
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    drawn = browser.execute_script(
        "return [...document.querySelectorAll('[data-figure]')].map(f => "
        "[f.dataset.figure, f.querySelectorAll('.trace path, .heatmaplayer image, .heatmaplayer path').length])"
    )
    assert {key for key, _ in drawn} == {
        f"data-{key}" for key in ("sparsity", "gains", "severity", "layers", "training")
    }
    assert all(marks > 0 for _, marks in drawn)
    assert browser.get_log("browser") == []
    buttons = browser.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title.toLowerCase())"
    )
    assert set(buttons) == {"zoom", "pan", "reset axes", "download plot as a png"}
    shot = tmp_path / "report.png"
    assert browser.save_screenshot(str(shot))
    assert shot.stat().st_size > 20_000


@pytest.mark.browser
def test_legend_hides_a_method(browser, study, panel, tmp_path):
    open_page(browser, write_report(study, tmp_path / "report.html", panel=panel))
    hidden = "return document.querySelector('#severity [data-figure]').data.filter(t => t.visible === false).length"
    assert browser.execute_script(hidden) == 0
    button = browser.find_element("css selector", "#severity [data-group=m1]")
    browser.execute_script("arguments[0].click()", button)
    assert browser.execute_script(hidden) == 2
    assert button.get_attribute("aria-pressed") == "false"


@pytest.mark.browser
def test_figures_shrink_to_paper_and_back(browser, study, panel, tmp_path):
    open_page(browser, write_report(study, tmp_path / "report.html", panel=panel))
    width = "return Math.round(document.querySelector('#severity .main-svg').getBoundingClientRect().width)"
    before = browser.execute_script(width)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(width) == 700
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(width) == before > 800


@pytest.mark.browser
def test_page_fits_a_phone(browser, study, panel, tmp_path):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(browser, write_report(study, tmp_path / "report.html", panel=panel))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.browser
def test_hostile_text_is_inert_in_a_browser(browser, tmp_path):
    asked = open_page(browser, write_report(hostile_study(), tmp_path / "report.html"))
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    titles = browser.execute_script(
        "return [...document.querySelectorAll('#gains .annotation-text')].map(t => t.textContent)"
    )
    assert len([title for title in titles if title.startswith("</script>")]) == 4
