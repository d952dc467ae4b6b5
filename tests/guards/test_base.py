"""The guard contract: redactions add up, a block ends the run, and a broken guard refuses apart from the verdicts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Action, Failure, Span, Verdict, apply, redact
from guards.policy import build_guards


class Word:
    """Acts on every occurrence of a word."""

    def __init__(self, word, action):
        self.name = word
        self.word, self.action = word, action

    def check(self, text):
        start = text.find(self.word)
        spans = (Span(start, start + len(self.word), "word"),) if start >= 0 else ()
        return Verdict(self.action if spans else Action.ALLOW, "word", len(spans), 1, "a word", self.name, "1", spans)


class Broken:
    name = "broken"

    def check(self, text):
        raise RuntimeError("secret detail")


def test_redactions_are_seen_by_later_guards():
    outcome = apply([Word("tea", Action.REDACT), Word("tea", Action.BLOCK)], "a tea")
    assert (outcome.allowed, outcome.text) == (True, "a <WORD>")


def test_a_block_ends_the_run_with_its_reason():
    outcome = apply([Word("tea", Action.BLOCK), Broken()], "a tea")
    assert (outcome.allowed, outcome.reason, len(outcome.verdicts)) == (False, "a word", 1)


def test_a_flag_lets_the_text_through_unchanged():
    outcome = apply([Word("tea", Action.FLAG)], "a tea")
    assert (outcome.allowed, outcome.text, outcome.verdicts[0].action) == (True, "a tea", Action.FLAG)


def test_a_broken_guard_refuses_and_is_not_a_verdict():
    outcome = apply([Broken()], "fine")
    assert not outcome.allowed
    assert outcome.verdicts == ()
    assert outcome.failures == (Failure("broken", "RuntimeError"),)
    assert "could not run" in outcome.reason
    assert "secret" not in outcome.reason


@given(st.text(max_size=40), st.data())
def test_redaction_keeps_everything_outside_the_spans(text, data):
    edges = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    spans = [Span(start, end, "x") for start, end in zip(edges[::2], edges[1::2], strict=False)]
    cut = redact(text, spans)
    for span in reversed(spans):
        text = text[: span.start] + "<X>" + text[span.end :]
    assert cut == text


@pytest.mark.parametrize(("pii", "toxicity", "names"), [("off", "off", []), ("block", "flag", ["pii", "toxicity"])])
def test_the_policy_builds_what_is_switched_on(pii, toxicity, names):
    assert [guard.name for guard in build_guards(pii, toxicity)] == names
