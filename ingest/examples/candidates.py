"""Questions that the documents answer: one for each section that opens with prose, and one for each definition.

In: all passages in reading order, read twice. Out: candidates, each with its passage, question and answer, in an order
that depends only on ids and the seed.
"""

import heapq
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ingest.examples.answers import Definition, definitions, listed, opening_sentences
from ingest.examples.forms import ask_heading, ask_term, plain_heading, plain_title, site_suffixes
from ingest.examples.split import share
from ingest.records import Chunk

Kind = Literal["heading", "definition", "written"]

# Definitions are easy to find by the hundred in a reference manual, and the questions all alike.
DEFINITION_SHARE = 1 / 3
# Candidates that are looked at beyond those wanted, for some have the same question as another.
SPARE = 2
# Headings whose terms belong to what the document describes, and mean something else elsewhere.
_SCOPES = frozenset("arguments attributes fields flags options parameters properties settings subcommands".split())
# A signature on a line of its own, before what is said about it.
_CODE_LINE = re.compile(r"(?:(?:class|exception|def|async|static|type) [^\n]+|[^\s(]+\(.*\))\n")
# Openings that send the reader elsewhere, or speak of what came before.
_NO_ANSWER = ("see ", "for more ", "for further ", "for details", "new in version", "changed in version", "deprecated ")


@dataclass(frozen=True)
class Candidate:
    """A question and its answer, before anything is decided about the passages shown with it.

    Attributes:
        chunk: the passage that holds the answer.
        answer: without citation marker.
        kind: `heading`, `definition`, or `written` by a teacher.
        order: in [0, 1), its place among the others.
    """

    chunk: Chunk
    question: str
    answer: str
    kind: Kind
    order: float


@dataclass(frozen=True)
class Survey:
    """What has to be known of all passages before the first question can be put.

    Attributes:
        headings, terms: how often each is asked about; in lower case.
        suffixes: names of the site at the end of titles.
    """

    headings: Counter[str]
    terms: Counter[str]
    suffixes: frozenset[str]


def find_candidates(chunks: Iterable[Chunk], wanted: int, seed: int) -> list[Candidate]:
    """At most `wanted` candidates with distinct questions, by hash.

    Args:
        chunks: read twice.
    """
    survey = _survey(chunks)
    best: dict[Kind, list[Candidate]] = {"heading": [], "definition": []}
    pool = wanted * SPARE
    for candidate in _candidates(chunks, survey, seed):
        rows = best[candidate.kind]
        rows.append(candidate)
        if len(rows) >= 4 * pool:
            rows[:] = heapq.nsmallest(pool, rows, key=rank)
    headings, defined = (heapq.nsmallest(pool, rows, key=rank) for rows in best.values())
    return choose(headings, defined, wanted)


def choose(headings: Iterable[Candidate], defined: Iterable[Candidate], wanted: int) -> list[Candidate]:
    """Distinct questions of both kinds, definitions up to their share unless there are too few headings, by hash."""
    asked: set[str] = set()
    ours = list(_distinct(headings, asked))
    theirs = list(_distinct(defined, asked))
    most = max(int(wanted * DEFINITION_SHARE), wanted - len(ours))
    theirs = theirs[:most]
    return sorted(ours[: wanted - len(theirs)] + theirs, key=rank)


def _survey(chunks: Iterable[Chunk]) -> Survey:
    headings: Counter[str] = Counter()
    terms: Counter[str] = Counter()
    titles: dict[str, str] = {}
    for chunk, opening, answer in _read(chunks):
        titles.setdefault(chunk.doc_id, chunk.title)
        if answer:
            headings[_last_heading(chunk).casefold()] += 1
        terms.update(found.term.casefold() for found in definitions(chunk.text, opening=opening))
    return Survey(headings, terms, site_suffixes(titles.values()))


def _candidates(chunks: Iterable[Chunk], survey: Survey, seed: int) -> Iterator[Candidate]:
    for chunk, opening, answer in _read(chunks):
        title = plain_title(chunk.title, survey.suffixes)
        if answer:
            heading = _last_heading(chunk)
            repeated = survey.headings[heading.casefold()] > 1
            pick = share(seed, "form", chunk.id)
            question = ask_heading(heading, title, answer, repeated=repeated, pick=pick)
            if question:
                yield Candidate(chunk, question, answer, "heading", share(seed, "order", chunk.id))
        for found in definitions(chunk.text, opening=opening):
            yield _defined(chunk, found, title, survey, seed)


def _defined(chunk: Chunk, found: Definition, title: str, survey: Survey, seed: int) -> Candidate:
    pick = share(seed, "form", chunk.id, found.term)
    scope = _last_heading(chunk).casefold()
    repeated = survey.terms[found.term.casefold()] > 1 or scope in _SCOPES
    question = ask_term(found, title, repeated=repeated, pick=pick)
    return Candidate(chunk, question, found.answer, "definition", share(seed, "order", chunk.id, found.term))


def _read(chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, bool, str]]:
    """Each passage, whether it is the first of its section, and the answer to what the section's heading asks."""
    place: tuple[str, tuple[str, ...]] | None = None
    seen: set[tuple[str, ...]] = set()
    for chunk in chunks:
        if place is None or place[0] != chunk.doc_id:
            seen = set()
        place = (chunk.doc_id, chunk.headings)
        opening = chunk.headings not in seen and bool(chunk.headings or chunk.title)
        seen.add(chunk.headings)
        yield chunk, opening, _opening_answer(chunk) if opening else ""


def _opening_answer(chunk: Chunk) -> str:
    paragraph = chunk.text.strip().split("\n\n", 1)[0]
    if listed(paragraph) or _CODE_LINE.match(paragraph):
        return ""
    answer = opening_sentences(chunk.text)
    return "" if answer.casefold().startswith(_NO_ANSWER) else answer


def rank(candidate: Candidate) -> tuple[float, str, str]:
    """What candidates are sorted by: hashes, so that it is a shuffle that stays."""
    return candidate.order, candidate.chunk.id, candidate.question


def _distinct(candidates: Iterable[Candidate], asked: set[str]) -> Iterator[Candidate]:
    for candidate in candidates:
        if (question := candidate.question.casefold()) not in asked:
            asked.add(question)
            yield candidate


def _last_heading(chunk: Chunk) -> str:
    return plain_heading(chunk.headings[-1] if chunk.headings else chunk.title)
