"""One browser and one site for all browser tests.

The browser is Debian's Chromium. Without it, or without Playwright, the tests skip and say so; with
``HARNESS_REQUIRE_BROWSER`` set they fail.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reports.leaderboards import Leaderboard, fill

DESKTOP = {"width": 1280, "height": 900}

EVIL = "\"><img src=x onerror=alert(1)><script>alert(1)</script>' onclick=alert(1) {{ 7 * 7 }}"


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    """Chromium without a window."""
    sync_api = pytest.importorskip("playwright.sync_api") if not required() else None
    if sync_api is None:
        from playwright import sync_api
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    if program is None:
        message = "Chromium is not on this machine (apt-get install chromium)"
        pytest.fail(message) if required() else pytest.skip(message)
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=program, args=options)
        yield opened
        opened.close()


def required() -> bool:
    """Return whether a missing browser is a failure."""
    return bool(os.environ.get("HARNESS_REQUIRE_BROWSER"))


@pytest.fixture(scope="session")
def leaderboard(tmp_path_factory) -> Leaderboard:
    """Records of every kind: real, embedded, failed, skipped, made elsewhere."""
    return fill(tmp_path_factory.mktemp("leaderboard"))


@pytest.fixture(scope="session")
def site(browser, leaderboard, tmp_path_factory) -> Path:
    """Their site."""
    return leaderboard.build(tmp_path_factory.mktemp("site") / "out")


@pytest.fixture(scope="session")
def hostile_site(browser, leaderboard, tmp_path_factory) -> Path:
    """The site of a result whose every text tries to run."""
    first = leaderboard.records[3]
    record = dataclasses.replace(
        first,
        method=f"../../{EVIL}",
        variant=EVIL,
        source="score",
        split=EVIL,
        protocol=EVIL,
        quirks={**first.quirks, EVIL: [EVIL], "box_source": EVIL},
        notes={EVIL: EVIL},
        environment={EVIL: EVIL},
        command=EVIL,
        metrics={**first.metrics, EVIL: 0.5},
    )
    failed = dataclasses.replace(record, id="f" * 64, status="failed", reason=EVIL, metrics={})
    board = dataclasses.replace(leaderboard, records=[record, failed])
    return board.build(tmp_path_factory.mktemp("hostile") / "out")


@pytest.fixture(scope="session")
def page_kinds(leaderboard, site) -> dict[str, str]:
    """One address of each kind of page."""
    from reports.site import method_page, result_page

    real = next(r for r in leaderboard.records if r.method == "hrnet" and not r.synthetic)
    failed = next(r for r in leaderboard.records if r.status == "failed")
    return {
        "home": "index.html",
        "benchmark": "benchmark/coco.html",
        "benchmark without results": "benchmark/h36m.html",
        "method": method_page(real),
        "result": result_page(real),
        "failed result": result_page(failed),
        "published": "published/mspn-ablation.html",
        "listing": "published/headline-figures.html",
    }


class Reader:
    """Opens pages and notes everything that they say or ask for and should not."""

    def __init__(self, browser, site: Path) -> None:
        self.browser, self.site = browser, site
        self.contexts, self.troubles = [], []

    def __call__(self, address: str, folder: Path | None = None, **options):
        """Return Playwright's page of an address; ``options`` are those of its context."""
        folder = folder or self.site
        context = self.browser.new_context(**{"viewport": DESKTOP, **options})
        self.contexts.append(context)
        page = context.new_page()

        def trouble(what: object) -> None:
            self.troubles.append(f"{address}: {what}")

        def asked(request) -> None:
            if not request.url.startswith((folder.as_uri(), "data:,")):
                trouble(f"asked for {request.url}")

        page.on("console", lambda message: message.type == "error" and trouble(message.text))
        page.on("pageerror", trouble)
        page.on("dialog", lambda dialog: (trouble("a dialog"), dialog.dismiss()))
        page.on("request", asked)
        file, mark, state = address.partition("#")
        page.goto((folder / file).as_uri() + mark + state)
        return page

    def close(self) -> None:
        """Close all pages."""
        for context in self.contexts:
            context.close()


@pytest.fixture
def visit(browser, site) -> Iterator[Reader]:
    """Open pages of the site; at the end nothing may have gone wrong on them."""
    reader = Reader(browser, site)
    yield reader
    reader.close()
    assert reader.troubles == []


@pytest.fixture(scope="session")
def opened(browser, site, page_kinds) -> Iterator[dict[str, object]]:
    """One page of each kind, open through the whole session; tests leave them as they are."""
    reader = Reader(browser, site)
    yield {kind: reader(address) for kind, address in page_kinds.items()}
    reader.close()
    assert reader.troubles == []
