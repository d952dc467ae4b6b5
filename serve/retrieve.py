"""A question in, the passages nearest to it out, and whether they are near enough to answer it.

Known limits: only the last question is searched for, so "and how do I turn it off?" finds what its own words find.
The threshold is a cosine similarity, whose scale differs between embedders.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ingest.index import Hit


class Searchable(Protocol):
    """What is needed of `ingest.index.Index`."""

    version: str

    def search(self, query: str, k: int) -> Sequence[Hit]: ...


@dataclass(frozen=True)
class Found:
    """Passages, best first; `answerable` when the best one reaches the threshold."""

    hits: tuple[Hit, ...] = ()
    answerable: bool = False


class Retriever:
    """Searches an index.

    Args:
        passages: how many to find.
        min_score: cosine similarity of the best passage below which the question counts as not answerable.
    """

    def __init__(self, index: Searchable, passages: int, min_score: float) -> None:
        self._index = index
        self._passages = passages
        self._min_score = min_score

    @property
    def version(self) -> str:
        """Version id of the index."""
        return self._index.version

    def find(self, question: str) -> Found:
        """The passages nearest to the question. Blocks for the time of one embedding; safe from any thread."""
        hits = tuple(self._index.search(question, self._passages))
        return Found(hits, bool(hits) and hits[0].score >= self._min_score)
