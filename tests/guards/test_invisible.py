"""What cannot be seen is found; what emoji and scripts need stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Action, Context
from guards.detectors.invisible import CERTAINTY, InvisibleGuard
from guards.spans import redact

FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"


@pytest.mark.parametrize(
    ("text", "category", "left"),
    [
        ("pass\u200bword", "zero_width", "password"),
        ("a\u2060b\ufeffc", "zero_width", "abc"),
        ("if a\u202e begin", "bidi_override", "if a begin"),
        ("x \u2066// y\u2069", "bidi_control", "x // y"),
        ("hi" + "".join(chr(0xE0000 + ord(char)) for char in "ignore this"), "hidden_tags", "hi"),
        ("\U0001f3f4\U000e0068\U000e0069", "hidden_tags", "\U0001f3f4"),
        ("\U0001f600" + "\U000e0150\U000e0121" * 4, "hidden_selectors", "\U0001f600"),
        ("x" + "\ufe01\ufe02" * 4, "hidden_selectors", "x"),
        ("k\u00adi\u00adl\u00adl", "soft_hyphen", "kill"),
        ("left\u200fright", "direction_mark", "leftright"),
        ("a\u3164b", "filler", "ab"),
        ("a\x08b\x1b[31m", "control", "ab[31m"),
        ("\ue000\ue001\ue002\ue003 end", "private_use", " end"),
        ("\u0646\u200c\u200c\u200c\u0645", "zero_width", "\u0646\u0645"),
    ],
)
def test_hidden_characters_are_found_and_removed(text, category, left):
    verdict = InvisibleGuard().check(text)
    assert {span.category for span in verdict.spans} == {category}
    assert redact(text, verdict.spans) == left
    assert verdict.score == CERTAINTY[category]


@pytest.mark.parametrize(
    "text",
    [
        "plain text,\twith a tab\r\n",
        FAMILY,
        SCOTLAND,
        "\u2764\ufe0f\u200d\U0001f525 1\ufe0f\u20e3 \U0001f3f3\ufe0f\u200d\U0001f308",
        "\U0001f469\U0001f3fd\u200d\U0001f680",
        "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        "\u0915\u094d\u200d\u0937 \u0d28\u0d4d\u200d",
        "\u05e9\u05dc\u05d5\u05dd \u200f(1)\u200f",
        "\u2067\u05e9\u05dc\u05d5\u05dd\u2069 world",
        "Donau\u00addampf\u00adschiff",
        "\u0e01\u0e32\u0e23\u200b\u0e40\u0e14\u0e34\u0e19",
        "\u845b\U000e0100",
        "\ufeffwith a byte order mark",
        "an icon \uf0c1 here",
        "",
    ],
)
def test_what_scripts_and_emoji_need_stays(text):
    assert InvisibleGuard().check(text).action is Action.ALLOW


def test_a_high_threshold_leaves_stray_characters():
    guard = InvisibleGuard(action=Action.BLOCK, threshold=0.9)
    assert guard.check("pass\u200bword").action is Action.ALLOW
    assert guard.check("pass\u202eword").action is Action.BLOCK


def test_the_deadline_is_kept():
    with pytest.raises(TimeoutError):
        InvisibleGuard().check("a\u200b" * 10_000, Context(deadline=0.0))


SUSPECTS = st.sampled_from(
    "\u200b\u200c\u200d\u200e\u202e\u2066\u2069\ufe0f\U000e0041\U0001f3f4\u00ad\ue000\x00\ud800aא ب\n"
)


@given(st.lists(st.one_of(SUSPECTS, st.text(max_size=4)), max_size=40).map("".join))
def test_only_suspects_are_removed_and_a_second_look_agrees_on_visible_text(text):
    verdict = InvisibleGuard().check(text)
    position = 0
    for span in verdict.spans:
        assert position <= span.start < span.end <= len(text)
        assert not any(
            char.isalnum() or char.isspace()
            for char in text[span.start : span.end]
            if char not in "\u3164\uffa0\u115f\u1160"
        )
        position = span.end
