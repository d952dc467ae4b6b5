"""What every extractor gives: the blocks of a document in reading order, lists and tables written the same way by all.

An extractor that cannot read its input raises `Unreadable` with the reason that goes into the reject.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from ingest.records import Section

DEEPEST_INDENT = 8
MOST_TAGS, LONGEST_TAG = 20, 60

_COMMA = re.compile(r"[,;\uff0c\u3001]")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?![0-9])")


class Unreadable(Exception):  # noqa: N818  # an outcome of extraction, not an error of the program
    """The body holds nothing to read. `reason` is a reject's reason code."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Block(NamedTuple):
    """A heading, or a piece of text that stands by itself.

    Attributes:
        level: 1 to 6 for a heading, 0 for text.
        tight: follows the block before it on the next line, without a blank line (list items, definitions).
        code: white space and line ends are part of it.
    """

    level: int
    text: str
    tight: bool = False
    code: bool = False


@dataclass(frozen=True)
class Outline:
    """A document as read.

    Attributes:
        title: what the format itself calls the title; may be empty.
        canonical: the address that the document names as its own; may be empty.
        language: ISO 639-1 code that the document declares; may be empty.
        date: when it was published or last changed, as it says, `YYYY-MM-DD`; may be empty.
        tags: keywords that the document gives itself, see `tags_in`.
    """

    title: str
    blocks: tuple[Block, ...]
    canonical: str = ""
    language: str = ""
    date: str = ""
    tags: tuple[str, ...] = ()


def list_item(text: str, depth: int, *, marked: bool = True) -> str:
    """A paragraph of a list item, indented by the depth of its list (from 1).

    Args:
        marked: it is the first of its item, and so gets the dash.
    """
    indent = "  " * min(depth - 1, DEEPEST_INDENT)
    return indent + ("- " if marked else "  ") + text.replace("\n", f"\n{indent}  ")


def table_text(rows: Iterable[Sequence[str]], *, header: bool) -> str:
    """Markdown rows of a table's cells; rows without text are left out.

    Args:
        header: the first row names the columns.
    """
    lines: list[str] = []
    for cells in rows:
        if any(cells):
            lines.append(f"| {' | '.join(cells)} |")
            if len(lines) == 1 and header and len(cells) > 1:
                lines.append("|" + " --- |" * len(cells))
    return "\n".join(lines)


def iso_date(text: str) -> str:
    """The `YYYY-MM-DD` that a text begins with (ISO 8601), or an empty string when it is no such date."""
    begin = _DATE.match(text.strip())
    try:
        return date.fromisoformat(begin[0]).isoformat() if begin else ""
    except ValueError:
        return ""


def tags_in(values: Iterable[str]) -> tuple[str, ...]:
    """The keywords in some lists of them: in lower case, each once, without those that are too long to be one."""
    parts = (" ".join(part.split()).strip("\"'[]#").strip().lower() for value in values for part in _COMMA.split(value))
    return tuple(dict.fromkeys(part for part in parts if 0 < len(part) <= LONGEST_TAG))[:MOST_TAGS]


def lay_out(blocks: Iterable[Block]) -> tuple[str, tuple[Section, ...]]:
    """Join blocks into the document's text, and say where each section lies in it.

    Returns:
        The text, and the sections in order; a section runs from its first block to the end of its last, and is empty,
        at the end of its heading line, when there is none.
    """
    parts: list[str] = []
    marks = [_Mark(0, "")]
    at = 0
    for block in blocks:
        gap = "" if not parts else "\n" if block.tight and not block.level else "\n\n"
        parts += [gap, block.text]
        start, at = at + len(gap), at + len(gap) + len(block.text)
        if block.level:
            marks.append(_Mark(block.level, block.text, end=at))
        else:
            marks[-1].start = start if marks[-1].start is None else marks[-1].start
            marks[-1].end = at
    kept = (mark for mark in marks if mark.level or mark.start is not None)
    sections = tuple(
        Section(mark.level, mark.heading, mark.end if mark.start is None else mark.start, mark.end) for mark in kept
    )
    return "".join(parts), sections


@dataclass
class _Mark:
    level: int
    heading: str
    start: int | None = None
    end: int = 0
