"""The crawler's small parts: addresses, robots.txt, links, network checks."""

import asyncio
import zlib
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.web.fetch import _decoded, _retry_after
from ingest.web.links import find_links
from ingest.web.network import CheckedBackend, PrivateAddressError, is_public
from ingest.web.robots import parse
from ingest.web.urls import may_be_document, normalise, site_of

AGENT = "wellread/0.1 (test)"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("HTTP://Example.ORG:80/a/./b/../c", "http://example.org/a/c"),
        ("https://example.org:443", "https://example.org/"),
        ("https://example.org:8443/", "https://example.org:8443/"),
        ("//other.org/x", "http://other.org/x"),
        ("../up?b=1&utm_source=mail&a=2&gclid=7#part", "http://h/up?a=2&b=1"),
        ("?UTM_Campaign=x", "http://h/docs/page"),
        ("?q=a%20b&empty=", "http://h/docs/page?empty=&q=a%20b"),
        ("caf\u00e9 %7euser/%2e%2e/100%", "http://h/docs/100%25"),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example/"),
        ("http://user:secret@h/", "http://h/"),
        ("http://[::1]:80/x", "http://[::1]/x"),
        (" \n x\ty ", "http://h/docs/xy"),
        ("mailto:a@b.example", None),
        ("javascript:void(0)", None),
        ("http://[broken/", None),
        ("http://h:99999/", None),
        ("https://", None),
        ("/" + "x" * 3000, None),
    ],
)
def test_normalise(link: str, expected: str | None) -> None:
    assert normalise(link, "http://h/docs/page") == expected


paths = st.text(st.sampled_from("ab/.%2eE7~?&=#;:@ é\u200b\\+[]|"), max_size=30)


@given(st.one_of(st.text(max_size=40), paths.map("http://Host.example/".__add__), paths.map("http://h".__add__)))
@example("http://h/a%")
@example("http://h//../..//x/.")
@example("http://h/?&&a=1&utm_x")
def test_normalise_is_idempotent(link: str) -> None:
    once = normalise(link, "http://base.example/a/b")
    if once is not None:
        assert normalise(once) == once
        assert normalise(once, "https://elsewhere.example/") == once
        assert "#" not in once
        assert once.isascii()
        assert site_of(once)


def test_may_be_document() -> None:
    assert may_be_document("http://h/a.html")
    assert may_be_document("http://h/v1.2/guide")
    assert may_be_document("http://h/")
    assert not may_be_document("http://h/a.PNG")
    assert not may_be_document("http://h/a.tar.gz?x=1")


ROBOTS = """\
User-agent: *
Disallow: /

User-agent: other
User-agent: WellRead  # us
Disallow: /private
Allow: /private/open
Disallow: /*.pdf$
Disallow: /s*/x
Disallow: /caf\u00e9
Disallow: /q?a=
Crawl-delay: 2.5

user-agent: wellread
disallow: /second
disallow:
"""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", True),
        ("/robots.txt", True),
        ("/private/x", False),
        ("/privateer", False),
        ("/private/open/x", True),
        ("/a/b.pdf", False),
        ("/a/b.pdf.html", True),
        ("/stuff/x", False),
        ("/sx", True),
        ("/caf%C3%A9/menu", False),
        ("/q?a=1", False),
        ("/q?b=1", True),
        ("/second", False),
    ],
)
def test_robots_rules(path: str, allowed: bool) -> None:
    rules = parse(ROBOTS.encode(), AGENT)
    assert rules.allows(f"http://h{path}") is allowed
    assert rules.crawl_delay == 2.5


def test_robots_falls_back_to_everyone_and_survives_junk() -> None:
    assert not parse(ROBOTS.encode(), "stranger/1").allows("http://h/")
    assert parse(b"", AGENT).allows("http://h/")
    assert parse(bytes(range(256)) * 9, AGENT).allows("http://h/")
    assert parse(b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /a", AGENT).allows("http://h/b")


@given(st.text(st.sampled_from("ab/*$?%."), max_size=40), st.text(st.sampled_from("ab/?."), max_size=40))
def test_robots_patterns_never_fail(pattern: str, path: str) -> None:
    parse(f"User-agent: *\nDisallow: {pattern}".encode(), AGENT).allows(f"http://h/{path}")


def test_links_in_all_their_forms() -> None:
    html = """<base href="/docs/"><meta http-equiv="Refresh" content="5; URL='next.html'">
        <a href="a.html#x">a</a><a href="a.html#y">a</a><a>none</a><map><area href="b.html"></map>
        <iframe src="c.html"></iframe><a href="mailto:x@y.example">m</a><a href="http://[">bad</a>"""
    found = find_links(html.encode(), "no-such-charset", "http://h/start")
    assert list(found.follow) == [f"http://h/docs/{name}.html" for name in ("next", "a", "b", "c")]


@given(st.binary(max_size=300))
def test_links_of_junk_never_fail(body: bytes) -> None:
    find_links(body, "", "http://h/")


def test_links_below_deep_nesting_are_found() -> None:
    body = b"<div>" * 5000 + b'<a href="deep.html">x</a>'
    assert find_links(body, "utf-8", "http://h/").follow == ("http://h/deep.html",)


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 240.0.0.1 255.255.255.255 "
    "::1 :: fe80::1%1 fd00::1 ff02::1 ::ffff:10.0.0.1 64:ff9b::7f00:1 2002:7f00:1::".split(),
)
def test_private_addresses(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", "8.8.8.8 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808".split())
def test_public_addresses(address: str) -> None:
    assert is_public(address)


def test_the_backend_refuses_before_it_connects() -> None:
    async def inside(host: str, port: int) -> list[str]:
        return ["10.0.0.1", "::1"]

    backend = CheckedBackend(allow_private=False, resolver=inside)
    with pytest.raises(PrivateAddressError, match=r"docs\.example has the address 10\.0\.0\.1, ::1"):
        asyncio.run(backend.connect_tcp("docs.example", 80))


def test_retry_after() -> None:
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert _retry_after("120") == 120
    assert 20 < _retry_after(soon) <= 30
    assert _retry_after("yesterday") == _retry_after("") == _retry_after("-5") == 0
    assert _retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize("wbits", [-15, 15])
def test_both_meanings_of_deflate(wbits: int) -> None:
    packer = zlib.compressobj(wbits=wbits)
    data = packer.compress(b"text" * 500) + packer.flush()

    async def chunks():
        for at in range(0, len(data), 7):
            yield data[at : at + 7]

    async def unpack() -> bytes:
        return b"".join([part async for part in _decoded(chunks(), "deflate", 10_000)])

    assert asyncio.run(unpack()) == b"text" * 500


CHARSETS = "euc-kr euc-jp iso-2022-jp macintosh utf-8-sig utf-16".split()
NO_CHARSETS = "rot13 unicode_escape idna nosuch".split()


@pytest.mark.parametrize("charset", [*CHARSETS, *NO_CHARSETS])
def test_links_in_any_charset_are_found(charset: str) -> None:
    encoding = charset if charset in CHARSETS else "utf-8"
    body = '<p>text</p><a href="/b">b</a>'.encode(encoding)
    assert find_links(body, charset, "https://x.org/").follow == ("https://x.org/b",)


def test_a_retry_after_beyond_all_calendars_is_nothing() -> None:
    assert _retry_after("Mon, 01 Jan 99999999999999999999 00:00:00 GMT") == 0.0
