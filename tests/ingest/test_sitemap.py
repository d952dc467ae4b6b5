"""Sitemaps in all their forms, and those that are made to do harm."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.web.sitemap import MAX_URLS, Listed, read_sitemap

SPACE = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"'


def urlset(*items: str, prolog: str = '<?xml version="1.0"?>') -> bytes:
    return f"{prolog}<urlset {SPACE}>{''.join(items)}</urlset>".encode()


def url(place: str) -> str:
    return f"<url><loc>{place}</loc><lastmod>2024-01-01</lastmod></url>"


def test_pages_and_sitemaps() -> None:
    index = f"<sitemapindex {SPACE}><sitemap><loc>http://h/1.xml</loc></sitemap></sitemapindex>"
    assert read_sitemap(
        urlset(url(" http://h/a \n"), url("<![CDATA[http://h/b?x=1&y=2]]>"), url("http://h/c?x&amp;y"))
    ) == (Listed(("http://h/a", "http://h/b?x=1&y=2", "http://h/c?x&y"), ()))
    assert read_sitemap(index.encode()) == Listed((), ("http://h/1.xml",))


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_charsets(charset: str) -> None:
    named = f'<?xml version="1.0" encoding="{charset.removesuffix("-sig")}"?>'
    assert read_sitemap(urlset(url("http://h/é"), prolog=named).decode().encode(charset)).pages == ("http://h/é",)


def test_extensions_with_places_of_their_own_are_no_pages() -> None:
    image = '<url><loc>http://h/a</loc><i:image xmlns:i="urn:i"><i:loc>http://h/x.png</i:loc></i:image></url>'
    assert read_sitemap(urlset(image)).pages == ("http://h/a",)


def test_text_one_address_a_line() -> None:
    text = b"\xef\xbb\xbfhttp://h/a\r\nhttps://h/b\n\n# no\nftp://h/c\nhttp://h/d"
    assert read_sitemap(text) == Listed(("http://h/a", "https://h/b", "http://h/d"), ())


def test_gzip() -> None:
    assert read_sitemap(gzip.compress(urlset(url("http://h/a")))).pages == ("http://h/a",)
    assert read_sitemap(gzip.compress(b"http://h/a\n" * 99)[:-12]).problem == "bad_sitemap"


def test_what_stands_before_the_damage_counts() -> None:
    assert read_sitemap(urlset(url("http://h/a"), url("http://h/b"))[:-70]) == Listed(
        ("http://h/a",), (), "bad_sitemap"
    )


@pytest.mark.parametrize("body", [b"", b"<html><body>Hello.</body></html>", b"\0\1\2", b"%PDF-1.7", b"{}"])
def test_what_is_no_sitemap(body: bytes) -> None:
    assert read_sitemap(body) == Listed((), (), "bad_sitemap")


def test_an_empty_one_is_one() -> None:
    assert read_sitemap(urlset()) == Listed((), ())


def test_no_more_entries_than_the_protocol_allows() -> None:
    listed = read_sitemap("\n".join(f"http://h/{n}" for n in range(MAX_URLS + 5)).encode())
    assert (len(listed.pages), listed.problem) == (MAX_URLS, "too_many")


def test_a_bomb_is_given_up_at_the_limit() -> None:
    bomb = gzip.compress(urlset(url("http://h/a"))[:-9] + b" " * 60_000_000, 1)
    assert read_sitemap(bomb) == Listed(("http://h/a",), (), "too_large")


def test_entities_do_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("http://h/secret")
    steps = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(12))
    laughs = f'<!DOCTYPE u [<!ENTITY e0 "http://h/lol">{steps}]>'
    outside = f'<!DOCTYPE u [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    parameter = f'<!DOCTYPE u [<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;]>'

    assert read_sitemap(urlset(url("&e12;"), url("http://h/a"), prolog=laughs)).pages in ((), ("http://h/a",))
    assert "http://h/secret" not in read_sitemap(urlset(url("&x;"), prolog=outside)).pages
    assert read_sitemap(urlset(url("http://h/a"), prolog=parameter)).pages in ((), ("http://h/a",))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<a>" * 1_000_000, id="deep"),
        pytest.param(b"<urlset><url><loc>" + b"x" * 11_000_000, id="long-text"),
        pytest.param(b"<urlset " + b"a='1' " * 1_000_000, id="attributes"),
        pytest.param(b"y" * 11_000_000, id="one-line"),
    ],
)
def test_shapes_that_are_made_to_do_harm(body: bytes) -> None:
    listed = read_sitemap(body)
    assert sum(len(page) for page in listed.pages) < 100_000
    assert listed.problem or listed.pages


@given(st.binary(max_size=200))
def test_junk_never_fails(body: bytes) -> None:
    for start in (b"", b"<?xml version='1.0'?><urlset>", b"\x1f\x8b\x08\0"):
        read_sitemap(start + body)
