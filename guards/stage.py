"""Runs the guards of one stage on a text, in time, and never lets text through because one of them broke.

In: a text and its `Context`. Out: an `Outcome`. Guards that change the text run alone and in order, so that later ones
see what they left; neighbours that only judge run at the same time. A block, or a failure that counts as one, ends the
run. Spans in the outcome refer to the text as it came in, however often it was redacted on the way.

Known limits: a guard that overruns its time and does not look at `Context.deadline` is no longer waited for, but its
thread goes on until it returns; when all threads are taken like that, further checks time out, and are refused.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby

from guards.base import NO_CONTEXT, Action, Context, Failure, Guard, Outcome, Verdict
from guards.spans import Edited

THREADS = 32
# Given to a guard that watches the deadline, to tell of it itself before it is given up.
GRACE_S = 0.25

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rule:
    """One guard at one stage.

    Attributes:
        closed: a failure of the guard refuses the text (fail-closed).
        timeout_s: seconds after which the guard counts as failed.
        mutates: it may redact, so it runs alone and in its place; one that may not runs beside its neighbours.
    """

    guard: Guard
    closed: bool = True
    timeout_s: float = 5.0
    mutates: bool = True


class Stage:
    """The guards of one stage.

    Attributes:
        counts: how often each guard took each action, by `(guard, action)`; failures by `(guard, "failure")`.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._counting = threading.Lock()

    def run(self, text: str, context: Context = NO_CONTEXT) -> Outcome:
        """Check the text; see the module's description."""
        edited = Edited(text)
        outcome = Outcome(text)
        for group in self._groups():
            for rule, answer in zip(group, _answers(group, edited.text, context), strict=True):
                outcome = self._with(outcome, rule, answer, edited)
            if not outcome.allowed:
                break
        return replace(outcome, text=edited.text, redactions=edited.redactions)

    def warm_up(self) -> None:
        """Load what the guards need, so that the first text does not wait for it.

        Raises:
            Exception: what a guard raises when it cannot be loaded.
        """
        for rule in self.rules:
            load = getattr(rule.guard, "warm_up", None)
            if load is not None:
                load()

    def _groups(self) -> Iterator[list[Rule]]:
        for mutating, neighbours in groupby(self.rules, key=lambda rule: rule.mutates):
            rules = list(neighbours)
            yield from ([rule] for rule in rules) if mutating else [rules]

    def _with(self, outcome: Outcome, rule: Rule, answer: Verdict | Failure, edited: Edited) -> Outcome:
        self._count(rule.guard.name, "failure" if isinstance(answer, Failure) else answer.action)
        if isinstance(answer, Failure):
            return replace(outcome, failures=(*outcome.failures, answer))
        verdict = replace(answer, spans=edited.original(answer.spans))
        if answer.action is Action.REDACT:
            edited.redact(answer.spans)
        return replace(outcome, verdicts=(*outcome.verdicts, verdict))

    def _count(self, guard: str, what: str) -> None:
        with self._counting:
            self.counts[guard, what] += 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "guard")


def _answers(group: Sequence[Rule], text: str, context: Context) -> list[Verdict | Failure]:
    """What each guard of the group says; they run side by side."""
    started = time.monotonic()
    deadlines = [min(context.deadline, started + rule.timeout_s) for rule in group]
    futures = [
        _pool().submit(rule.guard.check, text, replace(context, deadline=deadline))
        for rule, deadline in zip(group, deadlines, strict=True)
    ]
    return [_answer(rule, future, started) for rule, future in zip(group, futures, strict=True)]


def _answer(rule: Rule, future: "Future[Verdict]", started: float) -> Verdict | Failure:
    try:
        verdict = future.result(max(0.0, started + rule.timeout_s + GRACE_S - time.monotonic()))
    except TimeoutError:
        future.cancel()
        error = f"no answer within {rule.timeout_s:g} s"
    # A guard may wrap any model or library; whatever breaks in it must not let text through.
    except Exception as broke:  # noqa: BLE001
        # The type alone: a message may hold the text.
        error = type(broke).__name__
    else:
        if rule.mutates or verdict.action is not Action.REDACT:
            return verdict
        # Its neighbours have judged the same text at the same time.
        error = "it redacts where it was only to judge"
    logger.warning("guard %s failed: %s", rule.guard.name, error)
    return Failure(rule.guard.name, error, rule.closed)
