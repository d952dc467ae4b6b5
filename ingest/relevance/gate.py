"""Whether a new index still finds what the current one finds: the check before it takes the other's place.

In: two indexes, and questions of which the right page is known. Out: a `Comparison`, and `GateRefused` where the new
one finds fewer. Only pages that both hold count: that a page was added or removed says nothing about search.

The questions should come from the current index's passages. Made from the new one's, a chunker that loses headings
would be asked about those it kept only.

Known limit: of few questions each weighs much; with twenty, one that is lost is five hundredths of recall.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from configs.errors import GateRefused
from ingest.passages import Passages
from ingest.relevance.evaluate import Search
from ingest.relevance.known_items import Item

SHOWN = 3


class Indexed(Search, Protocol):
    """An index that is compared."""

    @property
    def passages(self) -> Passages:
        """What it finds."""


@dataclass(frozen=True)
class Comparison:
    """What two indexes found of the same questions.

    Attributes:
        k: passages looked at for each question.
        items: how many questions both could answer.
        new, old: share of them whose page was among the first k passages; 1 where there were none.
        lost: questions whose page the old one found and the new one did not.
        gained: the other way round.
        skipped: questions whose page one of the two does not hold.
    """

    k: int
    items: int
    new: float
    old: float
    lost: tuple[Item, ...] = ()
    gained: tuple[Item, ...] = ()
    skipped: int = 0

    @property
    def drop(self) -> float:
        """How much recall fell; negative where it rose."""
        return self.old - self.new

    def figures(self) -> dict[str, float]:
        """For a manifest."""
        return {f"recall_at_{self.k}": round(self.new, 4), f"recall_at_{self.k}_before": round(self.old, 4)}

    def as_json(self) -> dict[str, Any]:
        """All of it, with the questions that were lost and gained."""
        named = {"lost": self.lost, "gained": self.gained}
        return {**vars(self), **{name: [vars(item) for item in items] for name, items in named.items()}}


def compare(new: Indexed, old: Indexed, items: Sequence[Item], k: int = 5) -> Comparison:
    """Ask both indexes the same questions.

    Args:
        items: of which those are asked whose page is in both.
        k: passages looked at for each.
    """
    both = _urls(new) & _urls(old)
    asked = [item for item in items if item.url in both]
    found = {name: _found(index, asked, k) for name, index in (("new", new), ("old", old))}
    pairs = list(zip(asked, found["new"], found["old"], strict=True))
    return Comparison(
        k,
        len(asked),
        new=_share(found["new"]),
        old=_share(found["old"]),
        lost=tuple(item for item, now, before in pairs if before and not now),
        gained=tuple(item for item, now, before in pairs if now and not before),
        skipped=len(items) - len(asked),
    )


def refuse_drop(comparison: Comparison, max_drop: float) -> None:
    """Refuse an index that finds too little of what the other found.

    Args:
        max_drop: how much recall may fall, 0 to 1.

    Raises:
        GateRefused: it fell by more.
    """
    # A recall is a ratio of counts, so that a drop of exactly the margin must not fail by rounding.
    if comparison.drop <= max_drop + 1e-9:
        return
    shown = "; ".join(f"“{item.question}” ({item.url})" for item in comparison.lost[:SHOWN])
    raise GateRefused(
        f"the new index finds {comparison.new:.1%} of {comparison.items} known pages among the first {comparison.k} "
        f"passages, the current one {comparison.old:.1%}; more than {max_drop:.1%} less is refused; lost: {shown}",
        "The current index stays. Look at what changed, raise index.max_recall_drop, or run `wellread index --force`",
    )


def _urls(index: Indexed) -> set[str]:
    return set(index.passages.column("url").unique().to_pylist())


def _found(index: Search, items: Sequence[Item], k: int) -> list[bool]:
    results = index.search_many([item.question for item in items], k) if items else ()
    return [any(hit.chunk.url == item.url for hit in one.hits[:k]) for item, one in zip(items, results, strict=True)]


def _share(found: Sequence[bool]) -> float:
    return sum(found) / len(found) if found else 1.0
