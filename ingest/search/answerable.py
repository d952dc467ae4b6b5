"""The probability that the documents hold the answer to a question, from what the search for it found.

In: a `Retrieved`, and the lexical index for what the question's words weigh. Out: a probability, which is compared
with a threshold; below it the assistant says that the documents do not tell.

The model is a logistic regression on a few figures of the search (`FEATURES`). Its coefficients ship with the code and
were fitted on public questions, each asked once with the passages that answer it and once without them. What differs
between embedders and documents is fitted when an index is made (`ingest.search.calibrate`): slope and offset of the
log odds (Platt 1999), and the threshold. `answerability.json` in the folder of an index holds all of it.

Known limits: the figures say whether passages are *about* what is asked, not whether the answer is right; a question
about a detail that the right page leaves out looks answerable. The probability is at even odds: as many questions that
can be answered as not.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError
from ingest.search.base import Ranking, Retrieved, Rows
from ingest.search.lexical import Lexical

Floats = npt.NDArray[np.float64]

ANSWERABILITY = "answerability.json"
FEATURES = (
    "cosine",  # of the question and the nearest passage
    "cosine_gap",  # by how much that is over the mean of the next ones
    "coverage",  # share of the question's terms, by weight, that the better of both rankings' first passages holds
    "lexical",  # BM25 of the best passage as a share of the weight of the question's terms
    "lexical_gap",  # by how much that is over the mean of the next ones
    "agreement",  # BM25 of the nearest passage as a share of the best one's
)
# Scores of a ranking that the best one is compared with, itself included.
NEXT = 10


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Weight(_Part):
    """One feature's place in the model: `coefficient * (value - centre) / scale`."""

    centre: float
    scale: Annotated[float, Field(gt=0)]
    coefficient: float


class Point(_Part):
    """What a threshold does: the share of answerable questions answered, and of unanswerable ones refused."""

    threshold: float
    answered: float
    refused: float


class Fitted(_Part):
    """What was found out about one index.

    Attributes:
        auc: chance that an answerable question scores above an unanswerable one; with its 95% interval.
        answerable, unanswerable: how many questions it is from.
        curve: ascending by threshold.
    """

    threshold: Annotated[float, Field(ge=0, le=1)]
    slope: Annotated[float, Field(gt=0)]
    offset: float
    auc: float
    auc_interval: tuple[float, float]
    answerable: int
    unanswerable: int
    curve: tuple[Point, ...]


class Answerability(_Part):
    """The model, and what was fitted for one index.

    Attributes:
        threshold: probability from which a question counts as answerable.
        slope, offset: of the log odds.
        fitted: None where there were too few questions; threshold, slope and offset are those shipped then.
        made_with: embedder, versions, and where the questions came from, for people.
    """

    weights: dict[str, Weight]
    intercept: float
    threshold: Annotated[float, Field(ge=0, le=1)]
    slope: Annotated[float, Field(gt=0)] = 1.0
    offset: float = 0.0
    fitted: Fitted | None = None
    made_with: dict[str, Any] = {}

    @model_validator(mode="after")
    def _knows_the_features(self) -> Self:
        if set(self.weights) != set(FEATURES):
            raise ValueError(f"features are {', '.join(self.weights)}, not {', '.join(FEATURES)}")
        return self

    @classmethod
    def load(cls, folder: Path) -> "Answerability":
        """What was fitted for the index in a folder; what ships with the code where there is nothing.

        Raises:
            ArtifactError: the file is damaged, or of another version.
        """
        path = folder / ANSWERABILITY
        return _read(path) if path.exists() else shipped()

    def write(self, folder: Path) -> None:
        """Write it into the folder of an index."""
        write_text_atomic(folder / ANSWERABILITY, json.dumps(self.model_dump(), indent=1) + "\n")

    def fitted_to(self, fitted: Fitted | None, made_with: Mapping[str, Any]) -> "Answerability":
        """This model with what was fitted for an index; None leaves threshold, slope and offset as they are."""
        changes: dict[str, Any] = {"fitted": fitted, "made_with": dict(made_with)}
        if fitted:
            changes |= {"threshold": fitted.threshold, "slope": fitted.slope, "offset": fitted.offset}
        return self.model_copy(update=changes)

    def log_odds(self, values: Floats) -> float:
        """The model's log odds for `features`, before slope and offset; a value that is NaN counts as an average one.

        Args:
            values: float64 [len(FEATURES)].
        """
        total = self.intercept
        for name, value in zip(FEATURES, values.tolist(), strict=True):
            if not math.isnan(value):
                weight = self.weights[name]
                total += weight.coefficient * (value - weight.centre) / weight.scale
        return total

    def probability(self, found: Retrieved, words: Lexical) -> float:
        """The probability that what was found holds the answer, 0 to 1; 0 when nothing was found.

        Args:
            words: the lexical index that was searched.
        """
        if not found.hits:
            return 0.0
        return sigmoid(self.slope * self.log_odds(features(found, words)) + self.offset)


@cache
def shipped() -> Answerability:
    """The model as it ships with the code."""
    return _read(Path(__file__).with_name("answerable.json"))


def features(found: Retrieved, words: Lexical) -> Floats:
    """The figures of a search that the model judges by, float64 [len(FEATURES)]; NaN where a ranking is missing.

    Args:
        words: the lexical index that was searched.
    """
    dense, lexical = found.dense, found.lexical
    whole = sum(words.weights(found.query).values()) or 1.0
    # Of the rankings, not of the hits: how many of those were asked for must not matter.
    coverage = _coverage(words, found.query, np.union1d(dense.rows[:1], lexical.rows[:1])) / whole
    cosine, cosine_gap = _best_and_gap(dense) if len(dense.rows) else (_best_score(found), math.nan)
    # Passages with the question's words, and yet no lexical ranking: that search was switched off.
    if not len(lexical.rows) and coverage > 0:
        return np.array([cosine, cosine_gap, coverage, math.nan, math.nan, math.nan])
    best, gap = _best_and_gap(lexical)
    agreement = _score_of(int(dense.rows[0]), lexical) / (best or 1.0) if len(dense.rows) else math.nan
    return np.array([cosine, cosine_gap, coverage, best / whole, gap / whole, agreement])


def sigmoid(log_odds: float) -> float:
    """The probability of some log odds."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


def _best_and_gap(ranking: Ranking) -> tuple[float, float]:
    """The best score, and how far it is above the mean of the next; of an empty ranking zeros."""
    scores = ranking.scores[:NEXT].tolist()
    if not scores:
        return 0.0, 0.0
    return scores[0], scores[0] - sum(scores[1:]) / (len(scores) - 1) if len(scores) > 1 else scores[0]


def _best_score(found: Retrieved) -> float:
    best = max((hit.score for hit in found.hits), default=0.0)
    return best if best else math.nan


def _coverage(words: Lexical, query: str, rows: Rows) -> float:
    """The weight of the question's terms that the best of these passages holds; NaN when there are none."""
    if not len(rows):
        return math.nan
    asked = words.query(query).terms
    place, terms, _ = words.terms_of(rows)
    held = np.isin(terms, asked)
    return float(np.bincount(place[held], words.idfs[terms[held]], len(rows)).max())


def _score_of(row: int, ranking: Ranking) -> float:
    """A row's score; 0 where it is not in the ranking."""
    at = np.flatnonzero(ranking.rows == row)
    return float(ranking.scores[at[0]]) if len(at) else 0.0


def _read(path: Path) -> Answerability:
    try:
        return Answerability.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ArtifactError(f"cannot read {path}: {detail}", "Run `wellread index` again") from None
