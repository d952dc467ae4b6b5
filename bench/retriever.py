"""Fine-tuning the embedder on SciFact's training claims, measured on claims that it has not seen.

In: a folder that holds `retr_scifact` (BEIR's layout: `common/corpus.jsonl.gz`, `dev/queries.jsonl.gz`,
`dev/qrels.tsv`, `dev/train_queries.jsonl.gz`, `dev/train_qrels.tsv`). Out: JSON with nDCG@10 and MRR@10 of BM25 (bm25s,
k1 0.9, b 0.4, English stems), of reciprocal rank fusion of it with the embedder before and after, and of this project's
own search with each, by meaning alone (`dense`) and with its defaults (`hybrid`); the gains of these with their 95%
intervals (paired bootstrap); and the seconds that it took.

Hyper-parameters are those of the settings unless given. `--on training` trains on four fifths of the training claims
and measures on the others (claims that share an abstract stay together): what hyper-parameters are chosen by.

    python -m bench.retriever --data FOLDER
"""

import argparse
import gzip
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import Stemmer

from configs.artifacts import code_revision, versions_of
from configs.retrieval import EmbedSettings, RetrieverSettings
from ingest.embed import load_embedder
from ingest.examples.split import share
from ingest.records import Chunk, stable_id
from ingest.relevance.metrics import score
from ingest.search.base import Ranking
from ingest.search.fuse import by_rank
from ingest.search.hybrid import Ranker
from train.retriever.fit import Recipe
from train.retriever.judge import METRICS
from train.retriever.learn import Base, learn
from train.retriever.mine import Space
from train.retriever.task import Labelled, Task

PACKAGES = ("torch", "transformers", "sentence-transformers", "bm25s")
HELD_OUT = 0.2
DEEP = 100


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a gzipped JSONL file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def labelled(folder: Path, queries: str, qrels: str, row_of: Mapping[str, int]) -> list[Labelled]:
    """The claims with the abstracts that they are judged by."""
    lines = [line.split("\t") for line in (folder / qrels).read_text().splitlines()[1:]]
    answers: dict[str, list[int]] = {}
    for query, document, grade in lines:
        if int(grade) > 0:
            answers.setdefault(query, []).append(row_of[document])
    texts = {row["_id"]: row["text"] for row in rows_of(folder / queries)}
    return [Labelled(texts[query], tuple(sorted(rows))) for query, rows in answers.items()]


def split(claims: Sequence[Labelled], seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Four fifths to learn from, and the rest; claims tied by a shared abstract, if only through others, together."""
    first: dict[int, int] = {}
    parent = list(range(len(claims)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for place, claim in enumerate(claims):
        for row in claim.rows:
            parent[root(place)] = root(first.setdefault(row, place))
    held = [share(seed, "bench", claims[root(place)].question) < HELD_OUT for place in range(len(claims))]
    return (
        [claim for claim, out in zip(claims, held, strict=True) if not out],
        [claim for claim, out in zip(claims, held, strict=True) if out],
    )


def bm25(texts: Sequence[str]) -> Callable[[Sequence[str]], list[list[int]]]:
    """The peer's BM25."""
    stemmer = Stemmer.Stemmer("english")

    def terms(of: Sequence[str]) -> Any:
        return bm25s.tokenize(list(of), stopwords="en", stemmer=stemmer, show_progress=False)

    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4)
    index.index(terms(texts), show_progress=False)

    def search(questions: Sequence[str]) -> list[list[int]]:
        found, points = index.retrieve(terms(questions), k=min(DEEP, len(texts)), show_progress=False)
        return [rows[above > 0].tolist() for rows, above in zip(np.asarray(found), np.asarray(points), strict=True)]

    return search


def means(found: Sequence[Sequence[int]], claims: Sequence[Labelled]) -> dict[str, float]:
    """Means of the metrics."""
    qrels = {str(place): {str(row): 1 for row in claim.rows} for place, claim in enumerate(claims)}
    run = {str(place): [str(row) for row in rows] for place, rows in enumerate(found)}
    return {name: round(value, 4) for name, value in score(run, qrels, METRICS).means.items()}


def fused(space: Space, words: Sequence[Sequence[int]]) -> list[list[int]]:
    """The peer's hybrid search: reciprocal rank fusion of the first `DEEP` by meaning and by words."""
    near = np.argsort(-(space.questions @ space.passages.T), axis=1, kind="stable")[:, :DEEP]
    pairs = zip(near, words, strict=True)
    return [by_rank([Ranking(np.asarray(rows, np.int64)) for rows in pair]).rows.tolist() for pair in pairs]


def measure(data: Path, recipe: Recipe, negatives: int, *, on_training: bool) -> dict[str, Any]:
    """All figures of one training run."""
    folder = data / "retr_scifact"
    corpus = rows_of(folder / "common/corpus.jsonl.gz")
    chunks = [
        Chunk(stable_id(row["_id"]), row["_id"], row["_id"], row["title"], (), row["text"], 0, len(row["text"]))
        for row in corpus
    ]
    row_of = {row["_id"]: place for place, row in enumerate(corpus)}
    train = labelled(folder / "dev", "train_queries.jsonl.gz", "train_qrels.tsv", row_of)
    held_out = labelled(folder / "dev", "queries.jsonl.gz", "qrels.tsv", row_of)
    if on_training:
        train, held_out = split(train, recipe.seed)
    task = Task(chunks, [chunk.doc_id for chunk in chunks], train, held_out)
    words = bm25(task.passages)([claim.question for claim in held_out])
    settings = EmbedSettings()
    base = Base(settings.model, lambda name: load_embedder(name, settings.device, settings.batch_size))
    with tempfile.TemporaryDirectory() as work:
        began = time.monotonic()
        learned = learn(task, base, Path(work), recipe, Ranker(), negatives=negatives, progress=lambda *_: None)
        seconds = time.monotonic() - began
    return {
        "measured_on": "training claims held out" if on_training else "dev claims",
        "claims": {"train": len(train), "held_out": len(held_out), "abstracts": len(corpus)},
        "recipe": {**vars(recipe), "hard_negatives": negatives},
        "bm25": means(words, held_out),
        "rrf_base": means(fused(learned.before, words), held_out),
        "rrf_trained": means(fused(learned.after, words), held_out),
        "ours": {name: round(value, 4) for name, value in learned.judgement.figures().items()},
        "training": learned.figures,
        "seconds": round(seconds, 1),
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "versions": versions_of(PACKAGES),
        "revision": code_revision(),
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
    }


def main() -> None:
    """Print the figures."""
    chosen = RetrieverSettings()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds retr_scifact")
    parser.add_argument("--on", choices=("dev", "training"), default="dev")
    for name in ("epochs", "learning_rate", "batch_size", "max_tokens", "blend", "hard_negatives"):
        default = getattr(chosen, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    parser.add_argument("--seed", type=int, default=0)
    options = vars(parser.parse_args())
    names = ("epochs", "learning_rate", "batch_size", "max_tokens", "blend", "seed")
    recipe = Recipe(**{name: options[name] for name in names})
    figures = measure(options["data"], recipe, options["hard_negatives"], on_training=options["on"] == "training")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
