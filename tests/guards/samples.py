"""Small guards for tests: what they do is plain, so that what is around them can be tested."""

import re

from guards.base import NO_CONTEXT, Action, Span, Verdict
from guards.stage import Rule, Stage


class PatternGuard:
    """Acts on every match of a pattern."""

    def __init__(self, pattern, action=Action.REDACT, name="secret", replacement=None):
        self.name = name
        self._pattern = re.compile(pattern)
        self._action = action
        self._replacement = replacement

    def check(self, text, context=NO_CONTEXT):
        spans = tuple(Span(*match.span(), self.name, self._replacement) for match in self._pattern.finditer(text))
        spans = tuple(span for span in spans if span.end > span.start)
        action = self._action if spans else Action.ALLOW
        return Verdict(action, self.name, len(spans), 1, "found" if spans else "", self.name, "1", spans)


class BrokenGuard:
    name = "broken"

    def check(self, text, context=NO_CONTEXT):
        raise RuntimeError("secret detail")


def stage_of(*guards):
    return Stage([Rule(guard) for guard in guards])
