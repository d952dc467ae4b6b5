"""Work on spans: put replacements into a text, follow offsets through several rounds of that, drop overlaps, and read a
long text in windows."""

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from guards.base import NO_CONTEXT, Context, Span


def replacement(span: Span) -> str:
    """What stands in the span's place after redaction."""
    return f"<{span.category.upper()}>" if span.replacement is None else span.replacement


def redact(text: str, spans: Sequence[Span]) -> str:
    """Put each span's replacement in its place."""
    parts: list[str] = []
    done = 0
    for span in sorted(spans, key=lambda span: span.start):
        parts += [text[done : span.start], replacement(span)]
        done = max(done, span.end)
    return "".join([*parts, text[done:]])


class Edited:
    """A text that several guards redact in turn, and the way back from its present state to the original's offsets.

    Attributes:
        text: the text after all redactions so far.
        redactions: these, in offsets of the original; in order, not overlapping.
    """

    def __init__(self, text: str) -> None:
        self._original = self.text = text
        self.redactions: tuple[Span, ...] = ()
        # Where each one's replacement lies at present, and by how much the text has grown up to there.
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._shifts = [0]

    def redact(self, spans: Sequence[Span]) -> None:
        """Redact spans of the present text. One that cuts into an earlier replacement takes its place."""
        if not spans:
            return
        new = self.original(spans)
        merged: list[Span] = []
        for span in sorted([*self.redactions, *new], key=lambda span: (span.start, span.end)):
            if merged and span.start < merged[-1].end:
                stays = span if span in new else merged[-1]
                merged[-1] = replace(stays, start=merged[-1].start, end=max(merged[-1].end, span.end))
            else:
                merged.append(span)
        self.redactions = tuple(merged)
        self.text = redact(self._original, self.redactions)
        self._locate()

    def original(self, spans: Sequence[Span]) -> tuple[Span, ...]:
        """Spans of the present text in offsets of the original; a part of a replacement stands for all it replaced."""
        return tuple(replace(span, start=self._start(span.start), end=self._end(span.end)) for span in spans)

    def _locate(self) -> None:
        self._starts, self._ends, self._shifts = [], [], [0]
        for span in self.redactions:
            start = span.start + self._shifts[-1]
            self._starts.append(start)
            self._ends.append(start + len(replacement(span)))
            self._shifts.append(self._ends[-1] - span.end)

    def _start(self, place: int) -> int:
        passed = bisect.bisect_right(self._ends, place)
        if passed < len(self.redactions) and self._starts[passed] <= place:
            return self.redactions[passed].start
        return place - self._shifts[passed]

    def _end(self, place: int) -> int:
        passed = bisect.bisect_left(self._ends, place)
        if passed < len(self.redactions) and self._starts[passed] < place:
            return self.redactions[passed].end
        return place - self._shifts[passed]


def without_overlaps(spans: Sequence[Span]) -> tuple[Span, ...]:
    """In order; where two overlap, the one that starts first, then the longer, stays."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return tuple(kept)


def joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """In order, those that overlap as one, which is called as the first of them; empty ones are left out."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        if span.end <= span.start:
            continue
        if kept and span.start < kept[-1].end:
            kept[-1] = replace(kept[-1], end=max(kept[-1].end, span.end))
        else:
            kept.append(span)
    return tuple(kept)


def windows(text: str, size: int, overlap: int, context: Context = NO_CONTEXT) -> Iterator[tuple[int, str]]:
    """Pieces of at most `size` characters with the offset of each, each sharing `overlap` characters with the last.

    Cut after white space where there is some in the shared part. Stops with TimeoutError at the context's deadline, so
    that a text of any length ends in time.
    """
    start = 0
    while True:
        context.check_deadline()
        end = min(start + size, len(text))
        if end == len(text):
            yield start, text[start:end]
            return
        floor = end - overlap // 2
        cut = next((place for place in range(end, floor, -1) if text[place - 1].isspace()), end)
        yield start, text[start:cut]
        start = max(cut - overlap, start + 1)
