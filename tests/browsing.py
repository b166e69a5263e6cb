"""A headless browser for the tests of pages, and what a page looks like to it."""

from __future__ import annotations

import json
import shutil
from importlib.resources import files

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-background-networking --no-first-run "
    "--window-size=1280,900"
)


def start_browser():
    """Return a browser that logs its console and its requests; skips the test where there is none."""
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
    return webdriver.Chrome(options, Service(executable_path=driver))


def open_page(browser, path):
    """Open the page, wait until it has drawn, and return the addresses it asked for beyond itself."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    WebDriverWait(browser, 60).until(lambda b: b.execute_script("return document.documentElement.dataset.drawn"))
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]


def drawn_marks(browser):
    """Return how many marks each figure has drawn, by its key."""
    found = browser.execute_script(
        "return [...document.querySelectorAll('[data-figure]')].map(f => [f.dataset.figure,"
        " f.querySelectorAll('.trace path, .heatmaplayer image, .heatmaplayer path').length])"
    )
    return {key.removeprefix("data-"): marks for key, marks in found}


def width_on_a_phone(browser, path):
    """Return how wide the page is, in pixels, on a screen of 390."""
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    open_page(browser, path)
    width = browser.execute_script("return document.documentElement.scrollWidth")
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    return width


def axe_faults(browser, path, scheme):
    """Return what axe-core, if it is installed, finds wrong with the page in a light or dark scheme."""
    pytest.importorskip("axe_core_python")
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.set_script_timeout(120)
    open_page(browser, path)
    browser.execute_script(files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
    found = browser.execute_async_script("axe.run().then(arguments[0])")["violations"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    return [fault["id"] for fault in found]
