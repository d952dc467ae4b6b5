"""The figures that answers are judged by, as `evaluate` metrics that need no download.

In: predictions (text) and references (the example's answer, and whether it is answerable). Out: figures in [0, 1].
Known limit: token F1 rewards the reference's own words; a right answer in other words scores low. Compare models by
it, on the same examples; do not read it as the share of right answers.
"""

import re
import string
import tempfile
from collections import Counter
from collections.abc import Sequence
from typing import Any

import evaluate
from datasets import Features, Value

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


class _AnswerMetric(evaluate.Metric):  # type: ignore[misc]
    """One row: a predicted answer, the reference answer, and whether the passages hold an answer at all."""

    summary = ""

    def _info(self) -> evaluate.MetricInfo:
        columns = {"predictions": Value("string"), "references": Value("string"), "answerable": Value("bool")}
        return evaluate.MetricInfo(
            description=self.summary, citation="", inputs_description="", features=Features(columns)
        )


class AnswerF1(_AnswerMetric):
    """Mean `token_f1` over the answerable rows."""

    summary = "Mean token F1 over answerable questions."

    def _compute(self, predictions: list[str], references: list[str], answerable: list[bool]) -> dict[str, float]:
        rows = zip(predictions, references, answerable, strict=True)
        return {"answer_f1": _mean([token_f1(ours, theirs) for ours, theirs, yes in rows if yes])}


class AbstentionAccuracy(_AnswerMetric):
    """Share of rows where the model abstains exactly when it should."""

    summary = "Share of questions that are declined, word for word, exactly when the passages hold no answer."

    def _compute(self, predictions: list[str], references: list[str], answerable: list[bool]) -> dict[str, float]:  # noqa: ARG002  # evaluate passes every column
        rows = zip(predictions, answerable, strict=True)
        return {"abstention_accuracy": _mean([float(abstains(ours) != yes) for ours, yes in rows])}


class CitationPrecision(_AnswerMetric):
    """Mean `citation_precision` over the answerable rows."""

    summary = "Mean share of citations that name the passage which holds the answer."

    def _compute(self, predictions: list[str], references: list[str], answerable: list[bool]) -> dict[str, float]:
        rows = zip(predictions, references, answerable, strict=True)
        return {"citation_precision": _mean([citation_precision(ours, theirs) for ours, theirs, yes in rows if yes])}


METRICS = (AnswerF1, AbstentionAccuracy, CitationPrecision)


def score(predictions: Sequence[str], references: Sequence[str], answerable: Sequence[bool]) -> dict[str, float]:
    """All figures over rows of equal number; figures of which no row qualifies are left out."""
    columns = {"predictions": list(predictions), "references": list(references), "answerable": list(answerable)}
    figures: dict[str, float] = {}
    # evaluate makes its cache folder even when it keeps everything in memory.
    with tempfile.TemporaryDirectory() as cache:
        for metric in METRICS:
            found: dict[str, Any] = metric(keep_in_memory=True, cache_dir=cache).compute(**columns)
            figures |= found
    return {name: round(value, 6) for name, value in figures.items() if value == value}


def _words(text: str) -> list[str]:
    plain = _CITATION.sub(" ", text).lower().translate(_NO_PUNCTUATION)
    return _ARTICLES.sub(" ", plain).split()


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")
