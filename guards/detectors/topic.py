"""Questions that have nothing to do with the documents, by cosine similarity to the corpus' topics.

Text in, the similarity to the nearest topic out. A topic is a centroid of the corpus' vectors (`centroids`), and
`threshold_for` finds the similarity that all but a few of the corpus' own questions exceed. What turns text into
vectors is passed in, so that the guard uses the vectors of the index that answers.

Known limits: it knows what the documents are about, not whether they answer; a greeting is off topic as much as any
other small talk, and texts of a few letters are not judged. Vectors say little of other languages than the embedder's.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError
from guards.base import NO_CONTEXT, Action, Context, Verdict

VERSION = "1"

Vectors = npt.NDArray[np.float32]
# Pieces of this many characters, this many of them spread over a text, are embedded; models read little more at once.
_PIECE, _PIECES = 1000, 8
_STEPS = 25


class TopicGuard:
    """Tells texts that are far from every topic; allows, or answers with `action`.

    Args:
        action: what is done with a text that is off topic.
        threshold: cosine similarity to the nearest topic, -1 to 1, below which a text is off topic.
        centroids: the topics, an array [topics, dimensions], or [dimensions] for a single one; of any length but 0.
        embed: texts to vectors of the same dimensions, [texts, dimensions].
        min_chars: letters and figures that are needed to judge.

    Raises:
        ConfigError: the topics are no vectors.
    """

    name = "topic"

    def __init__(
        self,
        *,
        action: Action = Action.FLAG,
        threshold: float = 0.2,
        centroids: npt.ArrayLike,
        embed: Callable[[Sequence[str]], npt.ArrayLike],
        min_chars: int = 8,
    ) -> None:
        self._topics = _unit(np.atleast_2d(np.asarray(centroids, dtype=np.float32)))
        if self._topics.ndim != 2 or not np.isfinite(self._topics).all() or not self._topics.any(axis=1).all():
            raise ConfigError("the topics of the guard are no vectors", "Pass what `centroids` made of the corpus")
        self._action = action
        self._threshold = threshold
        self._embed = embed
        self._min_chars = min_chars

    def warm_up(self) -> None:
        """Load the embedder now rather than at the first text."""
        self._embed(["A first sentence."])

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict:
        score = self.similarity(text, context) if sum(map(str.isalnum, text[:_PIECE])) >= self._min_chars else 1.0
        off = score < self._threshold
        return Verdict(
            action=self._action if off else Action.ALLOW,
            category="off_topic" if off else "topic",
            score=score,
            threshold=self._threshold,
            reason="It is not about what the documents are about." if off else "It is about the documents' topics.",
            detector="topic-centroids",
            version=VERSION,
        )

    def similarity(self, text: str, context: Context = NO_CONTEXT) -> float:
        """Cosine similarity to the nearest topic, -1 to 1; of a long text, that of its best piece."""
        pieces = _pieces(text.encode("utf-8", "ignore").decode())
        context.check_deadline()
        return float(np.max(_unit(np.asarray(self._embed(pieces), dtype=np.float32)) @ self._topics.T))


def centroids(vectors: npt.ArrayLike, k: int, *, seed: int = 0) -> Vectors:
    """Unit vectors of `k` topics, an array [k, dimensions], or as many as there are vectors.

    Spherical k-means (Dhillon and Modha, 2001): each vector goes to the centroid with the largest cosine, and each
    centroid becomes the normalised sum of its vectors. The first ones are drawn far apart (k-means++).

    Args:
        vectors: the corpus, an array [n, dimensions].

    Raises:
        ValueError: there are no vectors, or `k` is less than 1.
    """
    points = _unit(np.asarray(vectors, dtype=np.float32))
    if points.ndim != 2 or not len(points) or k < 1:
        raise ValueError(f"{k} topics of an array of shape {points.shape}: both must be at least 1")
    middles = _far_apart(points, min(k, len(points)), np.random.default_rng(seed))
    for _ in range(_STEPS):
        nearest = np.argmax(points @ middles.T, axis=1)
        sums = np.stack([points[nearest == topic].sum(axis=0) for topic in range(len(middles))])
        # A centroid that lost all its vectors stays where it is.
        moved = np.where(sums.any(axis=1, keepdims=True), _unit(sums), middles)
        if np.allclose(moved, middles, atol=1e-6):
            break
        middles = moved
    return middles


def threshold_for(vectors: npt.ArrayLike, topics: npt.ArrayLike, *, refused: float = 0.01) -> float:
    """The similarity that all but a share `refused` of the vectors exceed.

    Args:
        vectors: of questions that are on topic, [n, dimensions]; questions lie farther from the topics than passages.
        topics: centroids, [k, dimensions].
    """
    nearest = np.max(_unit(np.asarray(vectors, dtype=np.float32)) @ _unit(np.atleast_2d(topics)).T, axis=1)
    return float(np.quantile(nearest, refused))


def _far_apart(points: Vectors, k: int, rng: np.random.Generator) -> Vectors:
    chosen = [int(rng.integers(len(points)))]
    distance = np.full(len(points), 2.0)
    while len(chosen) < k:
        distance = np.minimum(distance, np.maximum(0.0, 1.0 - points @ points[chosen[-1]]))
        total = distance.sum()
        odds = distance / total if total > 1e-6 else np.full(len(points), 1.0 / len(points))
        chosen.append(int(rng.choice(len(points), p=odds)))
    return points[chosen]


def _unit(vectors: npt.ArrayLike) -> Vectors:
    """Rows of length 1; those of length 0 stay."""
    rows = np.asarray(vectors, dtype=np.float32)
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), dtype=np.float32)


def _pieces(text: str) -> list[str]:
    if len(text) <= _PIECE * _PIECES:
        return [text[start : start + _PIECE] for start in range(0, max(1, len(text)), _PIECE)]
    step = (len(text) - _PIECE) // (_PIECES - 1)
    return [text[start : start + _PIECE] for start in range(0, step * _PIECES, step)]
