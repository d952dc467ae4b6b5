"""What a page says about itself: title, language and date."""

from datetime import UTC, datetime

import pytest

from ingest.extract import extract
from ingest.records import Document, Page

LINKED = '{"dateModified": "2023-06-01", "datePublished":"2023-05-04T08:00:00+01:00"}'


def read(head: str, body: str = "<p>text</p>", root: str = "<html>") -> Document:
    html = f"{root}<head>{head}</head><body>{body}</body></html>".encode()
    found = extract(Page("https://site.example/x", "text/html", "", html, datetime(2024, 6, 1, tzinfo=UTC), crawl=3))
    assert isinstance(found, Document)
    return found


@pytest.mark.parametrize(
    ("head", "headline", "title"),
    [
        ("<title>A story | The Journal</title>", "A story", "A story"),
        ("<title>The Journal - A story</title>", "A story", "A story"),
        ("<title>Make - believe | The Journal</title>", "Make - believe", "Make - believe"),
        ("<title>A story | The Journal</title>", "Something else", "A story | The Journal"),
        ('<title>A story | The Journal</title><meta property="og:site_name" content="The Journal">', "", "A story"),
        ('<title>x</title><meta property="og:title" content="A  story">', "Other", "A story"),
        ("<title>Signals — Flask Documentation (2.2.x)</title>", "Signals", "Signals"),
        ("<title>logging — Logging facility — Python 3.11 documentation</title>", "", "logging — Logging facility"),
        ("<title>Well-known names</title>", "names", "Well-known names"),
        ("", "", "x"),
    ],
)
def test_titles_lose_the_name_of_the_site(head: str, headline: str, title: str) -> None:
    assert read(head, f"<h1>{headline}</h1><p>text</p>" if headline else "<p>text</p>").title == title


@pytest.mark.parametrize(
    ("root", "head", "language"),
    [
        ('<html lang="de-AT">', "", "de"),
        ('<html xml:lang="pt_BR">', "", "pt"),
        ('<html lang="">', '<meta http-equiv="Content-Language" content="FR, en">', "fr"),
        ("<html>", '<meta property="og:locale" content="pl_PL">', "pl"),
        ('<html lang="iw">', "", "he"),
        ('<html lang="xx">', '<meta property="og:locale" content="it_IT">', "it"),
        ("<html>", "", ""),
    ],
)
def test_languages_are_codes_that_exist(root: str, head: str, language: str) -> None:
    assert read(head, root=root).language == language


@pytest.mark.parametrize(
    ("head", "body", "date"),
    [
        ('<meta property="article:published_time" content="2023-05-04T10:00:00Z">', "", "2023-05-04"),
        ('<meta name="DC.date" content="20230504">', "", "2023-05-04"),
        ('<meta name="date" content="2023/5/4">', "", "2023-05-04"),
        ('<meta name="last-modified" content="Thu, 04 May 2023 10:00:00 GMT">', "", "2023-05-04"),
        (f'<script type="application/ld+json">{LINKED}</script>', "", "2023-05-04"),
        ('<meta name="dcterms.modified" content="2023-05-04">', '<time datetime="2020-01-01">x</time>', "2023-05-04"),
        ("", "<time>May 4, 2023</time>", "2023-05-04"),
        ("", "<time>yesterday</time><time datetime='2023-05-04T01:02'>x</time>", "2023-05-04"),
        ('<meta name="date" content="2024-07-01">', "", ""),
        ('<meta name="date" content="1970-01-01">', "", ""),
        ('<meta name="date" content="2023-02-31">', "", ""),
    ],
)
def test_dates_are_iso_and_plausible(head: str, body: str, date: str) -> None:
    assert read(head, f"<p>text</p>{body}").date == date


def test_the_crawl_of_the_page_is_kept() -> None:
    assert read("").crawl == 3
