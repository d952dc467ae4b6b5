import numpy as np
import pytest

from ingest.search.base import Ranking
from ingest.search.feedback import discounts, expanded
from ingest.search.fuse import by_rank, by_score, ordered, smoothed, spread, standardised
from ingest.search.lexical import Lexical


def ranking(*rows: int) -> Ranking:
    return Ranking(np.array(rows, np.int64), np.linspace(1, 0.1, len(rows), dtype=np.float32))


def floats(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_reciprocal_ranks_are_summed() -> None:
    fused = by_rank([ranking(7, 3, 5), ranking(3, 9)])
    assert list(fused.rows) == [3, 7, 9, 5]
    assert fused.scores == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63])
    assert list(by_rank([ranking(1, 2), ranking(2, 1)]).rows) == [1, 2]
    assert not len(by_rank([]).rows) and not len(by_rank([ranking(), ranking()]).rows)


def test_scores_are_fused_whatever_their_scale() -> None:
    dense, lexical = floats(0.9, 0.5, 0.1, 0.2), floats(1, 12, 0, 3)
    fused = by_score(dense, lexical)
    assert fused == pytest.approx(
        by_score(dense * np.float32(0.01) + np.float32(0.5), lexical * np.float32(100)), abs=1e-4
    )
    assert by_score(dense, lexical, 1) == pytest.approx(standardised(dense))
    assert by_score(dense, lexical, 0) == pytest.approx(standardised(lexical))
    assert fused.mean() == pytest.approx(0, abs=1e-6)


def test_scores_that_tell_nothing_change_nothing() -> None:
    dense = floats(0.9, 0.5, 0.1)
    assert list(np.argsort(-by_score(dense, floats(0, 0, 0)))) == [0, 1, 2]
    assert list(standardised(floats(5))) == [0]
    assert not len(standardised(floats()))


def test_a_passage_gains_from_good_neighbours() -> None:
    near, far = [1.0, 0.0], [0.0, 1.0]
    vectors = np.array([near, near, far, near, far], np.float32)
    scores = floats(3, 2, 1.2, 1, -2)
    agreed = smoothed(scores, vectors, share=0.5, neighbours=2)
    assert agreed[3] > agreed[2]
    assert list(smoothed(scores, vectors, share=0)) == list(scores)


def test_smoothing_survives_few_identical_and_lonely_passages() -> None:
    same = np.tile(np.array([[1.0, 0.0]], np.float32), (30, 1))
    flat = smoothed(np.linspace(1, 0, 30, dtype=np.float32), same)
    assert list(np.argsort(-flat, kind="stable")) == list(range(30))
    assert list(smoothed(floats(2, 1), np.eye(2, dtype=np.float32))) == [2, 1]
    lonely = smoothed(floats(3, 2, 1), np.eye(3, dtype=np.float32))
    assert list(lonely) == pytest.approx([3, 2, 1])


def test_each_further_passage_of_a_document_loses_a_little_more() -> None:
    found = Ranking(np.array([4, 2, 9, 7, 1]), floats(3, 2.9, 2.8, 2.4, 1))
    again = spread(found, np.array([5, 5, 5, 0, 0]), 0.5)
    assert list(again.rows) == [4, 2, 7, 9, 1]
    assert again.scores == pytest.approx([3, 2.4, 2.4, 1.8, 0.5])
    assert list(spread(found, np.arange(5), 0.5).scores) == list(found.scores)
    assert list(spread(found, np.zeros(5, np.int64), 0).rows) == list(found.rows)
    assert not len(spread(ranking(), np.zeros(0, np.int64), 0.5).rows)


def test_order_is_by_score_and_then_as_given() -> None:
    assert list(ordered(np.array([4, 2, 9]), floats(1, 3, 1)).rows) == [2, 4, 9]


def test_discounts_fall_and_add_up() -> None:
    assert discounts(10).sum() == pytest.approx(1)
    assert list(discounts(10)) == sorted(discounts(10), reverse=True)
    assert not len(discounts(0))


def test_feedback_adds_the_words_that_mark_the_first_passages() -> None:
    lexical = Lexical.build(
        [
            "autovacuum removes dead tuples",
            "dead tuples waste the disk",
            *(f"chapter {n} of the text" for n in range(9)),
        ]
    )
    asked = lexical.query("autovacuum")
    fuller = expanded(lexical, asked, np.array([0, 1]))
    scores = lexical.scores(fuller)
    assert lexical.scores(asked)[1] == 0
    assert scores[0] > scores[1] > max(scores[2:])
    own = fuller.terms == asked.terms[0]
    assert fuller.weights[own][0] >= 0.5
    assert fuller.weights.sum() == pytest.approx(1)
    assert len(expanded(lexical, asked, np.array([0, 1]), words=1)) <= 2


def test_feedback_never_adds_stop_words() -> None:
    lexical = Lexical.build(["the the the the lock", "a lock of the door", "the sea"])
    fuller = expanded(lexical, lexical.query("lock"), np.array([0, 1]))
    # The passages share `the`, of which a question that holds nothing else would find both.
    assert lexical.query("the").terms[0] not in fuller.terms


def test_feedback_without_words_leaves_the_query() -> None:
    lexical = Lexical.build(["one two", "", "three"])
    asked = lexical.query("one")
    assert expanded(lexical, asked, np.array([1])) is asked
    assert expanded(lexical, asked, np.zeros(0, np.int64)) is asked
    nothing = lexical.query("unheard")
    assert expanded(lexical, nothing, np.array([0])) is nothing
