"""Lines that a site repeats from page to page, at the beginning or the end of its pages: found in one pass, taken out
in another.

In: documents, those of a site next to each other (as in a table sorted by address). Out: hashes of the lines that most
pages of a site share; and a document without them, its sections in place. A line is only looked at where furniture
stands: in the first and last `EDGE` paragraphs of a page, outside headings and tables. A paragraph goes if all of its
lines are repeated and nothing but such paragraphs and headings lies between it and the end of the page that it is near,
so labels and code in the midst of a text stay, however often they occur.

Memory: 64 MB for a site, and 16 bytes for each line that occurs twice; a count is too high by one for about one line in
seven once a site has ten million different ones. Known limits: what a site repeats between paragraphs of its text
stays; sites with fewer pages than `min_pages` are left alone.
"""

import hashlib
import math
import re
import sys
from collections.abc import Iterable, Iterator, Set
from dataclasses import replace
from itertools import groupby
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ingest.records import Document, Section

EDGE = 8
# Longer lines are text.
LONGEST = 200
# One byte for each remainder of a hash: whether a line was seen before.
_SLOTS = 1 << 26
_BATCH = 1 << 19
_PARAGRAPH = re.compile(r"[^\n]+(?:\n[^\n]+)*")

Hashes = NDArray[np.uint64]


class Span(NamedTuple):
    """Offsets into a document's text."""

    start: int
    end: int


def repeated_lines(documents: Iterable[Document], *, min_share: float, min_pages: int) -> Hashes:
    """Hashes of the lines that are repeated across their site, uint64, sorted; to be kept with `numpy.save`.

    Args:
        documents: those of a site next to each other; a site that comes again later counts as another.
        min_share: of the site's pages that have the line, 0 to 1.
        min_pages: pages that have it, at least.
    """
    found = [np.empty(0, np.uint64)]
    for site, pages in groupby(documents, lambda document: _site(document.url)):
        counter = _LineCounter()
        for page in pages:
            counter.add(_edge_lines(page, site))
        found.append(counter.at_least(max(min_pages, math.ceil(min_share * counter.pages))))
    return np.unique(np.concatenate(found))


def remove_lines(document: Document, repeated: Set[int]) -> tuple[Document, int]:
    """The document without the repeated lines at its beginning and end, and how many lines went.

    Args:
        repeated: as `repeated_lines` found them.

    Returns:
        The document with the same id and headings; a section without text left is empty, at the end of its heading.
    """
    site, text = _site(document.url), document.text
    paragraphs = list(paragraphs_of(document))

    def furniture(paragraph: Span) -> bool:
        hashes = set(_hashes(text[paragraph.start : paragraph.end], site))
        return bool(hashes) and hashes <= repeated

    first = next((n for n, span in enumerate(paragraphs[:EDGE]) if not furniture(span)), EDGE)
    rest = paragraphs[first:]
    last = next((n for n, span in enumerate(rest[: -EDGE - 1 : -1]) if not furniture(span)), EDGE)
    gone = paragraphs[:first] + (rest[-last:] if last else [])
    if not gone:
        return document, 0
    return without(document, gone), sum(text.count("\n", *span) + 1 for span in gone)


def paragraphs_of(document: Document) -> Iterator[Span]:
    """Those of the sections, that is, without headings."""
    for section in document.sections:
        for match in _PARAGRAPH.finditer(document.text, section.start, section.end):
            yield Span(*match.span())


def _edge_lines(document: Document, site: str) -> set[int]:
    paragraphs = list(paragraphs_of(document))
    at_edge = {*paragraphs[:EDGE], *paragraphs[-EDGE:]}
    return {value for span in at_edge for value in _hashes(document.text[span.start : span.end], site)}


def _hashes(paragraph: str, site: str) -> list[int]:
    """Hashes of the paragraph's lines; none where one of them is no furniture by its form."""
    lines = [line.strip() for line in paragraph.split("\n")]
    if any(len(line) > LONGEST or line.startswith("|") for line in lines):
        return []
    return [_hash(f"{site}\n{line}") for line in lines]


def _hash(line: str) -> int:
    digest = hashlib.blake2b(line.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, sys.byteorder)


def _site(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def without(document: Document, gone: list[Span]) -> Document:
    """The document without some of its paragraphs, each with the blank lines before it."""
    text = document.text
    cuts = [Span(len(text[: span.start].rstrip("\n")), span.end) for span in gone]
    ends = [0, *(cut.end for cut in cuts)]
    left = "".join(text[start : cut.start] for start, cut in zip(ends, cuts, strict=False)) + text[ends[-1] :]
    # The first paragraph of a document has no blank lines before it, but some after it.
    lead = len(left) - len(left.lstrip("\n"))
    left = left[lead:]

    def moved(offset: int) -> int:
        return max(offset - lead - sum(min(offset, cut.end) - cut.start for cut in cuts if cut.start < offset), 0)

    sections = []
    for section in document.sections:
        start, end = moved(section.start), moved(section.end)
        while start < end and left[start] == "\n":
            start += 1
        if section.level or start < end:
            sections.append(Section(section.level, section.heading, start, end))
    return replace(document, text=left, sections=tuple(sections))


class _LineCounter:
    """Counts the pages that have a line. What occurs once, as most lines do, takes one bit of a table."""

    def __init__(self) -> None:
        self._seen = np.zeros(_SLOTS, np.bool_)
        self._waiting: list[int] = []
        self._lines = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self.pages = 0

    def add(self, page: Iterable[int]) -> None:
        """The different lines of a page."""
        self._waiting += page
        self.pages += 1
        if len(self._waiting) >= _BATCH:
            self._flush()

    def at_least(self, pages: int) -> Hashes:
        """The lines that this many pages have."""
        self._flush()
        # Each line's first page is not in its count.
        return self._lines[self._counts + 1 >= pages]

    def _flush(self) -> None:
        lines, counts = np.unique(np.array(self._waiting, np.uint64), return_counts=True)
        self._waiting = []
        slots = (lines % np.uint64(_SLOTS)).astype(np.int64)
        counts = counts - ~self._seen[slots]
        self._seen[slots] = True
        again = counts > 0
        merged, where = np.unique(np.concatenate((self._lines, lines[again])), return_inverse=True)
        total = np.zeros(merged.size, np.int64)
        np.add.at(total, where, np.concatenate((self._counts, counts[again])))
        self._lines, self._counts = merged, total
