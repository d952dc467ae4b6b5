"""Comparing for certain: the Jaccard similarity of the shingle sets of two documents.

In: pairs of documents that may be alike, oldest first, and their texts. Out: for each document the oldest kept one
that it repeats, and every similarity that was worked out, to be known in the next version.

The shingles of the texts that have to be compared lie in a temporary file beside the output, 8 bytes each; memory holds
those of two documents at a time, and 8 bytes a pair.
"""

import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.errors import ArtifactError
from ingest.dedup.candidates import Rows
from ingest.dedup.shingles import WORDS, Hashes, Shingles, normal, shingle
from ingest.dedup.signatures import BATCH_CHARACTERS, VERSION
from ingest.records import Document

SIMILARITIES = "similarities.parquet"
Similarities = NDArray[np.float64]
# Pairs that are turned into Python numbers at once, about 200 bytes each.
_AT_ONCE = 100_000
_MADE_WITH, _SETTINGS = b"wellread.similarities", f"{VERSION} {WORDS}".encode()
_PAIR = np.dtype([("newer", np.uint64), ("older", np.uint64)])


def jaccard(first: Hashes, second: Hashes) -> float:
    """Size of the intersection over size of the union, of two sets given as ascending arrays; 0 when both are empty."""
    both = np.concatenate([first, second])
    both.sort(kind="stable")
    shared = int(np.count_nonzero(both[1:] == both[:-1]))
    return shared / (len(both) - shared) if len(both) else 0.0


class ShingleFile:
    """The shingle sets of some rows, on disk; to be used in a `with`.

    Args:
        folder: where the temporary file is; the system's folder for such files when None.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._places: dict[int, tuple[int, int]] = {}
        self._size = 0

    def __enter__(self) -> Self:
        self._file: IO[bytes] = tempfile.TemporaryFile(dir=self._folder)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def collect(self, documents: Iterable[Document], rows: Collection[int]) -> None:
        """Read the documents, and keep the shingles of these rows."""
        left = {row for row in rows if row not in self._places}
        waiting: list[tuple[int, str]] = []
        weight = 0
        for row, document in enumerate(documents) if left else ():
            if row in left:
                left.discard(row)
                waiting.append((row, normal(document.text)))
                weight += len(document.text)
            if waiting and (weight >= BATCH_CHARACTERS or not left):
                self.add([row for row, _ in waiting], shingle([text for _, text in waiting]))
                waiting, weight = [], 0
            if not left:
                break
        if left:
            raise RuntimeError(f"the documents end before row {min(left)}: they were others when they were first read")

    def add(self, rows: Sequence[int], found: Shingles) -> None:
        """Keep the shingles of some texts, which are those of these rows."""
        for number, row in enumerate(rows):
            hashes = found.set_of(number)
            self._file.write(hashes.tobytes())
            self._places[row] = (self._size, hashes.nbytes)
            self._size += hashes.nbytes
        self._file.flush()

    def has(self, first: int, second: int) -> bool:
        """Whether both rows were collected."""
        return first in self._places and second in self._places

    def similarity(self, first: int, second: int) -> float:
        """Jaccard similarity of two rows that were collected."""
        return jaccard(self._get(first), self._get(second))

    def _get(self, row: int) -> Hashes:
        start, size = self._places[row]
        # Not mapped: pages of a mapped file count as this process's memory.
        return np.frombuffer(os.pread(self._file.fileno(), size, start), np.uint64)


class Known:
    """The similarities of some pairs of documents that the version before has worked out.

    Args:
        folder: of the version before, or None.

    Raises:
        ArtifactError: the table is damaged.
    """

    def __init__(self, folder: Path | None) -> None:
        self._pairs = np.empty(0, _PAIR)
        self._similarity = np.empty(0, np.float64)
        if folder and (folder / SIMILARITIES).exists():
            self._load(folder / SIMILARITIES)

    def of(self, pairs: Rows, keys: Hashes) -> Similarities:
        """The similarity of each pair of rows, NaN where it is not known.

        Args:
            pairs: int64[pairs, 2].
            keys: `id_key` of every row.
        """
        wanted = _as_pairs(keys[pairs[:, 0]], keys[pairs[:, 1]])
        found = np.full(len(wanted), np.nan)
        if len(self._pairs):
            at = np.minimum(np.searchsorted(self._pairs, wanted), len(self._pairs) - 1)
            same = self._pairs[at] == wanted
            found[same] = self._similarity[at[same]]
        return found

    def _load(self, path: Path) -> None:
        try:
            table = pq.read_table(path)
            if (table.schema.metadata or {}).get(_MADE_WITH) != _SETTINGS:
                return
            pairs = _as_pairs(table["newer"].to_numpy(), table["older"].to_numpy())
            order = np.argsort(pairs, kind="stable")
            self._pairs, self._similarity = pairs[order], table["similarity"].to_numpy()[order]
        except (OSError, KeyError, pa.ArrowInvalid) as error:
            raise ArtifactError(f"cannot read {path}: {error}", f"Delete {path.parent} and make it again") from None


def write_similarities(out: Path, pairs: Rows, similarity: Similarities, keys: Hashes) -> None:
    """Write what is known of these pairs."""
    columns = {"newer": keys[pairs[:, 0]], "older": keys[pairs[:, 1]], "similarity": similarity}
    table = pa.table(columns).replace_schema_metadata({_MADE_WITH: _SETTINGS})
    pq.write_table(table, out / SIMILARITIES, compression="zstd", use_dictionary=False)


@dataclass(frozen=True)
class Decided:
    """What each row repeats.

    Attributes:
        repeats: the row that is repeated, -1 where there is none, int64[rows].
        similarity: of both, float64[rows].
        used: numbers of the pairs that were looked at.
        unknown: those of them whose similarity is not known.
    """

    repeats: Rows
    similarity: Similarities
    used: Rows
    unknown: Rows


def decide(pairs: Rows, similarity: Similarities, shingles: ShingleFile, rows: int, threshold: float) -> Decided:
    """Walk through the pairs: a document repeats the oldest one before it that is kept and similar enough.

    Args:
        pairs: (newer, older), sorted by the age of both; int64[pairs, 2].
        similarity: NaN where it is not known; worked out here, in place, where both rows' shingles were collected,
            and else taken as not alike.
        rows: number of documents.
    """
    repeats, similar = np.full(rows, -1), np.zeros(rows)
    used: list[int] = []
    unknown: list[int] = []
    for number, newer, older in _numbered(pairs):
        if repeats[newer] >= 0 or repeats[older] >= 0:
            continue
        used.append(number)
        value = similarity[number]
        if np.isnan(value):
            if not shingles.has(newer, older):
                unknown.append(number)
                continue
            value = similarity[number] = shingles.similarity(newer, older)
        if value >= threshold:
            repeats[newer], similar[newer] = older, value
    return Decided(repeats, similar, np.array(used, np.int64), np.array(unknown, np.int64))


def _numbered(pairs: Rows) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(pairs), _AT_ONCE):
        for number, (newer, older) in enumerate(pairs[start : start + _AT_ONCE].tolist(), start):
            yield number, newer, older


def _as_pairs(newer: Hashes, older: Hashes) -> NDArray[np.void]:
    pairs = np.empty(len(newer), _PAIR)
    pairs["newer"], pairs["older"] = newer, older
    return pairs
