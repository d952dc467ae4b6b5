"""Reading PDF: headings, paragraphs, running lines, and files that are broken or locked."""

import logging

import pytest

from ingest.extractors.outline import Block, Unreadable
from ingest.extractors.pdf import read_pdf
from ingest.extractors.pdf_layout import Line, blocks_of
from tests.ingest.office_files import pdf


def texts(body: bytes) -> list[tuple[int, str]]:
    return [(block.level, block.text) for block in read_pdf(body).blocks]


def refused(body: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read_pdf(body)
    return caught.value.reason


def lines(*rows: str, top: float = 700, size: float = 10, left: float = 72) -> list[Line]:
    """A paragraph of lines without space between them; as wide as they have characters."""
    return [Line(row, left, left + 5 * len(row), top - size * at, top - size * (at + 1)) for at, row in enumerate(rows)]


def test_bookmarks_become_headings_at_their_line() -> None:
    page = [
        (700, 12, "1.2 Setting up"),
        (680, 12, "Text below."),
        (600, 12, "Other words."),
        (580, 12, "Running"),
        (560, 12, "End."),
    ]
    found = read_pdf(pdf([page], [("Setting up", 0), ("Nowhere named", 0), ("Running", 0)]))
    assert [(block.level, block.text) for block in found.blocks if block.level] == [
        *((1, "Nowhere named"), (1, "Setting up"), (1, "Running")),
    ]
    assert [block.text for block in found.blocks[-1:]] == ["End."]
    assert (found.title, found.date) == ("The manual", "2024-01-31")


def test_larger_type_is_a_heading_where_there_are_no_bookmarks() -> None:
    text = [(640 - 14 * at, 12, "Some words of the text that are set in the usual size of it.") for at in range(12)]
    found = texts(pdf([[(720, 24, "The guide"), (680, 16, "A part of it that is"), (662, 16, "long"), *text]]))
    assert found[:2] == [(1, "The guide"), (2, "A part of it that is long")]
    assert {level for level, _ in found[2:]} == {0}


def test_text_is_no_heading_where_code_in_smaller_type_is_longer() -> None:
    text = [(640 - 14 * at, 12, "Words of the text.") for at in range(8)]
    code = [(500 - 9 * at, 8, "a = some_function(of=code, that=goes_on)") for at in range(12)]
    found = texts(pdf([[(700, 20, "The guide"), *text, *code]]))
    assert [text for level, text in found if level] == ["The guide"]


def test_slides_have_no_headings_by_size() -> None:
    assert {level for level, _ in texts(pdf([[(700, 30, "Big words here"), (600, 12, "small")]]))} == {0}


def test_lines_that_repeat_on_most_pages_are_left_out() -> None:
    pages = [
        [(760, 9, "The manual, release 3"), (600, 12, f"Words of {name}."), (40, 9, f"Page {number} of 4")]
        for number, name in enumerate(("one", "two", "three", "four"), 1)
    ]
    assert [text for _, text in texts(pdf(pages))] == [
        "Words of one.",
        "Words of two.",
        "Words of three.",
        "Words of four.",
    ]
    assert len(texts(pdf(pages[:2]))) == 6


def test_paragraphs_are_joined_and_divided_words_are_whole() -> None:
    first = lines(
        "a line that is as full as it can be, with hy-",
        "phens, before a line that is full as well, and",
        "then it ends",
    )
    second = lines("Next paragraph after a gap", top=650)
    assert blocks_of([[*first, *second]], {}) == [
        Block(
            0, "a line that is as full as it can be, with hyphens, before a line that is full as well, and then it ends"
        ),
        Block(0, "Next paragraph after a gap"),
    ]


def test_lines_that_end_early_stay_lines() -> None:
    code = lines("x = 1", "if x:", "print(x, file=sys.stderr, end='')")
    assert [block.text for block in blocks_of([code], {})] == ["x = 1\nif x:\nprint(x, file=sys.stderr, end='')"]


def test_bullets_are_list_items_and_paragraphs_run_over_pages() -> None:
    page = [*lines("\u2022 one"), *lines("\u2022 two", top=690), *lines("The sentence goes on", top=600)]
    found = blocks_of([page, lines("over the edge.")], {})
    assert found == [Block(0, "- one"), Block(0, "- two", tight=True), Block(0, "The sentence goes on over the edge.")]


def test_a_broken_page_loses_only_itself(caplog: pytest.LogCaptureFixture) -> None:
    whole = pdf([[(700, 12, "First.")], [(700, 12, "Second.")], [(700, 12, "Third.")]])
    broken = whole.replace(b"12 0 obj<</Type/Page/", b"12 0 obj<</Type/Pigs/")
    with caplog.at_level(logging.WARNING):
        assert [text for _, text in texts(broken)] == ["First.", "Third."]
    assert "1 of 3 pages" in caplog.text


def test_files_that_cannot_be_read_have_a_reason() -> None:
    assert refused(b"") == refused(b"%PDF-1.4 cut off") == "broken_pdf"
    assert refused(pdf([[]])) == "empty"
    assert refused(LOCKED) == "encrypted"


# RC4 with 40 bits (ISO 32000-1, section 7.6.3); no password that anybody knows opens it.
LOCKED = pdf([[(700, 12, "Secret")]]).replace(
    b"trailer<<",
    b"trailer<</ID[<00><00>]/Encrypt<</Filter/Standard/V 1/R 2/P -4/O<" + b"41" * 32 + b">/U<" + b"42" * 32 + b">>>",
)
