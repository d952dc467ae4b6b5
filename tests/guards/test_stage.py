"""A stage runs its guards in order, in time, and refuses what a broken one leaves unchecked."""

import logging
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import NO_CONTEXT, Action, Context, Failure, Verdict
from guards.spans import redact
from guards.stage import Rule, Stage
from tests.guards.samples import BrokenGuard, PatternGuard, stage_of


def test_redactions_are_seen_by_later_guards():
    outcome = stage_of(PatternGuard("tea"), PatternGuard("tea", Action.BLOCK)).run("a tea")
    assert (outcome.allowed, outcome.text, outcome.action) == (True, "a <SECRET>", Action.REDACT)


def test_a_block_ends_the_run_with_its_reason():
    outcome = stage_of(PatternGuard("tea", Action.BLOCK), BrokenGuard()).run("a tea")
    assert (outcome.allowed, outcome.reason, len(outcome.verdicts), outcome.failures) == (False, "found", 1, ())


def test_a_flag_lets_the_text_through_unchanged():
    outcome = stage_of(PatternGuard("tea", Action.FLAG)).run("a tea")
    assert (outcome.allowed, outcome.text, outcome.action) == (True, "a tea", Action.FLAG)


def test_a_broken_guard_refuses_and_is_not_a_verdict(caplog):
    with caplog.at_level(logging.WARNING):
        outcome = stage_of(BrokenGuard()).run("my words")
    assert not outcome.allowed
    assert outcome.verdicts == ()
    assert outcome.failures == (Failure("broken", "RuntimeError", closed=True),)
    assert "could not run" in outcome.reason
    assert "guard broken failed: RuntimeError" in caplog.text
    assert "secret" not in outcome.reason + caplog.text


def test_a_guard_may_be_let_fail_open_and_the_failure_is_still_told_and_counted():
    stage = Stage([Rule(BrokenGuard(), closed=False), Rule(PatternGuard("tea"))])
    outcome = stage.run("a tea")
    assert (outcome.allowed, outcome.text) == (True, "a <SECRET>")
    assert outcome.failures == (Failure("broken", "RuntimeError", closed=False),)
    assert stage.counts == {("broken", "failure"): 1, ("secret", "redact"): 1}


class Waits:
    name = "waits"

    def __init__(self, event, action=Action.ALLOW):
        self._event, self._action = event, action

    def check(self, text, context=NO_CONTEXT):
        self._event.wait(10)
        return Verdict(self._action, "x", 0, 1, "", "waits", "1")


def test_a_guard_that_overruns_its_time_has_failed():
    event = threading.Event()
    outcome = Stage([Rule(Waits(event), timeout_s=0.05)]).run("text")
    event.set()
    assert (outcome.allowed, outcome.failures[0].error) == (False, "no answer within 0.05 s")


class Watches:
    name = "watches"

    def check(self, text, context=NO_CONTEXT):
        while True:
            context.check_deadline()


def test_a_guard_is_told_its_deadline():
    assert Stage([Rule(Watches(), timeout_s=0.05)]).run("text").failures[0].error == "no answer within 0.05 s"
    assert Stage([Rule(Watches())]).run("text", Context(deadline=0)).failures[0].guard == "watches"


class Meets:
    """Passes only when the other one runs at the same time."""

    def __init__(self, barrier, name):
        self.name, self._barrier = name, barrier

    def check(self, text, context=NO_CONTEXT):
        self._barrier.wait(10)
        return Verdict(Action.FLAG, self.name, 0, 1, "", self.name, "1")


def test_guards_that_only_judge_run_side_by_side_and_are_told_in_order():
    barrier = threading.Barrier(2)
    stage = Stage([Rule(Meets(barrier, name), mutates=False) for name in ("a", "b")])
    assert [verdict.category for verdict in stage.run("text").verdicts] == ["a", "b"]


def test_a_redaction_from_a_guard_that_was_not_to_redact_is_a_failure():
    assert not Stage([Rule(PatternGuard("tea"), mutates=False)]).run("tea").allowed


@pytest.mark.parametrize("text", ["", "\ud800", "\x00", "a" * 1_000_000, "\u202eabc", "e\u0301" * 1000])
def test_any_text_gets_an_answer(text):
    assert stage_of(PatternGuard("tea")).run(text).text == text


@given(st.text("ab1@. ", max_size=60))
def test_spans_of_every_guard_refer_to_the_text_that_came_in(text):
    deletes, tags = PatternGuard("a+", name="as", replacement=""), PatternGuard("[b1]+", name="bs")
    outcome = stage_of(deletes, tags, PatternGuard("B", name="c"), PatternGuard("@", Action.FLAG, name="at")).run(text)
    assert redact(text, outcome.redactions) == outcome.text
    for verdict in outcome.verdicts:
        for span in verdict.spans:
            assert 0 <= span.start < span.end <= len(text)
    assert all(text[span.start : span.end] == "@" for span in outcome.verdicts[3].spans)
    assert all(set(text[span.start : span.end]) <= set("a") for span in outcome.verdicts[0].spans)
