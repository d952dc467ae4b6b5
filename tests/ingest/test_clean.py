"""The cheap rules, and redaction of documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Action
from guards.detectors.pii import PiiGuard
from guards.stage import Rule, Stage
from ingest.filters.base import build_rules, first_refusal
from ingest.guard import guard_document
from tests.guards.samples import BrokenGuard, PatternGuard
from tests.ingest.samples import document

RULES = build_rules(["too_short", "not_prose"], {"too_short": {"min_words": 5}})
REDACTING = Stage([Rule(PiiGuard(mode="patterns"))])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too few words.", "too_short"),
        ("0x00 0x01 0x02 0x03 12 34 56 78 90 ======", "not_prose"),
        ("A plain sentence about vacuuming tables in a database.", None),
        ("Ein gewöhnlicher Satz über das Aufräumen von Tabellen.", None),
    ],
)
def test_the_first_rule_that_refuses_is_the_reason(text, rule):
    refusal = first_refusal(document("u", "T", (0, "", text)), RULES)
    assert (refusal.category if refusal else None) == rule


def test_a_refusal_carries_its_score_and_threshold():
    refusal = first_refusal(document("u", "T", (0, "", "three words here")), RULES)
    assert (refusal.score, refusal.threshold, refusal.allowed) == (3.0, 5.0, False)


def test_redaction_keeps_every_section_in_place():
    doc = document("u", "T", (1, "Mail a@b.org", "Write to ada@example.org now."), (1, "Next", "Nothing here."))
    guarded = guard_document(doc, REDACTING)
    cleaned, places = guarded.document, guarded.counts["redacted"]
    texts = [cleaned.text[section.start : section.end] for section in cleaned.sections]
    assert places == 3
    assert texts == ["Write to <EMAIL> now.", "Nothing here."]
    assert [section.heading for section in cleaned.sections] == ["Mail <EMAIL>", "Next"]


@given(st.lists(st.sampled_from(["word", "a@b.org", "+44 20 7946 0958", "8.8.8.8", "end."]), max_size=12))
def test_section_texts_are_redacted_as_they_would_be_alone(words):
    doc = document("u", "T", (1, "H", " ".join(words)), (2, "I", " ".join(reversed(words))))
    cleaned = guard_document(doc, REDACTING).document
    assert "@" not in cleaned.text
    for section, alone in zip(cleaned.sections, (words, list(reversed(words))), strict=True):
        single = guard_document(document("u", "T", (0, "", " ".join(alone))), REDACTING).document
        assert cleaned.text[section.start : section.end] == single.text.rstrip("\n")


def test_a_document_that_a_guard_blocks_is_rejected_with_its_reason():
    stage = Stage([Rule(PatternGuard("forbidden", Action.BLOCK, "words"))])
    guarded = guard_document(document("u", "T", (1, "A forbidden heading", "Text.")), stage)
    assert (guarded.document, guarded.reject.rule, guarded.reject.detail) == (None, "words", "found")


def test_a_document_whose_check_broke_is_rejected_as_such():
    guarded = guard_document(document("u", "T", (1, "H", "Text.")), Stage([Rule(BrokenGuard())]))
    assert (guarded.reject.rule, guarded.reject.detail) == ("guard_failed", "broken: RuntimeError")


def test_flags_are_counted_once_a_document():
    stage = Stage([Rule(PatternGuard("e", Action.FLAG, "vowel"), mutates=False)])
    guarded = guard_document(document("u", "The", (1, "Here", "eee")), stage)
    assert guarded.document.text == "Here\n\neee\n\n"
    assert guarded.counts == {"flagged_vowel": 1, "redacted": 0}
