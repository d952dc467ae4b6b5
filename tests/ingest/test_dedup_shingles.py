"""Shingles and signatures agree with the definitions, worked out the slow way."""

import random
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.dedup.minhash import SLOTS, Bands, band_keys, bands_for, signatures
from ingest.dedup.shingles import SLICE, WORDS, Shingles, exact_hash, normal, shingle

PARTS = ["pump", "pumps", "valve", "a", "don't", "x.y", "snake_case", "é", "ÉÉ", "—", "...", "日本", "中x", "ไทย", "\n"]
TEXT = st.one_of(st.lists(st.sampled_from(PARTS), max_size=25).map(" ".join), st.text(max_size=40))


def words_of(text):
    unspaced = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    spaced = "".join(f" {sign} " if re.match(f"[{unspaced}]", sign) else sign for sign in normal(text))
    return re.sub(r"\W", " ", spaced).split()


def grams(text):
    words = words_of(text)
    words += [""] * (WORDS - len(words)) if words else []
    return list(zip(*(words[place:] for place in range(WORDS)), strict=False))


@given(st.lists(TEXT, max_size=8))
def test_two_shingles_have_the_same_hash_when_they_have_the_same_words(texts):
    found = shingle([normal(text) for text in texts])
    by_words = {}
    for number, text in enumerate(texts):
        hashes = found.hashes[found.offsets[number] : found.offsets[number + 1]].tolist()
        assert len(hashes) == len(grams(text))
        assert set(hashes) == set(found.set_of(number).tolist())
        for words, value in zip(grams(text), hashes, strict=True):
            assert by_words.setdefault(words, value) == value
    assert len(set(by_words.values())) == len(by_words)


@given(TEXT, st.lists(TEXT, max_size=5))
def test_a_text_has_the_same_shingles_in_any_company(text, others):
    alone = shingle([normal(text)]).set_of(0)
    assert shingle([normal(other) for other in [*others, text]]).set_of(len(others)).tolist() == alone.tolist()


def test_case_width_and_white_space_do_not_tell_texts_apart():
    assert exact_hash(normal("Open  the\n\tVALVE")) == exact_hash(normal(" open the valve "))
    assert exact_hash(normal("\ufb01lter \uff11\uff12")) == exact_hash(normal("filter 12"))
    assert exact_hash(normal("open the valve")) != exact_hash(normal("open the valves"))


def test_a_text_of_many_slices_has_the_shingles_of_its_parts():
    parts = [" ".join(f"w{number}" for number in range(at, at + 40_000)) for at in (0, 40_000)]
    whole = set(shingle([" ".join(parts)]).set_of(0).tolist())
    assert len(parts[0]) > SLICE * 0.9
    assert len(whole) == 79_998
    assert all(set(shingle([part]).set_of(0).tolist()) < whole for part in parts)


def test_words_without_end_are_told_apart_by_their_beginning():
    long = "x" * 2 * SLICE
    hashes = [shingle([text]).hashes.tolist() for text in (long, "y" + long, long + "x")]
    assert hashes[0] == hashes[2] != hashes[1]


def test_a_lone_surrogate_is_text_like_any_other():
    assert len(shingle([normal("a \ud800 b")]).hashes) == 1
    assert exact_hash(normal("\ud800")) != exact_hash(normal(""))


@pytest.mark.parametrize("length", [3, 12, 60, 900])
def test_the_share_of_equal_slots_estimates_the_similarity(length):
    generator = np.random.default_rng(5)
    shared = generator.integers(0, 2**63, length * 2 // 3, dtype=np.uint64)
    texts = [
        np.concatenate([shared, generator.integers(0, 2**63, length - len(shared), dtype=np.uint64)]) for _ in range(40)
    ]
    table = signatures(Shingles(np.concatenate(texts), np.arange(41) * length))
    truth = len(shared) / (2 * length - len(shared))
    estimates = [(table[0] == row).mean() for row in table[1:]]
    # The mean of 39 estimates that each have a standard deviation below 0.05; they share one text.
    assert np.mean(estimates) == pytest.approx(truth, abs=0.08)


def test_a_signature_depends_on_the_set_only():
    words = [f"w{number}" for number in range(50)]
    hashes = shingle([" ".join(words)]).hashes
    shuffled = hashes.copy()
    random.Random(1).shuffle(shuffled)
    twice = np.concatenate([shuffled, hashes])
    tables = [signatures(Shingles(values, np.array([0, len(values)]))) for values in (hashes, twice)]
    assert tables[0].tolist() == tables[1].tolist()


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.9, 1.0])
def test_bands_meet_at_the_threshold_and_rarely_below(threshold):
    bands = bands_for(threshold)
    assert bands.count * bands.rows <= SLOTS
    assert bands.recall(threshold) >= 0.99
    assert Bands(SLOTS // (bands.rows + 1), bands.rows + 1).recall(threshold) < 0.99 or bands.rows == SLOTS


def test_a_threshold_that_no_bands_reach_takes_one_row_each():
    assert bands_for(0.01) == Bands(SLOTS, 1)


def test_equal_texts_share_all_bands_and_others_none():
    keys = band_keys(shingle(["a b c d e f", "a b c d e f", "u v w x y z"]), bands_for(0.8))
    assert (keys[0] == keys[1]).all()
    assert not (keys[0] == keys[2]).any()
