"""A small general set: facts, arithmetic, formats and short readings that have nothing to do with the documents.

In: `general.jsonl` beside this file. Out: for each answer whether it is right. A model that has unlearnt while it was
trained falls here first.

Known limit: a few dozen easy questions tell of a collapse; they do not rank models.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from train.chat import Turn, build_messages
from train.evaluation.jsonl import read_rows

SHIPPED = Path(__file__).with_name("general.jsonl")
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class General:
    """A question and what counts as its answer.

    Attributes:
        kind: `fact`, `arithmetic`, `format` or `reading`.
        match: `says` (one of the answers occurs, as whole words), `exact` (the answer is one of them, case and
            punctuation aside), or `pattern` (all of it matches one of these regular expressions).
    """

    id: str
    kind: str
    question: str
    match: str
    answers: tuple[str, ...]

    def messages(self) -> list[Turn]:
        """The question as chat messages, without documents."""
        return build_messages(self.question, ())

    def right(self, answer: str) -> bool:
        """Whether an answer counts."""
        if self.match == "pattern":
            return any(re.fullmatch(pattern, answer.strip()) for pattern in self.answers)
        said = _plain(answer)
        if self.match == "exact":
            return said in map(_plain, self.answers)
        return any(f" {_plain(wanted)} " in f" {said} " for wanted in self.answers)


def read_general(most: int) -> list[General]:
    """The first `most` questions; all kinds alike."""
    rows = read_rows(SHIPPED, ["id", "kind", "question", "match", "answers"])[:most]
    return [General(**{**row, "answers": tuple(row["answers"])}) for row in rows]


def _plain(text: str) -> str:
    """Words in lower case, one space between them."""
    return " ".join(_WORD.findall(text.lower()))
