"""What `wellread eval retrieval` has measured: figures of a test collection, or of known items with those missed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ingest.relevance.beir import Collection
from ingest.relevance.evaluate import Report
from ingest.relevance.known_items import Item
from ingest.relevance.metrics import Difference

# Stands for the rank of what was not found.
BEYOND = 1_000_000


@dataclass(frozen=True)
class CollectionReport:
    """Figures of a test collection.

    Attributes:
        settings: what they were measured with.
        gains: for each ranking within the search, how much larger the search's own nDCG@10 is.
    """

    collection: Collection
    settings: Mapping[str, Any]
    report: Report
    gains: Mapping[str, Difference]

    def as_json(self) -> dict[str, Any]:
        """All of it but what was found for each query."""
        counts = {"documents": len(self.collection.documents), "queries": len(self.collection.queries)}
        gains = {name: vars(gain) for name, gain in self.gains.items()}
        notes = list(self.collection.notes)
        return {**counts, "notes": notes, "settings": dict(self.settings), **self.report.as_json(), "gains": gains}


@dataclass(frozen=True)
class Miss:
    """A question whose page was not among the first passages, or late among them.

    Attributes:
        rank: of its page's first passage, from 1; None where that was not found.
        found: the address that was found first, empty where nothing was.
    """

    item: Item
    rank: int | None
    found: str


@dataclass(frozen=True)
class KnownItemReport:
    """Figures of known items.

    Attributes:
        reports: for each kind of item that there is.
        misses: the worst, those not found first.
    """

    version: str
    settings: Mapping[str, Any]
    items: Mapping[str, Sequence[Item]]
    reports: Mapping[str, Report]
    misses: Sequence[Miss]

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        kinds = {kind: {"items": len(self.items[kind]), **one.as_json()} for kind, one in self.reports.items()}
        misses = [{**vars(miss), "item": vars(miss.item)} for miss in self.misses]
        return {"index": self.version, "settings": dict(self.settings), "kinds": kinds, "misses": misses}


def misses_of(items: Iterable[Item], run: Mapping[str, Sequence[str]]) -> list[Miss]:
    """The questions whose page was not found first, the worst first.

    Args:
        run: what was found for each, as `passages_as_documents` names it.
    """
    missed = []
    for item in items:
        found = run[item.id]
        rank = found.index(item.url) + 1 if item.url in found else None
        if rank != 1:
            missed.append(Miss(item, rank, found[0] if found else ""))
    return sorted(missed, key=lambda miss: -(miss.rank or BEYOND))
