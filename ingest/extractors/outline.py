"""What every extractor gives: the blocks of a document in reading order.

An extractor that cannot read its input raises `Unreadable` with the reason that goes into the reject.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from ingest.records import Section


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
    """

    level: int
    text: str
    tight: bool = False


@dataclass(frozen=True)
class Outline:
    """A document as read.

    Attributes:
        title: what the format itself calls the title; may be empty.
        canonical: the address that the document names as its own; may be empty.
    """

    title: str
    blocks: tuple[Block, ...]
    canonical: str = ""


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
