"""From the model's labels of words to finds: names, places, organisations, addresses, phone numbers and so on.

In: the words of a text with the probability of each label (`pii_model`). Out: `Find`s, neighbouring words of one label
in one. What a label cannot be is dropped: a phone number of two digits, a date without a figure.

Known limits: two people named side by side without punctuation come out as one.
"""

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from guards.detectors.pii_context import PHONE_WORDS, stands_near
from guards.detectors.pii_model import Word
from guards.detectors.pii_patterns import Find

# A second opinion on people moves the probability by this much, up or down.
OPINION = 0.15
# Addresses run over several lines; of what else, a line break separates two.
_OVER_LINES = {"address"}
_DIGITS = {"phone": (6, 15), "zip_code": (2, 12), "age": (1, 3), "date": (1, 20)}
_EDGE = " \t\r\n,;:!?\"'()[]{}<>|*\\/_=`\u201c\u201d\u2018\u2019\u00ab\u00bb-"


def found_names(
    text: str, words: Iterable[Word], labels: tuple[str, ...], seconded: Collection[int] | None = None
) -> Iterator[Find]:
    """Finds in order.

    Args:
        labels: names of the columns of the words' probabilities, the first of which stands for none.
        seconded: offsets of characters that another model takes for parts of people's names; None without another.
    """
    start = end = 0
    label, scores = "", [0.0]
    for word in words:
        at, score = _judge(word, labels, seconded)
        if at and at == label and _joins(text, end, word.start, label):
            end = word.end
            scores.append(score)
            continue
        if label:
            yield from _find(text, start, end, label, scores)
        start, end, label, scores = word.start, word.end, at, [score]
    if label:
        yield from _find(text, start, end, label, scores)


def _judge(word: Word, labels: tuple[str, ...], seconded: Collection[int] | None) -> tuple[str, float]:
    """The likeliest label beside none, and how likely it is that the word is personal at all; "" below a quarter."""
    best = 1 + int(np.argmax(word.probabilities[1:]))
    score = 1.0 - float(word.probabilities[0])
    if seconded is not None and labels[best] == "person":
        score += OPINION if word.start in seconded else -OPINION
    return (labels[best], min(score, 1.0)) if score >= 0.25 else ("", 0.0)


def _joins(text: str, end: int, start: int, label: str) -> bool:
    between = text[end:start]
    return not between or (between.isspace() and ("\n" not in between or label in _OVER_LINES) and len(between) < 12)


def _find(text: str, start: int, end: int, label: str, scores: list[float]) -> Iterator[Find]:
    while start < end and text[start] in _EDGE and text[start : start + 1] not in "(":
        start += 1
    while start < end and text[end - 1] in _EDGE and text[end - 1] != ")":
        end -= 1
    value = text[start:end]
    if label != "phone":
        value, start, end = _unbracketed(value, start, end)
    if label == "phone" and value.isdigit() and not stands_near(text, start, end, PHONE_WORDS):
        # Ten bare digits are more often an identifier than a phone number.
        return
    if any(map(str.isalnum, value)) and _has_digits(value, label):
        yield Find(start, end, label, sum(scores) / len(scores))


def _unbracketed(value: str, start: int, end: int) -> tuple[str, int, int]:
    if value.startswith("(") and ")" not in value:
        return value[1:], start + 1, end
    if value.endswith(")") and "(" not in value:
        return value[:-1], start, end - 1
    return value, start, end


def _has_digits(value: str, label: str) -> bool:
    least, most = _DIGITS.get(label, (0, 1_000_000))
    return least <= sum(map(str.isdigit, value)) <= most
