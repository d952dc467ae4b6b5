"""No row of the training half gives away a held-out one: by document, by copies of documents, by words."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.decontaminate import EvaluationGrams
from ingest.examples import make_examples
from ingest.examples.contamination import HELD_OUT, without_contaminated
from ingest.examples.split import group_documents, split_documents
from ingest.records import Chunk, stable_id
from tests.ingest.test_examples import SETTINGS, AnyOrder

WORDS = [f"word{number}" for number in range(400)]


def sentence(rng, length=16):
    return " ".join(["This", *rng.choices(WORDS, k=length)]) + "."


def chunks_of(name, texts):
    rows = []
    for number, text in enumerate(texts):
        headings = (name, f"{name} part {number}")
        place = stable_id(name, str(number))
        start = number * 1000
        rows.append(Chunk(place, stable_id(name), name, name, headings, text, start, start + len(text)))
    return rows


def versions(seed, documents=30, sections=4):
    """Documents of which every third is an edition of the one before it, with one section rewritten; all share one."""
    rng = random.Random(seed)
    shared = sentence(rng)
    rows, last = [], []
    for number in range(documents):
        texts = [sentence(rng, 40) for _ in range(sections)]
        if number % 3 == 2:
            texts = [*last[:-1], sentence(rng, 40)]
        last = texts
        rows += chunks_of(f"doc{number}", [*texts, shared])
    return rows


def thirteens(text):
    words = text.casefold().split()
    return {tuple(words[start : start + 13]) for start in range(len(words) - 12)}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_training_row_shares_a_document_or_thirteen_words_with_a_held_out_one(seed):
    chunks = versions(seed)
    made = make_examples(chunks, AnyOrder(chunks), **SETTINGS | {"seed": seed})
    kept, rejects = without_contaminated(made, EvaluationGrams.load([]))
    halves = {half: [row for row in kept if row.split == half] for half in ("train", "holdout")}
    assert len(halves["train"]) > 10 and len(halves["holdout"]) > 3
    documents = {
        half: {row.doc_id for row in rows} | {chunk.doc_id for row in rows for chunk in row.passages}
        for half, rows in halves.items()
    }
    assert not documents["train"] & documents["holdout"]
    answers = [row.answer.rpartition(" ")[0] for row in halves["holdout"] if row.answerable]
    held_out = set().union(*map(thirteens, answers))
    assert held_out
    for row in halves["train"]:
        shown = set().union(*map(thirteens, (row.answer, row.question, *(chunk.text for chunk in row.passages))))
        assert not shown & held_out
    # The sentence that all documents share would have leaked.
    assert {reject.rule for reject in rejects} == {"contaminated"}
    assert any(HELD_OUT in reject.detail for reject in rejects)


@pytest.mark.parametrize("seed", range(5))
def test_copies_and_editions_of_a_document_stay_together(seed):
    chunks = versions(seed)
    split_of = split_documents(chunks, 0.3, seed)
    half = {chunk.title: split_of(chunk) for chunk in chunks}
    assert all(half[f"doc{number}"] == half[f"doc{number - 1}"] for number in range(2, 30, 3))
    assert Counter(half.values())["holdout"] == 9


def test_a_shared_paragraph_ties_no_documents():
    rng = random.Random(7)
    shared = sentence(rng)
    pages = [(str(number), f"{sentence(rng, 60)} {shared}") for number in range(40)]
    assert len(set(group_documents(pages).values())) == 40


@pytest.mark.parametrize(("words", "groups"), [(50, 1), (51, 2)])
def test_documents_are_tied_from_half_of_all_shingles_on(words, groups):
    # Of 104 words that both begin with, 100 shingles; each word after them gives one more.
    shared = [f"shared{number}" for number in range(104)]
    one, two = ([f"{name}{number}" for number in range(count)] for name, count in (("one", 50), ("two", words)))
    found = group_documents([("b", " ".join(shared + one)), ("a", " ".join(shared + two))])
    assert set(found.values()) == ({"a"} if groups == 1 else {"a", "b"})


def test_editions_are_found_among_many_pages_of_one_template():
    rng = random.Random(5)
    template = rng.choices(WORDS, k=60)
    pages = [template + rng.choices(WORDS, k=40) for _ in range(1000)]
    texts = {f"{number:03}": " ".join(page) for number, page in enumerate(pages)}
    editions = {f"x{number:03}": f"{number:03}" for number in range(0, 1000, 10)}
    texts |= {
        edition: " ".join([*texts[page].split()[:-20], *rng.choices(WORDS, k=20)]) for edition, page in editions.items()
    }
    found = group_documents(rng.sample(list(texts.items()), len(texts)))
    assert {edition: found[edition] for edition in editions} == editions
    assert len(set(found.values())) == 1000


def test_near_copies_of_one_document_are_split_by_section():
    rng = random.Random(3)
    texts = [sentence(rng, 40) for _ in range(10)]
    copy = [replace(chunk, doc_id="copy", id=f"copy{chunk.id}") for chunk in chunks_of("one", texts)]
    chunks = chunks_of("one", texts) + copy
    split_of = split_documents(chunks, 0.3, 1)
    halves = {(chunk.headings, split_of(chunk)) for chunk in chunks}
    assert len(halves) == 10
    assert Counter(half for _, half in halves) == {"train": 7, "holdout": 3}


@settings(max_examples=30)
@given(st.integers(0, 1000), st.floats(0.05, 0.6), st.integers(2, 25))
def test_the_share_is_kept_as_near_as_groups_allow_and_order_does_not_matter(seed, share, documents):
    chunks = versions(seed, documents=documents, sections=2)
    split_of = split_documents(chunks, share, seed)
    held_out = {chunk.doc_id for chunk in chunks if split_of(chunk) == "holdout"}
    by_name = sorted(chunks, key=lambda chunk: (chunk.doc_id, chunk.start))
    again = split_documents(by_name, share, seed)
    assert held_out == {chunk.doc_id for chunk in chunks if again(chunk) == "holdout"}
    # No edition has more than two documents here.
    assert 1 <= len(held_out) <= max(2, round(documents * share))
    assert len(held_out) < documents or documents == 2


def test_one_section_alone_is_for_training():
    (only, *_) = chunks_of("one", ["A sentence."])
    assert split_documents([only], 0.5, 1)(only) == "train"
