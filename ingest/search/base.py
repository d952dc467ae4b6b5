"""What passes between the parts of search: rankings of rows, and the passages that were found."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ingest.records import Chunk

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Hit:
    """A passage that was found.

    Attributes:
        score: cosine similarity to the question, -1 to 1, whatever the order was made from.
        rank_score: what the order was made from: fused, or the reranker's.
        repeats: passages left out because they say the same.
    """

    chunk: Chunk
    score: float
    rank_score: float = 0.0
    repeats: int = 0


# Whether two are equal is no one answer: arrays compare value by value.
@dataclass(frozen=True, eq=False)
class Ranking:
    """Rows of the passages' table with their scores, best first; both [n]."""

    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    scores: Scores = field(default_factory=lambda: np.zeros(0, np.float32))


@dataclass(frozen=True)
class Retrieved:
    """All that one search found out.

    Attributes:
        query: what was searched for.
        hits: what it found, best first.
        rows: the hits' rows.
        dense, lexical: the rankings that were fused, before collapsing and reranking.
    """

    query: str
    hits: tuple[Hit, ...] = ()
    rows: tuple[int, ...] = ()
    dense: Ranking = field(default_factory=Ranking)
    lexical: Ranking = field(default_factory=Ranking)
