"""A larger model writes questions and answers about passages; what the passage does not support is not kept.

In: passages, and a model behind any OpenAI-compatible endpoint. Out: candidates for examples, and a reject with its
reason for each pair that was not kept: `teacher_bad_reply`, `teacher_refused`, `teacher_form`, `teacher_unsupported`,
`teacher_off_topic`.

A passage is data, and may be written by anyone: it goes to the teacher between marks with the order to obey nothing in
it (`guards.spotlight`), and whatever the teacher then says has to stand in the passage to be kept.

Known limits: support compares words (`ingest.examples.answers`), so an answer that turns the passage's words round is
kept. The prompt is English; the teacher is asked to write in the language of the passage.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from pydantic import BaseModel, ValidationError

from guards.spotlight import instructions, mark
from ingest.examples.answers import numbers_missing, support
from ingest.examples.candidates import Candidate
from ingest.examples.split import share
from ingest.records import Chunk, Reject, stable_id

# Shorter passages hold too little to ask about.
MIN_PASSAGE_WORDS = 30
MAX_QUESTION, MIN_ANSWER_WORDS, MAX_ANSWER_WORDS = 300, 3, 80
# A question shares at least this part of its words with the passage and its headings.
ON_TOPIC = 0.3

_TASK = (
    "You write training data for an assistant that answers questions from documents. You get one passage. Write "
    "{pairs} different questions that a user could ask without having seen the passage, and that it answers, each with "
    "the answer. Answer in one or two sentences, with the words of the passage, and with nothing that it does not say. "
    "Do not speak of the passage, the text or the author. Write in the language of the passage. Reply with JSON only: "
    '{{"pairs": [{{"question": "...", "answer": "..."}}]}}'
)
_SPEAKS_OF_IT = re.compile(
    r"\b(?:(?:this|the|given|above|following) (?:passage|text|excerpt|paragraph|author)|according to the "
    r"(?:document|section))\b",
    re.IGNORECASE,
)
_FENCE = re.compile(r"^\s*```(?:json)?\s*|\s*```\s*$")
_MARKERS = re.compile(r"\s*\[\d{1,2}\]")


class _Pair(BaseModel):
    question: str
    answer: str


class _Pairs(BaseModel):
    pairs: list[_Pair]


@dataclass(frozen=True)
class Rules:
    """What a pair has to fulfil.

    Attributes:
        support: share of the answer's runs of words that the passage must have, 0 to 1.
        run: content words in such a run; 1 asks for the words only, more also for their order.
    """

    support: float = 0.8
    run: int = 1


@dataclass(frozen=True)
class Prompt:
    """What is asked of the teacher about one passage.

    Attributes:
        key: of the passage and of all that is asked; the same question to the same model has the same.
    """

    chunk: Chunk
    key: str
    messages: tuple[dict[str, str], ...]


@dataclass(frozen=True)
class Reply:
    """What came back: the teacher's words, or why it gave none."""

    text: str = ""
    refused: str = ""


Ask = Callable[[Sequence[Prompt]], dict[str, Reply]]


def ask_teacher(
    chunks: Iterable[Chunk], ask: Ask, *, model: str, pairs: int, max_passages: int, rules: Rules, seed: int
) -> tuple[list[Candidate], list[Reject]]:
    """Questions and answers that a teacher wrote, and the pairs that were not kept.

    Args:
        chunks: all passages; those with enough words are taken by hash.
        ask: sends prompts, and gives each one's reply by its key; see `ingest.examples.endpoint`.
        model: its name, part of each prompt's key.
        pairs: questions asked for, for each passage.
        max_passages: passages that are asked about, the bound of what it costs.
    """
    long_enough = (chunk for chunk in chunks if len(chunk.text.split()) >= MIN_PASSAGE_WORDS)
    chosen = nsmallest(max_passages, long_enough, key=lambda chunk: (share(seed, "teacher", chunk.id), chunk.id))
    prompts = [prompt_for(chunk, model, pairs) for chunk in chosen]
    replies = ask(prompts)
    kept: list[Candidate] = []
    rejects: list[Reject] = []
    for prompt in prompts:
        ours, others = read_reply(prompt.chunk, replies[prompt.key], pairs=pairs, rules=rules, seed=seed)
        kept += ours
        rejects += others
    return kept, rejects


def prompt_for(chunk: Chunk, model: str, pairs: int) -> Prompt:
    """The prompt about one passage."""
    # A page cannot know the hash of its own text and name, which it would have to contain to close the border.
    nonce = stable_id("teacher", chunk.id, chunk.text)[:8]
    system = f"{_TASK.format(pairs=pairs)} {instructions(nonce)}"
    user = f"Place: {mark(chunk.heading_path, nonce)}\n\nPassage:\n{mark(chunk.text, nonce)}"
    messages = ({"role": "system", "content": system}, {"role": "user", "content": user})
    return Prompt(chunk, stable_id("teacher", model, chunk.id, system, user), messages)


def read_reply(
    chunk: Chunk, reply: Reply, *, pairs: int, rules: Rules, seed: int
) -> tuple[list[Candidate], list[Reject]]:
    """The pairs of a reply that the passage supports, and why the others are not kept."""
    if reply.refused:
        return [], [Reject(chunk.url, "teacher_refused", reply.refused)]
    try:
        found = _parse(reply.text).pairs[:pairs]
    except (ValidationError, ValueError):
        return [], [
            Reject(chunk.url, "teacher_bad_reply", "the reply is not the JSON asked for", sample=reply.text[:200])
        ]
    kept: list[Candidate] = []
    rejects: list[Reject] = []
    for pair in found:
        question, answer = " ".join(pair.question.split()), " ".join(_MARKERS.sub("", pair.answer).split())
        if reject := _refusal(chunk, question, answer, rules):
            rejects.append(reject)
        else:
            kept.append(Candidate(chunk, question, answer, "written", share(seed, "order", chunk.id, question)))
    return kept, rejects


def _parse(text: str) -> _Pairs:
    """The JSON object in a reply, which models like to put into a fence or between remarks."""
    plain = _FENCE.sub("", text)
    start, end = plain.find("{"), plain.rfind("}")
    value = json.loads(plain[start : end + 1])
    return _Pairs.model_validate(value)


def _refusal(chunk: Chunk, question: str, answer: str, rules: Rules) -> Reject | None:
    place = f"{chunk.heading_path} {chunk.text}"
    sample = f"{question} - {answer}"[:400]
    words = len(answer.split())
    if not question or len(question) > MAX_QUESTION or _SPEAKS_OF_IT.search(f"{question} {answer}"):
        detail = f"the question is longer than {MAX_QUESTION} characters, or speaks of the passage"
        return Reject(chunk.url, "teacher_form", detail, float(len(question)), float(MAX_QUESTION), sample=sample)
    if not MIN_ANSWER_WORDS <= words <= MAX_ANSWER_WORDS:
        detail = f"the answer has {words} words, not {MIN_ANSWER_WORDS} to {MAX_ANSWER_WORDS}"
        return Reject(chunk.url, "teacher_form", detail, float(words), float(MAX_ANSWER_WORDS), sample=sample)
    if missing := numbers_missing(answer, place):
        detail = f"the passage does not say {', '.join(missing)}"
        return Reject(chunk.url, "teacher_unsupported", detail, sample=sample)
    if (held := support(answer, place, rules.run)) < rules.support:
        detail = "too few of the answer's words stand in the passage"
        return Reject(chunk.url, "teacher_unsupported", detail, round(held, 4), rules.support, sample=sample)
    if (near := support(question, place)) < ON_TOPIC:
        detail = "the question shares too few words with the passage"
        return Reject(chunk.url, "teacher_off_topic", detail, round(near, 4), ON_TOPIC, sample=sample)
    return None
