"""Documents that say the same in other words: vectors near each other, within clusters.

In: documents and an encoder. Out: for each row the oldest kept one whose vector is near enough. The method is that of
SemDeDup (Abbas et al. 2023, arXiv 2303.09540): k-means over the vectors, and cosines within each cluster; but here the
oldest of a group is kept, not the one farthest from the centre, and each verdict names it.

`vectors.parquet` holds the vectors from one version to the next, in the order of `signatures.id_key`. Memory holds them
all, 1.5 kB a document for 384 dimensions.

Known limits: two documents near each other but in different clusters are not compared. An encoder that reads only the
beginning of a text says nothing of the rest. What counts as near depends on the encoder; look at the rejects.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.errors import ArtifactError
from ingest.dedup.candidates import Rows
from ingest.dedup.shingles import Hashes
from ingest.dedup.signatures import column
from ingest.records import Document

VECTORS = "vectors.parquet"
Vectors = NDArray[np.float32]
# Documents a cluster, on average.
CLUSTER = 1000
# Texts that are encoded, and rows that are compared, at once.
BATCH = 256
_MADE_WITH = b"wellread.vectors"


@dataclass(frozen=True)
class Semantic:
    """How meanings are compared.

    Attributes:
        name: of the encoder; vectors of another name are not used.
        encode: texts in, float32[texts, dimensions] out.
        threshold: cosine from which on the newer document repeats the older one.
    """

    name: str
    encode: Callable[[Sequence[str]], Vectors]
    threshold: float = 0.95


def vectors_of(
    documents: Callable[[], Iterable[Document]],
    rows: Rows,
    out: Path,
    *,
    previous: Path | None,
    semantic: Semantic,
) -> tuple[Vectors, int]:
    """The vectors of some rows, of length 1 each, and how many had to be worked out; writes `vectors.parquet`.

    Args:
        documents: read once, when a vector is missing.
        rows: numbers of the documents.
        out: folder with the table of signatures.

    Raises:
        ArtifactError: the table of the version before is damaged.
    """
    keys = column(out, "key")
    known = _load(previous / VECTORS, semantic.name) if previous and (previous / VECTORS).exists() else {}
    wanted = {int(row): int(keys[row]) for row in rows}
    missing = {row for row, key in wanted.items() if key not in known}
    _encode(documents() if missing else (), missing, keys, known, semantic)
    vectors = np.stack([known[key] for key in wanted.values()]) if wanted else np.empty((0, 0), np.float32)
    _write(out / VECTORS, keys[rows], vectors, semantic.name)
    return vectors, len(missing)


def nearest_kept(vectors: Vectors, threshold: float) -> tuple[Rows, NDArray[np.float64]]:
    """For each vector the number of the oldest kept one near it in its cluster, or -1, and their cosine.

    Args:
        vectors: of length 1, oldest first.
        threshold: cosine.
    """
    repeats, cosines = np.full(len(vectors), -1), np.zeros(len(vectors))
    for members in _clusters(vectors):
        for start in range(0, len(members), BATCH):
            newer = members[start : start + BATCH]
            near = vectors[newer] @ vectors[members[: start + BATCH]].T
            for at, row in enumerate(newer):
                older = members[: start + at]
                hits = older[(near[at, : start + at] >= threshold) & (repeats[older] < 0)]
                if len(hits):
                    repeats[row] = hits[0]
                    cosines[row] = min(float(vectors[row] @ vectors[hits[0]]), 1.0)
    return repeats, cosines


def _clusters(vectors: Vectors) -> list[Rows]:
    """The members of each cluster, oldest first."""
    count = round(len(vectors) / CLUSTER)
    if count < 2:
        return [np.arange(len(vectors))]
    means = faiss.Kmeans(vectors.shape[1], count, niter=10, seed=7, spherical=True)
    means.train(vectors)
    _, nearest = means.index.search(vectors, 1)
    return [np.flatnonzero(nearest[:, 0] == number) for number in range(count)]


def _encode(
    documents: Iterable[Document], missing: Collection[int], keys: Hashes, known: dict[int, Vectors], semantic: Semantic
) -> None:
    waiting: list[tuple[int, str]] = []

    def flush() -> None:
        if waiting:
            vectors = semantic.encode([text for _, text in waiting])
            lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            known.update(zip((key for key, _ in waiting), (vectors / lengths).astype(np.float32), strict=True))
            waiting.clear()

    for row, document in enumerate(documents):
        if row in missing:
            waiting.append((int(keys[row]), document.text))
        if len(waiting) == BATCH:
            flush()
    flush()


def _load(path: Path, name: str) -> dict[int, Vectors]:
    try:
        table = pq.read_table(path)
        if (table.schema.metadata or {}).get(_MADE_WITH) != name.encode() or not len(table):
            return {}
        vectors = table["vector"].combine_chunks()
        flat = vectors.flatten().to_numpy().reshape(len(table), -1)
        return dict(zip(table["key"].to_pylist(), flat, strict=True))
    except (OSError, KeyError, ValueError, pa.ArrowInvalid) as error:
        raise ArtifactError(f"cannot read {path}: {error}", f"Delete {path.parent} and make it again") from None


def _write(path: Path, keys: Hashes, vectors: Vectors, name: str) -> None:
    order = np.argsort(keys)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors[order].reshape(-1)), max(vectors.shape[1], 1))
    table = pa.table({"key": keys[order], "vector": lists}).replace_schema_metadata({_MADE_WITH: name.encode()})
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
