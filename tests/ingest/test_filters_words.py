"""Words as arrays: split as spaCy splits them, whatever was seen before."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacy.lang.en import English

from ingest.filters import words as module
from ingest.filters.words import ENDS_SENTENCE, HAS_LETTER, IS_PUNCTUATION, IS_SIGN, sentences, word_hash, words_of

PIECES = st.sampled_from(
    "pump don't e.g. U.S. Oct. (Oct. cannot :) x:) 10km 3.14 a_b _x_ O'Brien's https://x.org/a?b=c f(x); `code` “Ja” "
    "naïve 日本語 ... … --flag (see here). (so): end.'".split()
)
CHUNKS = st.lists(PIECES | st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=8), max_size=12)


@cache
def spacy_tokenizer():
    return English().tokenizer


def spacy_words(text):
    return [token.text for token in spacy_tokenizer()(text) if token.text.strip()]


@given(CHUNKS)
def test_words_are_those_of_spacy(chunks):
    # Chunk by chunk: spaCy joins some emoticons across blanks.
    expected = [word for chunk in " ".join(chunks).split() for word in spacy_words(chunk)]
    found = words_of(" ".join(chunks).split())
    assert found.lengths.tolist() == [len(word) for word in expected]
    assert found.hashes.tolist() == [word_hash(word) for word in expected]


@pytest.mark.parametrize("end", ["", *".,;:!?)'", ").", "),", "):", '".', "],", "'s"])
@pytest.mark.parametrize("start", ["", "(", '"', "[", "'"])
def test_words_beside_signs_are_those_of_spacy(start, end):
    words = "pump PUMP pumP Pump's größe GRÖßE Ωmega a I am don't etc Oct U.S 12 a1 b_c x_ v2.0 non-word".split()
    chunks = [start + word + end for word in words]
    lengths = [len(word) for chunk in chunks for word in spacy_words(chunk)]
    assert words_of(chunks).lengths.tolist() == lengths


def test_kinds_of_words():
    kinds = words_of("Pump , 42 → . — x1".split()).kinds
    bits = [(bool(k & HAS_LETTER), bool(k & IS_SIGN), bool(k & IS_PUNCTUATION), bool(k & ENDS_SENTENCE)) for k in kinds]
    assert bits == [
        (True, False, False, False),
        (False, True, True, False),
        (False, False, False, False),
        (False, True, False, False),
        (False, True, True, True),
        (False, True, True, False),
        (True, False, False, False),
    ]


def test_forgetting_changes_nothing(monkeypatch):
    chunks = "The pump, which moves 3.5 litres (or so), don't stop.".split()
    before = words_of(chunks)
    monkeypatch.setattr(module, "REMEMBERED", 2)
    for _ in range(3):
        for one, other in zip(words_of(chunks), before, strict=True):
            assert np.array_equal(one, other)


def test_a_chunk_without_end_is_one_word():
    assert words_of(["a,b(c)" * 200_000]).lengths.tolist() == [1_200_000]


def test_no_words_at_all():
    assert words_of([]).lengths.size == 0
    assert sentences(words_of([])) == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("One here. Two there! And three?", 3), ("He said “Stop.” Then left.", 2), ("No end", 1), ("Wait... what.", 1)],
)
def test_sentences(text, count):
    assert sentences(words_of(text.split())) == count
