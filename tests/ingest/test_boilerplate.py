"""Lines that a site repeats: found at the edges of its pages, taken out, and every section still in its place."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import boilerplate
from ingest.boilerplate import remove_lines, repeated_lines
from ingest.extractors.outline import Block, lay_out
from ingest.records import Document

MENU, FOOTER = "- Home\n- Contact", "© 2026 Pumps Ltd."


def page(number, *blocks, site="https://x.org"):
    text, sections = lay_out(blocks)
    return Document(f"id{number}", f"{site}/{number}", "T", text, sections)


def pages(count, site="https://x.org"):
    for number in range(count):
        yield page(
            number,
            Block(0, MENU),
            Block(1, f"Page {number}"),
            Block(0, f"What pump {number} does."),
            Block(0, "Note"),
            Block(0, f"Pump {number} is loud."),
            Block(2, "Description"),
            Block(0, "| a | b |"),
            Block(0, f"Pump {number} moves water."),
            Block(2, "Legal"),
            Block(0, FOOTER),
            site=site,
        )


def found(documents, **limits):
    return frozenset(repeated_lines(documents, **{"min_share": 0.5, "min_pages": 10, **limits}).tolist())


def test_furniture_at_the_edges_goes_and_the_rest_stays():
    repeated = found(pages(20))
    cleaned, removed = remove_lines(next(pages(1)), repeated)
    assert removed == 3
    assert cleaned.text == (
        "Page 0\n\nWhat pump 0 does.\n\nNote\n\nPump 0 is loud.\n\n"
        "Description\n\n| a | b |\n\nPump 0 moves water.\n\nLegal"
    )
    assert [(s.heading, cleaned.text[s.start : s.end]) for s in cleaned.sections] == [
        ("Page 0", "What pump 0 does.\n\nNote\n\nPump 0 is loud."),
        ("Description", "| a | b |\n\nPump 0 moves water."),
        ("Legal", ""),
    ]


def test_small_sites_and_rare_lines_are_left_alone():
    assert not found(pages(9))
    assert not found([*pages(12), *(page(n, Block(0, f"Another page {n}.")) for n in range(12, 30))])


def test_sites_are_counted_apart():
    both = [*pages(6, "https://x.org"), *pages(6, "https://y.org")]
    assert not found(both)
    repeated = found(pages(20, "https://x.org"))
    assert remove_lines(next(pages(1, "https://y.org")), repeated)[1] == 0


def test_a_line_counts_once_a_page():
    assert not found(page(n, *[Block(0, "Again.")] * 5, Block(0, f"Page {n}.")) for n in range(9))


def test_a_long_paragraph_and_a_table_are_text():
    long = "A sentence that is the same on all pages. " * 6
    assert not found(page(n, Block(0, long), Block(0, "| a |\n| --- |")) for n in range(30))


def test_a_paragraph_goes_only_as_a_whole():
    repeated = found(pages(20))
    mixed = page(0, Block(0, "- Home\n- Contact\n- About pumps"), Block(0, "Text."))
    assert remove_lines(mixed, repeated) == (mixed, 0)


def test_a_page_of_furniture_alone_is_empty_afterwards():
    cleaned, removed = remove_lines(page(0, Block(0, MENU), Block(0, FOOTER)), found(pages(20)))
    assert (cleaned.text, cleaned.sections, removed) == ("", (), 3)


def test_hashes_can_be_kept_in_a_file(tmp_path):
    np.save(tmp_path / "lines.npy", repeated_lines(pages(20), min_share=0.5, min_pages=10))
    loaded = np.load(tmp_path / "lines.npy", allow_pickle=False)
    assert loaded.dtype == np.uint64
    assert frozenset(loaded.tolist()) == found(pages(20))
    assert pickle.dumps(found(pages(20)))


def test_batches_do_not_change_the_counts(monkeypatch):
    whole = found(pages(20), min_pages=20)
    monkeypatch.setattr(boilerplate, "_BATCH", 1)
    assert found(pages(20), min_pages=20) == whole != frozenset()
    assert not found(pages(20), min_pages=21)


BLOCKS = st.lists(
    st.builds(
        Block,
        level=st.sampled_from([0, 0, 0, 1, 2]),
        text=st.sampled_from([MENU, FOOTER, "Text.", "  code\n\n  more", "Note", "- item"]),
        tight=st.booleans(),
    ),
    min_size=1,
    max_size=14,
)


@given(BLOCKS)
def test_what_is_left_lies_as_if_the_rest_had_never_been(blocks):
    repeated = found(pages(20))
    whole = page(0, *blocks)
    cleaned, removed = remove_lines(whole, repeated)
    assert bool(removed) == (cleaned != whole)
    headings = [section.heading for section in whole.sections if section.level]
    assert [section.heading for section in cleaned.sections if section.level] == headings
    for section in cleaned.sections:
        text = cleaned.text[section.start : section.end]
        assert text == text.strip("\n")
        if section.level:
            before = cleaned.text[: section.start].rstrip("\n")
            assert before.endswith(section.heading)
    left = [line for section in cleaned.sections for line in cleaned.text[section.start : section.end].split("\n")]
    lines = [line for section in whole.sections for line in whole.text[section.start : section.end].split("\n")]
    assert len([line for line in lines if line]) - len([line for line in left if line]) == removed


@pytest.mark.parametrize("count", [1, 3, 8])
def test_without_furniture_a_document_is_laid_out_as_ever(count):
    kept = [Block(1, "A"), Block(0, "One."), Block(0, "two", tight=True), Block(2, "B"), Block(0, "Three.")]
    cleaned, removed = remove_lines(page(0, *[Block(0, MENU)] * count, *kept, Block(0, FOOTER)), found(pages(20)))
    assert removed == 2 * count + 1
    assert (cleaned.text, cleaned.sections) == lay_out(kept)
