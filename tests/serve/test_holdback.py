"""Nothing leaves unchecked, nothing is split, and how the text arrives does not matter."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Action, Span, Verdict, apply
from guards.pii import PiiGuard
from serve.holdback import HoldBack


class PatternGuard:
    """Acts on every match of a pattern."""

    def __init__(self, pattern: str, action: Action = Action.REDACT, name: str = "secret") -> None:
        self.name = name
        self._pattern = re.compile(pattern)
        self._action = action

    def check(self, text: str) -> Verdict:
        spans = tuple(Span(*match.span(), self.name) for match in self._pattern.finditer(text))
        action = self._action if spans else Action.ALLOW
        return Verdict(action, self.name, len(spans), 1, "found" if spans else "", self.name, "1", spans)


class BrokenGuard:
    name = "broken"

    def check(self, text: str) -> Verdict:
        raise RuntimeError("no model")


EMAIL = PatternGuard(r"[\w.]+@[\w.]+\w", name="email")
PHONE = PatternGuard(r"\+?\d[\d ]{6,}\d", name="phone")
NAME = PatternGuard(r"(?:Mr|Mrs)\.\s\w+", name="person")
WORDS = [
    "word",
    "sentence.",
    "end!\n",
    "a.b@example.org",
    "+1 555 010 2030",
    "Mr. Smith",
    "[1]",
    "v2.0",
    "x" * 90,
    "\n\n",
]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join)


def streamed(held: HoldBack, text: str, cuts: list[int]) -> str:
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [held.feed(text[start:end]) for start, end in itertools.pairwise(places)]
    return "".join([*pieces, held.finish()])


@given(TEXTS, st.lists(st.integers(0, 2000)))
def test_any_chunking_gives_the_text_guarded_as_a_whole(text, cuts):
    guards = [EMAIL, PHONE, NAME]
    assert streamed(HoldBack(guards), text, cuts) == apply(guards, text.strip()).text


@given(TEXTS, st.lists(st.integers(0, 2000)))
def test_the_real_guard_gives_the_same_for_every_chunking_and_lets_nothing_through(text, cuts):
    guards = [PiiGuard()]
    whole = streamed(HoldBack(guards), text, [])
    assert streamed(HoldBack(guards), text, cuts) == whole
    assert "@" not in whole


@given(TEXTS, TEXTS, st.lists(st.integers(0, 2000)))
def test_nothing_leaves_after_a_block(before, after, cuts):
    guards = [PatternGuard("FORBIDDEN", Action.BLOCK)]
    held = HoldBack(guards)
    out = streamed(held, f"{before} FORBIDDEN {after}", cuts)
    assert before.strip().startswith(out)
    assert held.blocked
    assert held.feed("more. And more words here.") == held.finish() == ""


def test_sentences_are_released_before_the_answer_ends():
    held = HoldBack([EMAIL])
    assert held.feed("One sentence here. Then another") == ""
    assert held.feed(" one follows. ") == "One sentence here."
    assert held.finish() == " Then another one follows."


def test_long_sentences_are_released_between_words():
    held = HoldBack([])
    assert held.feed("word " * 30).split()


@pytest.mark.parametrize("place", range(1, 30))
def test_an_address_that_arrives_in_two_halves_never_leaves(place):
    text = "Please write to jane.doe@example.org. She knows all about it."
    held = HoldBack([PiiGuard()])
    assert streamed(held, text, [place]) == "Please write to <EMAIL>. She knows all about it."


def test_a_number_with_spaces_is_not_cut():
    text = "you can reach the whole team of the office at the number +1 415 555 2671 on any day"
    held = HoldBack([PiiGuard()])
    assert streamed(held, text, list(range(len(text)))).count("<PHONE>") == 1


def test_a_guard_that_breaks_releases_nothing():
    held = HoldBack([BrokenGuard()])
    assert held.feed("A sentence. And a few more words.") == held.finish() == ""
    assert held.blocked
    assert held.blocked.failures


def test_full_stops_without_spaces_are_borders_too():
    held = HoldBack([])
    text = "数据库是一个系统。" * 12
    assert held.feed(text)
    assert held.finish() is not None
