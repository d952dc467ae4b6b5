"""Paragraphs that stand in the corpus more than once: counted, and taken out of all documents but the oldest.

In: documents. Out: the repeated paragraphs; and a document without those that an older one has, its sections in place.

Two paragraphs are the same when they agree as whole texts do (`ingest.dedup.shingles.normal`). Only prose is looked at:
headings, tables and fenced code stay, and so do paragraphs of fewer than `min_words` words, of which "See also" and
"Returns: nothing" repeat for good reasons.

Hashes lie in a temporary file, 32 bytes a paragraph, and are sorted `AT_ONCE` at a time, so memory does not grow with
the corpus but for 24 bytes a repeated paragraph. Known limit: paragraphs are compared by 64 bits of hash.
"""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ingest.boilerplate import Span, paragraphs_of, without
from ingest.dedup.shingles import Hashes, exact_hash, normal
from ingest.dedup.signatures import id_key
from ingest.records import Document

AT_ONCE = 4_000_000
_ENTRY = np.dtype([("paragraph", np.uint64), ("crawl", np.int64), ("place", np.int64), ("document", np.uint64)])
_FENCES = ("```", "~~~")


@dataclass(frozen=True)
class Repeated:
    """The paragraphs that stand in the corpus more than once, sorted by hash.

    Attributes:
        hashes: uint64[paragraphs].
        documents: `id_key` of the oldest document that has each.
        counts: how often each occurs.
        min_words: shorter ones were not looked at.
    """

    hashes: Hashes
    documents: Hashes
    counts: NDArray[np.int64]
    min_words: int

    @property
    def copies(self) -> int:
        """Paragraphs that repeat an older one."""
        return int(self.counts.sum()) - len(self.counts)


def repeated_paragraphs(documents: Iterable[Document], folder: Path, *, min_words: int = 20) -> Repeated:
    """Find them.

    Args:
        documents: sorted by url; of equal crawl, the earlier one is the older.
        folder: where the temporary file may lie.
        min_words: shortest paragraph that is looked at.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        total = _write(documents, file, min_words)
        passes = -(-total // AT_ONCE)
        parts = [_repeated(_select(file, number, passes)) for number in range(passes)]
    found = np.concatenate([part for part, _ in parts]) if parts else np.empty(0, _ENTRY)
    counts = np.concatenate([count for _, count in parts]) if parts else np.empty(0, np.int64)
    order = np.argsort(found["paragraph"])
    return Repeated(found["paragraph"][order], found["document"][order], counts[order], min_words)


def without_repeated(document: Document, repeated: Repeated) -> tuple[Document, int]:
    """The document without the paragraphs that an older one has, or that it had before.

    Returns:
        The document with the same id and headings, and how many paragraphs went.
    """
    seen: set[int] = set()
    gone: list[Span] = []
    own = id_key(document.id)
    for span, value in _prose(document, repeated.min_words):
        at = int(np.searchsorted(repeated.hashes, np.uint64(value)))
        if at == len(repeated.hashes) or repeated.hashes[at] != value:
            continue
        if value in seen or int(repeated.documents[at]) != own:
            gone.append(span)
        seen.add(value)
    return (without(document, gone), len(gone)) if gone else (document, 0)


def _prose(document: Document, min_words: int) -> Iterator[tuple[Span, int]]:
    """The paragraphs that are looked at, each with its hash."""
    in_fence = False
    for span in paragraphs_of(document):
        lines = [line.lstrip() for line in document.text[span.start : span.end].split("\n")]
        fences = sum(line.startswith(_FENCES) for line in lines)
        code = in_fence or fences > 0
        in_fence ^= fences % 2 == 1
        if code or any(line.startswith("|") for line in lines):
            continue
        text = normal(" ".join(lines))
        if text.count(" ") + 1 >= min_words:
            yield span, int.from_bytes(exact_hash(text)[:8])


def _write(documents: Iterable[Document], file: IO[bytes], min_words: int) -> int:
    total = 0
    for place, document in enumerate(documents):
        key = id_key(document.id)
        rows = [(value, document.crawl, place, key) for _, value in _prose(document, min_words)]
        file.write(np.array(rows, _ENTRY).tobytes())
        total += len(rows)
    file.flush()
    return total


def _select(file: IO[bytes], number: int, passes: int) -> NDArray[np.void]:
    """The entries whose hash is of this pass."""
    file.seek(0)
    chosen = []
    while block := file.read(_ENTRY.itemsize << 16):
        entries = np.frombuffer(block, _ENTRY)
        chosen.append(entries[entries["paragraph"] % np.uint64(passes) == number])
    return np.concatenate(chosen)


def _repeated(entries: NDArray[np.void]) -> tuple[NDArray[np.void], NDArray[np.int64]]:
    """The oldest entry of each paragraph that is there more than once, and how many there are."""
    entries = entries[np.lexsort((entries["place"], entries["crawl"], entries["paragraph"]))]
    starts = np.flatnonzero(np.diff(entries["paragraph"], prepend=entries["paragraph"][:1] + np.uint64(1)))
    counts = np.diff(starts, append=len(entries))
    return entries[starts[counts > 1]], counts[counts > 1]
