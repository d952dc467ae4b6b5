"""Training and evaluation examples made from the documents: a question, passages, and the answer with its citation.

The question is a form of a passage's heading, the answer its first sentences followed by the number of the passage,
and the other passages shown are the ones that the index finds nearest: what the model will really have to tell apart.
Some examples leave the right passage out, and their answer says that the documents do not answer.

The split is by document: no document has examples in both halves, and distractors come from the same half. Everything
is decided by hashes of ids and the seed, so the same chunks give the same examples in the same order.

Known limit: the answers are extracted, so the model learns to find and quote, not to rephrase.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol

from configs.errors import ArtifactError
from ingest.index import Hit
from ingest.records import Chunk, Example, stable_id

ABSTENTION = "The documents do not answer this question."
# Questions searched at once, and how far down the results distractors are looked for: those of the other half of the
# split do not count, and of the small half there may be few among the first.
AT_ONCE, NEAR = 32, 200
MIN_ANSWER_WORDS, MAX_ANSWER_WORDS = 6, 60

# Headings that say what kind of text follows, not what it is about; the document's title is the subject then.
GENERIC = frozenset(
    "about abstract background contents description details example examples features general getting started history "
    "intro introduction note notes options outline overview parameters purpose reference remarks see also summary "
    "syntax synopsis usage".split()
)
QUESTION_FORMS = (
    "What is {}?",
    "What does the documentation say about {}?",
    "Can you explain {}?",
    "Tell me about {}.",
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(`])")
_ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e|etc|cf|vs|Fig|No|Dr|Mr|Ms)\.$")
_SECTION_NUMBER = re.compile(r"^(?:[A-Z]\.)?\d+(?:\.\d+)*\.?\s+")

Split = Literal["train", "holdout"]


class Search(Protocol):
    """The part of the index that is needed here."""

    def search_many(self, queries: Sequence[str], k: int) -> list[list[Hit]]: ...


def make_examples(
    chunks: Sequence[Chunk],
    index: Search,
    *,
    max_examples: int,
    passages: int,
    unanswerable_share: float,
    holdout_share: float,
    seed: int,
    progress: Callable[[int], None] = lambda _done: None,
) -> list[Example]:
    """Examples in an order that depends only on ids and the seed.

    Args:
        chunks: all chunks of the index, in reading order.
        index: finds the distractors.
        max_examples: upper limit, reached by leaving out whole questions at random (by hash).
        passages: passages shown in each example.
        unanswerable_share: share of examples without the right passage.
        holdout_share: share of documents whose examples are kept for evaluation.
        seed: seed of all choices.
        progress: called with the number of examples made so far.

    Raises:
        ArtifactError: no chunk gives a question with an answer.
    """
    answers = {chunk.id: answer for chunk in _section_openings(chunks) if (answer := opening_sentences(chunk.text))}
    heading_counts = Counter(_last_heading(chunk) for chunk in chunks if chunk.id in answers)
    usable = sorted((c for c in chunks if c.id in answers), key=lambda chunk: _share(seed, "order", chunk.id))
    if not usable:
        raise ArtifactError(
            f"none of the {len(chunks)} passages starts with a sentence to make an example from",
            "Read more documents, or documents with prose under their headings",
        )
    split_of = split_documents(chunks, holdout_share, seed)
    examples: list[Example] = []
    for start in range(0, min(len(usable), max_examples), AT_ONCE):
        part = usable[start : start + AT_ONCE][: max_examples - start]
        questions = [ask(chunk, heading_counts, seed) for chunk in part]
        for chunk, question, hits in zip(part, questions, index.search_many(questions, NEAR), strict=True):
            near = [hit.chunk for hit in hits if split_of(hit.chunk) == split_of(chunk) and hit.chunk.id != chunk.id]
            withheld = _share(seed, "withheld", chunk.id) < unanswerable_share
            shown = _withheld(chunk, near, passages) if withheld else _shown(chunk, near, passages, seed)
            answer = ABSTENTION if withheld else f"{answers[chunk.id]} [{shown.index(chunk) + 1}]"
            examples.append(
                Example(
                    id=stable_id("example", chunk.id, question, str(withheld)),
                    doc_id=chunk.doc_id,
                    question=question,
                    passages=tuple(shown),
                    answer=answer,
                    answerable=not withheld,
                    split=split_of(chunk),
                )
            )
        progress(len(examples))
    # With a tiny corpus there may be no passage of another document to show instead of the right one.
    return [example for example in examples if example.passages]


def split_documents(chunks: Sequence[Chunk], holdout_share: float, seed: int) -> Callable[[Chunk], Split]:
    """A function that tells a chunk's half. Whole documents are held out; of a single document, whole sections."""
    lone = len({chunk.doc_id for chunk in chunks}) == 1

    def unit(chunk: Chunk) -> str:
        return stable_id(*chunk.headings) if lone else chunk.doc_id

    units = sorted({unit(chunk) for chunk in chunks}, key=lambda name: _share(seed, "split", name))
    held_out = set(units[: max(1, round(len(units) * holdout_share))]) if len(units) > 1 else set()
    return lambda chunk: "holdout" if unit(chunk) in held_out else "train"


def ask(chunk: Chunk, heading_counts: Counter[str], seed: int) -> str:
    """A question that the chunk's opening answers, formed from its last heading and, where that is vague, the title."""
    heading = _last_heading(chunk)
    title = _SECTION_NUMBER.sub("", chunk.title).strip()
    if heading.endswith("?"):
        return heading
    if all(word in GENERIC for word in heading.casefold().split()) and title:
        subject = title
    elif heading_counts[heading] > 1 and title and title != heading:
        subject = f"{heading} in {title}"
    else:
        subject = heading or title
    form = QUESTION_FORMS[int(_share(seed, "form", chunk.id) * len(QUESTION_FORMS))]
    return form.format(subject)


def opening_sentences(text: str) -> str:
    """The first sentences of a passage, up to a length that a short answer may have; empty when it does not start as
    prose (a table, a list, code), or its first sentence is too short or too long to be an answer."""
    paragraph = " ".join(text.strip().split("\n\n", 1)[0].split())
    if not paragraph[:1].isalpha() or not paragraph.endswith((".", "!", "?")):
        return ""
    words = 0
    taken: list[str] = []
    for sentence in sentences(paragraph):
        length = len(sentence.split())
        if taken and (words + length > MAX_ANSWER_WORDS or words >= MIN_ANSWER_WORDS * 3):
            break
        taken.append(sentence)
        words += length
    return " ".join(taken) if MIN_ANSWER_WORDS <= words <= MAX_ANSWER_WORDS else ""


def sentences(text: str) -> list[str]:
    """Sentences of a paragraph; an abbreviation does not end one."""
    parts: list[str] = []
    for part in _SENTENCE_END.split(text):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {part}"
        else:
            parts.append(part)
    return parts


def _section_openings(chunks: Sequence[Chunk]) -> Iterator[Chunk]:
    """The first chunk of every section: the one that says what the heading names."""
    seen: set[tuple[str, tuple[str, ...]]] = set()
    for chunk in chunks:
        place = (chunk.doc_id, chunk.headings)
        if place not in seen and (chunk.headings or chunk.title):
            seen.add(place)
            yield chunk


def _last_heading(chunk: Chunk) -> str:
    return _SECTION_NUMBER.sub("", chunk.headings[-1] if chunk.headings else chunk.title).strip()


def _shown(chunk: Chunk, near: list[Chunk], passages: int, seed: int) -> list[Chunk]:
    shown = near[: passages - 1]
    shown.insert(int(_share(seed, "place", chunk.id) * (len(shown) + 1)), chunk)
    return shown


def _withheld(chunk: Chunk, near: list[Chunk], passages: int) -> list[Chunk]:
    return [other for other in near if other.doc_id != chunk.doc_id][:passages]


def _share(seed: int, *parts: str) -> float:
    """A number in [0, 1) that is fixed by the seed and the parts."""
    return int(stable_id(str(seed), *parts)[:12], 16) / 16**12
