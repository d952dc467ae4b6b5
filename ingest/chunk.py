"""Documents into passages: by heading first, then by block, list item, line and sentence within a token budget.

A passage never crosses a heading or a document, and its text is exactly `Document.text[start:end]`, so that a citation
can quote the place. Between two passages of a section there is only white space. A table, a list or code that fits is
kept whole; of one that does not, each piece starts with a row, an item or a line (`ingest/cuts.py`).

The budget counts what the embedder will see: the heading path and the text, in its own tokens. A path of more than half
the budget is shortened, its longest headings first.

A text counts for a token in every `LONGEST_TOKEN` characters at least, so that a passage is never longer than a model
can read.

Known limits: short sections are not joined, as each passage has one heading path; a row of a table that does not fit by
itself is cut between its words.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ingest.cuts import LEVELS, Span, portions
from ingest.passages import embedding_text
from ingest.records import Chunk, Document, Section, stable_id

# What most tokenizers put around a text.
SPECIAL_TOKENS = 2
# A heading path may not crowd out the passage itself.
LONGEST_PATH_SHARE = 0.5
# Some tokenizers take any word of more than so many characters for one token, which a reader of the passage cannot.
LONGEST_TOKEN = 16
# Characters of a shortened heading that are worth a mark that says so.
LEAST_NAME = 4

Count = Callable[[str], int]


class _Piece(NamedTuple):
    span: Span
    tokens: int


def chunk_document(
    document: Document, count_tokens: Count, *, max_tokens: int, min_tokens: int, reserved: int = SPECIAL_TOKENS
) -> Iterator[Chunk]:
    """Passages of a document in reading order.

    Args:
        count_tokens: tokens of a text, without special tokens.
        max_tokens: longest passage with its heading path and what is reserved.
        min_tokens: shorter pieces join a neighbour of the same section where both fit.
        reserved: tokens that the embedder adds to each passage: its special ones and those of its prefix.
    """
    limit = max(max_tokens - reserved, 1)

    def count(text: str) -> int:
        return max(count_tokens(text), len(text) // LONGEST_TOKEN)

    open_headings: list[Section] = []
    for section in document.sections:
        open_headings = [above for above in open_headings if above.level < section.level]
        if section.heading:
            open_headings.append(section)
        about = _about(document, section, open_headings)
        if not about.text:
            continue
        spans = [Span(about.start, about.end)]
        if count(embedding_text(about)) > limit:
            about = _with_fitting_path(about, count, limit)
            spans = _Cutter(document.text, about, count, limit, min_tokens).cut()
        for start, end in spans:
            passage = document.text[start:end]
            yield replace(about, id=stable_id(document.id, str(start), passage), text=passage, start=start, end=end)


def _about(document: Document, section: Section, above: Sequence[Section]) -> Chunk:
    """A section as one passage."""
    whole = document.text[section.start : section.end]
    text = whole.strip()
    start = section.start + whole.index(text)
    return Chunk(
        id="",
        doc_id=document.id,
        url=document.url,
        title=document.title,
        headings=tuple(heading.heading for heading in above),
        text=text,
        start=start,
        end=start + len(text),
        language=document.language,
        date=document.date,
        tags=document.tags,
    )


@dataclass(frozen=True)
class _Cutter:
    """Cuts a section that is too long.

    Attributes:
        text: of the document.
        limit: most tokens of heading path and passage together.
    """

    text: str
    section: Chunk
    count: Count
    limit: int
    min_tokens: int

    def cut(self) -> list[Span]:
        """The spans of the passages."""
        budget = max(self.limit - self.count(embedding_text(replace(self.section, text=""))), 1)
        pieces = self._merge_short(self._fit(Span(self.section.start, self.section.end), 0, budget), budget)
        return [span for piece in pieces for span in self._exactly(piece.span, budget)]

    def _exactly(self, span: Span, budget: int) -> Iterator[Span]:
        """The span, or smaller ones where a tokenizer counts a text for more than its parts."""
        excess = self.count(embedding_text(replace(self.section, text=self.text[slice(*span)]))) - self.limit
        if excess <= 0 or budget <= 1 or span.end - span.start < 2:
            yield span
            return
        lower = max(budget - excess, 1)
        for piece in self._fit(span, 0, lower):
            yield from self._exactly(piece.span, lower)

    def _fit(self, span: Span, level: int, budget: int) -> list[_Piece]:
        """Pieces within the budget, cut at the best places that there are."""
        tokens = self._tokens(span)
        if tokens <= budget or span.end - span.start < 2:
            return [_Piece(span, tokens)]
        parts = [span]
        while len(parts) < 2 and level < len(LEVELS):
            parts = LEVELS[level](self.text, span)
            level += 1
        if len(parts) < 2:
            parts = portions(self.text, span, -(-tokens // budget))
        if len(parts) < 2:
            middle = (span.start + span.end) // 2
            parts = [Span(span.start, middle), Span(middle, span.end)]
        fitting = [self._fit(part, level, budget) for part in parts]
        return list(self._packed(fitting, budget))

    def _packed(self, fitting: Sequence[Sequence[_Piece]], budget: int) -> Iterator[_Piece]:
        """Neighbours joined as long as they fit; what had to be cut stays by itself."""
        group: list[_Piece] = []
        for pieces in fitting:
            if len(pieces) > 1:
                yield from _joined(group)
                yield from pieces
                group = []
                continue
            if group and _tokens_of([*group, *pieces]) > budget:
                carried = self._carried(group, pieces[0], budget)
                yield from _joined(group[: len(group) - len(carried)])
                group = carried
            group += pieces
        yield from _joined(group)

    def _carried(self, group: Sequence[_Piece], following: _Piece, budget: int) -> list[_Piece]:
        """What leads in to the piece that follows ("For example:"), and so goes with it."""
        last = group[-1]
        leads_in = len(group) > 1 and self.text[last.span.end - 1] in ":\uff1a"
        return [last] if leads_in and last.tokens + following.tokens <= budget else []

    def _merge_short(self, pieces: Sequence[_Piece], budget: int) -> list[_Piece]:
        merged: list[_Piece] = []
        for piece in pieces:
            if merged and min(merged[-1].tokens, piece.tokens) < self.min_tokens:
                joined = Span(merged[-1].span.start, piece.span.end)
                if (tokens := self._tokens(joined)) <= budget:
                    merged[-1] = _Piece(joined, tokens)
                    continue
            merged.append(piece)
        return merged

    def _tokens(self, span: Span) -> int:
        return self.count(self.text[span.start : span.end])


def _joined(group: Sequence[_Piece]) -> list[_Piece]:
    if not group:
        return []
    return [_Piece(Span(group[0].span.start, group[-1].span.end), _tokens_of(group))]


def _tokens_of(group: Sequence[_Piece]) -> int:
    """Tokens of pieces with what is between them."""
    length = group[-1].span.end - group[0].span.start
    return max(sum(piece.tokens for piece in group), length // LONGEST_TOKEN)


def _with_fitting_path(about: Chunk, count: Count, limit: int) -> Chunk:
    """With title and headings that take at most their share of the limit; the longest are shortened."""
    most = max(int(limit * LONGEST_PATH_SHARE), 1)
    names = [about.title, *about.headings]
    while count(about.heading_path) > most and len(longest := max(names, key=len)) > 1:
        shorter = longest[: len(longest) // 2]
        names[names.index(longest)] = f"{shorter.rstrip()}…" if len(shorter) > LEAST_NAME else shorter
        about = replace(about, title=names[0], headings=tuple(names[1:]))
    return about
