"""The contract of every guard and filter: text in, `Verdict` out.

A guard never raises to say no, and never says no because it broke: what breaks becomes a `Failure`, which is logged and
counted apart, and which refuses the text unless the policy lets that guard fail open (`guards.stage`).
"""

import math
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from guards.pseudonyms import Pseudonyms


class Action(StrEnum):
    """What to do with the text."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"


@dataclass(frozen=True)
class Span:
    """A part of the checked text, in Python characters of that text, and what was found there.

    `replacement` is what `redact` puts there; None means the category in angle brackets, for example `<EMAIL>`.
    """

    start: int
    end: int
    category: str
    replacement: str | None = None


@dataclass(frozen=True)
class Verdict:
    """A decision with its reason.

    Attributes:
        category: what was looked for or, where a detector tells kinds apart, what weighed most: `pii`, `hate`, ...
        score: the detector's own figure; with `threshold`, it explains the action.
        reason: plain words for the person whose text it is; never quotes what was found.
        detector, version: what decided.
        spans: where, in the text as it was given to the guard; in order, not overlapping.
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


@dataclass(frozen=True)
class Context:
    """What a check may use besides the text.

    Attributes:
        passages: what the answer was written from.
        allowed_hosts: hosts that links may point to besides those of a policy, for example those of the passages.
        pseudonyms: names given to personal data in this conversation; None where nothing is restored.
        deadline: `time.monotonic()` seconds after which long work gives up; see `guards.spans.windows`.
    """

    passages: tuple[str, ...] = ()
    allowed_hosts: frozenset[str] = frozenset()
    pseudonyms: Pseudonyms | None = None
    deadline: float = math.inf

    def check_deadline(self) -> None:
        """Raise TimeoutError once the deadline has passed; to be called between steps of long work."""
        if time.monotonic() > self.deadline:
            raise TimeoutError


NO_CONTEXT = Context()


class Guard(Protocol):
    """One check. Implementations are stateless after construction, and safe to call from several threads."""

    name: str

    def check(self, text: str, context: Context = NO_CONTEXT) -> Verdict: ...


@dataclass(frozen=True)
class Failure:
    """A guard that broke: neither yes nor no. `closed`: it refuses the text."""

    guard: str
    error: str
    closed: bool = True


@dataclass(frozen=True)
class Outcome:
    """What the guards of a stage made of a text.

    Attributes:
        text: the text after redactions; meaningless unless `allowed`.
        verdicts: in the order of the policy; those that allowed without finding anything included.
        failures: guards that broke.
        redactions: what was replaced, in offsets of the text that came in; in order, not overlapping.
    """

    text: str
    verdicts: tuple[Verdict, ...] = ()
    failures: tuple[Failure, ...] = ()
    redactions: tuple[Span, ...] = ()

    @property
    def refused_by_failure(self) -> bool:
        return any(failure.closed for failure in self.failures)

    @property
    def allowed(self) -> bool:
        return not self.refused_by_failure and all(verdict.allowed for verdict in self.verdicts)

    @property
    def action(self) -> Action:
        """The strongest action that was taken."""
        if not self.allowed:
            return Action.BLOCK
        taken = {verdict.action for verdict in self.verdicts}
        return next((action for action in (Action.REDACT, Action.FLAG) if action in taken), Action.ALLOW)

    @property
    def reason(self) -> str:
        """Why the text was refused, in plain words; empty when it was not."""
        said = next((verdict.reason for verdict in self.verdicts if not verdict.allowed), "")
        if not said and self.refused_by_failure:
            return "A safety check could not run, so the text was held back."
        return said
