# SPDX-License-Identifier: BSD-3-Clause
"""The pages in a real browser: nothing leaves or overflows, all can be reached and read.

One browser serves all tests; pages are files and, for the site, a web server on the loopback
interface that has it below a path.
"""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from vhostlab_perf.__main__ import main

from .made import result, run, scenario

#: Smallest contrast of text, by the Web Content Accessibility Guidelines 2, level AA.
CONTRAST = 4.5
#: The same for lines and bars of charts.
CONTRAST_OF_LINES = 3.0

WIDTHS = (320, 768, 1280)

OVERFLOW = """
const wide = document.documentElement.scrollWidth - window.innerWidth;
if (wide <= 0) return [];
return [...document.querySelectorAll("body *")]
  .filter(e => !e.closest(".scroll") && e.getBoundingClientRect().right > window.innerWidth + 1)
  .map(e => `${e.tagName}.${e.className.baseVal ?? e.className}`).slice(0, 5).concat(`by ${wide}`);
"""

CHARTS = """
return [...document.querySelectorAll(".chart")].filter(c => c.checkVisibility()).map(c => {
  const box = c.querySelector("svg").getBoundingClientRect();
  return [box.width, box.height, box.right <= window.innerWidth + 1,
          c.querySelectorAll("path, text").length];
});
"""

COLOURS = """
const rgb = text => (text.match(/[\\d.]+/g) || []).map(Number);
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map(v => v / 255).map(
    v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * x + .7152 * y + .0722 * z;
};
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + .05) / (y + .05);
};
const ground = e => {
  for (; e; e = e.parentElement) {
    const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const found = new Map();
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (!e.checkVisibility() || e.closest("script, style")) continue;
  const style = getComputedStyle(e), back = ground(e), svg = e.namespaceURI.endsWith("svg");
  const what = `${e.tagName}.${svg ? "" : e.className}`;
  if (own) found.set(`text ${what}`, contrast(rgb(svg ? style.fill : style.color), back));
  if (svg && style.stroke !== "none" && style.strokeWidth !== "1px" && e.closest(".chart"))
    found.set(`line ${style.stroke}`, contrast(rgb(style.stroke), back));
}
return [...found];
"""

FOCUSABLE = """
return [...document.querySelectorAll("a[href], summary, input, [tabindex='0']")]
  .filter(e => e.checkVisibility()).length;
"""

FOCUSED = """
const e = document.activeElement, all = [...document.querySelectorAll("*")];
return e === document.body ? null : [all.indexOf(e), getComputedStyle(e).outlineStyle];
"""


@dataclass
class Pages:
    """What is looked at: reports of each edition, and a site that a server has below a path."""

    reports: dict[str, Path]
    site: Path


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    root = tmp_path_factory.mktemp("pages")
    ours = [str(run(root / f"r{n}", n)) for n in (1, 2)]
    other = str(run(root / "other", 3, "qemu-storage-daemon"))
    emulated = root / "emulated"
    emulated.mkdir()
    failed = [scenario("boot-" + "x" * 150, "fail"), scenario("blk", "skip")]
    raw = result(run_id="emulated", status="fail", scenarios=failed)
    (emulated / "result.json").write_text(json.dumps(raw))
    empty = root / "empty"
    empty.mkdir()
    (empty / "result.json").write_text(json.dumps({"schema_version": 1, "run_id": "empty"}))
    wanted = {
        "release": [*ours, f"--previous={ours[0]}", "--revision=1.0", "--edition=release"],
        "comparison": [ours[0], other],
        "emulated": [str(emulated)],
        "empty": [str(empty)],
    }
    for name, arguments in wanted.items():
        assert main(["report", *arguments, "-o", str(root / f"{name}.html")]) == 0
    results = root / "results"
    for n, source in enumerate((ours[0], str(emulated))):
        shutil.copytree(source, results / str(n))
    site = root / "www" / "below" / "site"
    assert main(["publish", "--results", str(results), "-o", str(site)]) == 0
    return Pages({name: root / f"{name}.html" for name in wanted}, site)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def server(pages: Pages) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(pages.site.parents[1]))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}/below/site/"
        httpd.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver and program, "chromium and chromedriver are needed; ci/setup.sh installs them"
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    made = webdriver.Chrome(options, webdriver.ChromeService(driver))
    try:
        yield made
    finally:
        made.quit()


def resize(browser: webdriver.Chrome, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def colours(browser: webdriver.Chrome, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """What is new in one of the browser's logs."""
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries


def requested(browser: webdriver.Chrome) -> list[str]:
    messages = (json.loads(e["message"])["message"] for e in log(browser, "performance"))
    return [
        m["params"]["request"]["url"]
        for m in messages
        if m["method"] == "Network.requestWillBeSent"
    ]


def look(browser: webdriver.Chrome, url: str, charts: bool, site: str = "") -> None:
    """What is asked of every page; only one of a site may have other files of that site."""
    log(browser, "browser")
    requested(browser)
    browser.get(url)
    for width in WIDTHS:
        resize(browser, width)
        assert browser.execute_script(OVERFLOW) == [], (url, width)
        drawn = browser.execute_script(CHARTS)
        assert bool(drawn) == charts, (url, width)
        for wide, high, inside, marks in drawn:
            assert wide > 200 and high > 30 and inside and marks > 3, (url, width)
    for scheme in ("light", "dark"):
        colours(browser, scheme)
        for what, contrast in browser.execute_script(COLOURS):
            wanted = CONTRAST if what.startswith("text") else CONTRAST_OF_LINES
            assert contrast >= wanted, (url, scheme, what, round(contrast, 2))
    said = [e["message"] for e in log(browser, "browser") if e["level"] != "INFO"]
    assert said == [], url
    base = site or url
    outside = [u for u in requested(browser) if not u.startswith((base, "data:"))]
    assert outside == [], url


def tab_through(browser: webdriver.Chrome) -> list[int]:
    """Press Tab until the focus leaves the page; the places in the document where it was."""
    body = browser.find_element(By.TAG_NAME, "body")
    body.send_keys(Keys.HOME)
    browser.execute_script("document.activeElement.blur()")
    seen: list[int] = []
    for _ in range(500):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.execute_script(FOCUSED)
        if focused is None or focused[0] in seen:
            return seen
        assert focused[1] != "none", "the focus can be seen"
        seen.append(focused[0])
    return seen


def test_reports_can_be_read_everywhere(browser: webdriver.Chrome, pages: Pages) -> None:
    for name, page in pages.reports.items():
        look(browser, page.as_uri(), charts=name != "empty")


def test_the_site_can_be_read_from_a_server_and_from_files(
    browser: webdriver.Chrome, pages: Pages, server: str
) -> None:
    trend = next(p.name for p in (pages.site / "trends").glob("*.html") if p.stem != "index")
    for name in ("index.html", "trends/index.html", f"trends/{trend}"):
        look(browser, server + name, trend in name, server)
    for name in ("index.html", f"trends/{trend}"):
        look(browser, (pages.site / name).as_uri(), trend in name, pages.site.as_uri())
    # from the index to a run and back, as a person goes
    browser.get((pages.site / "index.html").as_uri())
    browser.find_element(By.CSS_SELECTOR, "#runs tbody a").click()
    assert "/runs/" in browser.current_url
    browser.find_element(By.LINK_TEXT, "all runs").click()
    assert browser.current_url.endswith("/index.html")


def test_the_keyboard_reaches_everything_in_order(
    browser: webdriver.Chrome, pages: Pages, server: str
) -> None:
    colours(browser, "light")
    resize(browser, 768)
    for url in (pages.reports["emulated"].as_uri(), server + "index.html"):
        browser.get(url)
        reached = tab_through(browser)
        assert len(reached) == browser.execute_script(FOCUSABLE), url
        assert reached == sorted(reached), url
    browser.get(pages.reports["emulated"].as_uri())
    summary = browser.find_element(By.CSS_SELECTOR, "figure summary")
    summary.send_keys(Keys.ENTER)
    assert browser.find_element(By.CSS_SELECTOR, "figure details table").is_displayed()


def test_the_filter_narrows_the_runs(browser: webdriver.Chrome, server: str) -> None:
    browser.get(server + "index.html")
    rows = browser.find_elements(By.CSS_SELECTOR, "#runs tbody tr")
    field = browser.find_element(By.ID, "words")
    field.send_keys("VMTEST functional")
    shown = [r for r in rows if r.is_displayed()]
    assert len(rows) == 2 and len(shown) == 1 and "fail" in shown[0].text
    assert browser.find_element(By.ID, "shown").text == "1 of 2"
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(server + "index.html")
        rows = browser.find_elements(By.CSS_SELECTOR, "#runs tbody tr")
        assert len(rows) == 2 and all(r.is_displayed() for r in rows)
        assert not browser.find_element(By.ID, "words").is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
