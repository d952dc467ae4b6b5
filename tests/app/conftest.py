"""The chat page beside a fake server, and a browser that notes what it fetches."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright

from app.chat import mount
from tests.app.fake_server import FakeServer, RunningApp
from tests.app.visiting import EXAMPLES, Visit

NAMES = (os.environ.get("WELLREAD_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
OpenPage = Callable[..., Visit]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as running:
        yield running


@pytest.fixture
def page_url(server: FakeServer) -> Iterator[str]:
    """The page in a process of its own kind: an app beside the server that it asks."""
    running = RunningApp(mount(FastAPI(), server.url, examples=EXAMPLES))
    running.start()
    yield f"{running.url}/chat"
    running.stop()


# One module long: while Playwright runs, its event loop occupies the thread, and other tests start their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.fail("no Chromium is installed; `make test-browser` installs it", pytrace=False)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser, page_url: str) -> Iterator[OpenPage]:
    """Opens pages; at the end, none of them may have asked another host, shown a dialog, or thrown an error."""
    visits: list[Visit] = []

    def opened(url: str = page_url, **view: Any) -> Visit:
        visits.append(Visit.open(browser, url, **view))
        return visits[-1]

    yield opened
    for visit in visits:
        visit.page.context.close()
        assert visit.hosts <= {"127.0.0.1", "data", "blob"}
        assert visit.dialogs == []
        assert visit.errors == []


@pytest.fixture
def visit(open_page: OpenPage) -> Visit:
    return open_page()
