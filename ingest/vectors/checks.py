"""What every store refuses before it takes anything: ids and vectors that do not fit it, and queries that mean nothing.

One vector that is not finite would make every search that meets it answer nonsense, without any error.
"""

import numpy as np

from configs.errors import ArtifactError, WellreadError
from ingest.vectors.base import Ids, Vectors

TOLERANCE = 1e-3
"""How far a vector's length may be from 1: half-precision embedders are off by 5e-4."""
_REMEDY = "Nothing was added; run `wellread index` with an embedder that gives unit vectors of these dimensions"


def checked(ids: Ids, vectors: Vectors, dimensions: int) -> tuple[Ids, Vectors]:
    """Ids as int64 [n] and vectors as float32 [n, dimensions], as a store can take them.

    Raises:
        ArtifactError: ids that are negative, repeated or of another number than the vectors; vectors of other
            dimensions, not finite or not of length 1.
    """
    ids = np.ascontiguousarray(ids, np.int64)
    rows = np.ascontiguousarray(vectors, np.float32)
    if ids.ndim != 1 or rows.shape != (len(ids), dimensions):
        raise ArtifactError(f"vectors of shape {rows.shape} for {ids.size} ids and {dimensions} dimensions", _REMEDY)
    if len(ids) and ids.min() < 0:
        raise ArtifactError(f"the id {ids.min()} is negative", "Nothing was added; ids are numbers from 0 to 2^63 - 1")
    distinct, times = np.unique(ids, return_counts=True)
    if len(distinct) < len(ids):
        twice = distinct[times > 1][0]
        raise ArtifactError(f"the id {twice} is there {times.max()} times", "Nothing was added; give each id once")
    squares = np.einsum("nd,nd->n", rows, rows)
    # Written so that it is also true of NaN.
    wrong = np.flatnonzero(~(np.abs(np.sqrt(squares) - 1) <= TOLERANCE))
    if len(wrong):
        first = wrong[0]
        length = float(np.sqrt(squares[first]))
        raise ArtifactError(f"the vector of id {ids[first]} has length {length:.4g}, not 1", _REMEDY)
    return ids, rows


def checked_queries(queries: Vectors, dimensions: int) -> Vectors:
    """Queries as float32 [q, dimensions].

    Raises:
        WellreadError: they are of other dimensions, or not finite.
    """
    rows = np.ascontiguousarray(queries, np.float32)
    if rows.ndim != 2 or rows.shape[1] != dimensions:
        raise WellreadError(
            f"queries of shape {rows.shape} for an index of {dimensions} dimensions",
            "Ask with the embedder that the index was made with",
        )
    if not np.isfinite(rows).all():
        raise WellreadError("a query's vector is not finite", "Ask with an embedder that works on this machine")
    return rows
