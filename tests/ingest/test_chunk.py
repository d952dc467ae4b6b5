"""Passages quote their document exactly, keep to their section and to the budget, and lose nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.chunk import chunk_document
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
