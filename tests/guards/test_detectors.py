"""What the detectors find, what they leave alone, and that no text breaks them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Action, redact
from guards.pii import PiiGuard, find_pii, luhn_is_valid
from guards.toxicity import ToxicityGuard, toxicity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ada.lovelace+x@mail.example.org today.", "Write to <EMAIL> today."),
        ("Call +44 20 7946 0958 or (650) 253-0000.", "Call <PHONE> or <PHONE>."),
        ("Card 4111 1111 1111 1111 expires.", "Card <CREDIT_CARD> expires."),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN <IBAN>."),
        ("SSN 078-05-1120 on file", "SSN <US_SSN> on file"),
        ("from 8.8.8.8 port 53", "from <IP_ADDRESS> port 53"),
        ("a@b.co,c@d.org", "<EMAIL>,<EMAIL>"),
    ],
)
def test_personal_data_is_found_and_only_that(text, expected):
    assert redact(text, find_pii(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Version 15.4.2 of 2026-11-21 10:00, pages 100-200, 1,169 files",
        "Listen on 127.0.0.1 or 192.168.1.10; version v1.2.3.4",
        "4111 1111 1111 1112 fails the checksum",
        "commit 1234567890 and oid 16384-2048-77",
        "SELECT pg_size_pretty(123456789012);",
        "not@an-address and @handle",
        "000-12-3456 is no number that is ever given out",
    ],
)
def test_figures_of_manuals_are_left_alone(text):
    assert find_pii(text) == ()


def test_the_reason_names_the_kind_and_never_the_value():
    verdict = PiiGuard(Action.BLOCK).check("ada@example.org")
    assert verdict.action is Action.BLOCK
    assert "email" in verdict.reason
    assert "ada" not in verdict.reason


@pytest.mark.parametrize(("number", "valid"), [("79927398713", True), ("79927398710", False), ("0000 0000", False)])
def test_luhn(number, valid):
    assert luhn_is_valid(number) is valid


@given(st.text(max_size=300))
def test_spans_are_in_order_and_inside_the_text(text):
    position = 0
    for span in find_pii(text):
        assert position <= span.start < span.end <= len(text)
        position = span.end


BAIT = ["a" * 50_000 + "@", "1 " * 50_000, "A" * 50_000, "1-" * 30_000, "a.b" * 20_000 + "@x"]


@pytest.mark.parametrize("bait", BAIT, ids=lambda bait: bait[:3])
def test_bait_for_backtracking_is_answered(bait):
    assert isinstance(find_pii(bait), tuple)


def test_insults_score_high_and_manuals_low():
    assert toxicity("you are a fucking idiot") > 0.9
    assert toxicity("VACUUM FULL rewrites the entire table and takes an exclusive lock.") < 0.5


def test_the_toxicity_guard_acts_above_its_threshold_only():
    text = "you are a fucking idiot"
    assert ToxicityGuard(Action.BLOCK, 0.9).check(text).action is Action.BLOCK
    assert ToxicityGuard(Action.FLAG, 0.9).check(text).action is Action.FLAG
    assert ToxicityGuard(Action.BLOCK, 1.0).check(text).action is Action.ALLOW


@pytest.mark.parametrize("text", ["", "\x00", "\ud800", "مرحبا", "a" * 1_000_000])
def test_odd_texts_get_an_answer(text):
    assert 0.0 <= toxicity(text) <= 1.0
    assert find_pii(text) == ()
