"""Builds an index: passages in, a folder that `ingest.index.Index` opens out.

What has not changed since the previous index is taken over: a passage whose text and headings are the same keeps its
vector, wherever it now stands. Killed while it embeds, it goes on where it was when run again into the same folder.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc

from configs.errors import WellreadError
from ingest.embed import Embedder
from ingest.embed_parts import embed_in_parts, forget_embedded
from ingest.index import LEXICAL, VECTORS, IndexManifest
from ingest.passages import Passages, embedding_text, write_passages
from ingest.records import Chunk
from ingest.search.base import Rows
from ingest.search.lexical import Lexical
from ingest.vectors.base import Ids, VectorIndex
from ingest.vectors.store import FILES, Store

# Vectors that are copied from one store into another at once.
COPIED_AT_ONCE = 20_000

log = logging.getLogger(__name__)


def build_index(
    chunks: Iterable[Chunk],
    embedder: Embedder,
    folder: Path,
    *,
    store: Store = FILES,
    previous: Path | None = None,
    retriever: str = "",
    corpus: str = "",
    chunker: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> IndexManifest:
    """Write an index into `folder`.

    Args:
        store: where the vectors are kept, and how they are searched.
        previous: folder of an index made with the same embedder and store, to take over from.
        retriever, corpus, chunker: for the manifest.
        progress: called with (texts embedded, texts to embed).

    Raises:
        ArtifactError: the store cannot be reached or written.
        ModelError: the embedder gives vectors that are no numbers.
    """
    write_passages(folder, chunks)
    passages = Passages.load(folder)
    before = _before(previous, embedder, store)
    plan = _plan(passages, before.passages if before else None)
    if before and previous and store.takes(before.vectors, previous / VECTORS, len(passages)):
        vectors = before.vectors
    else:
        vectors = store.create(embedder.dimensions, len(passages))
    removed = _take_over(plan, before, vectors, passages)
    embedded = _embed(plan.fresh, passages, embedder, folder, vectors, progress)
    store.tidy(vectors)
    vectors.save(folder / VECTORS)
    Lexical.of(passages).save(folder / LEXICAL)
    manifest = IndexManifest(
        embedder=embedder.identity,
        retriever=retriever,
        chunker=dict(chunker or {}),
        corpus=corpus,
        counts={"chunks": len(passages), "embedded": embedded, "removed": removed},
    )
    manifest.write(folder)
    forget_embedded(folder)
    return manifest


@dataclass(frozen=True)
class _Before:
    passages: Passages
    vectors: VectorIndex


@dataclass(frozen=True)
class _Plan:
    """Rows of the new passages: whose vector stays as it is, is copied from another's old number, or has to be made."""

    same: Rows
    copied: Rows
    copied_from: Ids
    fresh: Rows


def _before(previous: Path | None, embedder: Embedder, store: Store) -> _Before | None:
    """What there is to take over; nothing of what is damaged, or whose vectors are another embedder's."""
    if previous is None:
        return None
    try:
        if IndexManifest.read(previous).embedder != embedder.identity:
            return None
        before = _Before(Passages.load(previous), store.of(previous / VECTORS).load(previous / VECTORS))
    except WellreadError as error:
        log.warning("the previous index is not taken over, all is embedded again: %s", error.problem)
        return None
    if len(before.passages) != len(before.vectors):
        log.warning("the previous index is damaged, all is embedded again: its parts do not fit together")
        return None
    return before


def _plan(passages: Passages, before: Passages | None) -> _Plan:
    rows = np.arange(len(passages))
    none = np.zeros(0, np.int64)
    if before is None or not len(before):
        return _Plan(none, none, none, rows)
    old = before.rows_of(passages.numbers)
    same = (old >= 0) & (before.texts[old] == passages.texts)
    order = np.argsort(before.texts, kind="stable")
    ascending = before.texts[order]
    at = np.minimum(np.searchsorted(ascending, passages.texts), len(ascending) - 1)
    known = ~same & (ascending[at] == passages.texts)
    return _Plan(rows[same], rows[known], before.numbers[order[at]][known], rows[~same & ~known])


def _take_over(plan: _Plan, before: _Before | None, vectors: VectorIndex, passages: Passages) -> int:
    """Bring the previous vectors to where they are needed. Returns how many passages are gone."""
    if before is None:
        return 0
    moved = before.vectors.get(plan.copied_from)
    gone = np.setdiff1d(before.passages.numbers, passages.numbers)
    if vectors is before.vectors:
        # A passage that is embedded anew keeps its old vector until the new one replaces it.
        vectors.remove(gone)
    else:
        same = passages.numbers[plan.same]
        for start in range(0, len(same), COPIED_AT_ONCE):
            some = same[start : start + COPIED_AT_ONCE]
            vectors.add(some, before.vectors.get(some))
    vectors.add(passages.numbers[plan.copied], moved)
    return len(gone)


def _embed(
    fresh: Rows,
    passages: Passages,
    embedder: Embedder,
    folder: Path,
    vectors: VectorIndex,
    progress: Callable[[int, int], None],
) -> int:
    """Embed each text of these rows once, and add its vector under the number of each passage that has it.

    Returns how many texts there were.
    """
    numbers, first = np.unique(passages.texts[fresh], return_index=True)
    sample = fresh[first]
    lengths = pc.utf8_length(passages.column("text")).to_numpy()[sample]

    def texts(places: Iterable[int]) -> list[str]:
        return [embedding_text(chunk) for chunk in passages.take(sample[list(places)].tolist())]

    by_text = fresh[np.argsort(passages.texts[fresh], kind="stable")]
    ascending = passages.texts[by_text]
    for named, made in embed_in_parts(
        folder, numbers, lengths, texts, embedder, lambda done: progress(done, len(numbers))
    ):
        low, high = np.searchsorted(ascending, named), np.searchsorted(ascending, named, side="right")
        rows = np.concatenate([by_text[a:b] for a, b in zip(low, high, strict=True)])
        vectors.add(passages.numbers[rows], np.repeat(made, high - low, axis=0))
    return len(numbers)
