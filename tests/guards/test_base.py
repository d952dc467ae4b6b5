"""The contract's own parts: what an outcome says, and what spans do to a text."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import NO_CONTEXT, Action, Context, Failure, Outcome, Span, Verdict
from guards.pseudonyms import Pseudonyms
from guards.spans import Edited, joined, redact, windows, without_overlaps


def verdict(action, reason=""):
    return Verdict(action, "x", 1.0, 0.5, reason, "x", "1")


@pytest.mark.parametrize(
    ("outcome", "allowed", "action"),
    [
        (Outcome("t"), True, Action.ALLOW),
        (Outcome("t", (verdict(Action.FLAG), verdict(Action.REDACT))), True, Action.REDACT),
        (Outcome("t", (verdict(Action.FLAG), verdict(Action.BLOCK))), False, Action.BLOCK),
        (Outcome("t", (), (Failure("g", "E", closed=True),)), False, Action.BLOCK),
        (Outcome("t", (verdict(Action.FLAG),), (Failure("g", "E", closed=False),)), True, Action.FLAG),
    ],
)
def test_an_outcome_allows_only_what_nothing_refuses(outcome, allowed, action):
    assert (outcome.allowed, outcome.action) == (allowed, action)


def test_the_reason_is_the_refusing_guards_and_a_failures_tells_nothing_of_it():
    assert Outcome("t", (verdict(Action.FLAG, "no"), verdict(Action.BLOCK, "why"))).reason == "why"
    assert "could not run" in Outcome("t", (), (Failure("g", "secret"),)).reason
    assert Outcome("t", (verdict(Action.FLAG, "no"),)).reason == ""


def spans_of(text, data):
    edges = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True)))
    replacement = st.sampled_from([None, "", "#", "a longer one"])
    return [Span(start, end, "x", data.draw(replacement)) for start, end in zip(edges[::2], edges[1::2], strict=False)]


@given(st.text(max_size=40), st.data())
def test_redaction_keeps_everything_outside_the_spans(text, data):
    spans = [Span(span.start, span.end, "x") for span in spans_of(text, data)]
    cut = redact(text, spans)
    for span in reversed(spans):
        text = text[: span.start] + "<X>" + text[span.end :]
    assert cut == text


@given(st.text(max_size=40), st.data())
def test_offsets_after_several_redactions_refer_to_the_original(text, data):
    edited = Edited(text)
    for _ in range(3):
        edited.redact(spans_of(edited.text, data))
    done = edited.redactions
    assert redact(text, done) == edited.text
    assert all(left.end <= right.start for left, right in pairwise(done))
    probe = spans_of(edited.text, data)
    for now, origin in zip(probe, edited.original(probe), strict=True):
        assert 0 <= origin.start <= origin.end <= len(text)
        touched = any(span.start < origin.end and origin.start < span.end for span in done)
        assert touched or text[origin.start : origin.end] == edited.text[now.start : now.end]


def test_a_redaction_that_cuts_into_an_earlier_one_takes_all_of_its_place():
    edited = Edited("mail ada@example.org now")
    edited.redact([Span(5, 20, "email")])
    edited.redact([Span(0, 8, "start", "")])
    assert (edited.text, edited.redactions) == (" now", (Span(0, 20, "start", ""),))


def test_overlaps_are_settled_for_the_first_and_longest():
    spans = [Span(3, 6, "b"), Span(0, 4, "a"), Span(0, 2, "c"), Span(6, 7, "d")]
    assert without_overlaps(spans) == (Span(0, 4, "a"), Span(6, 7, "d"))


def test_overlaps_are_joined_under_the_first_ones_name():
    spans = [Span(3, 6, "b"), Span(0, 4, "a"), Span(6, 7, "d"), Span(8, 8, "e")]
    assert joined(spans) == (Span(0, 6, "a"), Span(6, 7, "d"))


@given(st.text("ab \n", max_size=200), st.integers(10, 50), st.integers(1, 9))
def test_windows_cover_the_text_and_share_what_is_between_them(text, size, overlap):
    pieces = list(windows(text, size, overlap))
    assert all(text[start : start + len(piece)] == piece and len(piece) <= size for start, piece in pieces)
    assert pieces[0][0] == 0
    assert pieces[-1][0] + len(pieces[-1][1]) == len(text)
    for (start, piece), (following, _) in pairwise(pieces):
        assert start < following <= start + len(piece) - min(overlap, len(piece) - 1)


def test_windows_stop_at_the_deadline():
    with pytest.raises(TimeoutError):
        list(windows("text", 10, 2, Context(deadline=0)))
    assert list(windows("text", 10, 2, NO_CONTEXT)) == [(0, "text")]


def test_a_pseudonym_is_the_same_for_the_same_value_and_comes_back_in_its_own_conversation_only():
    ours, theirs = Pseudonyms(), Pseudonyms()
    first, second = ours.name("person", "Ada"), ours.name("person", "Grace")
    assert (first, second, ours.name("person", "Ada")) == ("<PERSON_1>", "<PERSON_2>", "<PERSON_1>")
    assert ours.restore(f"{second} met {first} and <PERSON_3>") == "Grace met Ada and <PERSON_3>"
    assert theirs.restore(first) == first
