"""Lines of PDF pages to blocks: running headers and footers out, words and paragraphs joined, headings found.

A line that stands at the edge of most pages, digits apart, is a running header, a footer or a page number. Where a file
has no bookmarks, a line is a heading when its type is larger than that of the text by `LARGER`; each larger size is a
level of its own.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from ingest.extractors.outline import Block

LARGER = 1.15
LONGEST_HEADING = 150
# A header on left pages alone stands on half of the pages, less the first ones of chapters.
_REPEATED_SHARE, _REPEATED_LEAST = 0.4, 3
_EDGE_LINES = 2
# The text is the largest type that has so many characters, compared with the type that has most.
_LEAST_IN_TEXT = 0.25
# More large type than this is a poster or slides, where size says nothing.
_MOST_IN_HEADINGS = 0.25

_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b", re.IGNORECASE)
_WORDLESS = re.compile(r"[\W_]+")
_BULLET = re.compile(r"[•▪◦‣●○■∙·\uf0b7][ \t]*(?=\S)")
_HYPHENS = ("-", "\u2010")
_SENTENCE_END = re.compile(r"[.!?:;…][\"'\u2019\u201d)\]]*$")


class Line(NamedTuple):
    """A line of text and its box, in points from the lower left corner of the page."""

    text: str
    left: float
    right: float
    top: float
    bottom: float

    @property
    def size(self) -> float:
        """Height of its type, in steps of half a point."""
        return round(2 * (self.top - self.bottom)) / 2


def blocks_of(pages: Sequence[Sequence[Line]], marks: Mapping[int, Sequence[Block]]) -> list[Block]:
    """The blocks of a file.

    Args:
        marks: page number to the headings on it, in order; when there are none, headings are found by their size.
    """
    bare = _without_running(pages)
    levels = {} if marks else _levels(line for page in bare for line in page)
    blocks: list[Block] = []
    for number, lines in enumerate(bare):
        _append(blocks, _page_blocks(lines, list(marks.get(number, ())), levels))
    return blocks


def _without_running(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The pages without the lines that repeat at their edges."""
    edges = [_edges(page) for page in pages]
    seen = Counter(key for page in edges for key in set(page.values()))
    enough = max(_REPEATED_LEAST, _REPEATED_SHARE * len(pages))
    return [
        [line for at, line in enumerate(page) if seen[edge.get(at, "")] < enough]
        for page, edge in zip(pages, edges, strict=True)
    ]


def _edges(page: Sequence[Line]) -> dict[int, str]:
    """Place of the highest and lowest lines of a page -> what to recognise each by on another page."""
    order = sorted(range(len(page)), key=lambda at: -page[at].top)
    top, bottom = order[:_EDGE_LINES], order[max(_EDGE_LINES, len(order) - _EDGE_LINES) :]
    keys = {at: f"top {_key(page[at].text)}" for at in top}
    return keys | {at: f"bottom {_key(page[at].text)}" for at in bottom}


def _key(text: str) -> str:
    return _NUMBER.sub("0", text.lower())


def _levels(lines: Iterable[Line]) -> dict[float, int]:
    """Size of type to level of heading."""
    chars: Counter[float] = Counter()
    for line in lines:
        chars[line.size] += len(line.text)
    if not chars:
        return {}
    # Not the size of most characters: that is the code's in many a manual.
    body = max(size for size, count in chars.items() if count >= _LEAST_IN_TEXT * max(chars.values()))
    larger = sorted((size for size in chars if size >= LARGER * body), reverse=True)
    if sum(chars[size] for size in larger) > _MOST_IN_HEADINGS * chars.total():
        return {}
    return {size: min(level, 6) for level, size in enumerate(larger, 1)}


def _page_blocks(lines: list[Line], marks: list[Block], levels: Mapping[float, int]) -> list[Block]:
    if not lines:
        return marks
    blocks: list[Block] = []
    waiting: list[Line] = []
    usual = _usual_gap(lines)
    placed = _placed(lines, marks)
    blocks += (mark for mark in marks if mark not in (found for found, _ in placed.values()))
    at = 0
    while at < len(lines):
        line = lines[at]
        if at in placed:
            blocks += [*_paragraphs(waiting, usual), placed[at][0]]
            at, waiting = at + placed[at][1], []
        elif line.size in levels and _may_head(line.text):
            end = _heading_end(lines, at)
            heading = _joined(lines[at:end], " ")
            blocks += [*_paragraphs(waiting, usual), Block(levels[line.size], heading)]
            at, waiting = end, []
        else:
            waiting.append(line)
            at += 1
    return blocks + _paragraphs(waiting, usual)


def _may_head(text: str) -> bool:
    return len(text) <= LONGEST_HEADING and any(char.isalpha() for char in text)


def _heading_end(lines: Sequence[Line], at: int) -> int:
    """The end of the heading that begins at a line: it may run on in the same type right below."""
    end = at + 1
    while end < len(lines):
        above, line = lines[end - 1], lines[end]
        length = sum(len(part.text) for part in lines[at : end + 1])
        if line.size != above.size or length > LONGEST_HEADING or not 0 < above.top - line.top < 1.6 * line.size:
            break
        end += 1
    return end


def _placed(lines: Sequence[Line], marks: Sequence[Block]) -> dict[int, tuple[Block, int]]:
    """Line to the bookmark that names it, and how many lines its name takes."""
    found: dict[int, tuple[Block, int]] = {}
    after = 0
    for mark in marks:
        for at in range(after, len(lines)):
            if taken := _names(mark.text, lines[at : at + 3]):
                found[at] = (mark, taken)
                after = at + taken
                break
    return found


def _names(title: str, lines: Sequence[Line]) -> int:
    """How many of the lines the title takes; 0 when they do not begin with it. Numbers before it do not count."""
    wanted = _WORDLESS.sub("", title.lower())
    text = ""
    for count, line in enumerate(lines, 1):
        text += _WORDLESS.sub("", line.text.lower())
        extra = text.removesuffix(wanted) if wanted and text.endswith(wanted) else None
        if extra is not None and re.fullmatch(r"(?:chapter|part|section|appendix)?[\da-z]?\d*", extra):
            return count
        if len(text) > len(wanted) + 12:
            break
    return 0


def _usual_gap(lines: Sequence[Line]) -> float:
    """White space between two lines of a paragraph, in points."""
    gaps = [above.bottom - below.top for above, below in pairwise(lines) if above.top > below.top]
    return median(gaps) if gaps else 0.0


def _paragraphs(lines: Sequence[Line], usual: float) -> list[Block]:
    groups: list[list[Line]] = []
    for line in lines:
        if groups and _goes_on(groups[-1][-1], line, usual):
            groups[-1].append(line)
        else:
            groups.append([line])
    blocks: list[Block] = []
    for group in groups:
        text = _paragraph(group)
        item = _BULLET.match(text)
        tight = bool(item and blocks and blocks[-1].text.startswith("- "))
        blocks.append(Block(0, f"- {text[item.end() :]}" if item else text, tight))
    return blocks


def _goes_on(above: Line, line: Line, usual: float) -> bool:
    """Whether a line belongs to the paragraph of the line before it."""
    if _BULLET.match(line.text) or abs(line.size - above.size) > 0.1 * above.size:
        return False
    ended = bool(_SENTENCE_END.search(above.text))
    if line.top >= above.top:
        # The next column, or a cell beside.
        return not ended and abs(line.top - above.top) > above.size
    indented = 0.5 * line.size < line.left - above.left < 4 * line.size
    return above.bottom - line.top <= usual + 0.35 * line.size and not (ended and indented)


def _paragraph(lines: Sequence[Line]) -> str:
    """The lines as one text: joined where a line was full, kept apart where it ended early."""
    right, left = max(line.right for line in lines), min(line.left for line in lines)
    text = lines[0].text
    for above, line in pairwise(lines):
        full = right - above.right <= 0.15 * (right - left)
        text = _glued(text, line.text, " " if full else "\n")
    return text


def _joined(lines: Sequence[Line], gap: str) -> str:
    text = lines[0].text
    for line in lines[1:]:
        text = _glued(text, line.text, gap)
    return text


def _glued(text: str, more: str, gap: str) -> str:
    """Two parts of a text; a word that was divided between them is whole again."""
    if text.endswith(_HYPHENS) and text[-2:-1].islower() and more[:1].islower():
        return text[:-1] + more
    return text + gap + more


def _append(blocks: list[Block], more: list[Block]) -> None:
    """Add the blocks of the next page; a paragraph that runs over the edge goes on."""
    if blocks and more and not (blocks[-1].level or more[0].level) and more[0].text[:1].islower():
        last = blocks[-1].text
        if not _SENTENCE_END.search(last):
            blocks[-1] = blocks[-1]._replace(text=_glued(last, more[0].text, " "))
            more = more[1:]
    blocks += more
