"""Sites to crawl: real servers on loopback."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.ingest.site_server import Answer, Site, page, serving

Serve = Callable[[dict[str, Answer | Callable[[], Answer]]], Site]


@pytest.fixture
def site_of() -> Iterator[Serve]:
    """Serve the answers of a dictionary until the test ends."""
    with ExitStack() as stack:
        yield lambda answers: stack.enter_context(serving(answers))


@pytest.fixture
def site_small(site_of: Serve) -> Site:
    """Four pages, a dead link, things that are no documents, and a path that robots.txt bars."""
    return site_of(
        {
            "/robots.txt": Answer(b"User-agent: *\nDisallow: /private/\n", content_type="text/plain"),
            "/": page("Start.", "a.html", "/b/?utm_source=x", "/private/x.html", "style.css", "/data", "gone.html#top"),
            "/a.html": page("A.", "/", "/b/", "https://elsewhere.example/", "mailto:a@b.example", "b/c.html"),
            "/b/": page("B.", "../a.html", "c.html"),
            "/b/c.html": page("C.", "/"),
            "/private/x.html": page("Secret."),
            "/data": Answer(b'{"a": 1}', content_type="application/json"),
        }
    )
