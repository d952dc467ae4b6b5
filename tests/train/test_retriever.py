"""Pairs, hard negatives and the judgement, without a model."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError, SourceError
from feedback.store import Feedback, Interaction, Store
from ingest.passages import Passages, write_passages
from ingest.records import Chunk, Example, stable_id
from ingest.search.hybrid import Ranker, Searcher
from ingest.search.lexical import Lexical
from ingest.vectors.faiss_index import FaissIndex
from train.retriever.judge import Ranked, judge, rank, wins
from train.retriever.mine import Space, hard_negatives
from train.retriever.pairs import (
    Pair,
    example_pairs,
    given_pairs,
    heading_pairs,
    make_task,
    read_pairs,
    vote_pairs,
)
from train.retriever.task import Labelled, Task


def chunk(name: str, *headings: str, doc: str = "") -> Chunk:
    text = f"Text of {name}."
    doc_id = stable_id("doc", doc or name)
    return Chunk(stable_id(name), doc_id, f"https://x.test/{name}", "Manual", headings, text, 0, len(text))


def example(made_from: Chunk, split: str, *, answerable: bool = True) -> Example:
    other = chunk("other")
    return Example(
        stable_id("example", made_from.id),
        made_from.doc_id,
        f"What does {made_from.text} say?",
        (other, made_from),
        "This. [2]",
        answerable=answerable,
        split=split,  # type: ignore[arg-type]
        section=made_from.id,
    )


def test_an_example_is_paired_with_the_passage_it_was_made_from() -> None:
    one, two, three = chunk("one"), chunk("two"), chunk("three")
    rows = [example(one, "train"), example(two, "holdout"), example(three, "train", answerable=False)]
    # By now the second document is in the other half: neither learned from nor judged with.
    pairs = list(example_pairs(rows, lambda _: "train"))
    assert pairs == [Pair("What does Text of one. say?", one.id, "example")]


def test_votes_give_the_cited_passages_of_liked_answers(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'feedback.db'}")
    passages = [{"chunk_id": "a", "cited": True}, {"chunk_id": "b", "cited": False}, {"chunk_id": "c", "cited": True}]
    for name, votes in (("liked", "up up down"), ("even", "up down"), ("disliked", "down"), ("unvoted", "")):
        store.record(Interaction(name, f"Why {name}?", "So. [1][3]", "m", passages=passages))
        for number, vote in enumerate(votes.split()):
            store.add_feedback(Feedback(name, vote, user=str(number), created=datetime(2026, 1, 1, tzinfo=UTC)))  # type: ignore[arg-type]
    assert vote_pairs(store) == [Pair("Why liked?", "a", "vote"), Pair("Why liked?", "c", "vote")]
    store.close()


def test_headings_that_several_documents_share_or_of_one_word_are_left_out() -> None:
    chunks = [
        chunk("a1", "Rotate the logs", doc="a"),
        chunk("a2", "Rotate the logs", doc="a"),
        chunk("a3", "See also", doc="a"),
        chunk("b1", "See Also", doc="b"),
        chunk("b2", "Usage", doc="b"),
    ]
    assert heading_pairs(chunks) == [Pair("Rotate the logs", chunks[0].id, "heading")]


def halves(holdout: list[Chunk]):
    held = {one.doc_id for one in holdout}
    return lambda one: "holdout" if one.doc_id in held else "train"


def test_no_held_out_passage_is_shown_in_training() -> None:
    chunks = [chunk(f"c{number}", f"Heading of {number}") for number in range(20)]
    pairs = [Pair(f"What is {one.text}?", one.id, "example") for one in chunks] + heading_pairs(chunks)
    task = make_task(chunks, pairs, halves(chunks[:6]), most_pairs=100, most_passages=100)
    held_out = {row for row, text in enumerate(task.passages) if any(c.text in text for c in chunks[:6])}
    assert task.forbidden == held_out
    assert len(task.holdout) == 6
    assert {row for one in task.holdout for row in one.rows} == held_out
    assert held_out.isdisjoint(row for one in task.train for row in one.rows)
    space = Space(np.ones((len(task.train), 1), np.float32), np.ones((len(task.passages), 1), np.float32))
    everything = [list(range(len(task.passages)))] * len(task.train)
    for nearly in (0.5, 2.0):
        negatives = hard_negatives(task, everything, space, 3, nearly=nearly)
        assert all(held_out.isdisjoint(rows) and len(set(rows)) == 3 for rows in negatives)


def test_a_question_with_answers_in_both_halves_is_left_out() -> None:
    chunks = [chunk("a"), chunk("b")]
    pairs = [Pair("Which?", one.id, "vote") for one in chunks]
    task = make_task(chunks, pairs, halves(chunks[:1]), most_pairs=9, most_passages=9)
    assert not task.train
    assert not task.holdout


def test_one_passage_is_never_learned_in_two_wordings() -> None:
    one, two = chunk("a", "Rotate the logs"), chunk("b", "Read the logs")
    task = make_task(
        [one, two],
        [*heading_pairs([one, two]), Pair("Rotate?", one.id, "example")],
        lambda _: "train",
        most_pairs=9,
        most_passages=9,
    )
    assert [(found.question, found.shown) for found in task.train] == [("Rotate?", ""), ("Read the logs", two.text)]


def test_the_best_sources_are_learned_from_first_and_gone_passages_not_at_all() -> None:
    chunks = [chunk(f"c{number}") for number in range(4)]
    pairs = [Pair(f"Example {one.id}?", one.id, "example") for one in chunks]
    pairs += [
        Pair("Voted?", chunks[0].id, "vote"),
        Pair("Gone?", "not there", "vote"),
        Pair("  ", chunks[1].id, "vote"),
    ]
    task = make_task(chunks, pairs, lambda _: "train", most_pairs=2, most_passages=0)
    assert task.train[0].question == "Voted?"
    assert len(task.train) == 2
    assert make_task(chunks, pairs[::-1], lambda _: "train", most_pairs=2, most_passages=0) == task


def test_own_pairs_name_passages_by_their_text(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"question": "Q1?", "passage": "Text of a."}\n\n{"question": "Q2?", "passage": " New. "}\n')
    there = chunk("a")
    pairs, added = given_pairs(read_pairs(file), [there])
    assert [one.text for one in added] == ["New."]
    assert [pair.chunk_id for pair in pairs] == [there.id, added[0].id]


@pytest.mark.parametrize("line", ["{", "[]", '{"question": "Q?"}', '{"question": " ", "passage": "P"}'])
def test_a_line_that_is_no_pair_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"question": "Q", "passage": "P"}\n' + line)
    with pytest.raises(ConfigError, match=r"line 2 of .*pairs\.jsonl is not a pair"):
        read_pairs(file)
    with pytest.raises(SourceError, match="cannot read"):
        read_pairs(tmp_path / "missing.jsonl")


def unit(*rows: list[float]) -> np.ndarray:
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_hard_negatives_are_neither_answers_nor_their_neighbours_nor_as_similar_as_them() -> None:
    # Row 0 answers, 1 is of its section, 2 is as near as the answer, 3 answers the same question; 4 and 5 are left.
    chunks = [chunk(f"c{number}") for number in range(6)]
    task = Task(
        chunks, ["a", "a", "b", "c", "d", "e"], [Labelled("Q?", (0,)), Labelled("Q?", (3,))], [Labelled("H?", (5,))]
    )
    passages = unit([1, 0.1], [1, 0.1], [1, 0], [0, 1], [1, 1], [0.2, 1])
    space = Space(unit([1, 0], [1, 0]), passages)
    found = [[0, 1, 2, 3, 4, 5]] * 2
    first, _ = hard_negatives(task, found, space, 2)
    assert first == (4, 5)
    # Three are wanted where two can be had that are hard: the third is any that does not answer.
    filled, _ = hard_negatives(task, found, space, 3)
    assert set(filled) == {2, 4, 5}
    assert all(len(rows) == 3 for rows in hard_negatives(task, found, space, 9))


def test_the_judgement_says_who_found_more() -> None:
    questions = [Labelled(f"Q{number}?", (number,)) for number in range(8)]
    right = [[number, 9] for number in range(8)]
    wrong = [[9, number] for number in range(8)]
    better = judge(questions, Ranked(wrong, wrong), Ranked(right, right)).figures()
    assert better["dense_mrr@10_base"] == 0.5
    assert better["dense_mrr@10_trained"] == 1.0
    assert better["dense_gain"] == pytest.approx(1 - 1 / np.log2(3))
    assert better["dense_gain_low"] <= better["dense_gain"] <= better["dense_gain_high"]
    assert wins(better, 0.3)
    assert not wins(better, 0.4)
    assert not wins(judge(questions, Ranked(right, right), Ranked(right, right)).figures(), 0.0)
    # What people are served decides.
    mixed = judge(questions, Ranked(wrong, right), Ranked(right, wrong)).figures()
    assert not wins(mixed, 0.0)
    assert wins(mixed, 0.0, "dense")


SUBJECTS = ("logs", "metrics", "backups", "tokens", "queues", "tables", "caches", "probes")


@pytest.mark.parametrize("ranker", [Ranker(), Ranker(fusion="rrf", candidates=10), Ranker(mode="dense")])
def test_what_is_judged_is_what_people_are_served(tmp_path: Path, ranker: Ranker) -> None:
    chunks = [chunk(f"{one} and {other}", f"About {one}", doc=one) for one in SUBJECTS for other in SUBJECTS]
    write_passages(tmp_path, chunks)
    passages, lexical = Passages.load(tmp_path), Lexical.of(chunks)
    draw = np.random.default_rng(0)
    questions = [f"Are {one} kept with {other}?" for one, other in pairwise(SUBJECTS)]
    space = Space(unit(*draw.normal(size=(len(questions), 8))), unit(*draw.normal(size=(len(chunks), 8))))
    found = rank(questions, passages, lexical, space, ranker)
    vectors = FaissIndex.create(8, "exact")
    vectors.add(passages.numbers, space.passages)
    encode = dict(zip(questions, space.questions, strict=True))
    for mode, rankings in (("dense", found.dense), ("hybrid", found.hybrid)):
        served = Searcher(
            passages,
            vectors,
            lexical,
            lambda asked: np.stack([encode[question] for question in asked]),
            Ranker(mode, ranker.fusion, ranker.candidates),
        )
        assert list(rankings) == [served.search(question, 10).rows for question in questions]
    nearest = np.argsort(-(space.questions @ space.passages.T), axis=1)[:, :10]
    assert [list(rows) for rows in found.dense] == nearest.tolist()
    assert found.hybrid != found.dense


def test_a_question_without_words_finds_nothing_and_counts(tmp_path: Path) -> None:
    chunks = [chunk("logs"), chunk("metrics")]
    write_passages(tmp_path, chunks)
    space = Space(unit([1, 0], [0, 1]), unit([1, 0], [0, 1]))
    questions = [Labelled("?!", (0,)), Labelled("Where are metrics?", (1,))]
    found = rank(["?!", "Where are metrics?"], Passages.load(tmp_path), Lexical.of(chunks), space, Ranker())
    assert judge(questions, found, found).figures()["hybrid_ndcg@10_base"] == 0.5
