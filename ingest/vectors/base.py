"""The contract of a vector index: unit vectors under stable ids in, the ids nearest to a question's vector out.

Ids are 63-bit numbers derived from what they stand for (`ingest.passages.number_of`), never positions: they survive
adding, removing and compaction. Similarity is the inner product, which is the cosine, since all vectors have length 1.

What is saved is a folder. Saving into a folder that holds an index replaces it in one step: whoever opens it sees the
old or the new one, whole, also when the writer is killed. A second writer is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from configs.errors import ArtifactError

Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

Kind = Literal["exact", "hnsw", "ivfpq"]
NOTHING = -1


class VectorsLost(ArtifactError):  # noqa: N818  says what is the case, as GateRefused does
    """A server was reached and does not hold what a folder says that it holds; the index is to be made again."""


@dataclass(frozen=True)
class Stats:
    """What an index says about itself.

    Attributes:
        store: `faiss`, `pgvector` or `qdrant`.
        kind: how it searches.
        vectors: how many can be found.
        removed: how many are still stored and not found any more.
        segments: parts that are searched one by one; 1 after compaction.
        bytes: size on disk, 0 where it is not known.
        recall: measured share of the exact ten nearest among the ten found; None where none was measured.
    """

    store: str
    kind: str
    dimensions: int
    vectors: int
    removed: int = 0
    segments: int = 1
    bytes: int = 0
    recall: float | None = None


class VectorIndex(Protocol):
    """See the module. Searching is safe from several threads; adding and removing are not."""

    dimensions: int

    def __len__(self) -> int:
        """How many vectors can be found."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, float32 [n, dimensions] of length 1; one whose id is there replaces it.

        Raises:
            ArtifactError: a vector is not finite, not of length 1, or of other dimensions; nothing was added then.
        """

    def remove(self, ids: Ids) -> int:
        """Remove what is there of these. Returns how many were."""

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest to each query, best first: cosines [q, k] and ids [q, k]; `NOTHING` where there are fewer.

        Args:
            queries: float32 [q, dimensions], of length 1.
            allowed: only these are to be found; None allows all.
        """

    def get(self, ids: Ids) -> Vectors:
        """The vectors of these ids, float32 [n, dimensions], as exactly as they are stored.

        Raises:
            KeyError: one of them is not there.
        """

    def save(self, folder: Path) -> None:
        """Write the index into a folder, in one step.

        Raises:
            ArtifactError: the disk is full, or another process is writing there.
        """

    def stats(self) -> Stats:
        """What it says about itself."""
