"""Two rankings of the same passages in, one out.

`by_rank` is reciprocal rank fusion (Cormack, Clarke and Buettcher 2009): it needs nothing but ranks, and loses how
sure each ranking is. `by_score` keeps that: a weighted mean of scores, each divided by its own standard deviation among
the candidates, so that cosines and BM25 weigh alike whatever their scales. Bruch, Gai and Ingber (2023) found such
convex combinations better than reciprocal ranks, and hardly sensitive to how the scores are normalised.

`spread` keeps one document from taking all the first places: each further passage of it loses a little, as what it
adds is partly told already (Carbonell and Goldstein 1998, who call it maximal marginal relevance).

`smoothed` lets near passages agree: what is relevant lies close together (van Rijsbergen 1979), so a passage whose
neighbours score high gains (Diaz 2005, who calls it regularising a ranking's scores).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ingest.search.base import Ranking, Scores
from ingest.vectors.base import Vectors

K = 60


def by_rank(rankings: Sequence[Ranking], k: int = K) -> Ranking:
    """Passages by the sum of `1 / (k + rank)` over the rankings that they are in, ranks counted from 1."""
    rows = np.concatenate([ranking.rows for ranking in rankings] or [np.zeros(0, np.int64)])
    points = [1 / (k + np.arange(1, len(ranking.rows) + 1)) for ranking in rankings]
    found, places = np.unique(rows, return_inverse=True)
    total = np.bincount(places, np.concatenate(points or [np.zeros(0)]), len(found))
    return ordered(found, total.astype(np.float32))


def by_score(dense: Scores, lexical: Scores, weight: float = 0.5) -> Scores:
    """The weighted mean of two scores of the same candidates, each standardised among them; [n].

    Args:
        weight: of the dense scores, 0 to 1.
    """
    return (weight * standardised(dense) + (1 - weight) * standardised(lexical)).astype(np.float32)


def standardised(scores: Scores) -> Scores:
    """Scores with mean 0 and standard deviation 1; all 0 where they are all the same."""
    deviation = float(scores.std()) if len(scores) else 0.0
    return (scores - scores.mean()) / np.float32(deviation) if deviation > 1e-6 else np.zeros_like(scores)


def smoothed(scores: Scores, vectors: Vectors, share: float = 0.4, neighbours: int = 10) -> Scores:
    """Scores, of which a share is the mean score of the nearest others, weighted by their cosine; [n].

    Args:
        vectors: float32 [n, dimensions], of length 1.
        share: 0 leaves the scores as they are.
    """
    if len(scores) < 3 or share == 0:
        return scores
    near = np.maximum(vectors @ vectors.T, 0)
    np.fill_diagonal(near, 0)
    if neighbours < len(near) - 1:
        furthest = np.partition(near, -neighbours, axis=1)[:, -neighbours, None]
        near = np.where(near >= furthest, near, 0)
    weights = near.sum(axis=1)
    agreed = np.divide(near @ scores, weights, out=scores.copy(), where=weights > 0)
    return np.asarray((1 - share) * scores + share * agreed, np.float32)


def spread(ranking: Ranking, documents: npt.NDArray[np.int64], less: float) -> Ranking:
    """A ranking in which a passage's score is `less` smaller for each better passage of its document.

    Args:
        documents: number of each passage's document, in the ranking's order, [n].
    """
    together = np.argsort(documents, kind="stable")
    firsts = np.flatnonzero(np.diff(documents[together], prepend=-1))
    better = np.empty(len(documents), np.int64)
    better[together] = np.arange(len(documents)) - np.repeat(firsts, np.diff(firsts, append=len(documents)))
    return ordered(ranking.rows, ranking.scores - np.float32(less) * better.astype(np.float32))


def ordered(rows: np.ndarray, scores: Scores) -> Ranking:
    """Rows by their scores, the highest first; of equal ones in the order given."""
    order = np.argsort(-scores, kind="stable")
    return Ranking(np.asarray(rows, np.int64)[order], scores[order])
