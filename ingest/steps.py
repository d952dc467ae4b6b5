"""What is done to each page and document by itself, one class for each stage that goes row by row.

    Extract   Page -> Outcome       the readable text, or why there is none
    Clean     Outcome -> Outcome    repeated lines out, language, quality rules, guards
    CutUp     Document -> Cut       passages

Each is a `Step` (`ingest/parts.py`): plain values that travel to worker processes, where what is expensive to load is
loaded once.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import ClassVar

import numpy as np

from configs.artifacts import Made, fingerprint_of
from configs.errors import ConfigError
from guards.policy import load_policy
from guards.stage import Stage
from ingest.bias import profile as profile_terms
from ingest.boilerplate import remove_lines
from ingest.chunk import chunk_document
from ingest.embed import TokenCounter, load_token_counter
from ingest.extract import extract
from ingest.filters.base import Rule, Text, build_rules
from ingest.guard import guard_document
from ingest.records import Chunk, Document, Outcome, Page, Reject, TableWriter, read_between, stable_id
from ingest.repair import repair

OUTCOMES, CHUNKS, KEYS = "outcomes.parquet", "chunks.parquet", "keys.parquet"
# Characters of a rejected text that are kept to be looked at.
SAMPLE, BEYOND = 300, 200
# Begins the name of a count of demographic terms.
TERMS = "terms_"


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
    """A page's readable text.

    Attributes:
        repair: mend wrongly decoded characters and white space.
    """

    repair: bool
    reads: ClassVar[type[Page]] = Page

    def prepare(self, page: Page, /) -> tuple[Page, str]:
        """See `Step.prepare`."""
        head = f"{page.url}\n{page.content_type}\n{page.charset}\n{page.crawl}\n"
        return page, hashlib.sha256(head.encode("utf-8", "surrogatepass") + page.body).hexdigest()

    def treat(self, page: Page, key: str, before: Outcome | None, /) -> Outcome:
        """See `Step.treat`. A text that was there before keeps the number of the crawl that first found it."""
        made = extract(page, repair=repair if self.repair else None)
        if isinstance(made, Reject):
            return Outcome(page.url, key, (), (made,))
        # A citation leads to the page that was read, whatever other address that page names as its own.
        made = replace(made, url=page.url)
        if before is not None and any(old.id == made.id for old in before.documents):
            made = replace(made, crawl=before.documents[0].crawl)
        return Outcome(page.url, key, (made,), ())


@dataclass(frozen=True)
class Clean(_Outcomes):
    """A document without what is not its text, if the rules and guards let it pass.

    Attributes:
        rules: their names, in order.
        thresholds: rule to its settings, as JSON: a step has to be hashable, and to travel.
        policy: the guards' policy, a name or a file.
        version: of the policy.
        embedder: whose tokens are counted.
        repeated: file of hashes of the lines that sites repeat, or None to leave them in.
    """

    rules: tuple[str, ...]
    thresholds: str
    policy: str
    version: str
    embedder: str
    repeated: Path | None
    reads: ClassVar[type[Outcome]] = Outcome

    def prepare(self, outcome: Outcome, /) -> tuple[Outcome, str]:
        """See `Step.prepare`. A document that loses none of its lines has the same key whatever others lose."""
        counts: list[str] = []
        documents = outcome.documents
        if self.repeated is not None:
            without = [remove_lines(document, _lines(self.repeated)) for document in documents]
            documents = tuple(document for document, _ in without)
            counts = [f"repeated_lines={removed}" for _, removed in without if removed]
        ready = replace(outcome, documents=documents, counts=tuple(counts))
        return ready, stable_id(repr(documents), repr(outcome.rejects), *counts)

    def treat(self, outcome: Outcome, key: str, _before: Outcome | None, /) -> Outcome:
        """See `Step.treat`."""
        done = replace(outcome, key=key, documents=())
        for document in outcome.documents:
            done = self._with(done, document)
        return done

    def _with(self, done: Outcome, document: Document) -> Outcome:
        text = Text(document)
        for rule in _rules(self.rules, self.thresholds):
            if not (verdict := rule(text)).allowed:
                figures = (verdict.category, verdict.reason, verdict.score, verdict.threshold)
                reject = Reject(document.url, *figures, sample=_sample(document.text, self.policy, self.version))
                return replace(done, rejects=(*done.rejects, reject))
        guarded = guard_document(replace(document, language=text.language[0]), _stage(self.policy, self.version))
        if guarded.document is None:
            return replace(done, rejects=(*done.rejects, *filter(None, [guarded.reject])))
        clean = replace(guarded.document, id=stable_id(document.url, guarded.document.text))
        counts = dict(guarded.counts)
        counts["tokens"] = _counter(self.embedder).count(clean.text)
        counts |= {f"{TERMS}{group}": number for group, number in profile_terms(clean.text).items()}
        found = tuple(f"{name}={number}" for name, number in sorted(counts.items()) if number)
        return replace(done, documents=(*done.documents, clean), counts=done.counts + found)


@dataclass(frozen=True)
class CutUp:
    """A document's passages.

    Attributes:
        embedder: whose tokens are counted.
        max_tokens, min_tokens: as for `chunk_document`; the embedder's own limit holds as well.
        passage_prefix: as for `load_token_counter`.
    """

    embedder: str
    max_tokens: int
    min_tokens: int
    passage_prefix: str | None = None
    reads: ClassVar[type[Document]] = Document
    makes: ClassVar[type[Cut]] = Cut

    def prepare(self, document: Document, /) -> tuple[Document, str]:
        """See `Step.prepare`."""
        return document, stable_id(repr(document))

    def treat(self, document: Document, key: str, _before: Cut | None, /) -> Cut:
        """See `Step.treat`."""
        counter = _counter(self.embedder, self.passage_prefix)
        chunks = chunk_document(
            document,
            counter.count,
            max_tokens=min(self.max_tokens, counter.max_tokens),
            min_tokens=self.min_tokens,
            reserved=counter.reserved,
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
def _rules(order: tuple[str, ...], thresholds: str) -> list[Rule]:
    return build_rules(order, json.loads(thresholds))


@cache
def _lines(repeated: Path) -> frozenset[int]:
    return frozenset(np.load(repeated).tolist())


@cache
def _stage(policy: str, version: str) -> Stage:
    loaded = load_policy(policy, only=["document"])
    # What it lets through is kept under the version that was read at the start.
    if loaded.version != version:
        raise ConfigError(f"the policy {policy} changed while documents were read", "Run the same command again")
    return loaded.stage("document")


def _sample(text: str, policy: str, version: str) -> str:
    """The beginning of a text as the guards would let it stand, or nothing."""
    # What begins in the sample and ends beyond it is only recognised whole.
    outcome = _stage(policy, version).run(text[: SAMPLE + BEYOND])
    return outcome.text[:SAMPLE] if outcome.allowed else ""


@cache
def _counter(embedder: str, passage_prefix: str | None = None) -> TokenCounter:
    return load_token_counter(embedder, passage_prefix)


def write_cuts(folder: Path, cuts: Iterable[Cut]) -> Made:
    """Write the passages as `chunks.parquet`, and beside them what each document's depended on."""
    with TableWriter(folder / CHUNKS, Chunk) as chunks, TableWriter(folder / KEYS, Key) as keys:
        for cut in cuts:
            keys.add(Key(cut.url, cut.key))
            for chunk in cut.chunks:
                chunks.add(chunk)
    counts = {"documents": keys.rows, "chunks": chunks.rows}
    return Made(counts=counts, fingerprint=fingerprint_of(folder / CHUNKS))


def counted(outcome: Outcome) -> Counter[str]:
    """The counts of an outcome."""
    pairs = (entry.rpartition("=") for entry in outcome.counts)
    return Counter({name: int(number) for name, _, number in pairs})
