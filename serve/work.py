"""What is carried through the chain of `answer.py`: the question, and what the steps find out about it."""

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from guards.base import Action, Outcome
from guards.pseudonyms import Pseudonyms
from ingest.search.filters import Filter
from serve.engines.base import Sampling
from serve.retrieve import Found
from serve.wire import AnswerMessage, FinishReason, GuardedStage, GuardReport, Usage
from train.chat import Turn


@dataclass(frozen=True)
class Ask:
    """A question: the conversation, which ends with it, and how it is to be answered.

    Attributes:
        top_passages: how many passages to find; None takes the default.
        wanted: what passages must be; None allows all.
    """

    id: str
    messages: Sequence[Turn]
    sampling: Sampling
    retrieval: bool = True
    user: str = ""
    top_passages: int | None = None
    wanted: Filter | None = None


@dataclass(frozen=True)
class Answer:
    """The last event of a stream: the whole answer, with what it rests on."""

    message: AnswerMessage
    finish_reason: FinishReason
    usage: Usage


@dataclass
class Work:
    """One question on its way through the chain, and what is known about it so far.

    Attributes:
        searched: what was searched for: the question, made to stand alone; empty when nothing was.
        found, shown: the passages that were found, and how many of them, from the first, the prompt shows.
        settled: an answer that needs no model; None while there is none.
        text: what the reader has been sent.
        ended: how it ended, for the record: a finish reason, `error`, or `cancelled` when the reader went away.
        timings: seconds per step; `first_token` and `generate` count from when the model was asked.
        generation: holds the model's iterator; closing it stops the model.
    """

    ask: Ask
    question: str = ""
    history: list[Turn] = field(default_factory=list)
    searched: str = ""
    found: Found = field(default_factory=Found)
    shown: int = 0
    prompt: list[Turn] = field(default_factory=list)
    settled: str | None = None
    text: str = ""
    finish_reason: FinishReason = "stop"
    message: AnswerMessage | None = None
    usage: Usage = field(default_factory=Usage)
    guard: list[GuardReport] = field(default_factory=list)
    pseudonyms: Pseudonyms = field(default_factory=Pseudonyms)
    timings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.perf_counter)
    generation: AsyncExitStack = field(default_factory=AsyncExitStack)
    ended: str = "cancelled"
    recorded: bool = False

    def report(self, outcome: Outcome, stage: GuardedStage) -> None:
        """Note the guards that acted or broke, each kind of report once."""
        self.guard += [report for report in reports(outcome, stage) if report not in self.guard]

    def spend(self, step: str, since: float) -> None:
        """Add the seconds since `since` (a `time.perf_counter()`) to a step."""
        self.timings[step] = self.timings.get(step, 0.0) + time.perf_counter() - since


@dataclass(frozen=True)
class Part:
    """A piece of text on its way to the reader, and the work it belongs to."""

    work: Work
    text: str


def timed(step: str, act: Callable[[Work], Work]) -> Callable[[Work], Work]:
    """The step, noting in `work.timings` how many seconds it took."""

    def run(work: Work) -> Work:
        started = time.perf_counter()
        try:
            return act(work)
        finally:
            work.spend(step, started)

    return run


def reports(outcome: Outcome, stage: GuardedStage) -> list[GuardReport]:
    """The guards that acted or broke, without what they found."""
    acted = [
        GuardReport(stage=stage, action=verdict.action, category=verdict.category, reason=verdict.reason)
        for verdict in outcome.verdicts
        if verdict.action is not Action.ALLOW
    ]
    broke = [
        GuardReport(
            stage=stage,
            action=Action.BLOCK if failure.closed else Action.ALLOW,
            category=failure.guard,
            reason="The check could not run.",
            failed=True,
        )
        for failure in outcome.failures
    ]
    return acted + broke


def usage(prompt: int, completion: int) -> Usage:
    """Token counts with their sum."""
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
