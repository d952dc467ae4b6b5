"""A question in, the passages that answer it best out, and how likely the documents hold the answer.

The index is asked for anew at each search, so that a running server can follow a new version; one search, with all that
belongs to it, is answered by one version.

With the context `section`, the section around each passage comes along: the small passage is what is searched, the
section is what the model may read. Which of the two it reads is decided where the prompt's size is known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from ingest.records import Chunk
from ingest.search.base import Hit, Retrieved
from ingest.search.filters import Filter

ReadAs = Literal["passage", "section"]


class Searchable(Protocol):
    """What is needed of `ingest.index.Index`."""

    @property
    def version(self) -> str:
        """Version id."""

    @property
    def threshold(self) -> float:
        """The probability, 0 to 1, from which on a question counts as answered by the documents."""

    def search(self, query: str, k: int, wanted: Filter | None = None, /) -> Retrieved:
        """The k best passages among those that the filter asks for."""

    def answerability(self, retrieved: Retrieved, /) -> float:
        """The probability that the documents hold the answer, 0 to 1."""

    def section(self, row: int, /) -> Chunk:
        """The whole section around a passage, under the passage's id."""


@dataclass(frozen=True)
class Found:
    """What one search found.

    Attributes:
        hits: passages, best first.
        sections: passage id -> the section around it, where that is larger and may be shown.
        answerable: whether the probability reaches the threshold, and there is a passage at all.
        probability: that the documents hold the answer, 0 to 1.
        threshold: the one that was applied.
        version: of the index that answered; empty when none was asked.
    """

    hits: tuple[Hit, ...] = ()
    sections: Mapping[str, Chunk] = field(default_factory=dict)
    answerable: bool = False
    probability: float = 0.0
    threshold: float = 0.0
    version: str = ""

    def showing(self, shown: Sequence[Chunk]) -> "Found":
        """The same with what the prompt shows in front, as it shows it, and without passages that are part of that."""
        hits = {hit.chunk.id: hit for hit in self.hits}
        first = [replace(hits[chunk.id], chunk=chunk) for chunk in shown]
        rest = [hit for hit in self.hits if not any(holds(chunk, hit.chunk) for chunk in shown)]
        return replace(self, hits=(*first, *rest))


class Retriever:
    """Searches the index in use.

    Args:
        index: gives the index to search.
        passages: how many to find when a request does not say.
        min_answerable: used in place of the index's own threshold; 0 answers whenever there is a passage.
        read_as: what the model is to read.
        max_section_chars: longer sections never come along; no prompt would hold them.
    """

    def __init__(
        self,
        index: Callable[[], Searchable],
        passages: int,
        min_answerable: float | None = None,
        read_as: ReadAs = "passage",
        max_section_chars: int = 16_000,
    ) -> None:
        self._index = index
        self._passages = passages
        self._min_answerable = min_answerable
        self._read_as = read_as
        self._max_section_chars = max_section_chars

    @property
    def version(self) -> str:
        """Version id of the index in use."""
        return self._index().version

    def find(self, query: str, passages: int | None = None, wanted: Filter | None = None) -> Found:
        """What answers the query best. Blocks for the time of one embedding; safe from any thread.

        Args:
            passages: how many; None takes the default.
            wanted: what they must be; None allows all.
        """
        index = self._index()
        threshold = index.threshold if self._min_answerable is None else self._min_answerable
        if not query.strip():
            return Found(threshold=threshold, version=index.version)
        found = index.search(query, passages or self._passages, wanted)
        probability = float(index.answerability(found)) if found.hits else 0.0
        return Found(
            hits=found.hits,
            sections=self._sections(index, found) if self._read_as == "section" else {},
            answerable=bool(found.hits) and probability >= threshold,
            probability=probability,
            threshold=threshold,
            version=index.version,
        )

    def _sections(self, index: Searchable, found: Retrieved) -> dict[str, Chunk]:
        around = {hit.chunk.id: index.section(row) for hit, row in zip(found.hits, found.rows, strict=True)}
        own = {hit.chunk.id: len(hit.chunk.text) for hit in found.hits}
        return {key: whole for key, whole in around.items() if own[key] < len(whole.text) <= self._max_section_chars}


def holds(whole: Chunk, part: Chunk) -> bool:
    """Whether a chunk covers the place in the documents that the other one is from."""
    return whole.doc_id == part.doc_id and whole.start <= part.start and part.end <= whole.end
