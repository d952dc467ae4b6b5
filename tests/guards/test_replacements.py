"""What stands in the place of a redacted span."""

import pytest

from guards.base import NO_CONTEXT, Context, Span
from guards.pseudonyms import Pseudonyms
from guards.replacements import KEY_VARIABLE, keyed_hash, mask, replace_spans
from guards.spans import redact

TEXT = "Mail ada@mail.org or bob@mail.org, not ada@mail.org."
SPANS = (Span(5, 17, "email"), Span(21, 33, "email"), Span(39, 51, "email"))


def test_a_tag_names_the_type():
    assert redact(TEXT, replace_spans(TEXT, SPANS, "tag", NO_CONTEXT)) == "Mail <EMAIL> or <EMAIL>, not <EMAIL>."


def test_stars_keep_the_length():
    assert redact("Mail ada@mail.org.", replace_spans(TEXT, SPANS[:1], "mask", NO_CONTEXT)) == f"Mail {'*' * 12}."


@pytest.mark.parametrize(
    ("category", "value", "masked"),
    [
        ("credit_card", "4111 1111 1111 1234", "***************1234"),
        ("credit_card", "41111111111112-34", "************12*34"),
        ("credit_card", "1234", "****"),
        ("iban", "DE89370400440532013000", "*" * 22),
        ("address", "1 Main St\nTown", "*********\n****"),
        ("person", "", ""),
    ],
)
def test_a_mask_shows_a_cards_last_four_and_nothing_else(category, value, masked):
    assert mask(category, value) == masked


def test_a_hash_is_the_same_for_the_same_value_and_key(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "first")
    one = keyed_hash("email", "ada@mail.org")
    assert one == keyed_hash("email", "ada@mail.org")
    assert one != keyed_hash("email", "bob@mail.org")
    assert one != keyed_hash("person", "ada@mail.org").replace("PERSON", "EMAIL")
    monkeypatch.setenv(KEY_VARIABLE, "second")
    assert one != keyed_hash("email", "ada@mail.org")
    # The first 32 bits of HMAC-SHA256("key", "email\0x"), by openssl.
    monkeypatch.setenv(KEY_VARIABLE, "key")
    assert keyed_hash("email", "x") == "<EMAIL:4c5e57cc>"


def test_without_a_key_there_is_one_for_the_process(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    assert keyed_hash("email", "a") == keyed_hash("email", "a") != keyed_hash("email", "b")
    assert keyed_hash("person", "\ud800").startswith("<PERSON:")


def test_a_pseudonym_can_be_turned_back():
    context = Context(pseudonyms=Pseudonyms())
    hidden = redact(TEXT, replace_spans(TEXT, SPANS, "pseudonym", context))
    assert hidden == "Mail <EMAIL_1> or <EMAIL_2>, not <EMAIL_1>."
    assert context.pseudonyms is not None
    assert context.pseudonyms.restore(hidden) == TEXT


def test_without_a_conversation_a_pseudonym_is_a_tag():
    assert replace_spans(TEXT, SPANS, "pseudonym", NO_CONTEXT) == SPANS
