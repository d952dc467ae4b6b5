"""Retrieval: how well the hybrid search ranks beside BM25, dense search and plain reciprocal rank fusion, and how fast.

In: folders of test collections (`common/corpus.jsonl.gz` and `dev/queries.jsonl.gz` of `_id`, `title`, `text`;
`dev/qrels.tsv`). Out: JSON with nDCG@10, recall@10, recall@100, MRR@10 and MAP of the first 100, for each collection:

- `bm25`: bm25s with k1 = 0.9 and b = 0.4, English stop words and the Snowball stemmer;
- `dense`: exact search with the embedder's vectors of title and text;
- `rrf`: both, 100 passages of each, by reciprocal rank with k = 60;
- `wellread`: this project's search with its settings as they come, the same for all collections; and with parts of it
  switched off.

Latency: milliseconds of one thread at percentiles over real questions, by the clock and of processor time (`cpu`), on
passages made of the collections' own with a third of their words changed, and as many vectors, real ones moved at
random, in an HNSW index. Embedding the question is not counted. `indexing`: passages a second of one core that the
lexical index is built at; both also for bm25s, whose questions are cut into words in the time, as ours are.

    python -m bench.retrieval --data FOLDER [--cache FOLDER] [--latency 100000]
"""

import argparse
import gzip
import json
import os
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

# Read when the libraries are loaded: one core each.
os.environ["OMP_NUM_THREADS"] = "1"

import bm25s
import numpy as np
import Stemmer

from ingest.embed import Embedder, load_embedder
from ingest.passages import Passages, embedding_text, write_passages
from ingest.records import Chunk, stable_id
from ingest.relevance.metrics import score
from ingest.search.base import Ranking, Retrieved
from ingest.search.collapse import groups
from ingest.search.fuse import by_rank
from ingest.search.hybrid import Ranker, Searcher
from ingest.search.lexical import Lexical, best
from ingest.vectors.base import Kind, Vectors
from ingest.vectors.faiss_index import FaissIndex

SETS = "retr_scifact retr_cisi retr_cranfield retr_med retr_npl qa_xquad_en".split()
DEPTH = 100
MODEL = "embedded:all-MiniLM-L6-v2"
VARIANTS = {
    "wellread": Ranker(),
    "wellread_without_smoothing": Ranker(smoothing=0),
    "wellread_without_feedback": Ranker(feedback=0),
    "wellread_without_both": Ranker(feedback=0, smoothing=0),
    "wellread_without_headings": Ranker(headings=0),
    "wellread_rrf": Ranker(fusion="rrf"),
    "wellread_lexical": Ranker(mode="lexical"),
}


@dataclass(frozen=True)
class Collection:
    """A test collection with its vectors, in the order of its passages and queries."""

    ids: list[str]
    chunks: list[Chunk]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]
    passages: Vectors
    questions: Vectors


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def collection(folder: Path, embed: Callable[[str, Sequence[str], Sequence[str]], Vectors]) -> Collection:
    """Read a collection; queries that nothing is judged for are left out."""
    corpus = lines_of(folder / "common/corpus.jsonl.gz")
    qrels: dict[str, dict[str, int]] = {}
    for line in (folder / "dev/qrels.tsv").read_text().splitlines()[1:]:
        query, document, grade = line.split("\t")[-3:]
        qrels.setdefault(query, {})[document] = int(grade)
    asked = {row["_id"]: row["text"] for row in lines_of(folder / "dev/queries.jsonl.gz")}
    ids = [row["_id"] for row in corpus]
    chunks = [
        Chunk(stable_id(name), name, "", row.get("title", ""), (), row["text"], 0, len(row["text"]), "en")
        for name, row in zip(ids, corpus, strict=True)
    ]
    passages = embed("corpus", ids, [embedding_text(chunk).strip() for chunk in chunks])
    questions = embed("queries", list(asked), list(asked.values()))
    judged = {query: text for query, text in asked.items() if query in qrels}
    return Collection(ids, chunks, judged, qrels, passages, questions[[query in qrels for query in asked]])


def cached(
    folder: Path | None,
    name: str,
    embedder: Callable[[], Embedder],
    part: str,
    ids: Sequence[str],
    texts: Sequence[str],
) -> Vectors:
    """Vectors from the cache, else of the embedder and into the cache."""
    names = folder / f"{name}.{part}.ids.json" if folder else None
    if folder and names and names.exists() and json.loads(names.read_text()) == list(ids):
        return np.asarray(np.load(folder / f"{name}.{part}.npy"), np.float32)
    vectors = embedder().encode(texts)
    if folder and names:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.{part}.npy", vectors)
        names.write_text(json.dumps(list(ids)))
    return vectors


def searcher(
    folder: Path, chunks: Sequence[Chunk], vectors: Vectors, known: dict[str, Any], kind: Kind = "exact"
) -> Searcher:
    """This project's search over some passages. `known`: vectors of the questions that will be asked."""
    folder.mkdir(parents=True, exist_ok=True)
    write_passages(folder, chunks)
    passages = Passages.load(folder)
    index = FaissIndex.create(vectors.shape[1], kind)
    index.add(passages.numbers, vectors)
    if kind != "exact":
        index.compact()
    Lexical.of(passages).save(folder / "lexical")
    encode = lambda queries: np.stack([known[query] for query in queries])  # noqa: E731
    return Searcher(passages, index, Lexical.load(folder / "lexical"), encode)


def peer_index(chunks: Sequence[Chunk]) -> tuple[bm25s.BM25, Callable[[list[str]], Any]]:
    """bm25s's index of some passages, and what cuts its questions into words."""
    cut = partial(bm25s.tokenize, stopwords="en", stemmer=Stemmer.Stemmer("english"), show_progress=False)
    index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
    index.index(cut([embedding_text(chunk) for chunk in chunks]), show_progress=False)
    return index, cut


def bm25(chunks: Sequence[Chunk], queries: Sequence[str]) -> list[Ranking]:
    """The peer's rankings."""
    index, cut = peer_index(chunks)
    rows, scores = index.retrieve(cut(list(queries)), k=min(DEPTH, len(chunks)), show_progress=False)
    return [Ranking(row[score > 0], score[score > 0]) for row, score in zip(rows, scores, strict=True)]


def rankings(one: Collection, folder: Path) -> Iterator[tuple[str, list[Ranking]]]:
    """Every method's rankings of a collection's passages."""
    queries = list(one.queries.values())
    lexical = bm25(one.chunks, queries)
    yield "bm25", lexical
    dense = [best(row + 1, DEPTH) for row in one.questions @ one.passages.T]
    yield "dense", dense
    yield "rrf", [by_rank(pair) for pair in zip(lexical, dense, strict=True)]
    ours = searcher(folder, one.chunks, one.passages, dict(zip(queries, one.questions, strict=True)))
    for name, ranker in VARIANTS.items():
        ours.ranker = ranker
        yield name, [_as_ranking(found) for found in ours.search_many(queries, DEPTH)]


def quality(one: Collection) -> dict[str, dict[str, float]]:
    """Every method's metrics."""
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, found in rankings(one, Path(folder)):
            pairs = zip(one.queries, found, strict=True)
            run = {query: [one.ids[row] for row in ranking.rows[:DEPTH].tolist()] for query, ranking in pairs}
            means = score(run, {query: one.qrels[query] for query in one.queries}).means
            figures[name] = {metric: round(value, 4) for metric, value in means.items()}
    return figures


def _as_ranking(found: Retrieved) -> Ranking:
    return Ranking(np.array(found.rows, np.int64), np.array([hit.rank_score for hit in found.hits], np.float32))


def made_up(collections: Sequence[Collection], count: int, seed: int = 7) -> tuple[list[Chunk], Vectors]:
    """Passages of the collections with a third of the words changed, and vectors near theirs."""
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    chunks = [chunk for one in collections for chunk in one.chunks]
    words = [word for chunk in chunks for word in chunk.text.split()]
    vectors = np.concatenate([one.passages for one in collections])
    made = []
    for number in range(count):
        like = chunks[number % len(chunks)]
        text = [rng.choice(words) if rng.random() < 1 / 3 else word for word in like.text.split()[:200]]
        made.append(Chunk(stable_id("made", str(number)), str(number), "", like.title, (), " ".join(text), 0, 0, "en"))
    moved = vectors[np.arange(count) % len(vectors)]
    moved = moved + noise.normal(0, 0.5 / moved.shape[1] ** 0.5, moved.shape)
    return made, np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def latency(collections: Sequence[Collection], count: int, k: int = 10) -> dict[str, Any]:
    """How long a search takes, whole and in parts."""
    import faiss

    faiss.omp_set_num_threads(1)
    chunks, vectors = made_up(collections, count)
    known = {text: v for one in collections for text, v in zip(one.queries.values(), one.questions, strict=True)}
    started = time.process_time()
    Lexical.of(chunks)
    built = time.process_time()
    peer, cut = peer_index(chunks)
    figures: dict[str, Any] = {"passages": count, "questions": len(known)}
    figures["indexing"] = round(count / (built - started))
    figures["indexing_bm25s"] = round(count / (time.process_time() - built))
    figures["lexical_bm25s"] = _timed(lambda query: peer.retrieve(cut([query]), k=DEPTH, show_progress=False), known)
    with tempfile.TemporaryDirectory() as folder:
        ours = searcher(Path(folder), chunks, vectors, known, "hnsw")
        index, lexical = ours._vectors, ours._lexical
        parts: dict[str, Callable[[str], Any]] = {
            "dense": lambda query: index.search(known[query][None], DEPTH),
            "lexical": lambda query: lexical.search(query, DEPTH),
            "whole": lambda query: ours.search(query, k),
        }
        for name, part in parts.items():
            figures[name] = _timed(part, known)
        ours._collapse = partial(groups, threshold=0.9)
        figures["whole_collapsed"] = _timed(parts["whole"], known)
    return figures


def _timed(call: Callable[[str], Any], queries: Iterable[str]) -> dict[str, float]:
    wall, cpu = [], []
    for query in queries:
        started = time.perf_counter(), time.thread_time()
        call(query)
        wall.append(1000 * (time.perf_counter() - started[0]))
        cpu.append(1000 * (time.thread_time() - started[1]))
    named = (("", wall), ("cpu_", cpu))
    return {f"{name}p{point}": round(float(np.percentile(v, point)), 2) for name, v in named for point in (50, 90, 99)}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the collections")
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--cache", type=Path, help="folder that vectors are kept in")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--latency", type=int, default=0, help="passages to measure the time of a search on; 0: none")
    options = parser.parse_args()
    loaded: list[Embedder] = []

    def embedder() -> Embedder:
        if not loaded:
            loaded.append(load_embedder(options.model, "cpu"))
        return loaded[0]

    collections = {
        name: collection(options.data / name, partial(cached, options.cache, name, embedder)) for name in options.sets
    }
    figures: dict[str, Any] = {
        "versions": {name: version(name) for name in ("bm25s", "faiss-cpu", "numpy", "sentence-transformers")},
        "model": options.model,
        "quality": {name: quality(one) for name, one in collections.items()},
    }
    if options.latency:
        figures["latency_ms"] = latency(list(collections.values()), options.latency)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
