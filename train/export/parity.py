"""The parity gate: does an exported model answer as the trained one does?

In: two engines (`train/export/base.py`) and held-out examples. Out: figures, and what speaks against the export.

At equal precision, greedy tokens must be equal and log-probabilities within a tolerance. Engines add up in other
orders, so two tokens may swap places where the trained model finds them equally likely: a token counts as different
only if the trained model prefers its own by more than the tolerance. What follows such a swap is another text, and is
not compared. A quantised model words its answers otherwise; what counts there is perplexity, and the answers' F1. Half
precision is judged in that way too: llama.cpp rounds what it computes with, not the weights alone, which moved single
log-probabilities of SmolLM2-135M by 0.02 nats (0.0004 on average).

Before either, text must become the same tokens, and messages the same prompt: of what makes a served model answer
otherwise, a chat template or a tokenizer that is read in another way is the most frequent, and no weights show it.

Known limit: what holds for the prompts asked is taken to hold for others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ingest.records import Example
from train.chat import Encoded, Turn, build_messages
from train.evaluation.metrics import token_f1
from train.export.base import Engine

Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Question:
    """What both models are asked.

    Attributes:
        prompt: its tokens.
        answer: tokens of the right answer, with the one that ends it.
        text: the right answer.
        counts: whether its F1 counts (the passages hold an answer).
    """

    messages: Sequence[Turn]
    prompt: Sequence[int]
    answer: Sequence[int]
    text: str
    counts: bool


@dataclass(frozen=True)
class Said:
    """What one model answered: greedy tokens, and the log-probability of each token of the right answer."""

    tokens: list[list[int]]
    logprobs: list[list[float]]

    def cut(self, most: int) -> "Said":
        """The first tokens of each answer."""
        return Said([tokens[:most] for tokens in self.tokens], self.logprobs)

    @property
    def perplexity(self) -> float:
        """Over the tokens of all right answers together."""
        flat = [value for row in self.logprobs for value in row]
        return math.exp(min(-sum(flat) / len(flat), 700.0))


@dataclass(frozen=True)
class Verdict:
    """Figures of a comparison, and what speaks against the export; nothing means that it passes."""

    figures: dict[str, float]
    against: list[str]


def questions_of(rows: Sequence[tuple[Example, Encoded]]) -> list[Question]:
    """Held-out examples as questions."""
    return [
        Question(
            messages=build_messages(example.question, example.passages),
            prompt=encoded.input_ids[: encoded.prompt_tokens],
            answer=encoded.input_ids[encoded.prompt_tokens :],
            text=encoded.answer,
            counts=example.answerable,
        )
        for example, encoded in rows
    ]


def ask(engine: Engine, questions: Sequence[Question], most: int, told: Callable[[int], None]) -> Said:
    """Ask all questions; `told` gets how many are answered. At most `most` tokens are generated for each."""
    tokens, logprobs = [], []
    for number, question in enumerate(questions, 1):
        # In this order, so that an engine with a cache runs the prompt once.
        tokens.append(engine.greedy(question.prompt, most))
        logprobs.append(engine.logprobs(question.prompt, question.answer))
        told(number)
    return Said(tokens, logprobs)


def same_input(ours: Engine, theirs: Engine, questions: Sequence[Question]) -> Verdict:
    """Whether text becomes the same tokens, and messages the same prompt."""
    against = []
    for question in questions:
        text = ours.prompt(question.messages)
        other = theirs.prompt(question.messages)
        if other != text:
            against.append(f"its chat template makes another prompt: {_difference(text, other)}")
        mine, split = ours.tokens(text), theirs.tokens(text)
        if split != mine:
            against.append(f"it splits a prompt into other tokens: {_difference(mine, split)}")
    return Verdict({"prompts_unlike": float(len(against))}, against[:1])


def same_answers(trained: Engine, questions: Sequence[Question], ours: Said, theirs: Said, tolerance: float) -> Verdict:
    """Whether a model of equal precision answers alike.

    Args:
        trained: the trained model, asked which of two tokens it prefers.
        ours: what it said.
        tolerance: in nats.
    """
    apart = _apart(ours, theirs)
    worst, swaps, against = max(apart), 0, []
    # Not `>`: a log-probability that is not a number must not pass.
    if not worst <= tolerance:
        against.append(f"log-probabilities differ by {worst:.4f} nats, and {tolerance:g} are allowed")
    for question, mine, other in zip(questions, ours.tokens, theirs.tokens, strict=True):
        place = _first_difference(mine, other)
        if place is None:
            continue
        gap = _preference(trained, [*question.prompt, *mine[:place]], mine, other, place)
        swaps += 1
        if not gap <= tolerance:
            against.append(
                f"at token {place + 1} of an answer it says {other[place : place + 1]} instead of "
                f"{mine[place : place + 1]}, which the trained model prefers by {gap:.4f} nats"
            )
    figures = {"logprob_difference": worst, "logprob_difference_mean": sum(apart) / len(apart), "ties": float(swaps)}
    return Verdict(figures, against[:2])


def as_good(
    questions: Sequence[Question], ours: Said, theirs: Said, decode: Decode, rise: float, drop: float
) -> Verdict:
    """Whether a quantised model is nearly as good.

    Args:
        decode: token ids to text without special tokens.
        rise: share by which the perplexity may be higher.
        drop: how much lower the answer F1 may be.
    """
    before, after = ours.perplexity, theirs.perplexity
    f1_before, f1_after = (_f1(questions, said, decode) for said in (ours, theirs))
    against = []
    if not after <= before * (1 + rise):
        share = f"{after / before - 1:.1%} above {before:.3f}, and {rise:.1%} is allowed"
        against.append(f"its perplexity {after:.3f} is {share}")
    if f1_before - f1_after > drop:
        gap = f"{f1_before - f1_after:.3f} below {f1_before:.3f}, and {drop:g} is allowed"
        against.append(f"its answer F1 {f1_after:.3f} is {gap}")
    apart = _apart(ours, theirs)
    figures = {"logprob_difference": max(apart), "logprob_difference_mean": sum(apart) / len(apart)}
    figures |= {
        "perplexity_trained": before,
        "perplexity": after,
        "answer_f1_trained": f1_before,
        "answer_f1": f1_after,
    }
    return Verdict(figures, against)


def _apart(ours: Said, theirs: Said) -> list[float]:
    """By how much the log-probabilities of the right answers' tokens differ, in nats."""
    rows = zip(ours.logprobs, theirs.logprobs, strict=True)
    return [abs(one - other) for mine, yours in rows for one, other in zip(mine, yours, strict=True)]


def _f1(questions: Sequence[Question], said: Said, decode: Decode) -> float:
    scores = [
        token_f1(decode(tokens), question.text)
        for question, tokens in zip(questions, said.tokens, strict=True)
        if question.counts
    ]
    return sum(scores) / len(scores) if scores else 0.0


def _first_difference(ours: Sequence[int], theirs: Sequence[int]) -> int | None:
    if list(ours) == list(theirs):
        return None
    return next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def _preference(trained: Engine, before: list[int], ours: list[int], theirs: list[int], place: int) -> float:
    """By how much the trained model prefers its own token; infinite where one of the two said nothing at all."""
    if place >= len(ours) or place >= len(theirs):
        return math.inf
    mine, other = (trained.logprobs(before, [tokens[place]])[0] for tokens in (ours, theirs))
    return mine - other


def _difference(ours: Sequence[object], theirs: Sequence[object]) -> str:
    place = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    mine, other = (repr(side[max(0, place - 5) : place + 20]) for side in (ours, theirs))
    return f"{other} instead of {mine}"
