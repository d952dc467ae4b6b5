"""Questions of which the page is known: from headings and links, none from what stands everywhere."""

from datetime import UTC, datetime

from ingest.records import Chunk, Page, stable_id
from ingest.relevance.anchors import anchors_of
from ingest.relevance.known_items import Item, anchor_items, heading_items, without_headings


def passage(url, *headings, title="Guide", text="Text."):
    return Chunk(stable_id(url, *headings, text), url, url, title, headings, text, 0, len(text))


def asked(items):
    return {(item.question, item.url) for item in items}


def page(url, body, content_type="text/html", charset="utf-8"):
    return Page(url, content_type, charset, body.encode(charset), datetime(2026, 1, 1, tzinfo=UTC))


def test_a_heading_asks_for_its_page_once():
    chunks = [passage("a", "Guide", "Reading sensors"), passage("a", "Guide", "Reading sensors", text="More.")]
    assert asked(heading_items(chunks, 10)) == {("Reading sensors", "a")}


def test_headings_that_tell_nothing_are_left_out():
    shared = [passage(url, "Set up the server", f"Only on {url}") for url in ("page a", "page b")]
    general = [passage("c", heading) for heading in ("See also", "Usage", "1.2", "???", "v1", "word " * 20)]
    assert asked(heading_items(shared + general, 10)) == {
        ("Only on page a", "page a"),
        ("Only on page b", "page b"),
    }


def test_shared_headings_are_known_whatever_their_numbers_and_case():
    chunks = [
        passage("a", "3.1 Reading Sensors"),
        passage("b", "4) Reading sensors ¶"),
        passage("c", "2. Free disk space"),
    ]
    assert asked(heading_items(chunks, 10)) == {("Free disk space", "c")}


def test_scripts_without_spaces_and_names_in_code_ask_too():
    chunks = [passage("a", "读取传感器"), passage("b", "run_function"), passage("c", "Abmessungen")]
    assert asked(heading_items(chunks, 10)) == {("读取传感器", "a"), ("run_function", "b")}


def test_every_page_has_its_turn_before_any_has_another():
    chunks = [passage("big", f"Question number {n}") for n in range(50)]
    chunks += [passage(f"small {n}", f"Small thing {n}") for n in range(5)]
    first = heading_items(chunks, 6)
    assert {item.url for item in first} == {"big", *(f"small {n}" for n in range(5))}
    assert heading_items(list(reversed(chunks)), 6) == first
    assert heading_items(chunks, 20)[:6] == first
    assert len(heading_items(chunks, 1000)) == 55


def test_a_held_out_heading_is_gone_from_its_page_only():
    chunks = [
        passage("a", "Guide", "Reading sensors", "Wires"),
        passage("b", "Guide", "Writing sensors"),
        passage("c", title="2. Reading sensors"),
    ]
    items = [Item("1", "Reading sensors", "a", "heading"), Item("2", "Writing sensors", "b", "anchor")]
    held = list(without_headings(chunks, items))
    assert held[0].headings == ("Guide", "Wires")
    assert [chunk.id for chunk in held] == [chunk.id for chunk in chunks]
    assert held[1:] == chunks[1:]
    (titled,) = without_headings([chunks[2]], [Item("3", "Reading sensors", "c", "heading")])
    assert titled.title == ""


def test_a_link_asks_for_the_page_that_it_leads_to():
    body = """<nav><a href="b.html">Menu entry B</a></nav>
    <main><p><a href="b.html#part">How to   read
    <b>sensors</b></a> or <a href="a.html">this very page</a>, <a href="mailto:x@y.z">write to us</a>,
    <a href="https://elsewhere.org/">Another site</a>, <a href="b.html"><img alt="picture"></a>
    <a href="http://[bad">A broken link</a></main>"""
    links = list(anchors_of([page("https://x.org/d/a.html", body)]))
    assert links == [
        ("How to read sensors", "https://x.org/d/b.html"),
        ("Another site", "https://elsewhere.org/"),
    ]
    items = anchor_items(links, {"https://x.org/d/a.html", "https://x.org/d/b.html"}, 10)
    assert [(one.question, one.url, one.kind) for one in items] == [
        ("How to read sensors", "https://x.org/d/b.html", "anchor")
    ]


def test_a_text_that_leads_to_two_pages_asks_for_none_even_if_one_cannot_be_found():
    links = [("the reference manual", "a"), ("The reference manual", "b"), ("pump settings", "a")]
    assert asked(anchor_items(links, {"a"}, 10)) == {("pump settings", "a")}


def test_links_between_files_are_followed_as_paths():
    body = '<base href="sub/"><p><a href="my%20page.html?x=1#y">Pump settings</a> <a href="https://x.org/">Out</a></p>'
    assert list(anchors_of([page("file:///docs/a.html", body)])) == [
        ("Pump settings", "file:///docs/sub/my%20page.html")
    ]


def test_what_is_not_html_has_no_links():
    assert list(anchors_of([page("u", "# [a](b)", "text/markdown"), page("v", "")])) == []


def test_a_link_in_another_charset_is_read():
    body = "<p><a href='/b'>Größe der Pumpe</a></p>"
    assert list(anchors_of([page("https://x.org/a", body, charset="iso-8859-1")])) == [
        ("Größe der Pumpe", "https://x.org/b")
    ]


def test_deeply_nested_pages_are_read():
    body = "<div>" * 1500 + "<a href='/b'>At the bottom</a>"
    assert list(anchors_of([page("https://x.org/a", body)])) == [("At the bottom", "https://x.org/b")]
