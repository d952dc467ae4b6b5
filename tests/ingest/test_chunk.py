"""Passages quote their document exactly, keep to their section and to the budget, and lose nothing."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunk import chunk_document
from ingest.embed import load_token_counter
from ingest.passages import embedding_text
from tests.ingest.samples import document


def words(text):
    return len(text.split())


def cut(doc, max_tokens=40, min_tokens=4):
    return list(chunk_document(doc, words, max_tokens=max_tokens, min_tokens=min_tokens))


def test_each_section_is_its_own_passage_with_its_heading_path():
    chunks = cut(
        document(
            "u",
            "Guide",
            (0, "", "Before everything."),
            (1, "Install", "Run it."),
            (2, "Debian", "Use apt."),
            (2, "Fedora", "Use dnf."),
            (1, "Use", "Type it."),
        )
    )
    assert [(chunk.headings, chunk.text) for chunk in chunks] == [
        ((), "Before everything."),
        (("Install",), "Run it."),
        (("Install", "Debian"), "Use apt."),
        (("Install", "Fedora"), "Use dnf."),
        (("Use",), "Type it."),
    ]


def test_a_level_that_is_skipped_does_not_break_the_path():
    chunks = cut(document("u", "T", (1, "A", "a a."), (4, "B", "b b."), (2, "C", "c c.")))
    assert [chunk.headings for chunk in chunks] == [("A",), ("A", "B"), ("A", "C")]


def test_a_long_section_is_cut_between_sentences():
    chunks = cut(document("u", "T", (1, "A", " ".join(f"Sentence number {n} is here." for n in range(30)))))
    assert len(chunks) > 3
    assert all(chunk.text.startswith("Sentence") and chunk.text.endswith("here.") for chunk in chunks)


def test_empty_sections_and_documents_give_no_passage():
    assert cut(document("u", "T", (1, "A", ""), (2, "B", "  "))) == []
    assert cut(document("u", "T")) == []


def test_short_pieces_join_a_neighbour():
    body = "One two three four five six seven eight nine ten.\n\nTiny.\n\n" + "word " * 30
    assert not any(words(chunk.text) < 4 for chunk in cut(document("u", "T", (1, "A", body))))


def test_ids_do_not_change_when_another_section_does():
    first = cut(document("u", "T", (1, "A", "Alpha text."), (1, "B", "Beta text.")))
    again = cut(document("u", "T", (1, "A", "Alpha text."), (1, "B", "Beta text.")))
    assert [chunk.id for chunk in first] == [chunk.id for chunk in again]
    assert len({chunk.id for chunk in first}) == 2


def test_a_table_that_fits_is_kept_whole():
    table = "\n".join(f"| row {n} | value {n} |" for n in range(4))
    before = "Word " * 30
    chunks = cut(document("u", "T", (1, "A", f"{before.strip()}.\n\n{table}\n\n{before.strip()}.")))
    assert table in [chunk.text for chunk in chunks]


def test_pieces_of_a_long_table_start_with_a_row():
    table = "\n".join(f"| row {n} | value. Of {n} |" for n in range(30))
    chunks = cut(document("u", "T", (1, "A", table)))
    assert len(chunks) > 3
    assert all(chunk.text.startswith("| row") and chunk.text.endswith("|") for chunk in chunks)


def test_code_with_a_blank_line_is_kept_whole_where_it_fits():
    code = "import a\n\ndef b(c):\n    return c.d(e)\n\nb(a.f)"
    prose = "Some words of prose that go on and on until they fill it. " * 2
    chunks = cut(document("u", "T", (1, "A", f"{prose}\n\n{code}\n\n{prose}")), max_tokens=34)
    assert [chunk.text for chunk in chunks if "def b" in chunk.text] == [code]


def test_a_long_list_is_cut_between_its_items():
    rows = "\n".join(f"- Item number {n}. It has two sentences." for n in range(20))
    assert all(chunk.text.startswith("- Item") for chunk in cut(document("u", "T", (1, "A", rows))))


def test_what_leads_in_stays_with_what_it_leads_to():
    body = "word " * 20 + "end.\n\nFor example:\n\n" + "x = y\n" * 5
    assert any(chunk.text.startswith("For example:\n\nx = y") for chunk in cut(document("u", "T", (1, "A", body))))


def test_what_a_tokenizer_takes_for_one_word_is_cut_all_the_same(counter):
    for body in ("x" * 20_000, "a\n" + "\n" * 9_000 + "b", ("a" + " " * 500) * 40):
        doc = document("u", "T", (1, "A", body))
        chunks = list(chunk_document(doc, counter.count, max_tokens=64, min_tokens=8))
        assert max(len(chunk.text) for chunk in chunks) <= 64 * 16
        assert "".join(chunk.text for chunk in chunks).replace(" ", "") == "".join(body.split())


def test_passages_say_what_their_document_says():
    doc = replace(document("u", "T", (1, "A", "Text.")), language="de", date="2026-01-02", tags=("a", "b"))
    [chunk] = cut(doc)
    assert (chunk.language, chunk.date, chunk.tags) == ("de", "2026-01-02", ("a", "b"))


def test_what_the_embedder_adds_counts():
    body = " ".join(f"word{n}" for n in range(300))
    doc = document("u", "T", (1, "A", body))
    for reserved in (0, 20):
        chunks = list(chunk_document(doc, words, max_tokens=40, min_tokens=2, reserved=reserved))
        assert max(words(embedding_text(chunk)) for chunk in chunks) <= 40 - reserved


def test_a_heading_that_would_fill_the_budget_is_shortened():
    doc = document("u", "Title", (1, "long " * 200, "Some text that is cut. " * 30))
    chunks = cut(doc)
    assert len(chunks) > 3
    assert all(words(embedding_text(chunk)) <= 38 and chunk.headings[0].startswith("long") for chunk in chunks)


@pytest.fixture(scope="module")
def counter():
    return load_token_counter("embedded:all-MiniLM-L6-v2")


WORDS = ["the ", "vacuum", "e.g. ", "v1.2. ", "a, ", "Why? ", "internationalisation ", "0.25 ", "[SEP]", "x" * 120]
MARKUP = ["\n", "\n\n", "| a | b |\n", "- item\n", "    code()\n", "\t", "\u2028", "\u200b"]
OTHERS = ["漢字。", "é", "e\u0301", "🙂", "สวัสดี"]
REAL = st.lists(st.sampled_from(WORDS + MARKUP + OTHERS), max_size=120).map("".join)


@settings(max_examples=150, deadline=None)
@given(title=REAL, parts=st.lists(st.tuples(st.integers(1, 6), REAL, REAL), max_size=4), longest=st.integers(12, 64))
def test_no_passage_exceeds_the_budget_of_the_real_tokenizer(counter, title, parts, longest):
    doc = document("u", title, *((level, " ".join(heading.split()), body) for level, heading, body in parts))
    chunks = list(chunk_document(doc, counter.count, max_tokens=longest, min_tokens=5, reserved=counter.reserved))
    for chunk in chunks:
        assert counter.count(embedding_text(chunk)) + counter.reserved <= longest
        assert chunk.text == doc.text[chunk.start : chunk.end] == chunk.text.rstrip()
    for section in doc.sections:
        inside = [chunk for chunk in chunks if section.start <= chunk.start < section.end]
        ends = [section.start, *(place for chunk in inside for place in (chunk.start, chunk.end)), section.end]
        assert ends == sorted(ends)
        assert not "".join(doc.text[end:start] for end, start in zip(ends[::2], ends[1::2], strict=True)).strip()
    assert len({chunk.id for chunk in chunks}) == len(chunks)


TEXT = st.text(alphabet=st.sampled_from("ab .\n!é漢\u200b"), max_size=400)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 6), st.text("xyz", min_size=1, max_size=8), TEXT), max_size=4))
def test_passages_quote_the_document_in_order_and_lose_no_word(parts):
    doc = document("u", "T", *parts)
    chunks = cut(doc, max_tokens=32, min_tokens=3)
    position = 0
    for chunk in chunks:
        assert chunk.text == doc.text[chunk.start : chunk.end]
        assert chunk.start >= position
        assert words(chunk.text) <= 32
        position = chunk.end
    bodies = "".join(doc.text[section.start : section.end] for section in doc.sections)
    assert "".join("".join(chunk.text.split()) for chunk in chunks) == "".join(bodies.split())
