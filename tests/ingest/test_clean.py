"""Filters, exact deduplication and redaction of documents."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dedup import ExactDedup
from ingest.filters import build_filters, first_refusal
from ingest.redact import redact_document
from tests.ingest.samples import document

FILTERS = build_filters(min_words=5, min_letter_share=0.5, max_toxicity=0.9)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Too few words.", "too_short"),
        ("0x00 0x01 0x02 0x03 12 34 56 78 90 ======", "not_prose"),
        ("you are a fucking idiot and so is your fucking dog", "toxicity"),
        ("A plain sentence about vacuuming tables in a database.", None),
        ("Ein gewöhnlicher Satz über das Aufräumen von Tabellen.", None),
    ],
)
def test_the_first_rule_that_refuses_is_the_reason(text, rule):
    refusal = first_refusal(document("u", "T", (0, "", text)), FILTERS)
    assert (refusal.category if refusal else None) == rule


def test_a_refusal_carries_its_score_and_threshold():
    refusal = first_refusal(document("u", "T", (0, "", "three words here")), FILTERS)
    assert (refusal.score, refusal.threshold, refusal.allowed) == (3.0, 5.0, False)


def test_the_same_text_at_another_address_is_a_duplicate_of_the_first():
    dedup = ExactDedup()
    assert dedup.duplicate_of(document("https://x.org/a", "T", (1, "A", "Some Text"))) is None
    assert dedup.duplicate_of(document("https://x.org/b", "T", (1, "a", "some  text"))) == "https://x.org/a"
    assert dedup.duplicate_of(document("https://x.org/c", "T", (1, "A", "other text"))) is None


def test_redaction_keeps_every_section_in_place():
    doc = document("u", "T", (1, "Mail a@b.org", "Write to ada@example.org now."), (1, "Next", "Nothing here."))
    cleaned, places = redact_document(doc)
    texts = [cleaned.text[section.start : section.end] for section in cleaned.sections]
    assert places == 2
    assert texts == ["Write to <EMAIL> now.", "Nothing here."]
    assert [section.heading for section in cleaned.sections] == ["Mail <EMAIL>", "Next"]


@given(st.lists(st.sampled_from(["word", "a@b.org", "+44 20 7946 0958", "8.8.8.8", "end."]), max_size=12))
def test_section_texts_are_redacted_as_they_would_be_alone(words):
    doc = document("u", "T", (1, "H", " ".join(words)), (2, "I", " ".join(reversed(words))))
    cleaned, _ = redact_document(doc)
    assert "@" not in cleaned.text
    for section, alone in zip(cleaned.sections, (words, list(reversed(words))), strict=True):
        single, _ = redact_document(document("u", "T", (0, "", " ".join(alone))))
        assert cleaned.text[section.start : section.end] == single.text.rstrip("\n")
