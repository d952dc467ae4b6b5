"""Questions and the passages that answer them, from what a workspace holds.

In: the passages of an index, the examples made from them, the store of votes, a file of the user's own pairs. Out: a
`Task`. Where pairs come from, best first:

    given     lines `{"question": ..., "passage": ...}` of a file
    vote      passages cited in answers that more people voted up than down
    example   questions of the examples version, with the passage each was made from
    heading   a section's last heading, with the section's text, where no other pair has the passage and where the
              heading is found in one document only: "Introduction" asks for nothing

Documents are split into halves as those of the examples are, with near-duplicates on one side. Headings are learned
from and never judged with, since the heading is part of what is embedded.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from configs.errors import ConfigError, SourceError
from feedback.store import Interaction
from ingest.examples.split import share
from ingest.records import Chunk, Example, stable_id
from train.retriever.task import Labelled, Task

Half = Literal["train", "holdout"]
Source = Literal["given", "vote", "example", "heading"]
BEST_FIRST: tuple[Source, ...] = ("given", "vote", "example", "heading")
# A shorter heading ("Usage") says too little to be asked for.
HEADING_WORDS = 2


@dataclass(frozen=True)
class Pair:
    """A question and the id of the passage that answers it."""

    question: str
    chunk_id: str
    source: Source


class Votes(Protocol):
    """What is needed of `feedback.store.Store`."""

    def interactions(self) -> list[Interaction]: ...
    def votes(self) -> dict[tuple[str, str], str]: ...


def example_pairs(examples: Iterable[Example], half_of: Callable[[Chunk], Half]) -> Iterator[Pair]:
    """The answerable examples; those whose passage is in another half than they are by now are left out."""
    for example in examples:
        made_from = next((chunk for chunk in example.passages if chunk.id == example.section), None)
        if example.answerable and made_from is not None and half_of(made_from) == example.split:
            yield Pair(example.question, made_from.id, "example")


def vote_pairs(store: Votes) -> list[Pair]:
    """The question of each answer with more votes up than down, with each passage that the answer cites; by id."""
    balance: Counter[str] = Counter()
    for (interaction, _user), vote in store.votes().items():
        balance[interaction] += 1 if vote == "up" else -1
    liked = sorted((row for row in store.interactions() if balance[row.id] > 0), key=lambda row: row.id)
    return [
        Pair(row.question, str(passage["chunk_id"]), "vote")
        for row in liked
        for passage in row.passages
        if passage.get("cited") and "chunk_id" in passage
    ]


def heading_pairs(chunks: Iterable[Chunk]) -> list[Pair]:
    """The last heading of each section of several words, with the section's first passage."""
    first: dict[tuple[str, str], Chunk] = {}
    documents: defaultdict[str, set[str]] = defaultdict(set)
    for chunk in chunks:
        heading = chunk.headings[-1] if chunk.headings else chunk.title
        documents[heading.casefold()].add(chunk.doc_id)
        first.setdefault((chunk.doc_id, heading), chunk)
    return [
        Pair(heading, chunk.id, "heading")
        for (_, heading), chunk in first.items()
        if len(documents[heading.casefold()]) == 1 and len(heading.split()) >= HEADING_WORDS
    ]


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Questions and passages of a JSONL file.

    Raises:
        SourceError: the file cannot be read.
        ConfigError: a line is not such an object.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {error}", "Give a JSONL file in UTF-8") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, passage = str(row["question"]).strip(), str(row["passage"]).strip()
        except (ValueError, KeyError, TypeError):
            question = passage = ""
        if not (question and passage):
            raise ConfigError(
                f"line {number} of {path} is not a pair: {line[:80]}",
                'Write lines {"question": "...", "passage": "..."}',
            )
        found.append((question, passage))
    return found


def given_pairs(rows: Iterable[tuple[str, str]], chunks: Iterable[Chunk]) -> tuple[list[Pair], list[Chunk]]:
    """Pairs of the user's own, and the passages among them that are not in the index."""
    known = {chunk.text.strip(): chunk.id for chunk in chunks}
    pairs, added = [], []
    for question, passage in rows:
        if passage not in known:
            known[passage] = stable_id("given", passage)
            added.append(Chunk(known[passage], known[passage], "", "", (), passage, 0, len(passage)))
        pairs.append(Pair(question, known[passage], "given"))
    return pairs, added


def make_task(
    chunks: Sequence[Chunk],
    pairs: Iterable[Pair],
    half_of: Callable[[Chunk], Half],
    *,
    most_pairs: int,
    most_passages: int,
    seed: int = 0,
) -> Task:
    """Put passages and pairs together.

    Pairs of passages that are no longer there are left out, and so are questions with answers in both halves.

    Args:
        chunks: all passages.
        half_of: tells the half of a passage's document.
        most_pairs: pairs to learn from, and to judge with; the best sources first, then by hash.
        most_passages: passages beside those that are asked for. The more, the nearer to the real search, and the
            longer embedding them takes.
    """
    asked = _asked({chunk.id for chunk in chunks}, pairs, most_pairs, seed)
    wanted = {chunk_id for one in asked for chunk_id in one.answers}
    others = sorted((c.id for c in chunks if c.id not in wanted), key=lambda name: share(seed, "corpus", name))
    kept = wanted.union(others[:most_passages])
    chosen = [chunk for chunk in chunks if chunk.id in kept]
    row_of = {chunk.id: row for row, chunk in enumerate(chosen)}
    held_out = frozenset(row for row, chunk in enumerate(chosen) if half_of(chunk) == "holdout")
    train, holdout = [], []
    for one in asked:
        rows = tuple(row_of[chunk_id] for chunk_id in one.answers)
        if held_out.isdisjoint(rows):
            shown = chosen[rows[0]].text if one.source == "heading" else ""
            train.append(Labelled(one.question, rows, shown))
        elif held_out.issuperset(rows) and one.source != "heading":
            holdout.append(Labelled(one.question, rows))
    groups = [stable_id(chunk.doc_id, *chunk.headings) for chunk in chosen]
    return Task(chosen, groups, train[:most_pairs], holdout[:most_pairs], held_out)


@dataclass(frozen=True)
class _Asked:
    question: str
    answers: tuple[str, ...]
    source: Source


def _asked(known: set[str], pairs: Iterable[Pair], most: int, seed: int) -> list[_Asked]:
    """Each question once, with all its answers, best sources first; a heading only for passages that nothing else asks
    for, since one batch must not hold a passage in two wordings."""
    answers: dict[str, dict[str, None]] = {}
    source_of: dict[str, Source] = {}
    taken: set[str] = set()
    for pair in sorted(pairs, key=lambda pair: BEST_FIRST.index(pair.source)):
        question = " ".join(pair.question.split())
        if not question or pair.chunk_id not in known or (pair.source == "heading" and pair.chunk_id in taken):
            continue
        if pair.source == "heading" and question in source_of:
            continue
        source_of.setdefault(question, pair.source)
        answers.setdefault(question, {})[pair.chunk_id] = None
        taken.add(pair.chunk_id)
    order = sorted(answers, key=lambda name: (BEST_FIRST.index(source_of[name]), share(seed, "pair", name)))
    # Twice as many as are wanted of one half: more would only be embedded and thrown away.
    return [_Asked(name, tuple(answers[name]), source_of[name]) for name in order[: 2 * most]]
