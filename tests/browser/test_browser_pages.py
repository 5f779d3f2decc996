"""Every kind of page, in both themes and on a phone: readable, valid, silent, harmless."""

from __future__ import annotations

import csv
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP

PUBLISHING = Path(__file__).resolve().parents[2] / "docs" / "publishing.md"


def test_every_page_is_valid_html(site):
    html5lib = pytest.importorskip("html5lib")
    kinds = ["index.html", "benchmark/coco.html", "benchmark/lsp.html"]
    pages = [site / kind for kind in kinds]
    pages += [*site.glob("method/*.html"), *site.glob("result/*.html")]
    pages += sorted(site.glob("published/*.html"), key=lambda page: page.stat().st_size)[::6]
    assert len(pages) > 20
    for page in pages:
        parser = html5lib.HTMLParser(strict=False)
        parser.parse(page.read_text(encoding="utf-8"))
        assert parser.errors == [], page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_is_hard_to_reach_for_assistive_technology(opened, theme):
    from axe_playwright_python.sync_playwright import Axe

    # Colours are all that the theme changes. Axe must not fetch style sheets: nothing may be asked.
    options = {"preload": False, "resultTypes": ["violations"]}
    if theme == "dark":
        options["runOnly"] = ["color-contrast"]
    same = {"exclude": [[".kind.published section:nth-of-type(n+2)"]]}  # tables like the first one
    axe, found = Axe(), {}
    for kind, page in opened.items():
        page.emulate_media(color_scheme=theme)
        problems = [
            (v["id"], v["impact"], v["nodes"][0]["html"][:200])
            for v in axe.run(page, same, options).response["violations"]
            if v["impact"] in ("serious", "critical")
        ]
        page.emulate_media(color_scheme="light")
        if problems:
            found[kind] = problems
    assert found == {}


@pytest.mark.parametrize("width", [320, 390])
def test_no_page_scrolls_sideways_on_a_phone(opened, width):
    for kind, page in opened.items():
        page.set_viewport_size({"width": width, "height": 740})
        wide = page.evaluate("document.documentElement.scrollWidth")
        page.set_viewport_size(DESKTOP)
        assert wide <= width, kind


def test_the_theme_is_the_systems_until_the_reader_chooses(visit):
    page = visit("index.html", color_scheme="dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(colour)
    page.get_by_role("button", name="Light").click()
    light = page.evaluate(colour)
    assert sum(map(int, re.findall(r"\d+", dark)[:3])) < 200
    assert sum(map(int, re.findall(r"\d+", light)[:3])) > 600
    page.reload()
    assert page.evaluate(colour) == light
    with page.expect_navigation():
        page.locator(".card a").first.click()
    assert page.evaluate(colour) == light
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(colour) == dark


def test_the_keyboard_reaches_the_content_first_and_then_every_control(visit):
    page = visit("benchmark/coco.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.name || document.activeElement.type"))
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none", page.evaluate("document.activeElement.outerHTML")
    assert {"q", "family", "backbone", "size", "since", "until", "kind", "reset"} <= reached


def test_without_scripts_every_row_is_there(visit):
    page = visit("benchmark/coco.html", java_script_enabled=False)
    assert page.locator("tbody > .row:visible").count() > 100
    assert page.locator("#tools").is_hidden()


def test_print_leaves_the_controls_out(visit):
    page = visit("benchmark/coco.html", color_scheme="dark")
    page.emulate_media(media="print")
    assert page.locator("#tools").is_hidden()
    assert page.locator("#theme").is_hidden()
    assert page.locator("tbody > .row:visible").count() > 100
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"


def test_a_strict_host_changes_nothing(browser, site):
    """Over HTTP, under the policy that ``docs/publishing.md`` gives."""
    (policy,) = re.findall(r"Content-Security-Policy: (.*)", PUBLISHING.read_text(encoding="utf-8"))

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(site))

        def end_headers(self):
            self.send_header("Content-Security-Policy", policy)
            super().end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page, errors = browser.new_page(), []
        page.on("console", lambda message: errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(str(error)))
        host = f"http://127.0.0.1:{server.server_port}"
        page.goto(f"{host}/benchmark/coco.html#q=hrnet&hide=AR")
        assert page.locator('th[data-column="AR"]:visible').count() == 0
        page.locator(".kind.measured a", has_text="details").first.click()
        page.wait_for_url("**/result/*.html")
        natural = "images => images.map(image => image.naturalWidth)"
        page.locator(".gallery img").first.scroll_into_view_if_needed()
        expect(page.locator(".gallery img").first).to_have_js_property("complete", True)
        assert page.eval_on_selector_all(".gallery img", natural)[0] > 0
        page.close()
        server.shutdown()
    assert errors == []


def test_hostile_texts_do_nothing(visit, hostile_site):
    pages = [*hostile_site.glob("method/*.html"), *hostile_site.glob("result/*.html")]
    pages += [hostile_site / "index.html", hostile_site / "benchmark" / "coco.html"]
    assert len(pages) > 4
    page = visit("index.html", folder=hostile_site)
    for path in pages:
        page.goto(path.as_uri())
        assert page.locator("img[src=x], [onerror], [onclick]").count() == 0
        assert "7 * 7" in page.content()
        assert page.locator("script:not([src])").count() == 0
    page = visit("benchmark/coco.html#q=%3Cimg%20src=x%20onerror=alert(1)%3E", folder=hostile_site)
    assert page.locator("img[src=x]").count() == 0


def test_figures_have_names_and_data(opened):
    figures = opened["benchmark"].locator(".kind.measured figure")
    assert figures.count() > 2
    for i in range(figures.count()):
        assert figures.nth(i).locator("svg > title").text_content()
        with opened["benchmark"].expect_download() as download:
            figures.nth(i).locator("a.data").click()
        assert download.value.suggested_filename.endswith(".csv")
        header, *lines = csv.reader(download.value.path().open(newline=""))
        assert len(lines) > 1
        assert {len(line) for line in lines} == {len(header)}
