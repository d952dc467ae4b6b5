"""Deduplication over a whole corpus: which documents repeat an older one, and by how much.

In: documents that can be read more than once, and the folder of the version before. Out, in the folder of the version
being made: `signatures.parquet` and `similarities.parquet` (what the next version takes over) and `duplicates.parquet`
(a `Duplicate` for each document that repeats another, in the documents' order).

    signatures -> same text? -> pairs that share a band -> true similarity -> the oldest kept one that is alike

Of two documents the one of the lower `crawl` is the older, then that of the smaller url, then of the smaller id. A
document that is left out itself is not compared with newer ones, so every near-duplicate is alike to something that is
kept. An exact duplicate names the oldest document of its text, even where that one is a near-duplicate of another.

The outcome depends on the documents only, not on what the version before had: tables are the same bytes either way.
Memory holds some 150 bytes a document and 30 bytes a pair that shares a band, whatever the texts' length.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ingest.dedup.candidates import Rows, pairs_sharing_a_band, same_text
from ingest.dedup.minhash import bands_for
from ingest.dedup.semantic import Semantic, nearest_kept, vectors_of
from ingest.dedup.signatures import column, names_of, oldest_first, write_signatures
from ingest.dedup.verify import Decided, Known, ShingleFile, Similarities, decide, write_similarities
from ingest.records import Document, TableWriter, read_table

DUPLICATES = "duplicates.parquet"
Kind = Literal["duplicate", "near_duplicate", "semantic_duplicate"]
Documents = Callable[[], Iterator[Document]]


@dataclass(frozen=True)
class Duplicate:
    """A document that repeats an older one.

    Attributes:
        id: of the newer document.
        kind: how it does; also the name of the rule in a reject.
        matched_id, matched_url: of the older document.
        similarity: Jaccard similarity of both shingle sets, or cosine of both vectors; 1 for the same text.
        threshold: from which on it counts.
    """

    id: str
    kind: Kind
    matched_id: str
    matched_url: str
    similarity: float
    threshold: float


def find_duplicates(
    documents: Documents,
    out: Path,
    *,
    previous: Path | None,
    near: bool = True,
    threshold: float = 0.9,
    semantic: Semantic | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Find them, and write the three tables.

    Args:
        documents: called up to a few times; gives the same documents in the same order each time.
        out: an existing folder.
        previous: folder of the version before.
        near: also find texts that are nearly the same.
        threshold: Jaccard similarity of two sets of word shingles from which on the newer text is a near-duplicate.
        semantic: also compare the meanings of what is left after that.
        progress: called with the number of documents read, the first time through.

    Returns:
        Counts: `documents`, `signatures_reused`, `similarities_computed`, `vectors_computed`, and of each kind.

    Raises:
        ArtifactError: a table of the version before is damaged.
    """
    bands = bands_for(threshold) if near else None
    signed = write_signatures(_counted(documents(), progress), out, previous=previous, bands=bands)
    by_age = oldest_first(out, in_order=signed.in_order)
    oldest = same_text(column(out, "exact"), by_age)
    counts = Counter(documents=signed.documents, signatures_reused=signed.reused)
    matches = _Matches(oldest)
    if bands:
        first = by_age[(oldest[by_age] == by_age) & (column(out, "shingles")[by_age] > 0)]
        pairs = pairs_sharing_a_band(out, first)
        decided = _compare(documents, out, pairs, Known(previous), threshold, counts)
        matches.add("near_duplicate", decided.repeats, decided.similarity, threshold)
    if semantic:
        left = by_age[matches.rows[by_age] < 0]
        vectors, counts["vectors_computed"] = vectors_of(documents, left, out, previous=previous, semantic=semantic)
        nearest, cosines = nearest_kept(vectors, semantic.threshold)
        matches.add("semantic_duplicate", *_spread(left, nearest, cosines, len(by_age)), semantic.threshold)
    with TableWriter(out / DUPLICATES, Duplicate) as table:
        for verdict in matches.verdicts(out):
            table.add(verdict)
            counts[verdict.kind] += 1
    return counts


class Verdicts:
    """What each document repeats, for documents in the order in which duplicates were found among them.

    Args:
        out: folder with the tables.
    """

    def __init__(self, out: Path) -> None:
        self._rows = read_table(out / DUPLICATES, Duplicate)
        self._next = next(self._rows, None)

    def of(self, document: Document) -> Duplicate | None:
        """What it repeats, or None. To be asked once for each document, in their order."""
        verdict = self._next
        if verdict is None or verdict.id != document.id:
            return None
        self._next = next(self._rows, None)
        return verdict


def judged(documents: Iterable[Document], out: Path) -> Iterator[tuple[Document, Duplicate | None]]:
    """Each document, and what it repeats; see `Verdicts`."""
    verdicts = Verdicts(out)
    return ((document, verdicts.of(document)) for document in documents)


def _counted(documents: Iterable[Document], progress: Callable[[int], None]) -> Iterator[Document]:
    for done, document in enumerate(documents, 1):
        yield document
        progress(done)


def _compare(
    documents: Documents, out: Path, pairs: Rows, known: Known, threshold: float, counts: Counter[str]
) -> Decided:
    """Decide, reading the texts of pairs whose similarity turns out to be missing, until none is."""
    keys = column(out, "key")
    similarity = known.of(pairs, keys)
    missing = np.isnan(similarity)
    with ShingleFile(out) as shingles:
        while len((decided := decide(pairs, similarity, shingles, len(keys), threshold)).unknown):
            shingles.collect(documents(), set(pairs[decided.unknown].ravel().tolist()))
    counts["similarities_computed"] = int(missing[decided.used].sum())
    write_similarities(out, pairs[decided.used], similarity[decided.used], keys)
    return decided


def _spread(rows: Rows, repeats: Rows, similarity: Similarities, count: int) -> tuple[Rows, Similarities]:
    """What was found among some rows, which counts from 0 there, as numbers of all of them."""
    everywhere, similar = np.full(count, -1), np.zeros(count)
    everywhere[rows] = np.where(repeats < 0, -1, rows[repeats])
    similar[rows] = similarity
    return everywhere, similar


class _Matches:
    """For each row the older one that it repeats, -1 where there is none, and how.

    Args:
        oldest: the oldest row of the same text; itself where there is none older.
    """

    def __init__(self, oldest: Rows) -> None:
        exact = oldest != np.arange(len(oldest))
        self.rows = np.where(exact, oldest, -1)
        self._kinds: list[tuple[Kind, float]] = [("duplicate", 1.0)]
        self._kind = np.zeros(len(oldest), np.int8)
        self._similarity = np.ones(len(oldest))

    def add(self, kind: Kind, repeats: Rows, similarity: Similarities, threshold: float) -> None:
        """Add what another comparison has found; a row that had a match keeps it."""
        new = (self.rows < 0) & (repeats >= 0)
        self.rows[new], self._similarity[new] = repeats[new], similarity[new]
        self._kind[new] = len(self._kinds)
        self._kinds.append((kind, threshold))

    def verdicts(self, out: Path) -> Iterator[Duplicate]:
        """One for each row that has a match, in their order."""
        rows = np.flatnonzero(self.rows >= 0)
        older = np.unique(self.rows[rows])
        named = dict(zip(older.tolist(), names_of(out, older), strict=True))
        for row, (document_id, _) in zip(rows.tolist(), names_of(out, rows), strict=True):
            kind, threshold = self._kinds[self._kind[row]]
            matched_id, matched_url = named[int(self.rows[row])]
            yield Duplicate(document_id, kind, matched_id, matched_url, float(self._similarity[row]), threshold)
