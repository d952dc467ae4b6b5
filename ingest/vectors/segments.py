"""A segment: a set of vectors that never changes, with their ids, and the rows of it that are not found any more.

Changes make new segments and new marks instead, so that a search that is under way, and a file that is mapped, keep
what they began with. Rows are in ascending order of their ids: looking one up is a binary search in the mapped file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.vectors import kinds
from ingest.vectors.base import Ids, Kind, Vectors
from ingest.vectors.manifest import SavedFile


@dataclass(frozen=True)
class Segment:
    """See the module. It holds one vector or more.

    Attributes:
        ids: ascending, [n].
        storage, structure: see `ingest.vectors.kinds`.
        built: the settings that the structure was built with.
        recall: measured when it was built; None where the search is exact.
        home, files: the folder where it is saved, and what it is there; None and none before it is.
    """

    kind: Kind
    ids: Ids
    storage: Any
    structure: Any = None
    built: Mapping[str, int] = field(default_factory=dict)
    recall: float | None = None
    home: Path | None = None
    files: tuple[SavedFile, ...] = ()

    @classmethod
    def of(cls, kind: Kind, ids: Ids, vectors: Vectors, params: kinds.Params) -> "Segment":
        """Build one from distinct ids [n] and unit vectors [n, dimensions]."""
        order = np.argsort(ids)
        storage, structure = kinds.build(kind, vectors[order], params)
        measured = None
        if structure is not None:
            measured = round(kinds.recall(storage, structure, params, kinds.perturbed(storage)), 4)
        return cls(kind, ids[order], storage, structure, params.of_building(kind), measured)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """Size of its files; 0 before it is saved."""
        return sum(file.size for file in self.files)

    @cached_property
    def matrix(self) -> npt.NDArray[Any]:
        """The vectors, float32 or float16 [n, dimensions], not copied."""
        return kinds.matrix_of(self.storage)

    def rows_of(self, ids: Ids) -> Ids:
        """The row of each id, -1 for one that is not here."""
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, at, -1)


@dataclass(frozen=True)
class Part:
    """A segment and which of its rows are not found any more, [n]; None where all are found."""

    segment: Segment
    dead: npt.NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """How many vectors of it are found."""
        return len(self.segment) - self.removed

    @cached_property
    def removed(self) -> int:
        """How many are stored and not found any more."""
        return 0 if self.dead is None else int(np.count_nonzero(self.dead))

    @property
    def ids(self) -> Ids:
        """Ids that are found, ascending."""
        return self.segment.ids if self.dead is None else self.segment.ids[~self.dead]

    @property
    def vectors(self) -> Vectors:
        """The vectors of `ids`."""
        matrix = self.segment.matrix if self.dead is None else self.segment.matrix[~self.dead]
        return np.asarray(matrix, np.float32)

    def rows_of(self, ids: Ids) -> Ids:
        """The row of each id, -1 for one that is not found here."""
        rows = self.segment.rows_of(ids)
        return rows if self.dead is None else np.where(self.dead[rows], -1, rows)

    def without(self, ids: Ids) -> "Part":
        """The same, where these ids are not found any more."""
        rows = self.rows_of(ids)
        rows = rows[rows >= 0]
        if not len(rows):
            return self
        dead = np.zeros(len(self.segment), np.bool_) if self.dead is None else self.dead.copy()
        dead[rows] = True
        return replace(self, dead=dead)

    def search(self, queries: Vectors, k: int, allowed: Ids | None, params: kinds.Params) -> tuple[Vectors, Ids]:
        """Cosines and ids of the nearest, [q, at most k]: fewer columns where fewer may be found.

        Args:
            allowed: looked up much more quickly in ascending order.
        """
        usable = None if self.dead is None else ~self.dead
        if allowed is not None:
            usable = np.zeros(len(self.segment), np.bool_)
            rows = self.rows_of(allowed)
            usable[rows[rows >= 0]] = True
        k = min(k, len(self.segment) if usable is None else int(np.count_nonzero(usable)))
        if not k:
            return np.zeros((len(queries), 0), np.float32), np.zeros((len(queries), 0), np.int64)
        segment = self.segment
        cosines, rows = kinds.nearest(segment.storage, segment.structure, queries, k, usable, params)
        return cosines, segment.ids[rows]


def together(parts: Sequence[Part]) -> tuple[Ids, Vectors]:
    """Ids and vectors of all that is found in some parts."""
    ids = np.concatenate([part.ids for part in parts])
    vectors = np.empty((len(ids), parts[0].segment.storage.d), np.float32)
    start = 0
    for part in parts:
        vectors[start : start + len(part)] = part.vectors
        start += len(part)
    return ids, vectors
