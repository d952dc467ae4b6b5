"""Personal data out of a document, its heading tree kept in place."""

from collections.abc import Sequence
from dataclasses import replace

from guards.base import Span, redact
from guards.pii import find_pii
from ingest.records import Document, Section


def redact_document(document: Document) -> tuple[Document, int]:
    """The document with personal data replaced by type tags, and how many places were replaced."""
    spans, in_title = find_pii(document.text), find_pii(document.title)
    sections = tuple(_shifted(section, spans) for section in document.sections)
    title = redact(document.title, in_title)
    cleaned = replace(document, title=title, text=redact(document.text, spans), sections=sections)
    return cleaned, len(spans) + len(in_title)


def _shifted(section: Section, spans: Sequence[Span]) -> Section:
    heading = redact(section.heading, find_pii(section.heading))
    return replace(section, heading=heading, start=_shift(section.start, spans), end=_shift(section.end, spans))


def _shift(offset: int, spans: Sequence[Span]) -> int:
    """Where an offset lies after redaction; one inside a span moves to the span's start."""
    moved = offset
    for span in spans:
        if span.end <= offset:
            moved += len(span.category) + 2 - (span.end - span.start)
        elif span.start < offset:
            moved -= offset - span.start
    return moved
