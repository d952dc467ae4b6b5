"""The data set of a run: the cleaned documents without those that repeat others, and every reject with its reason.

In: the outcomes of cleaning, sorted by url. Out, in one folder: `documents.parquet` (Document), `rejects.parquet`
(Reject, of extraction, cleaning and here), both sorted by url, what deduplication keeps for the next version
(`ingest/dedup/`), and `profile.json`.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from configs.artifacts import Made, fingerprint_of
from ingest.bias import keep_rates, refused_for
from ingest.dedup.find import Duplicate, Verdicts, find_duplicates, judged
from ingest.dedup.paragraphs import Repeated, repeated_paragraphs, without_repeated
from ingest.dedup.semantic import Semantic
from ingest.parts import GROUP_ROWS
from ingest.records import Document, Outcome, Reject, TableWriter, read_table, stable_id
from ingest.steps import OUTCOMES, SAMPLE, TERMS, counted
from ingest.versions.profile import Profiler

DOCUMENTS, REJECTS = "documents.parquet", "rejects.parquet"
# What deduplication had to work out, besides what it could take over.
WORKED_OUT = ("signatures_reused", "similarities_computed", "vectors_computed")
SAYS = {
    "duplicate": "same text as {0}",
    "near_duplicate": "nearly the same text as {0}",
    "semantic_duplicate": "says the same as {0}",
}


@dataclass(frozen=True)
class Balance:
    """Which categories of people the data set is balanced over (`ingest/bias.py`); none leaves all documents in."""

    categories: Sequence[str] = ()
    max_share: float = 1.0


@dataclass(frozen=True)
class Cleaned:
    """The outcomes of cleaning, which are read several times."""

    folder: Path
    balance: Balance

    def rows(self) -> Iterator[tuple[Outcome, tuple[Document, ...], tuple[Reject, ...]]]:
        """Each outcome, its documents that are left when the corpus is balanced, and its rejects."""
        for outcome in read_table(self.folder / OUTCOMES, Outcome):
            documents, rejects = outcome.documents, outcome.rejects
            if self._rates and documents:
                group = refused_for(documents[0].id, _terms(outcome), self._rates, self.balance.max_share)
                if group:
                    detail = f"too many documents are mostly about {group.partition('/')[2]}"
                    reject = Reject(outcome.url, "balance", detail, 0.0, self.balance.max_share)
                    documents, rejects = (), (*rejects, reject)
            yield outcome, documents, rejects

    def documents(self) -> Iterator[Document]:
        """Those that are left."""
        return (document for _, documents, _ in self.rows() for document in documents)

    @cached_property
    def _rates(self) -> Mapping[str, float]:
        if not self.balance.categories:
            return {}
        outcomes = read_table(self.folder / OUTCOMES, Outcome)
        return keep_rates(map(_terms, outcomes), self.balance.categories, self.balance.max_share)


@dataclass(frozen=True)
class Repeats:
    """What counts as a repetition (`ingest/dedup/`), and what is done to paragraphs that repeat others."""

    near: bool
    threshold: float
    semantic: Semantic | None = None
    paragraphs: Literal["off", "report", "remove"] = "off"
    min_words: int = 20


def make_corpus(
    cleaned: Cleaned,
    folder: Path,
    repeats: Repeats,
    *,
    previous: Path | None,
    funnel: Mapping[str, int],
    progress: Callable[[int], None],
) -> Made:
    """Write the data set.

    Args:
        cleaned: what it is made from.
        folder: where to.
        previous: folder of the version from which signatures are taken over.
        funnel: counts of the stages before.
        progress: called with the number of documents compared.

    Returns:
        Counts: those of the funnel, documents, rejected_<rule>, and what cleaning and deduplication counted. The
        fingerprint is that of both tables.
    """
    compared = find_duplicates(
        cleaned.documents,
        folder,
        previous=previous,
        near=repeats.near,
        threshold=repeats.threshold,
        semantic=repeats.semantic,
        progress=progress,
    )
    paragraphs = _repeated(cleaned, folder, repeats)
    counts: Counter[str] = Counter(redacted=0)
    verdicts = Verdicts(folder)
    profiler = Profiler()
    documents = TableWriter(folder / DOCUMENTS, Document, batch=GROUP_ROWS)
    with documents, TableWriter(folder / REJECTS, Reject) as rejects:
        for outcome, left, refused in cleaned.rows():
            found = counted(outcome)
            tokens = found.pop("tokens", 0)
            counts.update(found)
            for document in left:
                if duplicate := verdicts.of(document):
                    refused = (*refused, _reject(document, duplicate))
                    continue
                if repeats.paragraphs == "remove" and paragraphs is not None:
                    document, removed = without_repeated(document, paragraphs)
                    document = replace(document, id=stable_id(document.url, document.text))
                    counts["removed_paragraphs"] += removed
                documents.add(document)
                profiler.add(document, tokens)
            for reject in refused:
                rejects.add(reject)
                counts[f"rejected_{reject.rule}"] += 1
    profiler.done().write(folder)
    counts.update({name: number for name, number in compared.items() if name in WORKED_OUT})
    if paragraphs is not None:
        counts["repeated_paragraphs"] = paragraphs.copies
    return Made(
        counts={**funnel, "documents": documents.rows, **dict(sorted(counts.items()))},
        fingerprint=fingerprint_of(folder / DOCUMENTS, folder / REJECTS),
    )


def _repeated(cleaned: Cleaned, folder: Path, repeats: Repeats) -> Repeated | None:
    if repeats.paragraphs == "off":
        return None
    # Of a document that is left out, no paragraph can be the first.
    kept = (document for document, duplicate in judged(cleaned.documents(), folder) if duplicate is None)
    return repeated_paragraphs(kept, folder, min_words=repeats.min_words)


def _terms(outcome: Outcome) -> dict[str, int]:
    return {name.removeprefix(TERMS): number for name, number in counted(outcome).items() if name.startswith(TERMS)}


def _reject(document: Document, duplicate: Duplicate) -> Reject:
    detail = SAYS[duplicate.kind].format(duplicate.matched_url)
    figures = (duplicate.similarity, duplicate.threshold, duplicate.matched_url, document.text[:SAMPLE])
    return Reject(document.url, duplicate.kind, detail, *figures)
