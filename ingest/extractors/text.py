"""Plain text to an outline: paragraphs as they stand, the first line as the title."""

import re

from ingest.extractors.charset import decode
from ingest.extractors.outline import Block, Outline, Unreadable

LONGEST_TITLE = 120
_GAP = re.compile(r"\n(?:[ \t]*\n)+")


def read_text(body: bytes, charset: str) -> Outline:
    """The outline of a plain text.

    Raises:
        Unreadable: there is no text (`empty`).
    """
    return outline_of_text(decode(body, charset))


def outline_of_text(text: str) -> Outline:
    """`read_text` for decoded text."""
    blocks = [Block(0, part.rstrip()) for part in _GAP.split(text.strip("\n")) if part.strip()]
    if not blocks:
        raise Unreadable("empty", "there is no text")
    title = blocks[0].text.strip().split("\n")[0].strip()
    return Outline(title if len(title) <= LONGEST_TITLE else "", tuple(blocks))
