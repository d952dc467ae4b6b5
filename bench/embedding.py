"""Embedding: texts a second of one core, by sentence-transformers itself and by this project, with the same model.

In: a folder with `retr_scifact/common/corpus.jsonl.gz` (`title`, `text`), abstracts of papers. Out: JSON.

`short`: titles. `chunks`: passages of 150 words. `questions`: titles one at a time, in milliseconds each. Both sides
take turns, as the machine may have other work, and what counts is processor time: the best turn of each, and the median
of the ratios of turns that follow each other. `difference` is the largest between numbers of the two sides' vectors.

    python -m bench.embedding --data FOLDER
"""

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

# Read when the libraries are loaded: one core.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from bench.loop import machine
from ingest.embed import load_embedder
from ingest.embed_source import source_of

MODEL = "embedded:all-MiniLM-L6-v2"
PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers")
WORDS = 150

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]


def texts_of(data: Path, short: int, chunks: int) -> tuple[list[str], list[str]]:
    """Titles, and passages cut from the texts one behind the other."""
    with gzip.open(data / "retr_scifact/common/corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    words = " ".join(row["text"] for row in rows).split()
    passages = (" ".join(words[start : start + WORDS]) for start in range(0, chunks * WORDS, WORDS))
    return [row["title"] for row in rows[:short]], list(passages)


def beside(texts: Sequence[str], sides: dict[str, Encode], turns: int) -> dict[str, Any]:
    """Texts per second of processor time on each side."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    vectors = {}
    for _ in range(turns):
        for name, encode in sides.items():
            started = time.process_time()
            vectors[name] = encode(texts)
            seconds[name].append(time.process_time() - started)
    ratios = [raw / ours for raw, ours in zip(seconds["sentence_transformers"], seconds["wellread"], strict=True)]
    return {
        "texts": len(texts),
        "texts_per_s": {name: round(len(texts) / min(took), 1) for name, took in seconds.items()},
        "times_as_fast": round(statistics.median(ratios), 2),
        "difference": float(np.abs(vectors["wellread"] - vectors["sentence_transformers"]).max()),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--short", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    library = SentenceTransformer(str(source_of(MODEL)), device="cpu")
    embedder = load_embedder(MODEL, "cpu")

    def raw(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.asarray(library.encode(list(texts), normalize_embeddings=True, show_progress_bar=False))

    def one_by_one(encode: Encode) -> Encode:
        return lambda texts: np.concatenate([encode([text]) for text in texts])

    sides: dict[str, Encode] = {"sentence_transformers": raw, "wellread": embedder.encode_passages}
    short, chunks = texts_of(options.data, options.short, options.chunks)
    questions = beside(short[:50], {name: one_by_one(encode) for name, encode in sides.items()}, options.turns)
    questions["ms_each"] = {name: round(1000 / rate, 1) for name, rate in questions.pop("texts_per_s").items()}
    figures = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "embedder": embedder.identity,
        "short": beside(short, sides, options.turns),
        "chunks": beside(chunks, sides, options.turns),
        "questions": questions,
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
