"""The figures that answers are judged by, as `evaluate` metrics that need no download.

In: predictions (text) and references (the example's answer, and whether it is answerable). Out: figures in [0, 1]; for
each row (`values`), and as means over the rows that a figure is about (`score`).

Known limit: F1, ROUGE-L and exact match reward the reference's own words; a right answer in other words scores low.
Compare models by them, on the same examples; do not read them as the share of right answers.
"""

import re
import string
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import evaluate
from datasets import Features, Value
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]

from ingest.examples import ABSTENTION

_CITATION = re.compile(r"\[(\d+)\]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def cited(text: str) -> list[int]:
    """The passage numbers that a text cites, in order, repetitions included."""
    return [int(number) for number in _CITATION.findall(text)]


def abstains(text: str) -> bool:
    """Whether a text is exactly the sentence that declines to answer."""
    return text.strip() == ABSTENTION


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of token precision and recall, in [0, 1]; citation markers do not count.

    Case, punctuation and articles are ignored, as in SQuAD 1.1 (Rajpurkar et al. 2016).
    """
    ours, theirs = _words(prediction), _words(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * shared / (len(ours) + len(theirs))


def citation_precision(prediction: str, reference: str) -> float:
    """Share of the prediction's citations that the reference has too; 0 when it cites nothing."""
    numbers, right = cited(prediction), set(cited(reference))
    return sum(number in right for number in numbers) / len(numbers) if numbers else 0.0


def citation_recall(prediction: str, reference: str) -> float | None:
    """Share of the reference's citations that the prediction has too; None when the reference cites nothing."""
    wanted = set(cited(reference))
    return len(wanted & set(cited(prediction))) / len(wanted) if wanted else None


def exact_match(prediction: str, reference: str) -> float:
    """1 if both say the same words, as `token_f1` reads them, in the same order; else 0."""
    return float(_words(prediction) == _words(reference))


def rouge_l(prediction: str, reference: str) -> float:
    """ROUGE-L F-measure (Lin 2004), with Porter stemming, in [0, 1]; citation markers do not count."""
    found = _rouge().score(_CITATION.sub(" ", reference), _CITATION.sub(" ", prediction))
    return float(found["rougeL"].fmeasure)


class _AnswerMetric(evaluate.Metric):  # type: ignore[misc]
    """One row: a predicted answer, the reference answer, and whether the passages hold an answer at all."""

    figure = ""
    summary = ""

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:
        """The row's value; None where the figure is not about this row."""
        raise NotImplementedError

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": Value("string"), "references": Value("string"), "answerable": Value("bool")}
        return evaluate.MetricInfo(
            description=self.summary, citation="", inputs_description="", features=Features(columns)
        )

    def _compute(self, predictions: list[str], references: list[str], answerable: list[bool]) -> dict[str, float]:
        rows = zip(predictions, references, answerable, strict=True)
        return {self.figure: _mean([value for row in rows if (value := self.row(*row)) is not None])}


class AnswerF1(_AnswerMetric):
    """Mean `token_f1` over the answerable rows."""

    figure = "answer_f1"
    summary = "Mean token F1 over answerable questions."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:
        return token_f1(prediction, reference) if answerable else None


class RougeL(_AnswerMetric):
    """Mean `rouge_l` over the answerable rows."""

    figure = "rouge_l"
    summary = "Mean ROUGE-L F-measure over answerable questions."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:
        return rouge_l(prediction, reference) if answerable else None


class ExactMatch(_AnswerMetric):
    """Mean `exact_match` over the answerable rows."""

    figure = "exact_match"
    summary = "Share of answerable questions that are answered in the reference's words."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:
        return exact_match(prediction, reference) if answerable else None


class CitationPrecision(_AnswerMetric):
    """Mean `citation_precision` over the answerable rows."""

    figure = "citation_precision"
    summary = "Mean share of citations that name the passage which holds the answer."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:
        return citation_precision(prediction, reference) if answerable else None


class CitationRecall(_AnswerMetric):
    """Mean `citation_recall` over the answerable rows whose reference cites something."""

    figure = "citation_recall"
    summary = "Mean share of the reference's citations that are given."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:
        return citation_recall(prediction, reference) if answerable else None


class AbstentionAccuracy(_AnswerMetric):
    """Share of the unanswerable rows that are declined."""

    figure = "abstention_accuracy"
    summary = "Share of unanswerable questions that are declined, word for word."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:  # noqa: ARG004  one shape for all
        return None if answerable else float(abstains(prediction))


class OverAbstention(_AnswerMetric):
    """Share of the answerable rows that are declined all the same."""

    figure = "over_abstention"
    summary = "Share of answerable questions that are declined, word for word."

    @staticmethod
    def row(prediction: str, reference: str, answerable: bool) -> float | None:  # noqa: ARG004  one shape for all
        return float(abstains(prediction)) if answerable else None


METRICS = (AnswerF1, RougeL, ExactMatch, CitationPrecision, CitationRecall, AbstentionAccuracy, OverAbstention)


def values(prediction: str, reference: str, answerable: bool) -> dict[str, float]:
    """The figures of one row; those that are not about such a row are left out."""
    found = {metric.figure: metric.row(prediction, reference, answerable) for metric in METRICS}
    return {name: value for name, value in found.items() if value is not None}


def score(predictions: Sequence[str], references: Sequence[str], answerable: Sequence[bool]) -> dict[str, float]:
    """All figures over rows of equal number; figures of which no row qualifies are left out."""
    columns = {"predictions": list(predictions), "references": list(references), "answerable": list(answerable)}
    figures: dict[str, float] = {}
    # evaluate makes its cache folder even when it keeps everything in memory.
    with tempfile.TemporaryDirectory() as folder:
        for metric in METRICS:
            found: dict[str, Any] = metric(keep_in_memory=True, cache_dir=folder).compute(**columns)
            figures |= found
    return {name: round(value, 6) for name, value in figures.items() if value == value}


def _words(text: str) -> list[str]:
    plain = _CITATION.sub(" ", text).lower().translate(_NO_PUNCTUATION)
    return _ARTICLES.sub(" ", plain).split()


@cache
def _rouge() -> RougeScorer:
    return RougeScorer(["rougeL"], use_stemmer=True)


def _mean(rows: Sequence[float]) -> float:
    return sum(rows) / len(rows) if rows else float("nan")
