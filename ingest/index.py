"""The vector index: chunks in, the nearest chunks to a question out.

A version holds `vectors.faiss` (inner product over unit vectors, that is, cosine), `chunks.parquet` in the same order,
and `index.json`, which names the embedder. Opening it with another embedder is refused: vectors of two models are not
comparable, and the search would answer nonsense without any error.

Known limit: exact search, linear in the number of chunks; about 0.7 ms for 100,000 on one core.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow.parquet as pq

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError
from ingest.embed import Embedder, Vectors
from ingest.records import Chunk, read_table, write_table

VECTORS, CHUNKS, META = "vectors.faiss", "chunks.parquet", "index.json"
EMBED_AT_ONCE = 256


@dataclass(frozen=True)
class Hit:
    """A chunk that was found, and its cosine similarity to the question (-1 to 1)."""

    chunk: Chunk
    score: float


class Index:
    """A loaded index. Searching is safe from several threads."""

    def __init__(self, vectors: faiss.Index, chunks: Sequence[Chunk], embedder: Embedder, version: str) -> None:
        self._vectors = vectors
        self._chunks = chunks
        self._embedder = embedder
        self.version = version

    @classmethod
    def load(cls, folder: Path, embedder: Embedder) -> "Index":
        """Open an index version.

        Raises:
            ArtifactError: files are missing or damaged, or the index was made with another embedder.
        """
        _check_embedder(folder, embedder)
        try:
            vectors = faiss.read_index(str(folder / VECTORS))
        except RuntimeError:
            raise ArtifactError(
                f"cannot read {folder / VECTORS}", "Delete that folder and run `wellread index`"
            ) from None
        chunks = list(read_table(folder / CHUNKS, Chunk))
        if vectors.ntotal != len(chunks):
            raise ArtifactError(
                f"{folder} is damaged: {vectors.ntotal} vectors for {len(chunks)} chunks",
                "Delete that folder and run `wellread index`",
            )
        return cls(vectors, chunks, embedder, folder.name)

    def __len__(self) -> int:
        return len(self._chunks)

    def topics(self, count: int = 16) -> Vectors:
        """Unit vectors in the middle of the documents' topics, float32 [at most count, dimensions]."""
        from guards.detectors.topic import centroids

        vectors = self._vectors.reconstruct_n(0, self._vectors.ntotal)
        return centroids(vectors, min(count, len(vectors)))

    def search(self, query: str, k: int) -> list[Hit]:
        """The k chunks nearest to the query, best first; fewer when the index is smaller."""
        return self.search_many([query], k)[0]

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """`search` for several queries at once."""
        if not queries or not self._chunks:
            return [[] for _ in queries]
        scores, rows = self._vectors.search(self._embedder.encode(queries), min(k, len(self._chunks)))
        return [
            [Hit(self._chunks[row], float(score)) for row, score in zip(found, near, strict=True)]
            for found, near in zip(rows.tolist(), scores.tolist(), strict=True)
        ]


def read_vectors(folder: Path) -> Vectors:
    """The vectors of an index version, float32 [chunks, dimensions], in the order of its chunks."""
    vectors = faiss.read_index(str(folder / VECTORS))
    return np.asarray(vectors.reconstruct_n(0, vectors.ntotal))


def embedding_text(chunk: Chunk) -> str:
    """What is embedded for a chunk: its place in the document gives short passages the context they lack."""
    return f"{chunk.heading_path}\n{chunk.text}"


def build_index(
    chunks: Iterable[Chunk], embedder: Embedder, folder: Path, progress: Callable[[int], None] = lambda _done: None
) -> int:
    """Embed chunks and write an index into `folder`. Returns how many chunks it holds.

    Args:
        progress: called with the number of chunks embedded so far.
    """
    rows = list(chunks)
    vectors = faiss.IndexFlatIP(embedder.dimensions)
    # Texts of like length share a batch, or the padding costs more than the words; the order is restored after.
    order = np.argsort([len(chunk.text) for chunk in rows], kind="stable")
    matrix = np.zeros((len(rows), embedder.dimensions), dtype=np.float32)
    for start in range(0, len(rows), EMBED_AT_ONCE):
        part = order[start : start + EMBED_AT_ONCE]
        matrix[part] = embedder.encode([embedding_text(rows[row]) for row in part])
        progress(min(start + EMBED_AT_ONCE, len(rows)))
    vectors.add(matrix)
    faiss.write_index(vectors, str(folder / VECTORS))
    write_table(folder / CHUNKS, rows, Chunk)
    meta = {"embedder": embedder.name, "dimensions": embedder.dimensions, "metric": "cosine", "chunks": len(rows)}
    write_text_atomic(folder / META, json.dumps(meta, indent=2) + "\n")
    return len(rows)


def _check_embedder(folder: Path, embedder: Embedder) -> None:
    try:
        meta = json.loads((folder / META).read_text())
        made_with = (meta["embedder"], meta["dimensions"])
        pq.read_metadata(folder / CHUNKS)
    except (OSError, ValueError, KeyError) as error:
        raise ArtifactError(
            f"{folder} is not a complete index: {error}", "Delete that folder and run `wellread index`"
        ) from None
    if made_with != (embedder.name, embedder.dimensions):
        raise ArtifactError(
            f"the index was made with {made_with[0]} ({made_with[1]} dimensions), but embed.model is {embedder.name} "
            f"({embedder.dimensions} dimensions)",
            f"Run `wellread index` again, or set embed.model={made_with[0]}",
        )
