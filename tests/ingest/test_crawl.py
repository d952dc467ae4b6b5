"""The crawler against real servers: what it reads, what it leaves alone, and how it ends when a site is broken."""

import gzip
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from configs.artifacts import Made
from configs.errors import ArtifactError, SourceError
from ingest.records import Page, Reject, read_table
from ingest.web.crawl import crawl
from tests.ingest.conftest import Serve
from tests.ingest.site_server import Answer, Site, page, redirect

AGENT = "wellread/0.1 (test)"


SETTINGS: dict[str, Any] = {
    "max_pages": 100,
    "max_depth": 100,
    "max_page_bytes": 100_000,
    "delay_s": 0.0,
    "concurrency": 4,
    "timeout_s": 5.0,
    "retries": 0,
    "robots": True,
    "user_agent": AGENT,
    "allow_private": True,
}


def run(site: str, folder: Path, **changes: Any) -> Made:
    return crawl(site, folder, **(SETTINGS | changes))


def figures(made: Made) -> tuple[int, int, int]:
    return made.counts["pages"], made.counts["rejected"], made.counts["unvisited"]


def pages_in(folder: Path) -> dict[str, bytes]:
    return {found.url: found.body for found in read_table(folder / "pages.parquet", Page)}


def rejects_in(folder: Path) -> dict[str, str]:
    return {found.url: found.rule for found in read_table(folder / "rejects.parquet", Reject)}


def paths_of(site: Site, urls: Any) -> set[str]:
    return {url.removeprefix(site.url.rstrip("/")) for url in urls}


def test_reads_every_page_of_the_host_once(site_small: Site, tmp_path: Path) -> None:
    made = run(site_small.url, tmp_path)

    assert paths_of(site_small, pages_in(tmp_path)) == {"/", "/a.html", "/b/", "/b/c.html"}
    assert list(pages_in(tmp_path)) == sorted(pages_in(tmp_path))
    assert figures(made) == (4, 3, 0)
    assert len(site_small.asked) == len(set(site_small.asked))
    assert site_small.agents == {AGENT}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pages.parquet", "rejects.parquet", "trails.parquet"]


def test_rejects_carry_their_reason(site_small: Site, tmp_path: Path) -> None:
    run(site_small.url, tmp_path)

    found = {path: reason for url, reason in rejects_in(tmp_path).items() for path in paths_of(site_small, [url])}
    assert found == {"/private/x.html": "robots", "/data": "not_a_document", "/gone.html": "http_404"}
    assert "/private/x.html" not in site_small.asked
    assert "/style.css" not in site_small.asked


def test_robots_can_be_switched_off(site_small: Site, tmp_path: Path) -> None:
    run(site_small.url, tmp_path, robots=False)

    assert "/private/x.html" in site_small.asked
    assert "/robots.txt" not in site_small.asked


def test_the_same_site_gives_the_same_fingerprint_and_a_changed_one_another(site_small: Site, tmp_path: Path) -> None:
    first = run(site_small.url, tmp_path / "1")
    again = run(site_small.url, tmp_path / "2", concurrency=1)
    site_small.answers["/b/c.html"] = page("Changed.")
    changed = run(site_small.url, tmp_path / "3")

    assert first.fingerprint == again.fingerprint != changed.fingerprint


@pytest.mark.parametrize(("limits", "expected"), [({"max_depth": 0}, 1), ({"max_depth": 1}, 3), ({"max_pages": 2}, 2)])
def test_limits(site_small: Site, tmp_path: Path, limits: dict[str, int], expected: int) -> None:
    assert run(site_small.url, tmp_path, **limits).counts["pages"] == expected


def test_pages_beyond_the_limit_are_counted(site_small: Site, tmp_path: Path) -> None:
    assert run(site_small.url, tmp_path, max_pages=1, concurrency=8).counts["unvisited"] > 0
    assert set(site_small.asked) == {"/robots.txt", "/sitemap.xml", "/"}


def test_a_longer_crawl_delay_wins(site_of: Serve, tmp_path: Path) -> None:
    site = site_of(
        {
            "/robots.txt": Answer(b"User-agent: wellread\nCrawl-delay: 0.2\n"),
            "/": page("Start.", "a", "b"),
            "/a": page("A."),
            "/b": page("B."),
        }
    )
    steps: list[tuple[str, int, int | None]] = []
    started = time.monotonic()
    run(site.url, tmp_path, delay_s=0.01, progress=lambda *step: steps.append(step))

    assert steps[-1] == ("crawl", 3, 3)
    # A lower bound only: two waits lie between three starts, however slow the machine.
    assert time.monotonic() - started > 0.39


def test_redirects_within_the_host_are_followed(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": redirect("/docs/", 301), "/docs/": page("Docs.", "old"), "/docs/old": redirect("/docs/")})
    run(site.url, tmp_path)

    assert paths_of(site, pages_in(tmp_path)) == {"/docs/"}
    assert site.asked.count("/docs/") == 1


def test_redirects_to_other_hosts_and_barred_paths_are_not_followed(site_of: Serve, tmp_path: Path) -> None:
    other = site_of({"/": page("Other.")})
    site = site_of(
        {
            "/robots.txt": Answer(b"User-agent: *\nDisallow: /no\n"),
            "/": page("Start.", "away", "barred"),
            "/away": redirect(other.url),
            "/barred": redirect("/no"),
        }
    )
    run(site.url, tmp_path)

    assert set(rejects_in(tmp_path).values()) == {"off_site", "robots"}
    assert other.asked == []


def test_a_loop_between_pages_is_reported(site_of: Serve, tmp_path: Path) -> None:
    site = site_of({"/": page("Start.", "x", "y"), "/x": redirect("/y"), "/y": redirect("/x")})
    run(site.url, tmp_path)

    assert list(rejects_in(tmp_path).values()) == ["redirect_loop"]


def test_busy_servers_are_asked_again_after_the_time_they_name(site_of: Serve, tmp_path: Path) -> None:
    answers = iter([Answer(status=503, headers={"Retry-After": "1"}), Answer(status=429), page("At last.")])
    site = site_of({"/": lambda: next(answers)})
    made = run(site.url, tmp_path, retries=2)

    assert made.counts["pages"] == 1
    assert site.asked.count("/") == 3


def flood(total: int) -> Iterator[bytes]:
    for _ in range(total // 10_000):
        yield b"<p>more</p>" * 1000


def bomb() -> bytes:
    return gzip.compress(b"\0" * 30_000_000)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: Answer(flood(50_000_000)), id="stream"),
        pytest.param(lambda: Answer(b"x" * 200_000), id="declared"),
        pytest.param(lambda: Answer(flood(2_000_000), headers={"Content-Length": "50000000"}), id="claims-more"),
        pytest.param(lambda: Answer(bomb(), headers={"Content-Encoding": "gzip"}), id="gzip-bomb"),
    ],
)
def test_oversized_pages_are_rejected_unread(site_of: Serve, tmp_path: Path, answer: Callable[[], Answer]) -> None:
    site = site_of({"/": page("Start.", "big"), "/big": answer})
    run(site.url, tmp_path)

    (reject,) = read_table(tmp_path / "rejects.parquet", Reject)
    assert (reject.rule, reject.threshold) == ("too_large", 100_000)
    assert reject.score > 100_000


def test_a_body_shorter_than_it_claims_is_no_page(site_of: Serve, tmp_path: Path) -> None:
    short = Answer([b"<p>half"], headers={"Content-Length": "5000"})
    site = site_of({"/": page("Start.", "short"), "/short": short})
    run(site.url, tmp_path)

    assert list(rejects_in(tmp_path).values()) == ["network"]


def test_compressed_pages_are_read(site_of: Serve, tmp_path: Path) -> None:
    body = page("Squeezed.").body
    assert isinstance(body, bytes)
    site = site_of({"/": Answer(gzip.compress(body), headers={"Content-Encoding": "gzip"})})
    run(site.url, tmp_path)

    assert list(pages_in(tmp_path).values()) == [body]


def test_odd_codings_and_damaged_data_are_rejected(site_of: Serve, tmp_path: Path) -> None:
    site = site_of(
        {
            "/": page("Start.", "br", "bad", "cut"),
            "/br": Answer(b"???", headers={"Content-Encoding": "br"}),
            "/bad": Answer(b"no gzip", headers={"Content-Encoding": "gzip"}),
            "/cut": Answer(gzip.compress(b"text" * 99)[:-12], headers={"Content-Encoding": "gzip"}),
        }
    )
    run(site.url, tmp_path)

    assert sorted(rejects_in(tmp_path).values()) == ["bad_coding", "bad_coding", "unknown_coding"]


def test_binary_junk_and_empty_pages_are_rejected(site_of: Serve, tmp_path: Path) -> None:
    junk = bytes(range(256)) * 40
    site = site_of({"/": page("Start.", "junk", "void"), "/junk": Answer(junk), "/void": Answer(b" \n")})
    run(site.url, tmp_path)

    assert sorted(rejects_in(tmp_path).values()) == ["binary", "empty"]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "500": ({"/": Answer(status=500)}, "http_500"),
    "404": ({}, "http_404"),
    "loop": ({"/": redirect("/a"), "/a": redirect("/")}, "redirect_loop"),
    "self": ({"/": redirect("/")}, "redirect_loop"),
    "endless": ({"/" + "a" * n: redirect("/" + "a" * (n + 1)) for n in range(20)}, "redirect_loop"),
    "away": ({"/": redirect("http://other.example/")}, "off_site"),
    "nowhere": ({"/": redirect("http://[/")}, "bad_address"),
    "robots": ({"/robots.txt": Answer(b"User-agent: *\nDisallow: /\n"), "/": page("No.")}, "robots"),
    "robots-500": ({"/robots.txt": Answer(status=500), "/": page("No.")}, "robots"),
    "empty": ({"/": Answer(b"")}, "empty"),
    "binary": ({"/": Answer(bytes(range(256)) * 40)}, "binary"),
    "huge": ({"/": Answer(flood(9_000_000))}, "too_large"),
    "no-document": ({"/": Answer(b"{}", content_type="application/json")}, "not_a_document"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_start_page_that_cannot_be_read_is_one_clear_line(name: str, site_of: Serve, tmp_path: Path) -> None:
    answers, reason = BROKEN[name]
    site = site_of(answers)
    with pytest.raises(SourceError) as caught:
        run(site.url, tmp_path)

    assert f"({reason})" in caught.value.problem
    assert site.url in caught.value.problem
    assert caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_unreachable_addresses_are_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\(network\)"):
        run(f"http://127.0.0.1:{closed_port()}/", tmp_path)
    with pytest.raises(SourceError, match="not a web address"):
        run("ftp://example.org/", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_says_nothing_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(SourceError, match=r"\(timeout\)"):
        run(f"http://127.0.0.1:{silent.getsockname()[1]}/", tmp_path, timeout_s=0.2)


def test_a_name_that_cannot_be_resolved_is_one_clear_line(tmp_path: Path) -> None:
    # Reserved for names that never exist (RFC 6761), and refused by the resolver without leaving the machine.
    with pytest.raises(SourceError, match="cannot resolve"):
        run("http://" + "a" * 64 + ".invalid/", tmp_path)


def test_tls_to_a_plain_server_is_one_clear_line(site_small: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"\(network\)"):
        run(site_small.url.replace("http:", "https:"), tmp_path)


def test_private_addresses_are_refused_unless_allowed(site_small: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"source\.allow_private=true"):
        run(site_small.url, tmp_path, allow_private=False)
    assert site_small.asked == []


def test_a_public_name_with_a_private_address_is_refused(site_small: Site, tmp_path: Path) -> None:
    async def rebound(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    address = site_small.url.replace("127.0.0.1", "docs.example.org")
    with pytest.raises(SourceError, match=r"\(private_address\)"):
        run(address, tmp_path, allow_private=False, resolver=rebound)
    assert site_small.asked == []
    assert run(address, tmp_path, resolver=rebound).counts["pages"] == 4


def test_a_folder_that_cannot_be_written_is_one_clear_line(site_small: Site, tmp_path: Path) -> None:
    (tmp_path / "crawl.db").mkdir()
    with pytest.raises(ArtifactError, match=r"cannot write .*crawl\.db"):
        run(site_small.url, tmp_path)
