"""The figures of an evaluation: what each is called, which way is better, and how rows become means with intervals.

In: rows as the evaluation writes them, `{"id", "values": {figure: value}, "tokens"}`. Out: figures, their confidence
intervals, and paired differences between two models over the rows that both have, by the bootstrap of
`ingest.relevance.metrics`. Losses are weighted by tokens, all other figures count rows.

Known limit: the bootstrap treats rows as independent, and of a handful of rows its intervals are too narrow.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from configs.evaluation import FigureName
from ingest.relevance.metrics import Difference, paired_difference

Row = Mapping[str, Any]
LABELS: dict[str, str] = {
    "answer_f1": "answer F1",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact match",
    "citation_precision": "citation precision",
    "citation_recall": "citation recall",
    "abstention_accuracy": "abstention accuracy",
    "over_abstention": "over-abstention",
    "loss": "loss",
    "perplexity": "perplexity",
    "document_loss": "loss on documents",
    "document_perplexity": "perplexity on documents",
    "toxicity_rate": "toxicity rate",
    "pii_leak_rate": "personal data leaks",
    "general_accuracy": "general accuracy",
}
NAMES: tuple[str, ...] = get_args(FigureName)
# Of these less is better.
COSTS = frozenset(
    {"over_abstention", "loss", "perplexity", "document_loss", "document_perplexity", "toxicity_rate", "pii_leak_rate"}
)
BY_TOKENS = frozenset({"loss", "document_loss"})
# Exponentials of another figure.
PERPLEXITIES = {"perplexity": "loss", "document_perplexity": "document_loss"}
LARGEST_EXPONENT = 700.0


@dataclass(frozen=True)
class Estimate:
    """A figure with its confidence interval.

    Attributes:
        rows: how many it is taken over.
    """

    value: float
    low: float
    high: float
    rows: int

    def exponential(self) -> "Estimate":
        """Of a loss, the perplexity."""
        value, low, high = (math.exp(min(one, LARGEST_EXPONENT)) for one in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.rows)


def figures_of(rows: Sequence[Row]) -> dict[str, float]:
    """All figures that some row has, rounded for a manifest."""
    found = {}
    for name in NAMES:
        values, weights = _columns(rows, PERPLEXITIES.get(name, name))
        if len(values):
            mean = float(np.average(values, weights=weights))
            found[name] = round(math.exp(min(mean, LARGEST_EXPONENT)) if name in PERPLEXITIES else mean, 6)
    return found


def estimates_of(rows: Sequence[Row], confidence: float, resamples: int) -> dict[str, Estimate]:
    """All figures that some row has, with their intervals."""
    found = {}
    for name in NAMES:
        values, weights = _columns(rows, PERPLEXITIES.get(name, name))
        if len(values):
            one = paired_difference(
                np.zeros(len(values)), values, weights=weights, confidence=confidence, resamples=resamples
            )
            estimate = Estimate(one.mean, one.low, one.high, len(values))
            found[name] = estimate.exponential() if name in PERPLEXITIES else estimate
    return found


def differences(ours: Sequence[Row], theirs: Sequence[Row], confidence: float, resamples: int) -> dict[str, Difference]:
    """For each figure `ours - theirs`, over the rows that both have; perplexities are left to their losses."""
    other = {row["id"]: row for row in theirs}
    pairs = [(row, other[row["id"]]) for row in ours if row["id"] in other]
    found = {}
    for name in NAMES:
        both = [(one, two) for one, two in pairs if name in one["values"] and name in two["values"]]
        if both:
            new, weights = _columns([one for one, _ in both], name)
            base, _ = _columns([two for _, two in both], name)
            found[name] = paired_difference(base, new, weights=weights, confidence=confidence, resamples=resamples)
    return found


def better(name: str, difference: Difference) -> bool | None:
    """Whether a figure is better by more than chance, as far as its interval tells; None where it does not."""
    if difference.low <= 0 <= difference.high:
        return None
    return (difference.mean > 0) != (name in COSTS)


def _columns(rows: Iterable[Row], name: str) -> tuple[Any, Any]:
    """Values and weights of the rows that have the figure, float64 [rows]."""
    having = [row for row in rows if name in row["values"]]
    weights = [row.get("tokens", 1) if name in BY_TOKENS else 1 for row in having]
    return np.array([row["values"][name] for row in having]), np.array(weights, dtype=np.float64)
