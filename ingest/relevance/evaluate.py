"""How well a search does on queries whose relevant documents are known, and how long it takes.

In: anything that searches, queries, judgements, and how a passage names its document. Out: a `Report`. A document
stands where its best passage stands (Callan 1994; "MaxP" in Dai and Callan 2019), once.

One search tells about all that it is made of: besides the hits, `Retrieved` holds the dense and the lexical ranking
that they were fused from, and each is measured as if it were the whole search.

Known limits: queries are searched one by one, as people ask them; how many can be answered at once is not measured. The
rankings within a search are only as long as the search makes them.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from configs.artifacts import write_text_atomic
from ingest.records import Chunk, Progress
from ingest.relevance.metrics import STANDARD, Floats, Qrels, Scores, score
from ingest.search.base import Ranking, Retrieved

Of = Callable[[Chunk], str]
Places = Callable[[Iterable[Chunk], Of], list[str]]
HITS, DENSE, LEXICAL = "hits", "dense", "lexical"


class Search(Protocol):
    """What is measured."""

    def search_many(self, queries: Sequence[str], k: int) -> Sequence[Retrieved]:
        """At most `k` passages for each query, best first."""


class Takes(Protocol):
    """Passages by row, as `ingest.passages.Passages`."""

    def take(self, rows: Iterable[int]) -> list[Chunk]:
        """The passages of these rows."""


class Timed:
    """An embedder that adds up the time it takes for queries; all else is the embedder's own.

    Attributes:
        seconds: spent embedding queries so far.
    """

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.seconds = 0.0

    def encode_queries(self, texts: Sequence[str]) -> Any:
        """As the embedder's."""
        started = time.perf_counter()
        try:
            return self._embedder.encode_queries(texts)
        finally:
            self.seconds += time.perf_counter() - started

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)


@dataclass(frozen=True)
class Searched:
    """What was found for each query.

    Attributes:
        found: by query.
        seconds: each search's, [queries].
        embedding: of these the seconds spent embedding the query, [queries]; None where that was not measured.
    """

    found: Mapping[str, Retrieved]
    seconds: Floats
    embedding: Floats | None = None

    def latency(self) -> dict[str, float]:
        """Milliseconds that half of the searches, and 99 of 100, stay below; with and, where it is known, without
        embedding the query."""
        if not len(self.seconds):
            return {}
        times = {"": self.seconds}
        if self.embedding is not None:
            times["_without_embedding"] = self.seconds - self.embedding
        return {
            f"p{share}_ms{what}": round(float(np.percentile(values, share)) * 1000, 3)
            for what, values in times.items()
            for share in (50, 99)
        }


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        scores: of each ranking, `hits` and, where they were searched, `dense` and `lexical`.
        runs: `{ranking: {query: documents, best first}}`.
    """

    scores: Mapping[str, Scores]
    runs: Mapping[str, Mapping[str, Sequence[str]]]
    latency: Mapping[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Means and latencies."""
        means = {
            name: {metric: round(value, 6) for metric, value in one.means.items()} for name, one in self.scores.items()
        }
        return {"metrics": means, "latency": dict(self.latency)}

    def write_runs(self, folder: Path) -> None:
        """Write each ranking into a folder as trec_eval reads it, `<ranking>.run`; ids must not hold white space.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, run in self.runs.items():
            lines = (
                f"{query} Q0 {document} {rank} {1 / rank:.9f} {name}\n"
                for query, found in run.items()
                for rank, document in enumerate(found, 1)
            )
            write_text_atomic(folder / f"{name}.run", "".join(lines))


def documents(chunks: Iterable[Chunk], of: Of) -> list[str]:
    """The documents of passages, best first, each once."""
    return list(dict.fromkeys(map(of, chunks)))


def passages_as_documents(chunks: Iterable[Chunk], of: Of) -> list[str]:
    """The same, where further passages of a document keep their ranks, under their own ids: `@5` then means the first
    five passages, which is what a reader is shown."""
    seen: set[str] = set()
    places = []
    for chunk in chunks:
        document = of(chunk)
        places.append(chunk.id if document in seen else document)
        seen.add(document)
    return places


def search_all(
    search: Search,
    queries: Mapping[str, str],
    k: int,
    *,
    embedder: Timed | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Searched:
    """Search for every query, one by one.

    Args:
        k: passages to find for each.
        embedder: the one that the search uses, to tell its time from the rest.
    """
    found, seconds, embedding = {}, [], []
    for done, (name, query) in enumerate(queries.items(), 1):
        before, started = embedder.seconds if embedder else 0.0, time.perf_counter()
        found[name] = search.search_many([query], k)[0]
        seconds.append(time.perf_counter() - started)
        embedding.append((embedder.seconds if embedder else 0.0) - before)
        progress("searching", done, len(queries))
    return Searched(found, np.asarray(seconds), np.asarray(embedding) if embedder else None)


def evaluate(
    search: Search,
    queries: Mapping[str, str],
    qrels: Qrels,
    of: Of,
    *,
    k: int = 100,
    metrics: Sequence[str] = STANDARD,
    places: Places = documents,
    passages: Takes | None = None,
    embedder: Timed | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Report:
    """Measure a search.

    Args:
        queries: by id; those without judgements are searched for nothing.
        qrels: `{query: {document: grade}}`.
        of: the id of a passage's document, as `qrels` names it.
        k: passages to find for each query.
        places: what the ranks count, `documents` or `passages_as_documents`.
        passages: where the rows of the rankings within a search lead; without it only the hits are measured.
        embedder: as for `search_all`.

    Raises:
        ConfigError: there is no such metric.
    """
    searched = search_all(search, queries, k, embedder=embedder, progress=progress)
    runs = runs_of(searched.found, of, places, passages)
    return Report({name: score(run, qrels, metrics) for name, run in runs.items()}, runs, searched.latency())


def runs_of(
    found: Mapping[str, Retrieved], of: Of, places: Places, passages: Takes | None
) -> dict[str, dict[str, list[str]]]:
    """What each ranking found, best first; rankings that were not made for any query are left out."""
    runs = {HITS: {query: places((hit.chunk for hit in one.hits), of) for query, one in found.items()}}
    if passages is None:
        return runs
    within: dict[str, Callable[[Retrieved], Ranking]] = {DENSE: lambda one: one.dense, LEXICAL: lambda one: one.lexical}
    for name, ranking in within.items():
        rows = {query: ranking(one).rows.tolist() for query, one in found.items()}
        if any(rows.values()):
            runs[name] = {query: places(passages.take(taken), of) for query, taken in rows.items()}
    return runs
