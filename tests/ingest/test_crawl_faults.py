"""Servers that stall, lie, flood and fail: nothing is lost, nothing doubled, and each address has its reason."""

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import SourceError
from ingest.records import Reject, read_table
from tests.ingest.conftest import Serve
from tests.ingest.site_server import Answer, Site, page
from tests.ingest.test_crawl import figures, pages_in, paths_of, rejects_in, run


def outcome(site: Site, folder: Path) -> tuple[set[str], dict[str, str]]:
    base = site.url.rstrip("/")
    return paths_of(site, pages_in(folder)), {url.removeprefix(base): rule for url, rule in rejects_in(folder).items()}


def test_a_stall_in_the_middle_of_a_page_costs_that_page_alone(site_of: Serve, tmp_path: Path) -> None:
    done = threading.Event()

    def stalling() -> Iterator[bytes]:
        yield b"<p>first part"
        done.wait(20)

    site = site_of({"/": page("Start.", "/a", "/b"), "/a": lambda: Answer(stalling()), "/b": page("B.")})
    run(site.url, tmp_path, timeout_s=0.3)
    done.set()

    assert outcome(site, tmp_path) == ({"/", "/b"}, {"/a": "timeout"})


def test_a_page_that_trickles_in_for_ever_is_given_up(site_of: Serve, tmp_path: Path) -> None:
    done = threading.Event()

    def trickling() -> Iterator[bytes]:
        while not done.wait(0.02):
            yield b"."

    site = site_of({"/": page("Start.", "/a", "/b"), "/a": lambda: Answer(trickling()), "/b": page("B.")})
    run(site.url, tmp_path, timeout_s=0.04)
    done.set()

    assert outcome(site, tmp_path) == ({"/", "/b"}, {"/a": "timeout"})


def test_a_body_longer_than_it_claims_spoils_no_other_page(site_of: Serve, tmp_path: Path) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\nFORGED"
    lying = Answer(b"<p>claimed</p>" + forged, headers={"Content-Length": "14"})
    paths = [f"/{n}" for n in range(6)]
    site = site_of({"/": page("Start.", "/0lie", *paths), "/0lie": lying, **{path: page(path) for path in paths}})
    run(site.url, tmp_path, concurrency=1, retries=1)
    found, rejected = outcome(site, tmp_path)

    assert found == {"/", "/0lie", *paths}
    assert rejected == {}
    assert not any(b"FORGED" in body for body in pages_in(tmp_path).values())


def test_a_page_of_ten_megabytes_on_one_line(site_of: Serve, tmp_path: Path) -> None:
    link = b'<a href="/b">to b</a> some words '
    huge = b"<html><body>" + link * (10_000_000 // len(link)) + b"</body></html>"
    site = site_of({"/": page("Start.", "/a"), "/a": Answer(huge), "/b": page("B.")})
    run(site.url, tmp_path, max_page_bytes=12_000_000)

    assert outcome(site, tmp_path) == ({"/", "/a", "/b"}, {})


ODD = {
    "mixed": "<p>Größe</p>".encode() + "<p>Größe</p>".encode("cp1252") + b'<a href="/b">b</a>',
    "nul": b"<p>Some text\0 with \0 in it, and much text without. %s</p>" % (b"More. " * 99) + b'<a href="/b">b</a>',
    "wide": '<p>Größe</p><a href="/b">b</a>'.encode("utf-16"),
    "wrong": '<meta charset="utf-8"><p>Größe, schöner, früher</p><a href="/b">b</a>'.encode("iso-8859-2"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_encodings_are_kept_as_they_came_and_their_links_found(name: str, site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.", "/a"), "/a": Answer(ODD[name], content_type="text/html"), "/b": page("B.")})
    run(site.url, tmp_path)

    assert outcome(site, tmp_path) == ({"/", "/a", "/b"}, {})
    assert pages_in(tmp_path)[f"{site.url}a"] == ODD[name]


def test_a_bomb_for_a_sitemap_is_cut(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start."), "/a": page("A.")})
    head = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"><url><loc>{site.url}a</loc></url>'.encode()
    site.answers |= {
        "/robots.txt": Answer(f"Sitemap: {site.url}s.xml.gz\n".encode()),
        "/s.xml.gz": Answer(gzip.compress(head + b" " * 60_000_000, 1), content_type="application/gzip"),
    }
    run(site.url, tmp_path)

    assert outcome(site, tmp_path) == ({"/", "/a"}, {"/s.xml.gz": "too_large"})


def hang_up() -> Answer:
    raise ConnectionResetError


def test_a_server_that_dies_and_comes_back(site_of: Serve, tmp_path: Path) -> None:
    paths = [f"/{n:02}" for n in range(30)]
    answers = {"/": page("Start.", *paths), **{path: page(f"Page {path}.") for path in paths}}
    site = site_of(dict(answers))
    whole = run(site.url, tmp_path / "whole")
    site.answers |= dict.fromkeys(paths[10:], hang_up)
    with pytest.raises(SourceError, match="stopped answering after 11 pages"):
        run(site.url, tmp_path / "broken")
    site.answers = dict.fromkeys(("/robots.txt", "/", *paths), hang_up)
    with pytest.raises(SourceError, match=r"\(network\)"):
        run(site.url, tmp_path / "broken")
    site.answers = dict(answers)
    site.asked.clear()
    again = run(site.url, tmp_path / "broken")

    assert (again.counts, again.fingerprint) == (whole.counts, whole.fingerprint)
    assert sorted(path for path in site.asked if path != "/robots.txt") == paths[10:]


def test_links_that_never_answer_do_not_keep_a_crawl_from_ending(site_of: Serve, tmp_path: Path) -> None:
    dead = [f"/dead{n}" for n in range(4)]
    site = site_of({"/": page("Start.", "/a", *dead), "/a": page("A."), **dict.fromkeys(dead, hang_up)})
    with pytest.raises(SourceError, match="stopped answering"):
        run(site.url, tmp_path, concurrency=1)

    assert figures(run(site.url, tmp_path, concurrency=1)) == (2, 4, 0)
    assert outcome(site, tmp_path) == ({"/", "/a"}, dict.fromkeys(dead, "network"))


def test_a_crawl_that_failed_while_writing_is_settled_already(site_of: Serve, tmp_path: Path) -> None:
    twin = page("The same.")
    site = site_of({"/": page("Start.", "/a", "/a/", "/gone"), "/a": twin, "/a/": twin})
    whole = run(site.url, tmp_path / "whole")
    (tmp_path / "broken" / "rejects.parquet").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        run(site.url, tmp_path / "broken")
    (tmp_path / "broken" / "rejects.parquet").rmdir()
    site.asked.clear()
    again = run(site.url, tmp_path / "broken")

    assert (again.counts, again.fingerprint) == (whole.counts, whole.fingerprint)
    assert site.asked == []


def test_every_address_has_a_page_or_a_reason(site_of: Serve, tmp_path: Path) -> None:
    bad = {
        "/500": Answer(status=500),
        "/cut": Answer([b"<p>half"], headers={"Content-Length": "5000"}),
        "/bomb": Answer(gzip.compress(b"\0" * 9_000_000), headers={"Content-Encoding": "gzip"}),
        "/loop": Answer(status=302, headers={"Location": "/loop"}),
        "/junk": Answer(bytes(range(256)) * 40),
        "/reset": hang_up,
    }
    site = site_of({"/": page("Start.", *bad, "/a"), "/a": page("A."), **bad})
    run(site.url, tmp_path)

    assert outcome(site, tmp_path) == (
        {"/", "/a"},
        {
            "/500": "http_500",
            "/cut": "network",
            "/bomb": "too_large",
            "/loop": "redirect_loop",
            "/junk": "binary",
            "/reset": "network",
        },
    )
    assert all(reject.detail for reject in read_table(tmp_path / "rejects.parquet", Reject))
