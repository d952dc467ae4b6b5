"""Which passages are shown with a question: the right one among others, or others only.

In: a candidate, and the passages that the index finds nearest to its question. Out: the passages in the order shown.
Every passage but the right one is checked: none of them holds the answer, as far as words tell. All are of the same
half of the split.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from itertools import chain, islice

from ingest.examples.answers import holds
from ingest.examples.candidates import Candidate
from ingest.examples.split import Split, share
from ingest.records import Chunk

# Share of examples whose last distractor is any passage at all: the server, too, shows some that have nothing to do
# with the question when the documents hold little about it.
RANDOM_SHARE = 0.25
# Passages that random distractors are taken from, for each half.
RANDOM_POOL = 512


class Distractors:
    """Chooses passages.

    Args:
        chunks: all passages.
        split_of: tells a passage's half.
        passages: how many are shown.
        seed: seed of all choices.
    """

    def __init__(
        self, chunks: Iterable[Chunk], split_of: Callable[[Chunk], Split], *, passages: int, seed: int
    ) -> None:
        self._split_of = split_of
        self._passages = passages
        self._seed = seed
        self._any = _random_pools(chunks, split_of, seed)

    def around(self, candidate: Candidate, near: Iterable[Chunk]) -> list[Chunk]:
        """The right passage in any place among others; fewer than wanted where there are no others."""
        others = self._others(candidate, near)
        wanted = self._passages - 1
        mixed = wanted > 0 and self._share("mixed", candidate) < RANDOM_SHARE
        shown = list(islice(others, wanted - mixed))
        if mixed:
            shown += islice((chunk for chunk in self._random(candidate) if chunk not in shown), 1)
        shown.insert(int(self._share("place", candidate) * (len(shown) + 1)), candidate.chunk)
        return shown

    def withheld(self, candidate: Candidate, near: Iterable[Chunk]) -> list[Chunk]:
        """Passages of other documents."""
        doc_id = candidate.chunk.doc_id
        return list(islice((c for c in self._others(candidate, near) if c.doc_id != doc_id), self._passages))

    def elsewhere(self, candidate: Candidate, near: Sequence[Chunk]) -> list[Chunk]:
        """Passages of which at least one is of the same document, from another section; empty where there is none."""
        chunk = candidate.chunk
        others = [other for other in self._others(candidate, near) if other.headings != chunk.headings]
        same = [other for other in others if other.doc_id == chunk.doc_id][:1]
        rest = (other for other in others if other not in same)
        return sorted(chain(same, islice(rest, self._passages - 1)), key=near.index) if same else []

    def unrelated(self, near: Iterable[Chunk], split: Split) -> list[Chunk]:
        """The nearest of one half, to a question that no document answers."""
        return list(islice((chunk for chunk in near if self._split_of(chunk) == split), self._passages))

    def _others(self, candidate: Candidate, found: Iterable[Chunk]) -> Iterator[Chunk]:
        half = self._split_of(candidate.chunk)
        for chunk in found:
            other = chunk.id != candidate.chunk.id and self._split_of(chunk) == half
            if other and not holds(chunk.text, candidate.answer):
                yield chunk

    def _random(self, candidate: Candidate) -> Iterator[Chunk]:
        pool = self._any[self._split_of(candidate.chunk)]
        start = int(self._share("any", candidate) * len(pool))
        return self._others(candidate, chain(pool[start:], pool[:start]))

    def _share(self, what: str, candidate: Candidate) -> float:
        return share(self._seed, what, candidate.chunk.id, candidate.question)


def _random_pools(chunks: Iterable[Chunk], split_of: Callable[[Chunk], Split], seed: int) -> dict[Split, list[Chunk]]:
    """The passages with the smallest hashes of each half."""
    pools: dict[Split, list[Chunk]] = {"train": [], "holdout": []}

    def rank(chunk: Chunk) -> tuple[float, str]:
        return share(seed, "any", chunk.id), chunk.id

    for chunk in chunks:
        rows = pools[split_of(chunk)]
        rows.append(chunk)
        if len(rows) >= 8 * RANDOM_POOL:
            rows[:] = nsmallest(RANDOM_POOL, rows, key=rank)
    return {half: nsmallest(RANDOM_POOL, rows, key=rank) for half, rows in pools.items()}
