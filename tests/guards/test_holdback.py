"""Nothing leaves unchecked, nothing is split, and how the text arrives does not matter."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import NO_CONTEXT, Action, Context, Verdict
from guards.detectors.pii import PiiGuard
from guards.detectors.secrets import SecretsGuard
from guards.detectors.urls import UrlGuard
from guards.holdback import HoldBack
from tests.guards.samples import BrokenGuard, PatternGuard, stage_of

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
    stage = stage_of(EMAIL, PHONE, NAME)
    assert streamed(HoldBack(stage), text, cuts) == stage.run(text.strip()).text


BASE64 = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 2] * 12)
KEY = f"-----BEGIN PRIVATE KEY-----\n{BASE64}\n-----END PRIVATE KEY-----"
LINKS = ["https://evil.example/x?q=1", "[here](https://evil.example/ 'a b')"]
REAL = [*WORDS, *LINKS, KEY, "4111 1111 1111 1111", "key = "]


@given(st.lists(st.sampled_from(REAL), max_size=30).map(" ".join), st.lists(st.integers(0, 4000)))
def test_the_real_guards_give_for_every_chunking_what_they_give_for_the_whole(text, cuts):
    stage = stage_of(SecretsGuard(), PiiGuard(mode="patterns"), UrlGuard())
    whole = stage.run(text.strip()).text
    assert streamed(HoldBack(stage), text, cuts) == whole
    assert not any(hidden in whole for hidden in ("@", "MIIE", "4111", "evil"))


@given(TEXTS, TEXTS, st.lists(st.integers(0, 2000)))
def test_nothing_leaves_after_a_block(before, after, cuts):
    held = HoldBack(stage_of(PatternGuard("FORBIDDEN", Action.BLOCK)))
    out = streamed(held, f"{before} FORBIDDEN {after}", cuts)
    assert before.strip().startswith(out)
    assert held.blocked
    assert held.feed("more. And more words here.") == held.finish() == ""


def test_sentences_are_released_before_the_answer_ends():
    held = HoldBack(stage_of(EMAIL))
    assert held.feed("One sentence here. Then another") == ""
    assert held.feed(" one follows. ") == "One sentence here."
    assert held.finish() == " Then another one follows."


def test_long_sentences_are_released_between_words():
    held = HoldBack(stage_of())
    assert held.feed("word " * 30).split()


@pytest.mark.parametrize("place", range(1, 30))
def test_an_address_that_arrives_in_two_halves_never_leaves(place):
    text = "Please write to jane.doe@example.org. She knows all about it."
    held = HoldBack(stage_of(PiiGuard(mode="patterns")))
    assert streamed(held, text, [place]) == "Please write to <EMAIL>. She knows all about it."


def test_a_number_with_spaces_is_not_cut():
    text = "you can reach the whole team of the office at the number +1 415 555 2671 on any day"
    held = HoldBack(stage_of(PiiGuard(mode="patterns")))
    assert streamed(held, text, list(range(len(text)))).count("<PHONE>") == 1


def test_a_guard_that_breaks_releases_nothing():
    held = HoldBack(stage_of(BrokenGuard()))
    assert held.feed("A sentence. And a few more words.") == held.finish() == ""
    assert held.blocked
    assert held.blocked.failures


def test_full_stops_without_spaces_are_borders_too():
    held = HoldBack(stage_of())
    text = "数据库是一个系统。" * 12
    assert held.feed(text)
    assert held.finish() is not None


class Quotes:
    """Refuses what the passages do not hold word for word."""

    name = "quotes"

    def check(self, text, context=NO_CONTEXT):
        found = all(word in context.passages[0] for word in text.split())
        return Verdict(Action.ALLOW if found else Action.BLOCK, "quotes", 0, 1, "not there", "quotes", "1")


def test_guards_see_the_context_of_the_answer():
    held = HoldBack(stage_of(Quotes()), Context(passages=("the pump is blue.",)))
    assert (held.feed("the pump is blue."), held.finish()) == ("", "the pump is blue.")
    assert HoldBack(stage_of(Quotes()), Context(passages=("a crane",))).feed("the pump. It is so very blue. ") == ""


def test_a_key_whose_first_words_have_left_is_held_back_all_the_same():
    head = "-----BEGIN PGP PRIVATE KEY BLOCK-----"
    text = f"{'word ' * 11}{head}\n\n{BASE64}\n-----END PGP PRIVATE KEY BLOCK-----"
    held = HoldBack(stage_of(SecretsGuard()))
    assert "MIIE" not in streamed(held, text, list(range(0, len(text), 7)))
