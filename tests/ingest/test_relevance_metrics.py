"""Metrics are those of trec_eval, to the last digits; the bootstrap tells a difference from none."""

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as some

from configs.errors import ConfigError
from ingest.relevance.metrics import paired_difference, ranked, score

# The same few scores again and again, so that many are equal; ids whose order is not that of their numbers.
SCORES = some.sampled_from([-1.5, 0.0, 0.25, 0.1, 1.0, 1.0 + 1e-9, 3.0, 1e6])
NAMES = some.sampled_from([f"d{number}" for number in range(25)] + ["é", "D1", "문서"])
RUNS = some.dictionaries(some.sampled_from("abcdef"), some.dictionaries(NAMES, SCORES, min_size=1), min_size=1)
# pytrec_eval never comes back when all grades of a query are negative.
GRADES = some.dictionaries(NAMES, some.integers(-2, 4), min_size=1).filter(lambda grades: max(grades.values()) >= 0)
QRELS = some.dictionaries(some.sampled_from("abcdefg"), GRADES, min_size=1)
CUTS = (1, 3, 5, 10)
TREC = {"ndcg": "ndcg_cut", "recall": "recall", "precision": "P", "hit": "success", "map": "map_cut"}
OURS = [*(f"{name}@{cut}" for name in TREC for cut in CUTS), "ndcg", "map", "mrr"]


def by_trec(run, qrels):
    """`{query: {our name: value}}`, of the queries that are in both."""
    asked = {f"{name}.{','.join(map(str, CUTS))}" for name in TREC.values()} | {"ndcg", "map", "recip_rank"}
    names = {f"{ours}@{cut}": f"{trec}_{cut}" for ours, trec in TREC.items() for cut in CUTS}
    names |= {"ndcg": "ndcg", "map": "map", "mrr": "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, asked).evaluate(run)
    return {query: {ours: values[trec] for ours, trec in names.items()} for query, values in found.items()}


@given(RUNS, QRELS)
def test_every_value_is_that_of_trec_eval(run, qrels):
    ours = score(run, qrels, OURS).per_query()
    assert list(ours) == list(qrels)
    theirs = by_trec(run, qrels)
    for query in qrels:
        for metric in OURS:
            assert ours[query][metric] == pytest.approx(theirs.get(query, {}).get(metric, 0), abs=1e-9), metric


@given(RUNS, QRELS, some.sampled_from(CUTS))
def test_a_cut_metric_is_that_of_the_cut_ranking(run, qrels, cut):
    lists = {query: ranked(documents)[:cut] for query, documents in run.items()}
    shortened = score(lists, qrels, ["mrr", "map"]).values
    whole = score(run, qrels, [f"mrr@{cut}", f"map@{cut}"]).values
    np.testing.assert_array_equal(shortened["mrr"], whole[f"mrr@{cut}"])
    np.testing.assert_array_equal(shortened["map"], whole[f"map@{cut}"])


def test_only_negative_grades_are_nothing_to_find():
    assert set(score({"q": {"d": 1.0}}, {"q": {"d": -1}}, OURS).means.values()) == {0.0}


def test_a_worked_example():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    values = score(
        run, {"q": {"b": 1, "c": 2, "z": 1}}, ["ndcg@3", "recall@2", "precision@2", "mrr@10", "map", "hit@1"]
    )
    ideal = 2 + 1 / np.log2(3) + 1 / 2
    assert values.means == pytest.approx(
        {
            "ndcg@3": (1 / np.log2(3) + 2 / 2) / ideal,
            "recall@2": 1 / 3,
            "precision@2": 1 / 2,
            "mrr@10": 1 / 2,
            "map": (1 / 2 + 2 / 3) / 3,
            "hit@1": 0,
        }
    )


def test_equal_scores_are_ranked_by_id_descending():
    assert ranked({"a": 1.0, "c": 1.0, "b": 2.0}) == ["b", "c", "a"]


def test_a_judged_query_that_was_not_searched_counts_as_zero():
    scores = score({"q1": ["d"]}, {"q1": {"d": 1}, "q2": {"d": 1}}, ["hit@1"])
    assert scores.means == {"hit@1": 0.5}


def test_nothing_judged_gives_zeros():
    assert score({"q": ["d"]}, {}).means == dict.fromkeys(["ndcg@10", "recall@10", "recall@100", "mrr@10", "map"], 0.0)


@pytest.mark.parametrize("metric", ["ndgc@10", "recall", "ndcg@0", "ndcg@", "ndcg@-1", "hit@ten", ""])
def test_an_unknown_metric_is_named(metric):
    with pytest.raises(ConfigError) as caught:
        score({}, {}, [metric])
    assert repr(metric) in str(caught.value)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="'d1' is not a number"):
        score({"q": {"d0": 1.0, "d1": float("nan")}}, {"q": {"d1": 1}})


def test_a_document_twice_in_a_ranking_is_refused():
    with pytest.raises(ValueError, match="twice in the ranking for query 'q'"):
        score({"q": ["d", "d"]}, {"q": {"d": 1}})


def test_the_interval_tells_a_difference_from_none():
    random = np.random.default_rng(1)
    base = random.uniform(size=300)
    clear = paired_difference(base, base + random.normal(0.1, 0.2, 300))
    assert 0 < clear.low < clear.mean < clear.high < 0.2
    none = paired_difference(base, base + random.normal(0.0, 0.2, 300))
    assert none.low < 0 < none.high
    assert clear.better + clear.worse == 300


def test_the_interval_is_as_wide_as_theory_says():
    apart = np.random.default_rng(2).normal(0.0, 1.0, 400)
    found = paired_difference(np.zeros(400), apart)
    assert found.high - found.low == pytest.approx(2 * 1.96 * apart.std() / 20, rel=0.05)


@pytest.mark.parametrize(("base", "new"), [([], []), ([1.0], [1.0, 2.0])])
def test_values_that_are_not_paired_are_refused(base, new):
    with pytest.raises(ValueError, match="cannot be paired"):
        paired_difference(np.asarray(base), np.asarray(new))
