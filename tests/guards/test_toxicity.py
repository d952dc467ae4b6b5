"""The shipped model on sentences that it was not trained on, and the guard around it."""

# ruff: noqa: RUF001  look-alike letters are one of the disguises

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError
from guards.base import Action, Context
from guards.detectors.toxicity import CATEGORIES, WEIGHTS, ToxicityGuard, model, readable, scores, toxicity
from guards.spans import redact

INSULT = "You are a fucking idiot, shut your mouth."
MANUAL = "VACUUM FULL rewrites the entire table and takes an exclusive lock on it while it runs. "


@pytest.mark.parametrize(
    "text",
    [
        INSULT,
        "What a stupid ugly bitch you are",
        "All Muslims are filthy vermin and should be wiped out.",
        "I will find you and slit your throat tonight.",
        "y0u f u c k i n g m0r0n",
        "уоu аrе а ｆｕｃｋｉｎｇ idiot",
    ],
)
def test_abuse_is_blocked_in_plain_and_in_disguise(text):
    verdict = ToxicityGuard().check(text)
    assert (verdict.action, verdict.allowed) == (Action.BLOCK, False)
    assert verdict.score >= verdict.threshold
    assert verdict.spans


@pytest.mark.parametrize(
    "text",
    [
        MANUAL,
        "The postmaster kills the child process and the parent aborts the transaction.",
        "Terminate the slave before you promote it to master, then execute the dump.",
        "How do I kill a hanging Apache worker?",
        "My colleague is a Muslim and her wife is from Nigeria.",
        "Thank you so much, this was very helpful!",
        "I disagree with this decision and would like to complain about the delay.",
    ],
)
def test_manuals_and_harmless_talk_pass(text):
    verdict = ToxicityGuard().check(text)
    assert (verdict.action, verdict.spans, verdict.category) == (Action.ALLOW, (), "toxicity")


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("Immigrants are parasites and do not deserve to live here.", "hate"),
        ("I will come to your house and shoot you in the head.", "threat"),
        ("Horny naked girls want hardcore sex with you on webcam, watch porn now", "sexual"),
        ("I want to cut my wrists and end my life tonight.", "self_harm"),
    ],
)
def test_the_category_that_weighs_most_is_named(text, category):
    assert ToxicityGuard(threshold=0.5).check(text).category == category


def test_categories_can_be_chosen():
    swearing = ToxicityGuard(categories=["profanity"], threshold=0.5).check("What the fuck, this shit works!")
    assert (swearing.category, swearing.allowed) == ("profanity", False)
    assert ToxicityGuard(categories=["self_harm"]).check(INSULT).allowed
    with pytest.raises(ConfigError, match="no toxicity category 'rude'"):
        ToxicityGuard(categories=["rude"])


def test_the_action_is_taken_above_the_threshold_only():
    assert ToxicityGuard(action=Action.FLAG, threshold=0.5).check(INSULT).action is Action.FLAG
    assert ToxicityGuard(threshold=1.0).check(INSULT).action is Action.ALLOW


def test_the_sentence_that_scored_is_the_span():
    text = f"{MANUAL}{INSULT} {MANUAL}"
    verdict = ToxicityGuard(action=Action.REDACT).check(text)
    assert [text[span.start : span.end].strip() for span in verdict.spans] == [INSULT]
    assert "idiot" not in redact(text, verdict.spans)
    assert "idiot" not in verdict.reason


def test_an_insult_deep_in_a_manual_is_found():
    text = MANUAL * 40 + INSULT + " " + MANUAL * 40
    verdict = ToxicityGuard().check(text)
    assert not verdict.allowed
    assert any("idiot" in text[span.start : span.end] for span in verdict.spans)
    assert sum(span.end - span.start for span in verdict.spans) < 1000


def test_what_is_surely_harmless_in_a_long_text_is_not_read():
    plain = "The function returns a list of objects, and the optional argument specifies the format of the output."
    assert not model().suspicious(plain)
    assert model().suspicious(readable(INSULT))
    assert "idiot" in model().suspicious(readable(MANUAL + INSULT + " " + MANUAL * 2))


def test_nothing_dense_hides_the_rest_of_a_window():
    assert not ToxicityGuard().check("!?" * 170 + " " + INSULT).allowed


def test_the_batch_gives_what_single_calls_give():
    texts = [INSULT, MANUAL, "", MANUAL * 10 + INSULT]
    found = scores(texts)
    assert found.shape == (4, 1 + len(CATEGORIES))
    assert [toxicity(text) for text in texts] == pytest.approx(found[:, 0].tolist())
    assert scores([]).shape == (0, 1 + len(CATEGORIES))
    assert found[0, 0] > 0.5 > found[1, 0]
    assert found[3, 0] > 0.5


ODD = ["", " ", "\x00", "\ud800", "مرحبا بالعالم", "é\u0301\u0302" * 500, "a" * 1_000_000, "我们 " * 300, "😀" * 999]


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:3]))
def test_odd_texts_get_an_answer(text):
    assert 0 <= ToxicityGuard().check(text).score <= 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([INSULT, MANUAL, " ", "\n", "\u200b", "f u c k", "\ud800", "ﬁ"]), max_size=12))
def test_spans_are_in_order_and_inside_the_text(parts):
    text = "".join(parts)
    place = 0
    for span in ToxicityGuard(threshold=0.3).check(text).spans:
        assert place <= span.start < span.end <= len(text)
        place = span.end


def test_ten_megabytes_end_at_the_deadline():
    with pytest.raises(TimeoutError):
        ToxicityGuard().check(INSULT * 250_000, Context(deadline=time.monotonic() + 0.2))


def test_several_threads_agree():
    guard, found = ToxicityGuard(), []
    work = [threading.Thread(target=lambda: found.append(guard.check(INSULT).score)) for _ in range(4)]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1


def test_the_weights_are_small_and_carry_their_figures():
    files = list(WEIGHTS.parent.glob(f"{WEIGHTS.name}.*"))
    assert sum(file.stat().st_size for file in files) < 25_000_000
    held_out = model().encoder.meta["held_out"]
    assert held_out["flagged"]["xstest"]["of_others"] < 0.02
    assert held_out["flagged"]["documentation"]["of_others"] < 0.02
    assert all(np.isfinite(model().thresholds))
