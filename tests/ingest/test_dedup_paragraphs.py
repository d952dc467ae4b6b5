"""Paragraphs that repeat: counted, kept in the oldest document, and taken out with the sections left in place."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ingest.dedup.paragraphs as module
from ingest.dedup.paragraphs import repeated_paragraphs, without_repeated
from tests.ingest.samples import document

NOTE = "This note about the licence of the whole manual stands at the foot of very many pages."
OTHER = "The pump has to be primed with clean water before it is started the first time."


def repeated(folder, documents, **options):
    return repeated_paragraphs(documents, folder, **{"min_words": 10} | options)


def test_a_paragraph_stays_in_the_oldest_document_only(tmp_path):
    pages = [
        replace(document("https://x.org/a", "A", (1, "A", f"Alpha.\n\n{NOTE}")), crawl=2),
        replace(document("https://x.org/b", "B", (1, "B", f"{NOTE.upper()}\n\nBeta."), (2, "C", "Gamma.")), crawl=1),
        replace(document("https://x.org/c", "C", (1, "C", OTHER)), crawl=3),
    ]
    found = repeated(tmp_path, pages)
    assert (len(found.hashes), found.copies) == (1, 1)
    first, gone = without_repeated(pages[0], found)
    assert gone == 1
    assert first.text.strip() == "A\n\nAlpha."
    assert without_repeated(pages[1], found) == (pages[1], 0)
    assert without_repeated(pages[2], found) == (pages[2], 0)


def test_within_a_document_the_first_stays(tmp_path):
    page = document("https://x.org/a", "A", (1, "One", NOTE), (1, "Two", f"Before.\n\n{NOTE}\n\nAfter."))
    shorter, gone = without_repeated(page, repeated(tmp_path, [page]))
    assert gone == 1
    assert shorter.text.count(NOTE) == 1
    one, two = shorter.sections
    assert shorter.text[one.start : one.end] == NOTE
    assert shorter.text[two.start : two.end].split() == ["Before.", "After."]


@pytest.mark.parametrize(
    "body",
    [
        f"```\n{NOTE}\n\n{NOTE}\n```",
        f"~~~text\nx\n\n{NOTE}\n\ny\n~~~",
        f"| {NOTE} |",
        "See also the index.",
    ],
    ids=["code", "code across blank lines", "table", "short"],
)
def test_code_tables_and_short_paragraphs_are_left_alone(tmp_path, body):
    pages = [document(f"https://x.org/{name}", "T", (1, "H", body)) for name in "ab"]
    assert repeated(tmp_path, pages).copies == 0


def test_a_paragraph_after_code_is_prose_again(tmp_path):
    pages = [document(f"https://x.org/{name}", "T", (1, "H", f"```\nx\n\ny\n```\n\n{NOTE}")) for name in "ab"]
    assert repeated(tmp_path, pages).copies == 1


def test_many_passes_find_what_one_finds(tmp_path, monkeypatch):
    bodies = [f"{NOTE} Number {number % 17}." for number in range(60)]
    pages = [document(f"https://x.org/{number:02}", "T", (1, "H", body)) for number, body in enumerate(bodies)]
    one = repeated(tmp_path, pages)
    monkeypatch.setattr(module, "AT_ONCE", 7)
    many = repeated(tmp_path, pages)
    assert one.copies == 60 - 17
    for name in ("hashes", "documents", "counts"):
        assert getattr(one, name).tolist() == getattr(many, name).tolist()


def test_nothing_is_no_trouble(tmp_path):
    assert repeated(tmp_path, []).copies == 0
    assert repeated(tmp_path, [document()]).copies == 0


PARAGRAPHS = st.lists(st.sampled_from([NOTE, OTHER, "Short.", "```\ncode\n```", f"- {NOTE}\n- {OTHER}"]), max_size=4)
SECTIONS = st.lists(
    st.tuples(st.integers(1, 3), st.sampled_from("ABC"), PARAGRAPHS.map("\n\n".join)), min_size=1, max_size=4
)


@given(st.lists(SECTIONS, min_size=1, max_size=4))
def test_sections_stay_in_place_and_no_paragraph_is_lost(tmp_path_factory, outlines):
    pages = [document(f"https://x.org/{number}", "T", *parts) for number, parts in enumerate(outlines)]
    found = repeated(tmp_path_factory.mktemp("out"), pages)
    shorter = [without_repeated(page, found) for page in pages]
    assert sum(gone for _, gone in shorter) == found.copies
    left = [page for page, _ in shorter]
    assert repeated(tmp_path_factory.mktemp("out"), left).copies == 0

    def paragraphs(documents):
        return {part for page in documents for part in page.text.split("\n\n") if part}

    assert paragraphs(left) == paragraphs(pages)
    for before, after in zip(pages, left, strict=True):
        assert [(part.level, part.heading) for part in after.sections] == [
            (part.level, part.heading) for part in before.sections
        ]
        for old, new in zip(before.sections, after.sections, strict=True):
            original = iter(before.text[old.start : old.end].split("\n\n"))
            # In order, and none that was not there: a subsequence.
            assert all(part in original for part in after.text[new.start : new.end].split("\n\n") if part)
