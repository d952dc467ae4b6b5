"""A vector index in files: FAISS behind the contract of `ingest.vectors.base`.

    index = FaissIndex.create(384)              or FaissIndex.load(folder)
    index.remove(gone); index.add(ids, vectors)
    if index.needs_compaction(0.2): index.compact()
    index.save(new_folder)

It is a row of segments that never change. What is added makes a small exact segment; an id that is removed or replaced
is marked in the segment that has it; a search asks all segments and merges what they find. Compaction builds one new
segment of the kind wanted from what is there, and measures its recall. A large index is built by adding everything and
compacting once.

Segments are mapped when loaded, so that opening costs little and processes share the memory, and they are hard-linked
when saved into another folder, so that a new version costs its changes only. Adding makes a new row of segments and
leaves the old one to searches under way, so that threads may search while one thread changes and saves.

A single query is searched by one thread, many at once and building by as many as OMP_NUM_THREADS says.

Known limits: what was added since the last save is in memory; compaction holds all vectors in memory, twice.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ingest.vectors import kinds
from ingest.vectors.base import NOTHING, Ids, Stats, Vectors
from ingest.vectors.checks import checked, checked_queries
from ingest.vectors.folder import open_folder, save_folder
from ingest.vectors.kinds import Params, Wanted
from ingest.vectors.segments import Part, Segment, together

NO_COSINE = -1.0
"""Beside `NOTHING`: no cosine is less."""


class FaissIndex:
    """See the module. Any number of threads may search while one adds, removes, compacts or saves."""

    def __init__(self, dimensions: int, kind: Wanted, params: Params, parts: Sequence[Part] = ()) -> None:
        self.dimensions = dimensions
        self.kind: Wanted = kind
        self.params = params
        self._parts = tuple(parts)

    @classmethod
    def create(cls, dimensions: int, kind: Wanted = "auto", params: Params | None = None) -> "FaissIndex":
        """An empty index."""
        return cls(dimensions, kind, params or Params())

    @classmethod
    def load(
        cls, folder: Path, kind: Wanted | None = None, params: Params | None = None, *, verify: bool = False
    ) -> "FaissIndex":
        """Open a saved index.

        Args:
            kind, params: how it is to be searched, and built at the next compaction; None takes what it was saved with.
            verify: also read all vectors and compare their checksums; without, only those of the other files, since
                nothing but a wrong ranking comes of a damaged vector.

        Raises:
            ArtifactError: there is none, or it is damaged.
        """
        manifest, parts = open_folder(folder, verify=verify)
        return cls(manifest.dimensions, kind or manifest.kind, params or Params(**manifest.params), parts)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    @property
    def ids(self) -> Ids:
        """All ids that can be found, ascending."""
        return np.sort(np.concatenate([np.zeros(0, np.int64), *(part.ids for part in self._parts)]))

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors, float32 [n, dimensions] of length 1 within 0.001; one whose id is there replaces it.

        Raises:
            ArtifactError: see `ingest.vectors.checks.checked`; nothing was added then.
        """
        ids, vectors = checked(ids, vectors, self.dimensions)
        if not len(ids):
            return
        parts = [*self._without(ids), Part(Segment.of("exact", ids, vectors, self.params))]
        # Segments at least double in size from the last one back, so there are few, and a vector is copied few times.
        while len(parts) > 1 and parts[-2].segment.kind == "exact" and len(parts[-2]) <= 2 * len(parts[-1]):
            parts[-2:] = [Part(Segment.of("exact", *together(parts[-2:]), self.params))]
        self._parts = tuple(parts)

    def remove(self, ids: Ids) -> int:
        """Remove what is there of these. Returns how many were."""
        before = len(self)
        self._parts = tuple(self._without(np.asarray(ids, np.int64)))
        return before - len(self)

    def search(self, queries: Vectors, k: int, allowed: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest to each query, best first: cosines [q, k] and ids [q, k]; `NOTHING`, with a cosine of -1,
        where there are fewer.

        Args:
            queries: float32 [q, dimensions], of length 1.
            allowed: only these are to be found; None allows all.

        Raises:
            WellreadError: queries of other dimensions, or not finite.
        """
        queries = checked_queries(queries, self.dimensions)
        if allowed is not None:
            # In ascending order, looking one up touches the memory beside that of the one before.
            allowed = np.sort(np.asarray(allowed, np.int64))
        found = [part.search(queries, k, allowed, self.params) for part in self._parts] if len(queries) else []
        if len(found) == 1 and found[0][0].shape[1] == k:
            return found[0]
        nothing = np.full((len(queries), k), NO_COSINE, np.float32), np.full((len(queries), k), NOTHING, np.int64)
        cosines, ids = (np.concatenate(columns, axis=1) for columns in zip(*found, nothing, strict=True))
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(cosines, best, axis=1), np.take_along_axis(ids, best, axis=1)

    def get(self, ids: Ids) -> Vectors:
        """The vectors of these ids, float32 [n, dimensions], as exactly as they are stored.

        Raises:
            KeyError: one of them is not there.
        """
        ids = np.asarray(ids, np.int64)
        vectors, there = np.empty((len(ids), self.dimensions), np.float32), np.zeros(len(ids), np.bool_)
        for part in self._parts:
            rows = part.rows_of(ids)
            here = rows >= 0
            vectors[here] = part.segment.matrix[rows[here]]
            there |= here
        if not there.all():
            raise KeyError(int(ids[~there][0]))
        return vectors

    def needs_compaction(self, share: float) -> bool:
        """Whether more than this share is changed or removed, or the largest segment is not built as is wanted."""
        count = len(self)
        if not count:
            return False
        base = self.base
        kind = kinds.kind_of(self.kind, count)
        if (base.kind, base.built) != (kind, self.params.of_building(kind)):
            return True
        # One that was replaced is removed in one segment and added in another.
        return max(self.stats().removed, count - len(self._base)) > share * count

    def compact(self) -> None:
        """Build one segment from all that can be found.

        Raises:
            ConfigError: `code_bytes` does not divide the dimensions.
        """
        parts = self._parts
        if parts:
            kind = kinds.kind_of(self.kind, len(self))
            self._parts = (Part(Segment.of(kind, *together(parts), self.params)),)

    def measure_recall(self, queries: Vectors, k: int = 10) -> float:
        """Share of the k nearest among the k that a search finds, 0 to 1; all vectors are read for it."""
        queries = checked_queries(queries, self.dimensions)
        exact = FaissIndex(self.dimensions, "exact", self.params, [_exact(part) for part in self._parts])
        pairs = zip(exact.search(queries, k)[1], self.search(queries, k)[1], strict=True)
        return float(np.mean([len(np.intersect1d(true, found)) / len(np.unique(true)) for true, found in pairs]))

    def save(self, folder: Path) -> None:
        """Write the index into a folder, in one step: whoever opens it sees what was there before, or all of this.

        Raises:
            ArtifactError: the disk is full, or another process is writing there.
        """
        self._parts = save_folder(folder, self.dimensions, self.kind, self.params, self._parts)

    def stats(self) -> Stats:
        """What it says about itself; `bytes` is what was last saved or opened."""
        parts = self._parts
        base = self.base if parts else None
        return Stats(
            store="faiss",
            kind=base.kind if base else kinds.kind_of(self.kind, 0),
            dimensions=self.dimensions,
            vectors=sum(map(len, parts)),
            removed=sum(part.removed for part in parts),
            segments=len(parts),
            bytes=sum(part.segment.bytes for part in parts),
            recall=base.recall if base else None,
        )

    @property
    def base(self) -> Segment:
        """The largest segment of an index that is not empty."""
        return self._base.segment

    @property
    def _base(self) -> Part:
        return max(self._parts, key=lambda part: len(part.segment))

    def _without(self, ids: Ids) -> list[Part]:
        """The parts where these are not found any more; those where nothing is are left out."""
        return [part for old in self._parts if len(part := old.without(ids))]


def _exact(part: Part) -> Part:
    segment = part.segment
    return Part(Segment("exact", segment.ids, segment.storage), part.dead)
