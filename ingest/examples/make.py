"""Training and evaluation examples made from the documents: a question, passages, and the answer with its citation.

In: the passages, the index, and what a teacher wrote (if one was asked). Out: the examples.

The answer is text of one passage, each sentence followed by that passage's number; the other passages shown are those
that the index finds nearest, which is what the model will have to tell apart. Some examples leave the right passage
out, and their answer says that the documents do not answer.

The split is by groups of documents, and distractors come from the same half. Everything is decided by hashes of ids
and the seed: the same chunks and settings give the same examples in the same order.

Known limits: without a teacher the answers are extracted, so the model learns to find and quote, not to rephrase. The
passages may be a reader that streams, but the index holds all of them in memory: about 3 KB a passage.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from configs.errors import ArtifactError
from ingest.examples.answers import ABSTENTION, numbered
from ingest.examples.candidates import Candidate, find_candidates, rank
from ingest.examples.distractors import Distractors
from ingest.examples.split import Split, split_documents
from ingest.examples.unanswerable import Unanswerable, absent_questions, kind_of
from ingest.records import Chunk, Example, stable_id
from ingest.search.base import Retrieved

# Questions searched at once, and how far down the results distractors are looked for: those of the other half of the
# split do not count, and of the small half there may be few among the first.
AT_ONCE, NEAR = 32, 200


class Search(Protocol):
    """The part of the index that is needed here."""

    def search_many(self, queries: Sequence[str], k: int) -> Sequence[Retrieved]: ...


def make_examples(
    chunks: Iterable[Chunk],
    index: Search,
    *,
    max_examples: int,
    passages: int,
    unanswerable_share: float,
    holdout_share: float,
    seed: int,
    written: Sequence[Candidate] = (),
    split_of: Callable[[Chunk], Split] | None = None,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[Example]:
    """Examples in an order that depends only on ids and the seed.

    Args:
        chunks: all chunks of the index, in reading order; read several times.
        index: finds the distractors.
        max_examples: upper limit, reached by leaving out whole questions at random (by hash).
        passages: passages shown in each example.
        unanswerable_share: share of examples whose passages do not hold the answer.
        holdout_share: share of documents whose examples are kept for evaluation.
        seed: seed of all choices.
        written: questions that a teacher wrote; they come before those of headings when there are too many.
        split_of: the split, where it has been worked out already.
        progress: called with the number of examples made so far.

    Raises:
        ArtifactError: no chunk gives a question with an answer.
    """
    candidates = _chosen(find_candidates(chunks, max_examples, seed), written, max_examples)
    if not candidates:
        raise ArtifactError(
            f"none of the {sum(1 for _ in chunks)} passages starts with a sentence to make an example from",
            "Read more documents, or documents with prose under their headings",
        )
    split_of = split_of or split_documents(chunks, holdout_share, seed)
    writer = _Writer(
        Distractors(chunks, split_of, passages=passages, seed=seed),
        split_of,
        absent_questions(chunks, seed) if unanswerable_share else [],
    )
    examples: list[Example] = []
    for start in range(0, len(candidates), AT_ONCE):
        part = candidates[start : start + AT_ONCE]
        planned = [writer.plan(c, kind_of(seed, unanswerable_share, c.chunk.id, c.question)) for c in part]
        found = index.search_many([plan.question for plan in planned], NEAR)
        examples += (
            example
            for plan, retrieved in zip(planned, found, strict=True)
            # With a tiny corpus there may be no passage to show instead of the right one.
            if (example := writer.write(plan, [hit.chunk for hit in retrieved.hits])).passages
        )
        progress(len(examples))
    return examples


def _chosen(found: Sequence[Candidate], written: Sequence[Candidate], limit: int) -> list[Candidate]:
    asked: set[str] = set()
    chosen: list[Candidate] = []
    for candidate in (*sorted(written, key=rank), *found):
        if candidate.question.casefold() not in asked:
            asked.add(candidate.question.casefold())
            chosen.append(candidate)
    return sorted(chosen[:limit], key=rank)


@dataclass(frozen=True)
class _Plan:
    candidate: Candidate
    question: str
    kind: Unanswerable | None


class _Writer:
    """Turns candidates into rows."""

    def __init__(self, distractors: Distractors, split_of: Callable[[Chunk], Split], absent: list[str]) -> None:
        self._distractors = distractors
        self._split_of = split_of
        self._absent = iter(absent)

    def plan(self, candidate: Candidate, kind: Unanswerable | None) -> _Plan:
        """What is asked; when all everyday questions have been, another question is asked without its answer."""
        if kind == "absent":
            question = next(self._absent, "")
            return _Plan(candidate, question, kind) if question else _Plan(candidate, candidate.question, "withheld")
        return _Plan(candidate, candidate.question, kind)

    def write(self, plan: _Plan, near: Sequence[Chunk]) -> Example:
        """The row; without passages when there are none to show."""
        candidate, chunk = plan.candidate, plan.candidate.chunk
        row = Example(
            id=stable_id("example", chunk.id, plan.question, str(plan.kind)),
            doc_id=chunk.doc_id,
            question=plan.question,
            passages=(),
            answer=ABSTENTION,
            answerable=False,
            split=self._split_of(chunk),
            kind=plan.kind or candidate.kind,
            section=chunk.id,
            made_by="teacher" if candidate.kind == "written" and plan.kind != "absent" else "extract",
        )
        match plan.kind:
            case None:
                shown = self._distractors.around(candidate, near)
                answer = numbered(candidate.answer, shown.index(chunk) + 1)
                return replace(row, passages=tuple(shown), answer=answer, answerable=True)
            case "absent":
                # It was made from no document; those shown say which half it belongs to.
                shown = self._distractors.unrelated(near, row.split)
                return replace(row, passages=tuple(shown), doc_id=shown[0].doc_id if shown else "", section="")
            case "elsewhere" if shown := self._distractors.elsewhere(candidate, near):
                return replace(row, passages=tuple(shown))
            case _:
                shown = self._distractors.withheld(candidate, near)
                return replace(row, passages=tuple(shown), kind="withheld")
