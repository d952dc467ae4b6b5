"""The contract of every guard and filter: text in, `Verdict` out.

A guard never raises to say no, and never says no because it broke: a failure is its own outcome (`Failure`), and
`apply` treats it as a refusal (fail-closed) that is reported apart from the verdicts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Action(StrEnum):
    """What to do with the text."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"


@dataclass(frozen=True)
class Span:
    """A part of the checked text, in Python characters of that text, and what was found there."""

    start: int
    end: int
    category: str


@dataclass(frozen=True)
class Verdict:
    """A decision with its reason.

    Attributes:
        category: what was looked for: `pii`, `toxicity`, ...
        score: the detector's own figure; with `threshold`, it explains the action.
        reason: plain words for the person whose text it is; never quotes what was found.
        detector, version: what decided.
        spans: where, for `redact`; in order, not overlapping.
    """

    action: Action
    category: str
    score: float
    threshold: float
    reason: str
    detector: str
    version: str
    spans: tuple[Span, ...] = ()

    @property
    def allowed(self) -> bool:
        return self.action is not Action.BLOCK


class Guard(Protocol):
    """One check. Implementations are stateless after construction, and safe to call from several threads."""

    name: str

    def check(self, text: str) -> Verdict: ...


@dataclass(frozen=True)
class Failure:
    """A guard that broke: neither yes nor no."""

    guard: str
    error: str


@dataclass(frozen=True)
class Outcome:
    """What a list of guards made of a text.

    Attributes:
        text: the text after redactions; meaningless unless `allowed`.
        verdicts: in guard order; those that allowed without finding anything included.
        failures: guards that broke; any failure refuses the text.
    """

    text: str
    verdicts: tuple[Verdict, ...] = ()
    failures: tuple[Failure, ...] = field(default=())

    @property
    def allowed(self) -> bool:
        return not self.failures and all(verdict.allowed for verdict in self.verdicts)

    @property
    def reason(self) -> str:
        """Why the text was refused, in plain words; empty when it was not."""
        if self.failures:
            return "A safety check could not run, so the text was held back."
        return next((verdict.reason for verdict in self.verdicts if not verdict.allowed), "")


def apply(guards: Iterable[Guard], text: str) -> Outcome:
    """Run guards in order on the text; redactions change what later guards see, a block or failure ends the run."""
    verdicts: list[Verdict] = []
    for guard in guards:
        try:
            verdict = guard.check(text)
        # A guard may wrap any model or library; whatever breaks in it must not let text through.
        except Exception as error:  # noqa: BLE001
            return Outcome(text, tuple(verdicts), (Failure(guard.name, type(error).__name__),))
        verdicts.append(verdict)
        if not verdict.allowed:
            break
        if verdict.action is Action.REDACT:
            text = redact(text, verdict.spans)
    return Outcome(text, tuple(verdicts))


def redact(text: str, spans: Sequence[Span]) -> str:
    """Replace each span by its category in angle brackets, for example `<EMAIL>`."""
    parts: list[str] = []
    done = 0
    for span in sorted(spans, key=lambda span: span.start):
        parts += [text[done : span.start], f"<{span.category.upper()}>"]
        done = max(done, span.end)
    return "".join([*parts, text[done:]])
