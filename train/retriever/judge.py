"""Whether a trained embedder finds held-out questions' passages better than the untrained one.

In: passages, questions with their answers, and vectors of both by each embedder. Out: nDCG@10 and MRR@10 of each, and
the gain with a confidence interval (paired bootstrap).

Rankings are those of `ingest.search.hybrid.Searcher`, by which people are served: `hybrid`, by meaning and by words,
and `dense`, by meaning alone. The embedder wins if the one that is served gains more than nothing and at least
`min_gain`. Alone an embedder may lose by it: trained on what BM25 gets wrong, it learns what BM25 does not know.

Known limits: the search is exact, whatever the index that people search; passages that repeat one another are all
ranked, and no cross-encoder reads them again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from threadpoolctl import threadpool_limits

from ingest.passages import Passages
from ingest.relevance.metrics import Difference, Qrels, Scores, paired_difference, score
from ingest.search.hybrid import Ranker, Searcher
from ingest.search.lexical import Lexical
from ingest.vectors.base import Vectors
from ingest.vectors.faiss_index import FaissIndex
from train.retriever.mine import Space
from train.retriever.task import Labelled

Served = Literal["dense", "hybrid"]
METRICS = ("ndcg@10", "mrr@10")
DEEP = 10


@dataclass(frozen=True)
class Ranked:
    """Rankings by one embedder: alone, and with BM25. Each the rows of the best passages for each question."""

    dense: Sequence[Sequence[int]]
    hybrid: Sequence[Sequence[int]]


@dataclass(frozen=True)
class Judgement:
    """The comparison.

    Attributes:
        base, trained: `{"dense_ndcg@10": 0.71, ...}`, means over the questions.
        dense, hybrid: gain in nDCG@10.
    """

    questions: int
    base: dict[str, float]
    trained: dict[str, float]
    dense: Difference
    hybrid: Difference

    def figures(self) -> dict[str, float]:
        """All of it as figures of a manifest."""
        means = {f"{name}_base": value for name, value in self.base.items()}
        means |= {f"{name}_trained": value for name, value in self.trained.items()}
        for name, gain in (("dense", self.dense), ("hybrid", self.hybrid)):
            means |= {f"{name}_gain": gain.mean, f"{name}_gain_low": gain.low, f"{name}_gain_high": gain.high}
        return {name: round(value, 6) for name, value in means.items()}


def wins(figures: Mapping[str, float], min_gain: float, served: Served = "hybrid") -> bool:
    """Whether `Judgement.figures` say that the trained embedder is to be used.

    Args:
        served: the ranking that decides.
    """
    gain = figures[f"{served}_gain"]
    return gain > 0 and gain >= min_gain


def judge(questions: Sequence[Labelled], base: Ranked, trained: Ranked, seed: int = 0) -> Judgement:
    """Compare two embedders' rankings.

    Args:
        questions: at least one; the rankings are in their order.
    """
    qrels = {str(place): {str(row): 1 for row in labelled.rows} for place, labelled in enumerate(questions)}
    before, after = _scores(base, qrels), _scores(trained, qrels)
    gains = {
        kind: paired_difference(
            before[kind].values["ndcg@10"], after[kind].values["ndcg@10"], resamples=2000, seed=seed
        )
        for kind in before
    }
    return Judgement(len(questions), _means(before), _means(after), **gains)


def rank(questions: Sequence[str], passages: Passages, lexical: Lexical, space: Space, ranker: Ranker) -> Ranked:
    """Search for questions as people are served.

    Args:
        space: vectors of these questions and of the passages, in the same order.
        ranker: how `hybrid` puts candidates in order; of `dense` only how many there are.
    """
    vectors = FaissIndex.create(space.passages.shape[1], "exact")
    vectors.add(passages.numbers, space.passages)
    row_of = {question: row for row, question in enumerate(questions)}

    def encode(asked: Sequence[str]) -> Vectors:
        return space.questions[[row_of[question] for question in asked]]

    def best(mode: Served) -> list[tuple[int, ...]]:
        searcher = Searcher(passages, vectors, lexical, encode, replace(ranker, mode=mode))
        return [found.rows for found in searcher.search_many(questions, DEEP)]

    # Searches multiply small matrices, over which threads spend more time waiting than working.
    with threadpool_limits(1, "blas"):
        return Ranked(best("dense"), best("hybrid"))


def _scores(ranked: Ranked, qrels: Qrels) -> dict[str, Scores]:
    rankings = {"dense": ranked.dense, "hybrid": ranked.hybrid}
    return {
        kind: score({str(place): [str(row) for row in rows] for place, rows in enumerate(found)}, qrels, METRICS)
        for kind, found in rankings.items()
    }


def _means(scores: Mapping[str, Scores]) -> dict[str, float]:
    return {f"{kind}_{metric}": value for kind, found in scores.items() for metric, value in found.means.items()}
