"""Pages that say little about their structure: the article is found, its structure kept, and what is around it left."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.extract import extract
from ingest.records import Document, Page, Reject

LONG = (
    "Running text of the article goes on for a while, so that it counts as a paragraph and not as a label of anything."
)
URL = "https://journal.example/2024/a-story"


def read(body: str, head: str = "") -> Document:
    html = f"<html><head>{head}</head><body>{body}</body></html>".encode()
    found = extract(Page(URL, "text/html", "", html, datetime(2024, 6, 1, tzinfo=UTC)))
    assert isinstance(found, Document), found
    return found


def paragraphs(count: int, start: int = 1) -> str:
    return "".join(f"<p>{n}. {LONG}</p>" for n in range(start, start + count))


def text_of(count: int) -> str:
    return "\n\n".join(f"{n}. {LONG}" for n in range(1, count + 1))


CARD = '<div class="x7"><h3><a href="/o{0}">Story {0}</a></h3><p>JUNK about something else entirely, {0}.</p></div>'
AROUND = {
    "comments": '<div class="post-comments"><h3>2 Comments</h3><p>JUNK says a reader at some length.</p></div>',
    "cookie-banner": '<div id="CookieConsent"><p>JUNK we value your privacy, so accept all of it.</p></div>',
    "share": '<ul class="share-links"><li><a href="/f">JUNK</a></li></ul>',
    "camel-case": '<section class="ArticleRelatedStories"><p>JUNK that is related to this in some way.</p></section>',
    "role": f'<div role="complementary"><p>JUNK {LONG}</p></div>',
    "hidden": f'<div style="display: none"><p>JUNK {LONG}</p></div>',
    "links-without-a-name": '<div><a href="/1">JUNK one</a> <a href="/2">JUNK two</a> and <a href="/3">three</a></div>',
    "cards": "".join(CARD.format(n) for n in range(4)),
    "closing-heading": "<div><h2>You might also like</h2><p>JUNK in a paragraph without any link in it.</p></div>",
    "closing-line": "<p>Das könnte Sie auch interessieren:</p>",
    "credit": "<p>Photo: JUNK Images</p><p>Advertisement</p>",
    "caption": "<figure><img src=x><figcaption>JUNK in a picture</figcaption></figure>",
    "menu": '<div class="c1"><ul><li><a href="/a">JUNK</a></li><li><a href="/b">JUNK</a></li></ul></div>',
}


@pytest.mark.parametrize("name", AROUND)
@pytest.mark.parametrize("frame", ["{}{}", '<div class="entry-content">{}</div>{}', "<article>{}{}</article>"])
def test_what_is_around_an_article_goes(name: str, frame: str) -> None:
    assert read(frame.format(paragraphs(4), AROUND[name])).text == text_of(4)


def test_structure_of_an_article_is_kept() -> None:
    body = f"""<div class="page"><div class="post-body"><h1>Head</h1>{paragraphs(2)}<h2>Part</h2><ul><li>one</li>
        <li>two <a href="/x">linked</a></li></ul><pre>if a:\n    b()</pre>
        <table><tr><th>A<th>B</tr><tr><td>1<td>2</tr></table>
        <h3>Deeper</h3><p>3. {LONG}</p></div><div class="sidebar"><p>JUNK</p></div></div>"""
    found = read(body)
    assert found.text == (
        f"Head\n\n{text_of(2)}\n\nPart\n\n- one\n- two linked\n\nif a:\n    b()\n\n| A | B |\n| --- | --- |\n| 1 | 2 |"
        f"\n\nDeeper\n\n3. {LONG}"
    )
    assert [(part.level, part.heading) for part in found.sections] == [(1, "Head"), (2, "Part"), (3, "Deeper")]


def test_the_lead_above_the_body_belongs_to_it() -> None:
    lead = "The lead says in a sentence what the story is about."
    body = f"""<h1>Story</h1><div class="story-intro"><p>{lead}</p></div>
        <p class="byline">By JUNK, who writes for a living</p>
        <div class="article-body">{paragraphs(3)}</div>"""
    assert read(body).text == f"{lead}\n\n{text_of(3)}"


def test_a_body_in_several_parts_is_read_whole() -> None:
    part = '<div class="story-text">{}</div><div class="ad">JUNK</div>'
    parts = (part.format(paragraphs(2, start)) for start in (1, 3, 5))
    assert read(f'<div id="page">{"".join(parts)}</div>').text == text_of(6)


def test_the_article_with_the_headline_is_the_one() -> None:
    other = f"<article><p>JUNK {LONG} {LONG}</p></article>"
    assert (
        read(f"<div><article><h1>This</h1>{paragraphs(2)}</article>{other * 5}</div>").text == f"This\n\n{text_of(2)}"
    )


def test_names_do_not_cost_a_page_its_text() -> None:
    assert read(f'<div class="sidebar-layout related">{paragraphs(4)}</div>').text == text_of(4)
    assert read(f'<div class="rx hJpRAdzz">{paragraphs(4)}</div>').text == text_of(4)


def test_headings_about_comments_and_news_are_kept() -> None:
    headings = ["Responses to commands", "Popular culture", "Sources and targets"]
    parts = (f"<h2>{heading}</h2><p>{LONG}</p>" for heading in headings)
    found = read(f"<article>{paragraphs(2)}{''.join(parts)}</article>")
    assert [part.heading for part in found.sections if part.level] == headings


def test_links_within_the_page_are_no_way_to_others() -> None:
    panel = '<div class="p"><h4><a href="#{0}">Question {0}</a></h4><p>{0}. ' + LONG + "</p></div>"
    found = read("".join(panel.format(n) for n in range(1, 5)))
    assert [part.heading for part in found.sections] == [f"Question {n}" for n in range(1, 5)]


def test_documentation_is_never_taken_for_an_article() -> None:
    generator = '<meta name="generator" content="MkDocs 1.6">'
    body = f'<div class="comment">{paragraphs(2)}<h2>Related</h2><p>{LONG}</p></div><p>Photo: kept</p>'
    assert "Photo: kept" in read(body, generator).text
    assert "Photo: kept" in read(f'<div class="rst-content"></div>{body}').text
    assert "Photo: kept" not in read(body).text


@given(st.binary(max_size=400), st.sampled_from(["text/html", "application/xhtml+xml", "text/plain", "text/markdown"]))
def test_no_bytes_at_all_raise(body: bytes, kind: str) -> None:
    found = extract(Page(URL, kind, "", body, datetime.now(UTC)))
    assert isinstance(found, Reject) or found.text.strip()
    assert not isinstance(found, Reject) or found.rule != "reader_failed"


PIECES = (
    f"<p>{LONG}</p>|<div class='related'>|</div>|<article>|</article>|<h1>H</h1>|<h2>Comments</h2>|<ul><li>|<main>"
    "|<section class=article-body>|</section>|<a href=/x>|</a>|<h3><a href=/y>T</a></h3>"
)


@given(st.lists(st.sampled_from(PIECES.split("|")), max_size=25))
def test_any_page_of_paragraphs_has_its_sections_in_order(found_pieces: list[str]) -> None:
    page = Page(URL, "text/html", "", "".join(found_pieces).encode(), datetime.now(UTC))
    found = extract(page)
    if isinstance(found, Reject):
        assert found.rule == "empty"
        return
    at = 0
    for part in found.sections:
        assert at <= part.start <= part.end <= len(found.text)
        assert part.heading in found.text[at : part.start]
        at = part.end


@pytest.mark.parametrize(
    ("levels", "begin", "end"),
    [
        pytest.param(100_000, "<div class='a'>", "</div>", id="div"),
        pytest.param(10_000, "<b>", "</b>", id="inline"),
        pytest.param(10_000, "<ul><li><p>", "", id="unclosed"),
        pytest.param(5_000, "<table><tr><td>", "</td></tr></table>", id="table"),
    ],
)
def test_thousands_of_levels(levels: int, begin: str, end: str) -> None:
    found = read(f"{paragraphs(2)}{begin * levels}deep{end * levels}<p>after {LONG}</p>")
    assert "deep" in found.text
    assert f"after {LONG}" in found.text


def test_one_line_of_ten_megabytes_with_every_fault() -> None:
    soup = f"<p>{LONG * 30} <b>bold <i>both</p><div><a href=/x>link\x00</div>\xff\xfe<br>".encode("latin-1")
    found = extract(Page(URL, "text/html", "", soup * (10_000_000 // len(soup)), datetime.now(UTC)))
    assert isinstance(found, Document)
    assert "\x00" not in found.text
    assert len(found.text) > 1_000_000


def test_repair_is_applied_before_offsets_are_taken() -> None:
    html = f"<title>a~b</title><h2>He~ad</h2><p>te~xt {LONG}</p><pre>a ~ b</pre>".encode()

    def repair(text: str, *, verbatim: bool = False) -> str:
        return text if verbatim else text.replace("~", "")

    found = extract(Page(URL, "text/html", "", html, datetime.now(UTC)), repair=repair)
    assert isinstance(found, Document)
    assert (found.title, found.sections[0].heading) == ("ab", "Head")
    assert found.text[found.sections[0].start : found.sections[0].end] == f"text {LONG}\n\na ~ b"
