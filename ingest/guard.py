"""A document through the guards of the stage `document`: kept, with what was redacted out of its text, title and
headings, or refused.

In: a document. Out: the document with its heading tree in place, and what the guards did; or the reason of the refusal.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guards.base import Action, Outcome, Span
from guards.spans import redact, replacement
from guards.stage import Stage
from ingest.records import Document, Reject


@dataclass(frozen=True)
class Guarded:
    """What the guards made of a document.

    Attributes:
        document: None when it was refused.
        reject: why, then.
        counts: places redacted (`redacted`), and whether each kind of finding was flagged (`flagged_<category>`).
    """

    document: Document | None
    reject: Reject | None
    counts: Counter[str]


def guard_document(document: Document, stage: Stage) -> Guarded:
    """Run the stage over the text, and over title and headings."""
    lines = [document.title, *(section.heading for section in document.sections)]
    # All in one go: a manual has tens of thousands of headings, and a model's cost is mostly a call's.
    text, outline = stage.run(document.text), stage.run("\n".join(lines))
    for outcome in (text, outline):
        if not outcome.allowed:
            return Guarded(None, _reject(document.url, outcome), Counter())
    title, *headings = _lines(lines, outline.redactions)
    sections = tuple(
        replace(section, heading=heading, start=_shift(section.start, text), end=_shift(section.end, text))
        for section, heading in zip(document.sections, headings, strict=True)
    )
    verdicts = [*text.verdicts, *outline.verdicts]
    counts = Counter({f"flagged_{verdict.category}" for verdict in verdicts if verdict.action is Action.FLAG})
    counts["redacted"] = len(text.redactions) + len(outline.redactions)
    return Guarded(replace(document, title=title, text=text.text, sections=sections), None, counts)


def _reject(url: str, outcome: Outcome) -> Reject:
    for verdict in outcome.verdicts:
        if not verdict.allowed:
            return Reject(url, verdict.category, verdict.reason, verdict.score, verdict.threshold)
    broken = next(failure for failure in outcome.failures if failure.closed)
    return Reject(url, "guard_failed", f"{broken.guard}: {broken.error}", 0.0, 0.0)


def _lines(lines: Sequence[str], spans: Sequence[Span]) -> list[str]:
    """The lines after redactions that were found in them joined by line feeds; one across lines counts in each."""
    done: list[str] = []
    start = 0
    for line in lines:
        end = start + len(line)
        inside = [
            replace(span, start=max(span.start, start) - start, end=min(span.end, end) - start)
            for span in spans
            if span.start < end and span.end > start
        ]
        done.append(redact(line, inside))
        start = end + 1
    return done


def _shift(offset: int, outcome: Outcome) -> int:
    """Where an offset lies after redaction; one inside a span moves to the span's start."""
    moved = offset
    for span in outcome.redactions:
        if span.end <= offset:
            moved += len(replacement(span)) - (span.end - span.start)
        elif span.start < offset:
            moved -= offset - span.start
    return moved
