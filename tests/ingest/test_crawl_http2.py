"""The crawler over HTTP/2 and TLS: the same pages, and the same check of addresses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import SourceError
from tests.ingest.h2_server import HOST, H2Site, serving_h2, write_certificate
from tests.ingest.test_crawl import pages_in, run

PAGES = {"/": b'<p>Start.</p> <a href="/a">a</a> <a href="/b">b</a>', "/a": b"<p>A.</p>", "/b": b"<p>B.</p>" * 9}


async def here(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def site_h2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[H2Site]:
    certificate = tmp_path / "server.pem"
    write_certificate(certificate)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving_h2(PAGES, certificate) as site:
        yield site


def test_a_server_that_offers_http2_is_read_over_it(site_h2: H2Site, tmp_path: Path) -> None:
    address = f"https://{HOST}:{site_h2.port}/"
    run(address, tmp_path / "out", resolver=here)

    assert pages_in(tmp_path / "out") == {address.rstrip("/") + path: body for path, body in PAGES.items()}
    assert site_h2.protocols == ["h2"]
    assert sorted(site_h2.asked) == ["/", "/a", "/b", "/robots.txt", "/sitemap.xml"]


def test_addresses_are_checked_over_http2_too(site_h2: H2Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\(private_address\)"):
        run(f"https://{HOST}:{site_h2.port}/", tmp_path / "out", resolver=here, allow_private=False)
    assert site_h2.protocols == []
