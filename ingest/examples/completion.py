"""Sections as plain text, for continued pretraining: what a model reads to become familiar with the documents.

In: all passages in reading order. Out: one `Completion` for each section with enough words, its passages joined again.

Known limit: passages keep their offsets and not what stood between them; a single character there is taken for a space
after a sentence or a long line, and for a line break elsewhere.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from ingest.records import Chunk, stable_id

MIN_WORDS = 12
# Longer ones are paragraphs, which are cut at spaces.
LONG_LINE = 80
_SENTENCE = re.compile(r"[.!?][\"')\]\u201d\u2019]*$")


@dataclass(frozen=True)
class Completion:
    """A section as a text to continue.

    Attributes:
        headings: the path of headings above it, outermost first.
        text: begins with the last heading on a line of its own.
        split: the half of its document, as in the examples.
    """

    id: str
    doc_id: str
    url: str
    headings: tuple[str, ...]
    text: str
    split: Literal["train", "holdout"]


def completions(
    chunks: Iterable[Chunk], split_of: Callable[[Chunk], Literal["train", "holdout"]]
) -> Iterator[Completion]:
    """Sections of at least 12 words, in reading order.

    Args:
        chunks: those of a section in a row.
        split_of: tells a passage's half.
    """
    for _, rows in groupby(chunks, key=lambda chunk: (chunk.doc_id, chunk.headings)):
        passages = list(rows)
        body = join_passages(passages)
        first = passages[0]
        if len(body.split()) < MIN_WORDS:
            continue
        heading = first.headings[-1] if first.headings else first.title
        text = f"{heading}\n\n{body}" if heading else body
        # The place keeps sections apart that have the same headings and text.
        name = stable_id("completion", first.doc_id, str(first.start), text)
        yield Completion(name, first.doc_id, first.url, first.headings, text, split_of(first))


def join_passages(passages: Iterable[Chunk]) -> str:
    """The text that the passages, in order, were cut from; see the module's known limit."""
    text = ""
    end = 0
    for passage in passages:
        gap = min(passage.start - end, 2) if text else 0
        line = text.rpartition("\n")[2]
        prose = passage.text[:1].isalnum() and bool(len(line) > LONG_LINE or _SENTENCE.search(line))
        text += ("", " " if prose else "\n", "\n\n")[gap] + passage.text
        end = passage.end
    return text
