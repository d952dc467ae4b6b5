"""Extraction: the readable text under the right headings, no furniture, and nothing that a page can break."""

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.extract import READERS, extract
from ingest.extractors.outline import Block, lay_out
from ingest.records import Document, Page, Reject, Section, stable_id

URL = "https://docs.example/guide/page.html"


def read(body: bytes | str, kind: str = "text/html", charset: str = "", url: str = URL) -> Document:
    raw = body.encode() if isinstance(body, str) else body
    found = extract(Page(url, kind, charset, raw, datetime.now(UTC)))
    assert isinstance(found, Document), found
    return found


def refused(body: bytes, kind: str = "text/html") -> str:
    found = extract(Page(URL, kind, "", body, datetime.now(UTC)))
    assert isinstance(found, Reject)
    return found.rule


def sections(document: Document) -> list[tuple[int, str, str]]:
    return [(part.level, part.heading, document.text[part.start : part.end]) for part in document.sections]


def test_headings_paragraphs_and_sections() -> None:
    found = read(
        """<title>The  Guide</title><body>before<h1>Guide</h1><p>One<br>two
        <b>three</b>.</p><h3>Deep<a class="headerlink" href="#deep">¶</a></h3><h2>Next</h2><div>a<p>b</p>c</div>"""
    )
    assert found.title == "The Guide"
    assert found.text == "before\n\nGuide\n\nOne\ntwo three.\n\nDeep\n\nNext\n\na\n\nb\n\nc"
    assert sections(found) == [
        (0, "", "before"),
        (1, "Guide", "One\ntwo three."),
        (3, "Deep", ""),
        (2, "Next", "a\n\nb\n\nc"),
    ]
    assert found.id == stable_id(URL, found.text)


def test_lists_definitions_and_quotes() -> None:
    found = read(
        """<p>Intro</p><ul><li>one<li><p>two</p><p>more</p><ul><li>inner</li></ul></li><li>three</ul>
        <dl><dt>FULL</dt><dd><p>Selects <q>full</q> vacuum.</p><p>Slow.</p></dd>
        <dt>A</dt><dt>B</dt><dd>Both.</dd></dl>"""
    )
    assert found.text == (
        "Intro\n\n- one\n- two\n\n  more\n  - inner\n- three\n\nFULL\nSelects “full” vacuum.\n\nSlow.\n\nA\nB\nBoth."
    )


def test_code_is_verbatim() -> None:
    found = read(
        "<p>Run:</p><pre class='highlight'>\n<span>if a &lt; b:</span>\n    c()  <b># x</b>\n\n</pre><p>Done.</p>"
    )
    assert found.text == "Run:\n\nif a < b:\n    c()  # x\n\nDone."


def test_tables_are_markdown_rows_and_layouts_are_not() -> None:
    found = read(
        """<table><caption>Sizes</caption><thead><tr><th>Type<th>Bytes</tr></thead>
        <tr><td><p>int</p><p>4-byte</p><td>4</tr></table>
        <table><tr><td><h2>Left</h2><p>text</p></td><td><table><tr><td>x<td>y</tr></table></td></tr></table>"""
    )
    assert found.text == ("Sizes\n\n| Type | Bytes |\n| --- | --- |\n| int 4-byte | 4 |\n\nLeft\n\ntext\n\n| x | y |")


def test_the_label_of_a_note_is_no_heading() -> None:
    found = read('<h2>Use</h2><div class="note"><h3 class="title">Note</h3><p>Mind.</p></div><p>After.</p>')
    assert sections(found) == [(2, "Use", "Note\nMind.\n\nAfter.")]


TEXT = "<h1>Title</h1><p>The text that is worth reading, every word of it.</p><h2>More</h2><p>And the rest.</p>"
CLEAN = "Title\n\nThe text that is worth reading, every word of it.\n\nMore\n\nAnd the rest."
MENU = '<ul><li><a href="x">JUNK</a></li></ul>'
LAYOUTS = {
    "bare": f"{TEXT}<script>JUNK</script><style>JUNK</style><noscript>JUNK</noscript><template>JUNK</template>",
    "semantic": f"<header>JUNK<nav>{MENU}</nav></header><main>{TEXT}</main><aside>JUNK</aside><footer>JUNK</footer>",
    "roles": f'<div role="navigation">{MENU}</div><div role="main">{TEXT}</div><div role="contentinfo">JUNK</div>',
    "docbook": f"""<div class="navheader"><table><tr><th>JUNK</th></tr></table></div>
        <div class="toc"><p>JUNK</p></div>{TEXT}<div class="navfooter">JUNK</div>""",
    "mkdocs": f"""<div class="navbar fixed-top">{MENU}</div><div class="container"><div class="row">
        <div class="col-md-3"><div class="bs-sidebar" role="complementary">{MENU}</div></div>
        <div class="col-md-9" role="main">{TEXT}</div></div></div><footer>JUNK</footer>
        <div class="modal" id="mkdocs_search_modal" role="dialog">JUNK</div>""",
    "material": f"""<div class="md-container"><main class="md-main"><div class="md-sidebar">{MENU}</div>
        <div class="md-content"><article class="md-content__inner"><a class="md-content__button" href="e">JUNK</a>
        {TEXT}</article></div></main></div>""",
    "sphinx": f"""<div class="related" role="navigation"><h3>JUNK</h3></div><div class="document">
        <div class="body" role="main">{TEXT}<div class="toctree-wrapper">{MENU}</div></div></div>
        <div class="sphinxsidebar" role="navigation">JUNK</div>""",
    "readthedocs": f"""<nav class="wy-nav-side">{MENU}</nav><section class="wy-nav-content-wrap">
        <div class="rst-content"><div role="navigation" aria-label="breadcrumbs">{MENU}</div>
        <div role="main" class="document">{TEXT}</div><footer>JUNK</footer></div></section>
        <div class="rst-versions">JUNK</div>""",
    "plain-divs": f"""<div id="topnav">{MENU}</div><div id="cookie-banner">JUNK</div>
        <div class="breadcrumbs">JUNK</div><div id="content">{TEXT}</div><form class="search">JUNK</form>
        <div hidden>JUNK</div><p style="display: none">JUNK</p><p aria-hidden="true">JUNK</p>""",
    "outside": f'<div class="some-menu">{MENU}</div><article>{TEXT}</article>',
    "title-above": f"<div><h1>Title</h1></div><p>JUNK</p><main>{TEXT.removeprefix('<h1>Title</h1>')}</main>",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_furniture_goes_and_headings_stay(name: str) -> None:
    found = read(f"<html><head><title>T</title></head><body>{LAYOUTS[name]}</body></html>")
    assert found.text == CLEAN
    assert [(part.level, part.heading) for part in found.sections] == [(1, "Title"), (2, "More")]


def test_a_page_that_is_all_furniture_keeps_its_text() -> None:
    assert read('<div class="sidebar"><p>All there is.</p></div>').text == "All there is."


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<p>Größe</p>".encode(), "utf-8"),
        ("<p>Größe</p>".encode(), "iso-8859-1"),
        ("<p>Größe</p>".encode("latin-1"), "utf-8"),
        ("<p>Größe</p>".encode("latin-1"), "ISO-8859-1"),
        ("<p>Größe</p>".encode("utf-16"), ""),
        ("<p>Größe</p>".encode("utf-8-sig"), "no-such-charset"),
        ("<meta charset=cp1252><p>Größe</p>".encode("cp1252"), ""),
        ("<p>Größe</p>".encode(), "hex"),
    ],
)
def test_charsets(body: bytes, charset: str) -> None:
    assert read(body, charset=charset).text == "Größe"


def test_a_guessed_charset() -> None:
    text = "Кошка сидит на окне и смотрит на улицу, где идёт дождь. " * 5
    assert read(f"<p>{text}</p>".encode("cp1251")).text == text.strip()


def test_the_address_that_a_page_names_counts_on_its_own_host_only() -> None:
    link = '<link rel="canonical" href="{}"><p>text</p>'
    assert read(link.format("/guide/?utm_source=x")).url == "https://docs.example/guide/"
    assert read(link.format("https://other.example/")).url == URL
    assert read(link.format("https://docs.example/"), url="file:///tmp/a.html").url == "file:///tmp/a.html"


def test_titles_fall_back() -> None:
    assert read("<h2>Heading</h2>").title == "Heading"
    assert read("<p>text</p>").title == "page.html"


def test_markdown() -> None:
    found = read(
        "---\ntitle: 'Named'\n---\n# Guide\n\nText *here*.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nx  = 1\n```\n",
        "text/markdown",
    )
    assert found.title == "Named"
    assert found.text == "Guide\n\nText here.\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\nx  = 1"


def test_plain_text() -> None:
    found = read("A title\r\n\r\nfirst line\r\nsecond line\r\n \r\n\r\n  indented\r\n", "text/plain")
    assert found.title == "A title"
    assert found.text == "A title\n\nfirst line\nsecond line\n\n  indented"
    assert [(part.level, part.start, part.end) for part in found.sections] == [(0, 0, len(found.text))]


def test_stray_control_characters_are_removed() -> None:
    assert read(b"<p>Hel\x00lo w\x01orld &#1;&#30;a\xc2\xadb &#xD800;</p>").text.startswith("Hello world")


def test_what_cannot_be_read_has_a_reason() -> None:
    assert refused(random.Random(7).randbytes(50_000)) == "binary"
    assert refused(b"PK\x03\x04 is a zip file") == "binary"
    assert refused(b"<html><body><img src=x></body></html>") == "empty"
    assert refused(b"<p>&#1;</p>") == "empty"
    assert refused(b"", "text/plain") == "empty"
    assert refused(b"{}", "application/json") == "not_a_document"
    assert refused(b"<b>x</b>" * 500_000) == "too_complex"
    assert refused(b"word " * 1_000_000, "text/markdown") == "too_complex"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<p>" + b"word " * 2_000_000 + b"</p><p>after</p>", id="10-MB-line"),
        pytest.param(b"<div>" * 30_000 + b"deep" + b"</div>" * 30_000 + b"<p>after</p>", id="deep-div"),
        pytest.param(b"<table><tr><td>" * 3000 + b"deep" + b"</table>" * 3000 + b"<p>after</p>", id="deep-table"),
        pytest.param(b"<ul><li>" * 3000 + b"deep" + b"</ul>" * 3000 + b"<p>after</p>", id="deep-list"),
        pytest.param(b"<b><i><h1>" * 3000 + b"deep</h1>" + b"<p>after</p>", id="unclosed"),
        pytest.param(b"<pre>" * 3000 + b"deep" + b"</pre>" * 3000 + b"<p>after</p>", id="deep-pre"),
    ],
)
def test_hostile_shapes_survive(body: bytes) -> None:
    found = read(body)
    assert found.text.endswith("after")
    assert len(found.text) < 10_100_000


def pdf(text: str) -> bytes:
    """A one-page PDF with a title and one line of text."""
    stream = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        "<</Title(The manual)>>",
    ]
    out, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    trailer = f"trailer<</Size {len(objects) + 1}/Root 1 0 R/Info 6 0 R>>\nstartxref\n{len(out)}\n%%EOF"
    return f"{out}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{trailer}".encode()


def test_pdf() -> None:
    found = read(pdf("Hello from a page"), "application/pdf")
    assert (found.title, found.text) == ("The manual", "Hello from a page")
    assert read(pdf("Mislabelled"), "text/html").text == "Mislabelled"
    assert refused(pdf(""), "application/pdf") == "empty"
    assert refused(b"%PDF-1.4 cut off", "application/pdf") == "broken_pdf"
    assert refused(b"", "application/pdf") == "broken_pdf"


def check_sections(text: str, parts: tuple[Section, ...]) -> None:
    at = 0
    for part in parts:
        assert at <= part.start <= part.end <= len(text)
        assert part.heading in text[at : part.start]
        at = part.end


words = st.text(st.characters(blacklist_categories=["C", "Z"]), min_size=1, max_size=8)
blocks = st.lists(st.builds(Block, st.integers(0, 6), words, st.booleans()), max_size=12)


@given(blocks)
def test_sections_lie_in_the_text_in_order_and_cover_it(given_blocks: list[Block]) -> None:
    text, parts = lay_out(given_blocks)
    check_sections(text, parts)
    covered = sum(len(part.heading) + part.end - part.start for part in parts)
    assert len(text) - covered <= 2 * (len(parts) * 2)
    assert [part.heading for part in parts if part.level] == [block.text for block in given_blocks if block.level]


tags = st.sampled_from(
    "<p> </p> <h1> </h1> <h2> <ul> <li> </ul> <table> <tr> <td> </table> <pre> </pre> <dl> <dt> <dd> "
    "<br> <main> </main> <article> <header> <a> <q> <!-- --> <script> </script> & &#1; \x00 < text".split(" ")
)


@given(st.lists(st.one_of(tags, words), max_size=40))
def test_any_soup_gives_sections_in_order_or_a_reason(pieces: list[str]) -> None:
    found = extract(Page(URL, "text/html", "utf-8", "".join(pieces).encode(), datetime.now(UTC)))
    if isinstance(found, Document):
        check_sections(found.text, found.sections)
        assert found.text.strip()
        found.text.encode()


def test_a_reader_that_breaks_rejects_its_page_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_body: bytes, _charset: str) -> None:
        raise RecursionError

    monkeypatch.setitem(READERS, "text/html", broken)
    result = extract(Page("https://x.org/", "text/html", "", b"<p>text</p>", datetime.now(UTC)))
    assert isinstance(result, Reject)
    assert (result.rule, result.detail) == ("reader_failed", "RecursionError")


@pytest.mark.parametrize("name", ["main", "article", "section", "header", "x-app"])
def test_a_page_that_leaves_its_body_tag_out_loses_nothing(name: str) -> None:
    start = (
        f"<!doctype html><html><title>T</title><meta name=a><{name}><h1>First</h1><p>Text that matters.</p></{name}>"
    )
    for end in ("", "<p>Second.</p>", "tail <p>Second.</p>"):
        text = read(start + end).text
        assert text.startswith("First")
        assert ("Second." in text) == ("Second." in end and name not in ("main", "article"))
