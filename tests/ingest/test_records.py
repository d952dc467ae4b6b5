"""Records survive Parquet unchanged, and a foreign or damaged file is named."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ArtifactError
from ingest.records import Chunk, Document, Example, Outcome, Page, Reject, Section, read_table, stable_id, write_table

CHUNK = Chunk("c1", "d1", "https://x.org/", "Title", ("One", "Two"), "text", 3, 7)


@pytest.mark.parametrize(
    "record",
    [
        Page("https://x.org/", "text/html", "utf-8", b"\x00\xff<p>", datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
        Document("d1", "https://x.org/", "Title", "some text", (Section(1, "A", 0, 4), Section(0, "", 4, 9))),
        Document("d2", "https://x.org/", "", "", ()),
        CHUNK,
        Example("e1", "d1", "What?", (CHUNK, CHUNK), "That. [1]", True, "holdout"),
    ],
    ids=lambda record: type(record).__name__,
)
def test_a_record_comes_back_as_it_was(tmp_path, record):
    assert write_table(tmp_path / "t.parquet", [record] * 3, type(record), batch=2) == 3
    assert list(read_table(tmp_path / "t.parquet", type(record))) == [record] * 3


def test_an_empty_table_is_a_table(tmp_path):
    assert write_table(tmp_path / "t.parquet", [], Chunk) == 0
    assert list(read_table(tmp_path / "t.parquet", Chunk)) == []


def test_the_same_records_give_the_same_bytes(tmp_path):
    for name in "ab":
        write_table(tmp_path / name, [CHUNK], Chunk)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_table_of_other_records_is_refused(tmp_path):
    write_table(tmp_path / "t.parquet", [CHUNK], Chunk)
    with pytest.raises(ArtifactError, match="not Document records"):
        list(read_table(tmp_path / "t.parquet", Document))


def test_what_an_older_table_lacks_has_its_default(tmp_path):
    @dataclass(frozen=True)
    class Before:
        id: str
        url: str
        title: str
        text: str
        sections: tuple[Section, ...]

    @dataclass(frozen=True)
    class BeforeOutcome:
        url: str
        key: str
        documents: tuple[Before, ...]
        rejects: tuple[Reject, ...]

    before = Before("1", "u", "T", "Text.", (Section(0, "", 0, 5),))
    write_table(tmp_path / "d", [before], Before)
    write_table(tmp_path / "o", [BeforeOutcome("u", "k", (before,), ())], BeforeOutcome)
    now = Document(**vars(before))
    assert list(read_table(tmp_path / "d", Document)) == [now]
    assert list(read_table(tmp_path / "o", Outcome)) == [Outcome("u", "k", (now,), ())]


@pytest.mark.parametrize("content", [None, b"", b"no parquet at all"])
def test_a_missing_or_damaged_table_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"t\.parquet"):
        list(read_table(tmp_path / "t.parquet", Chunk))


@given(st.lists(st.text(max_size=5), max_size=3), st.lists(st.text(max_size=5), max_size=3))
def test_ids_depend_on_every_part_and_its_place(a, b):
    # The separator is a control character that no url or heading holds.
    a, b = ([part.replace("\x1f", "") for part in parts] for parts in (a, b))
    assert (stable_id(*a) == stable_id(*b)) == (a == b or [a, b] in ([[], [""]], [[""], []]))


@pytest.mark.parametrize(
    ("title", "headings", "path"),
    [("T", ("A", "B"), "T > A > B"), ("A", ("A", "B"), "A > B"), ("", (), ""), ("T", (), "T")],
)
def test_the_heading_path_does_not_repeat_the_title(title, headings, path):
    assert Chunk("c", "d", "u", title, headings, "", 0, 0).heading_path == path
