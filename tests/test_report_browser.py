"""The report in headless Chromium: figures draw, tables sort and filter, all can read it, nothing is fetched."""

from __future__ import annotations

import math
from importlib.resources import files

import pytest

from browsing import drawn_marks, open_page, width_on_a_phone
from report_studies import METHODS, build_study, hostile_study, large_study
from sinewy.analysis import Panel
from sinewy.report import write_report

BUTTONS = {"zoom", "pan", "reset axes", "download plot as a png"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    study = build_study(examples=60, seeds=2)
    panel = Panel.build(study.done, study.reference, resamples=100)
    return write_report(study, tmp_path_factory.mktemp("report") / "report.html", panel=panel)


def column(browser, section, index):
    script = (
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map(r => r.cells[arguments[1]].innerText)"
    )
    return browser.execute_script(script, section, index)


@pytest.mark.browser
def test_every_figure_draws_and_nothing_is_fetched(browser, written, tmp_path):
    assert open_page(browser, written) == []
    marks = drawn_marks(browser)
    assert len(marks) == 12
    assert all(count > 0 for count in dict(marks).values())
    assert browser.get_log("browser") == []
    buttons = browser.execute_script(
        "return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title.toLowerCase())"
    )
    assert set(buttons) == BUTTONS
    shot = tmp_path / "report.png"
    assert browser.save_screenshot(str(shot))
    assert shot.stat().st_size > 20_000


@pytest.mark.browser
def test_legend_hides_a_method(browser, written):
    open_page(browser, written)
    hidden = "return document.querySelector('#severity [data-figure]').data.filter(t => t.visible === false).length"
    assert browser.execute_script(hidden) == 0
    button = browser.find_element("css selector", "#severity [data-group=m1]")
    browser.execute_script("arguments[0].click()", button)
    assert browser.execute_script(hidden) == 2
    assert button.get_attribute("aria-pressed") == "false"


@pytest.mark.browser
def test_tables_sort_by_keyboard_both_ways(browser, written):
    open_page(browser, written)
    heading = browser.find_element("css selector", "#results th[data-column='3']")
    button = heading.find_element("tag name", "button")
    assert button.accessible_name == "clean"
    browser.execute_script("arguments[0].focus()", button)
    for direction, sign in (("ascending", 1), ("descending", -1)):
        browser.switch_to.active_element.send_keys("\n")
        assert heading.get_attribute("aria-sort") == direction
        values = [float(text.split()[0]) for text in column(browser, "results", 3)]
        assert values == sorted(values, key=lambda value: sign * value)
    # the reference has no difference: it comes last, whichever way the column is sorted
    gains = browser.find_element("css selector", "#results th[data-column='5'] button")
    for _ in range(2):
        browser.execute_script("arguments[0].click()", gains)
        assert column(browser, "results", 0)[-1].startswith("dense")
    assert heading.get_attribute("aria-sort") is None


@pytest.mark.browser
def test_tables_are_filtered_by_words(browser, written):
    open_page(browser, written)
    field = browser.find_element("css selector", "#runs input[type=search]")
    assert field.accessible_name.strip() == "filter"
    field.send_keys("rigl 50")
    shown = (
        "return [...document.querySelectorAll('#runs tbody tr')].filter(r => !r.hidden).map(r => r.cells[1].innerText)"
    )
    assert browser.execute_script(shown) == ["RigL 50 %"] * 2
    status = browser.find_element("css selector", "#runs [role=status]")
    assert status.text == f"2 of {2 * len(METHODS)} rows"
    field.clear()


@pytest.mark.browser
def test_settings_of_two_runs_are_compared(browser, written):
    open_page(browser, written)
    shown = "return [...document.querySelectorAll('[data-pair] tbody tr')].map(r => [...r.cells].map(c => c.innerText))"
    assert browser.execute_script(shown) == [["sparsifier.name", "dense", "SET"]]
    second = browser.find_elements("css selector", "[data-run]")[1]
    assert second.accessible_name.startswith("second run")
    second.send_keys("RigL 50 % · seed 1")
    assert browser.execute_script(shown) == [["sparsifier.name", "dense", "RigL"], ["seed", "0", "1"]]
    assert "Settings that differ: 2" in browser.find_element("css selector", "[data-differences]").text


@pytest.mark.browser
def test_figures_shrink_to_paper_and_back(browser, written):
    open_page(browser, written)
    width = "return Math.round(document.querySelector('#severity .main-svg').getBoundingClientRect().width)"
    before = browser.execute_script(width)
    browser.execute_script("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(width) == 700
    browser.execute_script("window.dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(width) == before > 800


@pytest.mark.browser
def test_page_fits_a_phone(browser, written):
    assert width_on_a_phone(browser, written) <= 390


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_passes_axe(browser, written, scheme):
    pytest.importorskip("axe_core_python")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    open_page(browser, written)
    ink = browser.execute_script("return getComputedStyle(document.body).color")
    assert (ink == "rgb(27, 27, 27)") == (scheme == "light")
    browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    assert faults(browser) == []
    faint = {"light": "#bbbbbb", "dark": "#444444"}[scheme]
    browser.execute_script("document.querySelector('figcaption').style.color = arguments[0]", faint)
    assert faults(browser) == ["color-contrast"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def faults(browser):
    """Return the rules of axe that the page breaks; drawings are left out: their many elements are slow."""
    browser.set_script_timeout(240)
    script = (
        "const done = arguments[0]; axe.run({exclude: [['[data-figure] > *']]}).then(found => done(found.violations))"
    )
    return [fault["id"] for fault in browser.execute_async_script(script)]


@pytest.mark.browser
def test_hostile_text_is_inert_in_a_browser(browser, tmp_path):
    assert open_page(browser, write_report(hostile_study(), tmp_path / "report.html")) == []
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.querySelectorAll('img').length") == 0
    titles = browser.execute_script(
        "return [...document.querySelectorAll('#gains .annotation-text')].map(t => t.textContent)"
    )
    assert len([title for title in titles if title.startswith("</script>")]) == 4
    pairs = browser.execute_script("return document.querySelector('[data-pair] tbody').innerText")
    assert "</script><img src=x" in pairs


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.timeout(900)
def test_thousand_cells_open_quickly(browser, tmp_path):
    from selenium.webdriver.support.ui import WebDriverWait

    study = large_study(methods=200, seeds=5, examples=40)
    assert len(study.runs) == 1000
    panel = Panel.build(study.done, study.reference, resamples=200)
    path = write_report(study, tmp_path / "large.html", panel=panel)
    assert path.stat().st_size < 15e6
    # Other work on the machine stretches the clock, so the page is opened up to three times; the quickest counts.
    ready = math.inf
    for _ in range(3):
        browser.get(path.as_uri())
        WebDriverWait(browser, 240).until(lambda b: b.execute_script("return document.documentElement.dataset.drawn"))
        painted, took = browser.execute_script(
            "return [performance.getEntriesByName('first-contentful-paint')[0].startTime,"
            " performance.getEntriesByName('ready')[0].startTime]"
        )
        print(f"{path.stat().st_size / 1e6:.1f} MB, painted after {painted:.0f} ms, ready after {took:.0f} ms")
        ready = min(ready, took / 1000)
        if ready < 3:
            break
    assert ready < 3
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert browser.execute_script("return document.querySelectorAll('#runs tbody tr').length") == 1000
    assert browser.execute_script("return document.querySelectorAll('[data-run]')[0].options.length") == 1000
    assert browser.execute_script("return document.documentElement.scrollHeight") < 40_000
