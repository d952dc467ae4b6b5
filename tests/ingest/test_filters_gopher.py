"""Gopher's rules: each part refuses what it is meant for, and n-grams are counted as by hand."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.filters.gopher_quality import GopherQuality
from ingest.filters.gopher_repetition import GopherRepetition, _NGrams
from ingest.filters.text import Text
from tests.ingest.samples import document

# Sixty different words, two of them stop words.
WORDS = [f"w{chr(97 + n // 26)}{chr(97 + n % 26)}rd" for n in range(58)] + ["the", "of"]
PROSE = " ".join(WORDS)


def judged(rule, text):
    # The samples end with blank lines, which belong to no section.
    verdict = rule(Text(document("u", "T", (0, "", text))))
    return verdict.allowed, verdict.reason.partition(":")[0]


def test_prose_passes():
    assert judged(GopherQuality(), PROSE)[0]
    assert judged(GopherRepetition(), PROSE)[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (" ".join(WORDS[:40]), "words"),
        (PROSE * 1700, "words"),
        ("a b " * 40 + PROSE, "mean length of words"),
        (" ".join(word * 3 for word in WORDS), "mean length of words"),
        (PROSE + " #" * 10, "hash signs per word"),
        (PROSE + " and so..." * 12, "ellipses per word"),
        ("\n".join(f"- {word} {PROSE[:10]}" for word in WORDS), "share of lines that begin with a bullet"),
        ("\n".join([*(f"{PROSE[:80]} and {word}..." for word in WORDS)]), "share of lines that end with an ellipsis"),
        (PROSE + " 123" * 40, "share of words with a letter"),
        (" ".join(WORDS[:-1]), "different stop words"),
    ],
)
def test_each_part_of_the_quality_rule_refuses(text, part):
    assert judged(GopherQuality(), text) == (False, part)


def test_signs_are_no_words():
    assert judged(GopherQuality(), " ".join(WORDS[:49]) + " ,;" * 60) == (False, "words")


def test_the_length_of_signs_does_not_count():
    nine = " ".join(f"{word}word" for word in WORDS)
    assert judged(GopherQuality(), nine + " ,;" * 60) == (False, "share of words with a letter")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("\n\n".join(["One.", "One.", "One.", PROSE * 2]), "share of repeated paragraphs"),
        ("\n\n".join([PROSE, *WORDS, PROSE]), "share of characters in repeated paragraphs"),
        ("\n".join(["One.", "One.", "One.", PROSE * 2]), "share of repeated lines"),
        ("\n".join([PROSE, *WORDS, PROSE]), "share of characters in repeated lines"),
        (" ".join(f"deep water {word}" for word in WORDS[:30]), "share of characters in the most frequent 2-gram"),
        (f"{PROSE} {PROSE}", "share of characters in repeated 5-grams"),
        (PROSE * 4 + " " + " ".join(WORDS[:46]), "share of characters in repeated 5-grams"),
    ],
)
def test_each_part_of_the_repetition_rule_refuses(text, part):
    assert judged(GopherRepetition(), text) == (False, part)


def test_longer_runs_have_lower_limits():
    others = [word.upper() for word in WORDS]
    text = " ".join([*WORDS, *others, *WORDS[:14]])
    lax = GopherRepetition(max_repeated_ngrams=(1, 1, 1, 1, 1, 0.05))
    assert judged(GopherRepetition(), text)[0]
    assert judged(lax, text) == (False, "share of characters in repeated 10-grams")


def by_hand(words, n):
    """Characters of the most frequent n-gram, and of those that came before."""
    grams = [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]
    counts = Counter(grams)
    most = max(counts.values(), default=0)
    first = next((gram for gram in grams if counts[gram] == most), ())
    seen, repeated, at = set(), 0, 0
    while at < len(grams):
        known = grams[at] in seen
        seen.add(grams[at])
        repeated += known * sum(map(len, grams[at]))
        at += n if known else 1
    return most * len(" ".join(first)), repeated


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=60))
def test_ngrams_are_counted_as_by_hand(words):
    text = Text(document("u", "T", (0, "", " ".join(words))))
    grams = _NGrams(text.words.hashes, text.starts)
    for n in range(2, 11):
        grams.lengthen(n)
        assert (grams.top(), grams.repeated()) == by_hand(words, n)
