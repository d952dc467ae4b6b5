"""Where a text may be cut: between blocks, paragraphs, list items, lines, sentences, and at last anywhere.

In: a text and a span of it. Out: smaller spans in order, with only white space between them (nothing, where `portions`
cuts a word). `LEVELS` has them from the best place to cut to the worst.

A document's text marks no code: what `<pre>` held stands there as it was written. Code is told by its looks, so that
a blank line in it is no place to cut while the whole fits.

Known limits: sentences end at full stops of Latin, Greek, Cyrillic, Arabic, Indic and East Asian writing; Thai, Lao and
Khmer mark no ends, and are cut at spaces. Code that looks like prose is cut at its blank lines.
"""

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """A part of a text, `text[start:end]`."""

    start: int
    end: int


_PARAGRAPH_GAP = re.compile(r"\n\s*\n")
_MARKER = r"[ \t]*(?:[-*•+]|\d{1,3}[.)])[ \t]"
_ITEM_GAP = re.compile(rf"\n(?={_MARKER})")
_ITEM_LINE = re.compile(_MARKER)
_LINE_GAP = re.compile(r"\n")

# Lines that stand in code and hardly in prose: shell prompts, comments, decorators, tags, brackets by themselves;
# statements; what ends in an open bracket or a semicolon; assignments, calls, and keys of YAML.
_CODE_LINE = re.compile(
    r"[ \t]*(?:[$%>] |>>>|\.\.\. |#|//|/\*|\*/|--(?!-)|@\w+|[}\])]|<[/?!]?\w)"
    r"|[ \t]*(?:import|from|def|class|return|for|while|if|elif|else|try|except|with|func|var|let|const|public|private"
    r"|select|insert|update|create|alter|drop|export|sudo|apt|pip|docker|kubectl|git|curl)\b.*[(){}\[\]=;:,/]"
    r"|[ \t]*import [\w., ]*\w$|.*[;{(\[\\]$"
    r"|[ \t]*[\w.\[\]\"'-]+[ \t]*(?:=|:=|\+=|=>)[ \t]*\S|[ \t]*[\w.]+\(.*\)$|[ \t]*[\w-]+:(?:[ \t]+\S+)?$",
    re.IGNORECASE,
)
_INDENTED = re.compile(r"[ \t]{2,}\S|\t")

# A full stop with the quotes and brackets that close behind it: of Latin, Arabic and Indic writing with white space
# after them, of East Asian writing without. A run of them is looked at from its first only: looked at from each, a long
# one with no white space after it takes time that grows with its square.
_SENTENCE_END = re.compile(
    r"(?<![.!?\u2026\u061f\u06d4\u0964\u0965])[.!?\u2026\u061f\u06d4\u0964\u0965]+[\"'\u201d\u2019\u00bb)\]]*(?=\s)"
    r"|[\u3002\uff01\uff1f\uff61]+[\u300d\u300f\u201d\u2019\uff09)\]]*"
)
_WORD_BEFORE = re.compile(r"[\w.&-]*\Z")
_ABBREVIATIONS = frozenset(
    "e.g i.e etc vs cf viz al approx ca est no nos vol vols ch chap sec sect fig figs eq eqs ref refs ed eds p pp art "
    "mr mrs ms dr prof sr jr st mt gen col sgt rev hon dept univ inc ltd corp co bros "
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue wed thu fri sat sun a.m p.m u.s u.k u.n "
    "z.b d.h bzw usw vgl nr abb bsp evtl ggf max min incl resp".split()
)
_CLOSERS = ",;:)\uff0c\u3001\uff1b\uff1a\u060c"


def blocks(text: str, span: Span) -> list[Span]:
    """Paragraphs, lists and tables, and code with the blank lines that are in it."""
    joined: list[Span] = []
    in_code = False
    for part in paragraphs(text, span):
        is_code = _is_code(text[part.start : part.end])
        if is_code and in_code:
            joined[-1] = Span(joined[-1].start, part.end)
        else:
            joined.append(part)
        in_code = is_code
    return joined


def paragraphs(text: str, span: Span) -> list[Span]:
    """What blank lines part."""
    return list(_between(_PARAGRAPH_GAP, text, span))


def items(text: str, span: Span) -> list[Span]:
    """List items, each with the lines that continue it."""
    return list(_between(_ITEM_GAP, text, span))


def lines(text: str, span: Span) -> list[Span]:
    """Lines: rows of a table, statements."""
    return list(_between(_LINE_GAP, text, span))


def sentences(text: str, span: Span) -> list[Span]:
    """Sentences. One does not end at an abbreviation, an initial, an item's number, nor before a small letter."""
    ends = [span.start, *(end for end in _sentence_ends(text, span)), span.end]
    return [part for start, end in pairwise(ends) if (part := _trimmed(text, Span(start, end)))]


def portions(text: str, span: Span, count: int) -> list[Span]:
    """About `count` parts of like length, cut at spaces or else at commas where there are some near, or anywhere."""
    size = (span.end - span.start) / count
    ends = [span.start]
    for number in range(1, count):
        at = _near(text, span.start + round(number * size), max(int(size / 4), 1))
        if ends[-1] < at < span.end:
            ends.append(at)
    parts = (_trimmed(text, Span(start, end)) for start, end in pairwise([*ends, span.end]))
    return [part for part in parts if part]


# The last resort, `portions`, is not among them: it has to be told how many.
LEVELS: tuple[Callable[[str, Span], list[Span]], ...] = (blocks, paragraphs, items, lines, sentences)


def _between(gap: re.Pattern[str], text: str, span: Span) -> Iterator[Span]:
    """The parts between gaps. A line's indentation stays with it."""
    start = span.start
    for found in gap.finditer(text, span.start, span.end):
        if part := _trimmed(text, Span(start, found.start()), keep_indent=True):
            yield part
        start = found.end()
    if part := _trimmed(text, Span(start, span.end), keep_indent=True):
        yield part


def _trimmed(text: str, span: Span, *, keep_indent: bool = False) -> Span | None:
    """The span without white space around it; None when there is nothing else in it."""
    part = text[span.start : span.end]
    if not part.strip():
        return None
    start = span.start + len(part) - len(part.lstrip())
    if keep_indent and start > span.start:
        start = max(text.rfind("\n", span.start, start) + 1, span.start)
    return Span(start, span.start + len(part.rstrip()))


def _is_code(paragraph: str) -> bool:
    """Whether a paragraph looks like code: of its lines, at least half."""
    if paragraph.lstrip().startswith("|") or _ITEM_LINE.match(paragraph):
        return False
    rows = [row for row in paragraph.split("\n") if row.strip()]
    likely = sum(bool(_INDENTED.match(row) or _CODE_LINE.match(row)) for row in rows)
    return 2 * likely >= len(rows)


def _sentence_ends(text: str, span: Span) -> Iterator[int]:
    for found in _SENTENCE_END.finditer(text, span.start, span.end):
        if found[0][0] != "." or not _goes_on(text, span, found):
            yield found.end()


def _goes_on(text: str, span: Span, stop: re.Match[str]) -> bool:
    """Whether the sentence goes on behind a full stop."""
    behind = text[stop.end() : min(stop.end() + 40, span.end)].lstrip()
    if behind[:1].islower():
        return True
    if len(stop[0]) > 1:
        return False
    begin = max(span.start, stop.start() - 20)
    found = _WORD_BEFORE.search(text, begin, stop.start())
    word = found[0].lower() if found else ""
    # "1." opens an item where it opens a line; "J." is an initial.
    opens = word.isdigit() and text[max(span.start, begin) : stop.start() - len(word)].rpartition("\n")[2].strip() == ""
    return word in _ABBREVIATIONS or (len(word) == 1 and word.isalpha()) or opens


def _near(text: str, at: int, reach: int) -> int:
    """The best place to cut within `reach` of `at`."""
    window = range(at - reach, at + reach)
    for wanted in (str.isspace, _CLOSERS.__contains__):
        places = [place + 1 for place in window if 0 <= place < len(text) and wanted(text[place])]
        if places:
            return min(places, key=lambda place: abs(place - at))
    # As far as `reach`, or each part of a text that is nothing but accents would look through all of it.
    last = min(at + reach, len(text))
    while at < last and (unicodedata.combining(text[at]) or text[at] in "\u200d\ufe0f"):
        at += 1
    return at
