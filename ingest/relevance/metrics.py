"""How well rankings found what was judged relevant, as trec_eval counts it.

In: for each query a ranking, and judgements (qrels). Out: one value a query for each metric, and their means. A metric
is a name, and `@k` where only the first k count: `ndcg@10`, `recall@100`, `precision@5`, `hit@1`, `mrr@10`, `map`.

Conventions, all of trec_eval: equal scores are ranked by document id, descending; scores are compared in single
precision; a document is relevant from grade 1 on, and what is not judged is not relevant; nDCG takes the grade as gain
and log2(rank + 1) as discount (Jarvelin and Kekalainen 2002), negative grades gaining nothing. Every query that was
judged counts in the mean, with 0 where nothing was retrieved (trec_eval's `-c`) or nothing is relevant.

Known limit: all rankings are held as one matrix, [queries, longest ranking].
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from configs.errors import ConfigError

Floats = npt.NDArray[np.float64]
# Documents with their scores in any order, or documents best first.
Ranked = Mapping[str, float] | Sequence[str]
Run = Mapping[str, Ranked]
Qrels = Mapping[str, Mapping[str, int]]

STANDARD = ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map")


@dataclass(frozen=True)
class Scores:
    """Values of metrics.

    Attributes:
        queries: in the order of the judgements.
        values: for each metric one value a query, float64 [queries].
    """

    queries: tuple[str, ...]
    values: Mapping[str, Floats]

    @property
    def means(self) -> dict[str, float]:
        """Of each metric over all queries; 0 where there are none."""
        return {name: float(values.mean()) if len(values) else 0.0 for name, values in self.values.items()}

    def per_query(self) -> dict[str, dict[str, float]]:
        """`{query: {metric: value}}`."""
        rows = np.stack(list(self.values.values()), axis=1).tolist() if self.values else [[] for _ in self.queries]
        return {query: dict(zip(self.values, row, strict=True)) for query, row in zip(self.queries, rows, strict=True)}


@dataclass(frozen=True)
class Difference:
    """A mean difference between two rankings of the same queries, with its confidence interval.

    Attributes:
        better, worse: queries with a larger and with a smaller value; the others are equal.
    """

    mean: float
    low: float
    high: float
    better: int
    worse: int


@dataclass(frozen=True)
class _Judged:
    """Rankings as grades: [queries, ranks], 0 beyond the end; and all grades above 0 that were to be found, likewise,
    largest first."""

    found: Floats
    ideal: Floats

    @property
    def relevant(self) -> Floats:
        """Relevant documents of each query, at least 1, so that it can be divided by: nothing found gives 0."""
        return np.asarray(np.maximum((self.ideal > 0).sum(axis=1), 1), np.float64)


def score(run: Run, qrels: Qrels, metrics: Sequence[str] = STANDARD) -> Scores:
    """The metrics of every query that is judged.

    Args:
        run: `{query: {document: score}}`, or `{query: [document, ...]}` best first. Queries without judgements are
            left out.
        qrels: `{query: {document: grade}}`.

    Raises:
        ConfigError: there is no such metric.
        ValueError: a score is NaN, or a document stands twice in a ranking.
    """
    asked = {metric: _parsed(metric) for metric in metrics}
    grades = [_grades(query, run.get(query, ()), judged) for query, judged in qrels.items()]
    ideals = [
        sorted((float(grade) for grade in judged.values() if grade > 0), reverse=True) for judged in qrels.values()
    ]
    judged = _Judged(_matrix(grades), _matrix(ideals))
    return Scores(tuple(qrels), {metric: measure(judged, k) for metric, (measure, k) in asked.items()})


def ranked(documents: Mapping[str, float]) -> list[str]:
    """Documents by score, best first; equal ones by id, descending."""
    # Two stable sorts: by id, then by score. Single precision decides what is equal.
    names = sorted(documents, reverse=True)
    values = np.asarray([documents[name] for name in names], dtype=np.float32)
    if np.isnan(values).any():
        raise ValueError(f"the score of document {names[int(np.isnan(values).argmax())]!r} is not a number")
    return [names[place] for place in np.argsort(-values, kind="stable").tolist()]


def paired_difference(
    base: Floats,
    new: Floats,
    *,
    weights: Floats | None = None,
    resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """`new - base`, with a percentile interval from resampled queries (paired bootstrap, Efron and Tibshirani 1993;
    for retrieval Sakai 2006).

    Args:
        base, new: one value a query, in the same order, [queries].
        weights: how much each counts in the mean, above 0, [queries]; None: all the same.
        resamples: how many times as many queries are drawn with replacement.

    Raises:
        ValueError: they have different lengths, or none.
    """
    if base.shape != new.shape or base.ndim != 1 or not len(base):
        raise ValueError(f"values of {base.shape} and {new.shape} queries cannot be paired")
    apart = np.asarray(new, np.float64) - base
    weigh = np.ones(len(apart)) if weights is None else np.asarray(weights, np.float64)
    random = np.random.default_rng(seed)
    even = np.full(len(apart), 1 / len(apart))
    at_once = max(1, 4_000_000 // len(apart))
    means = np.concatenate(
        [
            (drawn @ (apart * weigh)) / (drawn @ weigh)
            for start in range(0, resamples, at_once)
            for drawn in [random.multinomial(len(apart), even, size=min(at_once, resamples - start))]
        ]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    mean = np.average(apart, weights=weights)
    return Difference(float(mean), float(low), float(high), int((apart > 0).sum()), int((apart < 0).sum()))


def _ndcg(judged: _Judged, k: int | None) -> Floats:
    ideal = _discounted(judged.ideal[:, :k])
    return np.asarray(_discounted(judged.found[:, :k]) / np.where(ideal > 0, ideal, 1))


def _discounted(grades: Floats) -> Floats:
    return np.asarray(np.maximum(grades, 0) @ (1 / np.log2(np.arange(grades.shape[1]) + 2)))


def _recall(judged: _Judged, k: int | None) -> Floats:
    return np.asarray((judged.found[:, :k] > 0).sum(axis=1) / judged.relevant)


def _precision(judged: _Judged, k: int | None) -> Floats:
    return np.asarray((judged.found[:, :k] > 0).sum(axis=1) / (k or max(judged.found.shape[1], 1)))


def _hit(judged: _Judged, k: int | None) -> Floats:
    return np.asarray((judged.found[:, :k] > 0).any(axis=1), np.float64)


def _mrr(judged: _Judged, k: int | None) -> Floats:
    relevant = judged.found[:, :k] > 0
    if not relevant.shape[1]:
        return np.zeros(len(relevant))
    return np.asarray(relevant.any(axis=1) / (relevant.argmax(axis=1) + 1))


def _map(judged: _Judged, k: int | None) -> Floats:
    relevant = judged.found[:, :k] > 0
    precisions = relevant.cumsum(axis=1) / (np.arange(relevant.shape[1]) + 1)
    return np.asarray((precisions * relevant).sum(axis=1) / judged.relevant)


Measure = Callable[[_Judged, int | None], Floats]
MEASURES: dict[str, Measure] = {
    "ndcg": _ndcg,
    "recall": _recall,
    "precision": _precision,
    "hit": _hit,
    "mrr": _mrr,
    "map": _map,
}
# Without `@k` these would say how long the ranking is.
CUT_ONLY = ("precision", "recall", "hit")


def _parsed(metric: str) -> tuple[Measure, int | None]:
    name, at, cut = metric.partition("@")
    whole = not at and name not in CUT_ONLY
    if name not in MEASURES or not (whole or (cut.isascii() and cut.isdigit() and int(cut) > 0)):
        raise ConfigError(f"there is no metric {metric!r}", f"Metrics: {', '.join(f'{one}@10' for one in MEASURES)}")
    return MEASURES[name], int(cut) if cut else None


def _grades(query: str, found: Ranked, judged: Mapping[str, int]) -> list[float]:
    documents = ranked(found) if isinstance(found, Mapping) else found
    if len(set(documents)) < len(documents):
        raise ValueError(f"a document stands twice in the ranking for query {query!r}")
    return [float(judged.get(document, 0)) for document in documents]


def _matrix(rows: Sequence[Sequence[float]]) -> Floats:
    matrix = np.zeros((len(rows), max(map(len, rows), default=0)))
    for row, values in zip(matrix, rows, strict=True):
        row[: len(values)] = values
    return matrix
