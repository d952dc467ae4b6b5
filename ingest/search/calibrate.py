"""Fits the answerability of one index: questions of which it is known whether the documents answer them, in; a
threshold, slope and offset, and the whole curve, out.

Nobody has to label anything. A question that a page is known to answer is asked twice: as it is, and with that page's
passages, and those of pages that repeat them, hidden; then the rest should not answer it. Questions about the rest of
the world (`off_topic.txt`) are not answered either. A known question whose page the search does not bring is left out:
whatever was said to it, the threshold could not help.

Known limits: a hidden page is often not the only one that tells, so that the curve shows fewer refused than there are.
Questions made from headings use the documents' own words and are easier than people's; the rule by which the threshold
is chosen leans towards answering for both reasons. The questions' forms and the off-topic ones are English.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from configs.artifacts import write_text_atomic
from ingest.passages import Passages
from ingest.search.answerable import Answerability, Fitted, Floats, Point, features, shipped
from ingest.search.answerable_chart import drawing
from ingest.search.base import Mask, Retrieved, Rows
from ingest.search.collapse import groups
from ingest.search.lexical import Lexical

DRAWING = "answerability.svg"
# The share of answerable questions that have to be answered.
ANSWERED = 0.95
# Fewer questions of either kind tell nothing about an index.
FEWEST = 20
# Passages that share more than this of their word shingles say the same, as far as hiding them goes.
REPEATS, LOOKED_AT = 0.5, 20
_STEPS, _PRIOR = 50, 1.0
_POINTS = 101

Search = Callable[[str, Mask | None], Retrieved]
Score = Callable[[Retrieved], float]


class Known(Protocol):
    """What is needed of `ingest.relevance.known_items.Item`: a question or heading, and the page that answers it."""

    @property
    def id(self) -> str: ...
    @property
    def question(self) -> str: ...
    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class Asked:
    """The log odds of questions that the documents answer, and of such that they do not.

    Attributes:
        hidden: of the answered questions, in the same order, with what answers them hidden.
        off_topic: of questions about the rest of the world.
        not_found: known questions whose page the search did not bring.
    """

    answerable: tuple[float, ...] = ()
    hidden: tuple[float, ...] = ()
    off_topic: tuple[float, ...] = ()
    not_found: int = 0


def calibrate(
    items: Iterable[Known], passages: Passages, search: Search, words: Lexical, made_with: Mapping[str, Any]
) -> Answerability:
    """The answerability of one index; as it ships where there are too few questions.

    Args:
        items: pages and what they are known to answer.
        search: finds passages, of the allowed rows only where a mask is given.
        words: the lexical index that is searched.
        made_with: kept with the result, for people.
    """
    model = shipped()
    asked = ask(questions_of(items), passages, search, lambda found: model.log_odds(features(found, words)))
    fitted = fit_threshold(asked.answerable, (*asked.hidden, *asked.off_topic))
    counts = {"found": len(asked.answerable), "not_found": asked.not_found, "off_topic": len(asked.off_topic)}
    return model.fitted_to(fitted, {**made_with, "questions": counts})


def write(folder: Path, answerability: Answerability) -> None:
    """Write `answerability.json` into the folder of an index, and the drawing of its curve where there is one."""
    if answerability.fitted:
        write_text_atomic(folder / DRAWING, drawing(answerability.fitted))
    answerability.write(folder)


@cache
def off_topic_questions() -> tuple[str, ...]:
    """Questions about cooking, sports, travel, ...: answered by hardly any documentation."""
    lines = Path(__file__).with_name("off_topic.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if line.strip())


def questions_of(items: Iterable[Known]) -> list[tuple[str, str]]:
    """Known items as people would ask, each with its page; those of which no question can be made are left out."""
    # Imported here: that package builds on the index, which builds on this one.
    from ingest.examples.forms import ask_heading

    asked = ((ask_heading(item.question, "", "", repeated=False, pick=_pick(item.id)), item.url) for item in items)
    return [(question, url) for question, url in asked if question]


def ask(questions: Sequence[tuple[str, str]], passages: Passages, search: Search, score: Score) -> Asked:
    """Ask known questions with and without what answers them, and questions that nothing answers.

    Args:
        questions: each with the address of the page that answers it.
        search: as for `calibrate`.
        score: log odds that what was found holds the answer.
    """
    pages = passages.column("url").combine_chunks().dictionary_encode()
    page_of, numbers = np.asarray(pages.indices), {url: at for at, url in enumerate(pages.dictionary.to_pylist())}
    answerable, hidden = [], []
    for question, url in questions:
        found, page = search(question, None), numbers.get(url, -1)
        if page not in page_of[list(found.rows)]:
            continue
        without = ~np.isin(page_of, _telling(found, page, page_of, passages))
        answerable.append(score(found))
        hidden.append(score(search(question, without)))
    off_topic = tuple(score(search(question, None)) for question in off_topic_questions())
    return Asked(tuple(answerable), tuple(hidden), off_topic, len(questions) - len(answerable))


def fit_threshold(answerable: Sequence[float], unanswerable: Sequence[float]) -> Fitted | None:
    """Slope and offset of the log odds, and the threshold, from questions of both kinds; None when there are too few.

    The threshold answers at least `ANSWERED` of the answerable questions. Of those that do, it is the lowest whose
    balanced accuracy (the mean of the share answered and the share refused) is within one standard error of the best.

    Args:
        answerable, unanswerable: log odds by the model as it ships; those that are not finite are left out.
    """
    yes, no = (np.sort([value for value in values if math.isfinite(value)]) for values in (answerable, unanswerable))
    if min(len(yes), len(no)) < FEWEST:
        return None
    slope, offset = platt(yes, no)
    yes, no = (_probabilities(slope * values + offset) for values in (yes, no))
    area = auc(yes, no)
    curve = tuple(_point(float(at), yes, no) for at in np.linspace(0, 1, _POINTS))
    return Fitted(
        threshold=_threshold(yes, no),
        slope=slope,
        offset=offset,
        auc=area,
        auc_interval=auc_interval(area, len(yes), len(no)),
        answerable=len(yes),
        unanswerable=len(no),
        curve=curve,
    )


def platt(yes: Floats, no: Floats) -> tuple[float, float]:
    """Slope and offset that make log odds into those of a probability (Platt 1999), by Newton's method.

    Both kinds weigh the same in sum. The slope's logarithm and the offset have normal priors around 0 with a standard
    deviation of `_PRIOR`, so that few questions, or kinds without any overlap, move them little.

    Args:
        yes, no: log odds of answerable and of unanswerable questions.
    """
    values = np.concatenate([yes, no])
    # Platt's targets: as if one question more of the other kind had been seen.
    target = np.concatenate([np.full(len(yes), (len(yes) + 1) / (len(yes) + 2)), np.full(len(no), 1 / (len(no) + 2))])
    half = (len(yes) + len(no)) / 2
    weight = np.concatenate([np.full(len(yes), half / len(yes)), np.full(len(no), half / len(no))])
    log_slope = offset = 0.0
    for _ in range(_STEPS):
        slope = math.exp(log_slope)
        chance = _probabilities(slope * values + offset)
        error, spread = weight * (chance - target), weight * chance * (1 - chance)
        inner = slope * values
        gradient = np.array([error @ inner + log_slope / _PRIOR**2, error.sum() + offset / _PRIOR**2])
        # Fisher's information instead of the second derivatives: it is never indefinite.
        mixed = spread @ inner
        matrix = np.array([[spread @ inner**2, mixed], [mixed, spread.sum()]]) + np.eye(2) / _PRIOR**2
        step = np.clip(np.linalg.solve(matrix, gradient), -1, 1)
        log_slope, offset = log_slope - float(step[0]), offset - float(step[1])
        if float(np.abs(step).max()) < 1e-9:
            break
    return math.exp(log_slope), offset


def auc(yes: Floats, no: Floats) -> float:
    """The chance that an answerable question scores above an unanswerable one, ties counting half."""
    ordered = np.sort(no)
    below = np.searchsorted(ordered, yes, "left") + np.searchsorted(ordered, yes, "right")
    return float(below.mean() / 2 / len(no))


def auc_interval(area: float, yes: int, no: int) -> tuple[float, float]:
    """95% interval of an area under the curve from so many questions (Hanley and McNeil 1982)."""
    both_yes, both_no = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (yes - 1) * (both_yes - area**2) + (no - 1) * (both_no - area**2)
    margin = 1.96 * math.sqrt(max(variance, 0) / (yes * no))
    return max(area - margin, 0.0), min(area + margin, 1.0)


def _telling(found: Retrieved, page: int, page_of: Rows, passages: Passages) -> list[int]:
    """The page that answers, and those of which the search brought passages that repeat its own."""
    brought = [*found.rows, *found.dense.rows[:LOOKED_AT].tolist(), *found.lexical.rows[:LOOKED_AT].tolist()]
    rows = sorted(dict.fromkeys(brought), key=lambda row: bool(page_of[row] != page))
    own = sum(bool(page_of[row] == page) for row in rows)
    firsts = groups([chunk.text for chunk in passages.take(rows)], REPEATS)
    return [int(page_of[row]) for row, first in zip(rows, firsts, strict=True) if first < own]


def _threshold(yes: Floats, no: Floats) -> float:
    """See `fit_threshold`; both ascending."""
    highest = float(yes[math.floor((1 - ANSWERED) * len(yes))])
    candidates = np.concatenate([[0.0], np.unique(np.concatenate([yes, no]))])
    candidates = candidates[candidates <= highest]
    answered, refused = 1 - np.searchsorted(yes, candidates) / len(yes), np.searchsorted(no, candidates) / len(no)
    balanced = (answered + refused) / 2
    best = int(balanced.argmax())
    a, r = float(answered[best]), float(refused[best])
    error = math.sqrt(a * (1 - a) / len(yes) + r * (1 - r) / len(no)) / 2
    return float(candidates[np.flatnonzero(balanced >= balanced[best] - error)[0]])


def _point(threshold: float, yes: Floats, no: Floats) -> Point:
    answered = 1 - np.searchsorted(yes, threshold) / len(yes)
    return Point(threshold=threshold, answered=float(answered), refused=float(np.searchsorted(no, threshold) / len(no)))


def _probabilities(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -500, 500))), np.float64)


def _pick(identifier: str) -> float:
    return int(identifier, 16) / float(16 ** len(identifier))
