"""What is done to each page and document by itself, one class for each stage that goes row by row.

    Extract   Page -> Outcome       the readable text, or why there is none
    Clean     Outcome -> Outcome    repeated lines out, language, quality rules, guards
    CutUp     Document -> Cut       passages

Each is a `Step` (`ingest/parts.py`): plain values that travel to worker processes, where what is expensive to load is
loaded once.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from configs.artifacts import Made, fingerprint_of
from guards.policy import load_policy
from guards.stage import Stage
from ingest.chunk import chunk_document
from ingest.embed import TokenCounter, load_token_counter
from ingest.extract import extract
from ingest.filters import Filter, build_filters, first_refusal
from ingest.guard import guard_document
from ingest.records import Chunk, Document, Outcome, Page, Reject, TableWriter, read_between, stable_id

OUTCOMES, CHUNKS, KEYS = "outcomes.parquet", "chunks.parquet", "keys.parquet"
# Characters of a rejected text that are kept to be looked at.
SAMPLE = 300


@dataclass(frozen=True)
class Key:
    """What a row's result depended on."""

    url: str
    key: str


@dataclass(frozen=True)
class Cut:
    """The passages of one document."""

    url: str
    key: str
    chunks: tuple[Chunk, ...]


class _Outcomes:
    """What the steps that make outcomes share."""

    makes: ClassVar[type[Outcome]] = Outcome

    def known(self, previous: Path, first: str, last: str) -> Iterable[Outcome]:
        """See `Step.known`."""
        return read_between(previous / OUTCOMES, Outcome, first, last)


@dataclass(frozen=True)
class Extract(_Outcomes):
    """A page's readable text."""

    reads: ClassVar[type[Page]] = Page
    logic: ClassVar[int] = 2

    def prepare(self, page: Page, /) -> tuple[Page, str]:
        """See `Step.prepare`."""
        head = f"{page.url}\n{page.content_type}\n{page.charset}\n"
        return page, hashlib.sha256(head.encode("utf-8", "surrogatepass") + page.body).hexdigest()

    def treat(self, page: Page, key: str, before: Outcome | None, /) -> Outcome:
        """See `Step.treat`. A text that was there before keeps the number of the crawl that first found it."""
        made = extract(page)
        if isinstance(made, Reject):
            return Outcome(page.url, key, (), (made,))
        # A citation leads to the page that was read, whatever other address that page names as its own.
        document = replace(made, url=page.url, id=stable_id(page.url, made.text), crawl=page.crawl)
        if before is not None and any(old.id == document.id for old in before.documents):
            document = replace(document, crawl=before.documents[0].crawl)
        return Outcome(page.url, key, (document,), ())


@dataclass(frozen=True)
class Clean(_Outcomes):
    """A document without what is not its text, if the rules and guards let it pass."""

    min_words: int
    min_letter_share: float
    policy: str
    reads: ClassVar[type[Outcome]] = Outcome
    logic: ClassVar[int] = 1

    def prepare(self, outcome: Outcome, /) -> tuple[Outcome, str]:
        """See `Step.prepare`."""
        return outcome, stable_id(repr(outcome.documents), repr(outcome.rejects))

    def treat(self, outcome: Outcome, key: str, _before: Outcome | None, /) -> Outcome:
        """See `Step.treat`."""
        documents: list[Document] = []
        rejects = list(outcome.rejects)
        counts: list[str] = []
        for document in outcome.documents:
            refusal = first_refusal(document, _filters(self.min_words, self.min_letter_share))
            if refusal is not None:
                figures = (refusal.category, refusal.reason, refusal.score, refusal.threshold)
                rejects.append(Reject(document.url, *figures, sample=document.text[:SAMPLE]))
                continue
            guarded = guard_document(document, _stage(self.policy))
            counts += [f"{name}={number}" for name, number in sorted(guarded.counts.items())]
            documents += [guarded.document] if guarded.document is not None else []
            rejects += [guarded.reject] if guarded.reject is not None else []
        return Outcome(outcome.url, key, tuple(documents), tuple(rejects), tuple(counts))


@dataclass(frozen=True)
class CutUp:
    """A document's passages."""

    embedder: str
    max_tokens: int
    min_tokens: int
    reads: ClassVar[type[Document]] = Document
    logic: ClassVar[int] = 1
    makes: ClassVar[type[Cut]] = Cut

    def prepare(self, document: Document, /) -> tuple[Document, str]:
        """See `Step.prepare`."""
        return document, stable_id(document.id, document.title, repr(document.sections))

    def treat(self, document: Document, key: str, _before: Cut | None, /) -> Cut:
        """See `Step.treat`."""
        counter = _counter(self.embedder)
        chunks = chunk_document(
            document,
            counter.count,
            max_tokens=min(self.max_tokens, counter.max_tokens),
            min_tokens=self.min_tokens,
        )
        return Cut(document.url, key, tuple(chunks))

    def known(self, previous: Path, first: str, last: str) -> Iterator[Cut]:
        """See `Step.known`."""
        chunks = read_between(previous / CHUNKS, Chunk, first, last)
        of_url: Mapping[str, tuple[Chunk, ...]] = {url: tuple(rows) for url, rows in groupby(chunks, _url)}
        for row in read_between(previous / KEYS, Key, first, last):
            yield Cut(row.url, row.key, of_url.get(row.url, ()))


def _url(chunk: Chunk) -> str:
    return chunk.url


@cache
def _filters(min_words: int, min_letter_share: float) -> list[Filter]:
    return build_filters(min_words=min_words, min_letter_share=min_letter_share)


@cache
def _stage(policy: str) -> Stage:
    return load_policy(policy, only=["document"]).stage("document")


@cache
def _counter(embedder: str) -> TokenCounter:
    return load_token_counter(embedder)


def write_cuts(folder: Path, cuts: Iterable[Cut]) -> Made:
    """Write the passages as `chunks.parquet`, and beside them what each document's depended on."""
    with TableWriter(folder / CHUNKS, Chunk) as chunks, TableWriter(folder / KEYS, Key) as keys:
        for cut in cuts:
            keys.add(Key(cut.url, cut.key))
            for chunk in cut.chunks:
                chunks.add(chunk)
    counts = {"documents": keys.rows, "chunks": chunks.rows}
    return Made(counts=counts, fingerprint=fingerprint_of(folder / CHUNKS))


def counted(outcome: Outcome) -> Iterator[tuple[str, int]]:
    """The counts of an outcome."""
    for entry in outcome.counts:
        name, _, number = entry.rpartition("=")
        yield name, int(number)
