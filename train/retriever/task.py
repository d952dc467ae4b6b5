"""What there is to learn: passages, and questions that some of them answer, in two halves.

A question is learned from or judged with, never both, and no passage that a held-out question asks for is shown in
training, neither as an answer nor as a negative.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ingest.passages import embedding_text
from ingest.records import Chunk


@dataclass(frozen=True)
class Labelled:
    """A question and what answers it.

    Attributes:
        rows: places in `Task.chunks`, at least one.
        shown: what is learned from instead of the passage's own text, where that would give the answer away: the
            passage without the heading that is the question.
    """

    question: str
    rows: tuple[int, ...]
    shown: str = ""


@dataclass(frozen=True)
class Task:
    """Passages with labelled questions.

    Attributes:
        chunks: the passages, none twice.
        groups: for each passage what it belongs to; passages of one group are never negatives for one another.
        train, holdout: the two halves of the questions.
        forbidden: rows that training must not see.
    """

    chunks: Sequence[Chunk]
    groups: Sequence[str]
    train: Sequence[Labelled]
    holdout: Sequence[Labelled]
    forbidden: frozenset[int] = field(default_factory=frozenset)

    @cached_property
    def passages(self) -> list[str]:
        """The texts of the passages, as they are embedded."""
        return [embedding_text(chunk) for chunk in self.chunks]
