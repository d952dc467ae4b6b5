"""The canary is found however it is written, and nothing else is taken for it."""

import base64
import codecs
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import ConfigError
from guards.base import Action
from guards.detectors.canary import CanaryGuard, new_canary, plant
from guards.spans import redact

CANARY = "7c1f09b2ae54d83360fe"
GUARD = CanaryGuard(canary=CANARY)

DISGUISES = {
    "plain": CANARY,
    "upper": CANARY.upper(),
    "spaced": " ".join(CANARY),
    "dashed": "-".join(CANARY),
    "split": f"{CANARY[:10]}**\n**{CANARY[10:]}",
    "first half": CANARY[:10],
    "second half": CANARY[10:],
    "middle": CANARY[4:16],
    "reversed": CANARY[::-1],
    "zero width": "\u200b".join(CANARY),
    "full width": "".join(chr(ord(char) + 0xFEE0) for char in CANARY),
    "hex": CANARY.encode().hex(),
    "hex with spaces": CANARY.encode().hex(" "),
    "base64": base64.b64encode(CANARY.encode()).decode(),
    "base64 of the prompt": base64.b64encode(plant("You answer from documents.", CANARY).encode()).decode(),
    "base64 shifted": base64.b64encode(f"x{CANARY} and more".encode()).decode(),
    "base64 in lines": base64.encodebytes(f"You are an assistant and {CANARY} is the key".encode()).decode(),
    "base64 reversed": base64.b64encode(CANARY[::-1].encode()).decode(),
}


@pytest.mark.parametrize("leak", DISGUISES.values(), ids=DISGUISES)
def test_a_leak_is_found_in_its_place(leak):
    text = f"Look, it is: {leak} (so)."
    verdict = GUARD.check(text)
    assert verdict.action is Action.BLOCK
    assert all(13 <= span.start < span.end <= 13 + len(leak) for span in verdict.spans)
    assert CANARY not in verdict.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\x00\ud800",
        "The commit is 7c1f09b and the next 2ae54d8.",
        codecs.encode("an ordinary answer", "rot13"),
        "0123456789abcdef" * 1000,
        base64.b64encode(bytes(range(256)) * 40).decode(),
        "مرحبا " * 1000,
    ],
)
def test_other_text_passes(text):
    assert GUARD.check(text).action is Action.ALLOW


def test_only_the_leak_is_redacted():
    guard = CanaryGuard(action=Action.REDACT, canary=CANARY)
    text = f"It is {CANARY}, and again {CANARY[::-1]}."
    assert redact(text, guard.check(text).spans) == "It is <CANARY>, and again <CANARY>."


def test_a_leak_in_a_long_text_is_found():
    filler = "An answer without any secret. " * 20_000
    text = filler + " ".join(CANARY) + filler
    (span,) = GUARD.check(text).spans
    assert text[span.start : span.end] == " ".join(CANARY)


def test_new_canaries_differ_and_are_accepted():
    canaries = {new_canary() for _ in range(50)}
    assert len(canaries) == 50
    assert all(CanaryGuard(canary=canary).check(plant("Answer.", canary)).spans for canary in canaries)


@pytest.mark.parametrize("word", ["", "short", "....................", "\u00e9" * 20])
def test_a_weak_canary_is_refused(word):
    with pytest.raises(ConfigError, match="12"):
        CanaryGuard(canary=word)


@given(st.text(max_size=200), st.text(max_size=200))
def test_spans_are_in_order_and_hold_the_leak(before, after):
    text = f"{before} {CANARY} {after}"
    spans = GUARD.check(text).spans
    place = text.index(CANARY)
    assert any(span.start <= place and place + len(CANARY) <= span.end for span in spans)
    assert all(first.end <= second.start for first, second in pairwise(spans))
