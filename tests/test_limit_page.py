"""The page of a limit: every section says what it must, holds its data, keeps hostile text inert, and draws."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import sinewy as sw
from browsing import axe_faults, drawn_marks, open_page, width_on_a_phone
from limit_parts import load_digits, record, trained_network
from report_studies import HOSTILE, Markup, csv_files, figures
from sinewy.analysis.shown import Footprint, Shown, Speed
from sinewy.outcomes import CLEAN
from sinewy.probes.speed import measure_speed
from sinewy.records import Cost
from sinewy.report.practice.limit import write_limit_report
from sinewy.report.practice.limit_text import limit_answer
from sinewy.report.practice.pruned import speed_sentences

SECTIONS = ["answer", "curves", "map", "breaks", "confidence", "layers", "cost", "certificate", "method"]


@pytest.fixture(scope="module")
def limit(tmp_path_factory):
    """The digits network, pruned at three levels, measured clean and under two groups of shifts."""
    folder = tmp_path_factory.mktemp("limit") / "run"
    shifts = {"outside": ["fog", "brightness"], "noise": ["gaussian_noise"]}
    return sw.limit(trained_network(), load_digits(), margin=1.0, grid=[0.5, 0.8, 0.95], shifts=shifts, folder=folder)


@pytest.fixture(scope="module")
def written(limit, tmp_path_factory):
    return limit.report(tmp_path_factory.mktemp("page") / "limit.html")


@pytest.fixture(scope="module")
def page(written):
    return written.read_text(encoding="utf-8")


def sections(page):
    return [attributes["id"] for tag, attributes in Markup(page).tags if tag == "section"]


def test_every_section_is_there_and_says_what_was_found(limit, page):
    assert sections(page) == SECTIONS
    assert list(figures(page)) == ["curves", "map", "losses", "confidence", "layers"]
    text = Markup(page).text
    assert limit_answer(limit.record) in text
    for part in (
        limit.certificate.statement,
        "Which shift breaks first",
        f"sinewy figure losses {limit.record.folder}",
        "filters (or neurons) are wholly zero",
        "saves neither time nor bytes here",
        "unpruned: ",
        f"These {len(limit.shown().examples)} images of your test set are inside this file",
        "1 thread" if torch.get_num_threads() == 1 else "threads",
    ):
        assert part in text, part
    assert len(page.encode()) < 6e6


def test_data_behind_the_sections(limit, page):
    files = csv_files(page)
    losses = [r for r in files["sinewy-losses.csv"] if r["set"] == "clean" and r["method"].endswith("(the answer)")]
    level, parent = limit.record.answer.outcomes[CLEAN], limit.record.parent[CLEAN]
    assert [int(row["number"]) for row in losses] == list(range(10))
    for row in losses:
        inside = parent.label == int(row["number"])
        assert float(row["before"]) == pytest.approx(parent.correct[inside].mean())
        assert float(row["change"]) == pytest.approx(level.correct[inside].mean() - parent.correct[inside].mean())
    nll = next(
        r
        for r in files["sinewy-calibration.csv"]
        if (r["set"], r["measure"], r["method"]) == ("clean", "NLL", "unpruned")
    )
    assert float(nll["value"]) == pytest.approx(parent.loss.mean(), abs=1e-6)
    left = {row["layer"]: row for row in files["sinewy-left.csv"]}
    weight = limit.at(limit.record.answer.sparsity)[2].weight
    assert int(left["2.weight"]["left"]) == int(weight.count_nonzero())
    assert int(left["2.weight"]["filters_left"]) == int((weight != 0).any(1).sum())
    cost = {row["network"]: row for row in files["sinewy-cost.csv"]}
    pruned = next(row for name, row in cost.items() if "the answer" in name)
    assert int(pruned["nonzero_parameters"]) < int(pruned["parameters"]) == int(cost["unpruned"]["parameters"])
    assert float(cost["unpruned"]["seconds_batch_64"]) > float(cost["unpruned"]["seconds_batch_1"]) > 0


def test_pictures_are_the_bytes_that_the_network_got_wrong(limit, page):
    """Each is made again here, by the public function, and shown to the network."""
    shown = limit.shown()
    assert len(shown.examples) > 6
    assert {e.condition for e in shown.examples} > {CLEAN}
    uris = [a["src"] for tag, a in Markup(page).tags if tag == "img"]
    pruned, digits = limit.at(limit.record.answer.sparsity), load_digits()
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (digits.test.mean, digits.test.std))
    for uri, example in zip(uris, shown.examples, strict=True):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))).transpose(2, 0, 1)
        kind, severity = example.condition
        whole = torch.from_numpy(digits.test.images)
        seen = whole if example.condition == CLEAN else sw.shifts.corrupt(whole, kind, severity)
        assert (pixels == seen[example.index].numpy()).all()
        answers = [
            net((torch.from_numpy(pixels.copy())[None].float() / 255 - mean) / std) for net in (limit.at(0), pruned)
        ]
        assert [int(a.argmax()) for a in answers] == [example.label, example.answers[1][0]]
        assert example.answers[1][0] != example.label
        assert float(answers[1].detach().softmax(1).max()) == pytest.approx(example.answers[1][1], abs=1e-4)


def test_images_can_be_left_out(limit, tmp_path):
    page = limit.report(tmp_path / "limit.html", images=False).read_text()
    assert "img" not in {tag for tag, _ in Markup(page).tags}
    assert "they were left out" in Markup(page).text
    assert "inside this file" not in page


def test_a_record_alone_makes_a_page(limit, tmp_path):
    text = Markup(write_limit_report(limit.record, tmp_path / "a.html").read_text()).text
    assert "No images: " in text
    bare = record({"clean": [0, 9, 9, 9]})
    page = write_limit_report(bare, tmp_path / "b.html").read_text()
    assert sections(page) == [name for name in SECTIONS if name != "map"]
    assert list(figures(page)) == ["curves", "losses", "confidence"]  # no layer was recorded


def hostile_limit(tmp_path):
    """Names of groups, classes, layers and the model that try to become markup; the command is hostile, too."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleDict({HOSTILE.replace(".", ""): nn.Linear(3072, 10)})

        def forward(self, x):
            return next(iter(self.layers.values()))(x.flatten(1))

    torch.manual_seed(0)
    digits = load_digits()
    test = replace(digits.test.first(60), classes=tuple(f"{HOSTILE}{n}" for n in range(10)))
    shifts = {HOSTILE: ["fog", "brightness"]}
    options = {"grid": [0.5, 0.9], "shifts": shifts, "name": HOSTILE, "command": HOSTILE}
    return sw.limit(Odd(), digits.train, test, folder=tmp_path / "a b$(x)", **options)


def test_hostile_text_stays_text(tmp_path):
    limit = hostile_limit(tmp_path)
    page = limit.report(tmp_path / "limit.html").read_text()
    tags = Markup(page).tags
    assert len([tag for tag, _ in tags if tag == "script"]) == 2 + len(figures(page))
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert all(a["src"].startswith("data:image/png;base64,") for tag, a in tags if tag == "img")
    assert HOSTILE in Markup(page).text
    assert f"sinewy figure curves '{tmp_path}/a b$(x)'" in Markup(page).text


def test_what_the_times_say():
    cost = Cost(100, 100, 1e3, 1e3)
    base, same, small = (Footprint(cost, size, {1: t}) for size, t in ((400, 1.0), (400, 1.05), (100, 0.5)))
    said = speed_sentences(Speed({"parent": base, "pruned": same, "pruned, compacted": small}, "CPU", 1))
    assert said[0] == "pruned, compacted takes 0.25 × the bytes of parent, 0.50 × the time at batch 1."
    assert said[1].startswith("Zeros in dense tensors are stored and multiplied")
    assert len(said) == 2
    slow = Footprint(cost, 100, {1: 0.97})
    assert "not clearly faster" in speed_sentences(Speed({"parent": base, "small": slow}, "CPU", 1))[0]
    odd = Footprint(cost, 400, {1: 2.0})
    assert "this machine was busy" in speed_sentences(Speed({"parent": base, "pruned": odd}, "CPU", 1))[1]
    assert speed_sentences(None) == []


def test_a_network_that_cannot_be_timed_or_compacted_is_a_note():
    class OneAtATime(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(12, 4), nn.Linear(4, 2)

        def forward(self, x):
            if len(x) != 1:
                raise AttributeError("one image at a time")
            return self.last(self.first(x.flatten(1)).numpy().copy() * 1.0)

    broken = OneAtATime()
    with torch.no_grad():
        broken.first.weight[0] = 0  # an empty filter, so that compaction is tried
    found = measure_speed(
        {"parent": nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), "odd": broken}, torch.zeros(1, 3, 2, 2)
    )
    assert [own.seconds for own in found.networks.values()] == [{}, {}]
    assert found.networks["odd"].cost is None
    assert found.notes[0].startswith("odd could not be compacted: ")
    assert found.notes[1].startswith("Batches of 1 could not be timed: ")
    assert len(found.notes) == 3


def test_channels_are_compacted_and_measured(tmp_path):
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    conv = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    limit = sw.limit(conv, load_digits(), method="ft", margin=20.0, grid=[0.5], shifts=[], first=60)
    networks = limit.shown().speed.networks
    unpruned, level, compacted = networks.values()
    assert list(networks)[2].endswith(", compacted")
    assert unpruned.cost.parameters == level.cost.parameters > compacted.cost.parameters
    assert compacted.file_bytes < level.file_bytes
    assert level.cost.inference_flops == pytest.approx(compacted.cost.inference_flops, rel=0.05)
    text = Markup(limit.report(tmp_path / "limit.html").read_text()).text
    assert "sinewy compact can take channels like these out" in text


@pytest.mark.browser
def test_every_figure_draws_and_nothing_is_fetched(browser, limit, written, page):
    assert open_page(browser, written) == []
    assert browser.get_log("browser") == []
    marks = drawn_marks(browser)
    assert set(marks) == set(figures(page))
    assert min(marks.values()) > 0
    loaded = browser.execute_script("return [...document.images].map(i => [i.naturalWidth, i.alt.length])")
    assert len(loaded) == len(limit.shown().examples)
    assert all(width == 32 and words > 20 for width, words in loaded)


@pytest.mark.browser
def test_page_fits_a_phone(browser, written):
    assert width_on_a_phone(browser, written) <= 390


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_passes_axe(browser, written, scheme):
    assert axe_faults(browser, written, scheme) == []


@pytest.mark.browser
def test_hostile_text_is_inert_in_a_browser(browser, tmp_path):
    limit = hostile_limit(tmp_path)
    assert open_page(browser, limit.report(tmp_path / "limit.html")) == []
    assert browser.get_log("browser") == []
    names = browser.execute_script(
        "return [...document.querySelectorAll('#breaks .yaxislayer-above text')].map(t => t.textContent)"
    )
    assert names
    assert all(name.startswith("</script>") for name in names)


def test_outcomes_made_by_hand_are_drawn(tmp_path):
    """A limit without a shift, and one whose every level is safe, have pages, too."""
    for number, curves in enumerate(({"clean": [0, 0, 0, 0]}, {"clean": [0, 1, 9, 9], "fog": [0, 0, 0, 0]})):
        made = record(curves)
        page = write_limit_report(made, tmp_path / f"{number}.html", Shown()).read_text()
        assert "losses" in figures(page)
