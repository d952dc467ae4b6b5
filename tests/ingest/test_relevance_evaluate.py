"""A search is measured by documents or by passages, with the rankings that it is made of, and two are compared."""

import json

import pytest

from configs.errors import ConfigError, GateRefused
from ingest.records import Chunk, stable_id
from ingest.relevance.evaluate import Timed, documents, evaluate, passages_as_documents, search_all
from ingest.relevance.gate import compare, refuse_drop
from ingest.relevance.known_items import Item, heading_items
from ingest.relevance.report import Miss, misses_of
from tests.ingest.samples import WordHashEmbedder
from tests.ingest.small_index import SmallIndex

TOPICS = {
    "disk": "vacuum reclaims storage that dead rows take",
    "speed": "indexes speed up searching in large tables",
    "safety": "backups copy the database every night",
    "people": "roles own objects and grant rights",
}
QUERIES = {"q1": "what reclaims storage", "q2": "copy the database", "q3": "who may grant rights"}
QRELS = {"q1": {"disk": 2, "speed": 1}, "q2": {"safety": 1}, "q3": {"people": 1, "nowhere": 1}}


def passage(url, text, heading):
    return Chunk(stable_id(url, text), url, url, "Manual", (heading,), text, 0, len(text))


def chunks(topics=TOPICS):
    """Two passages a document."""
    return [
        passage(name, part, f"All about {name}")
        for name, text in topics.items()
        for part in (text, f"More of {text.split()[0]}")
    ]


def url_of(chunk):
    return chunk.url


@pytest.fixture
def index(tmp_path):
    return SmallIndex(tmp_path / "index", chunks())


def test_a_document_stands_where_its_best_passage_stands():
    a1, b, a2 = passage("a", "1", ""), passage("b", "2", ""), passage("a", "3", "")
    assert documents([a1, b, a2], url_of) == ["a", "b"]
    assert passages_as_documents([a1, b, a2], url_of) == ["a", "b", a2.id]
    assert passages_as_documents([a1, a2, b], url_of) == ["a", a2.id, "b"]


def test_a_search_is_measured_with_the_rankings_that_it_is_made_of(index):
    report = evaluate(index, QUERIES, QRELS, url_of, passages=index.passages, metrics=["hit@1", "recall@10"])
    assert list(report.scores) == ["hits", "dense", "lexical"]
    assert report.scores["hits"].means["hit@1"] == 1
    # All four documents are found at some rank, and one of the four relevant ones of q3 and q1 does not exist.
    assert report.scores["dense"].per_query()["q3"]["recall@10"] == 0.5
    assert report.runs["hits"]["q2"][0] == "safety"
    assert all(len(set(found)) == len(found) for run in report.runs.values() for found in run.values())
    assert json.loads(json.dumps(report.as_json()))["metrics"]["hits"]["hit@1"] == 1


def test_without_passages_only_the_hits_are_measured(index):
    report = evaluate(index, QUERIES, QRELS, url_of)
    assert list(report.scores) == ["hits"]
    assert set(report.latency) == {"p50_ms", "p99_ms"}


def test_the_time_of_embedding_is_told_apart(tmp_path):
    embedder = Timed(WordHashEmbedder())
    index = SmallIndex(tmp_path, chunks(), embedder=embedder)
    indexing = embedder.seconds
    assert embedder.name == "word-hash"
    searched = search_all(index, QUERIES, 5, embedder=embedder)
    assert searched.embedding.sum() == pytest.approx(embedder.seconds - indexing)
    assert (searched.seconds > searched.embedding).all()
    latency = searched.latency()
    assert latency["p50_ms"] > latency["p50_ms_without_embedding"] > 0


def test_progress_is_told(index):
    told = []
    search_all(index, QUERIES, 5, progress=lambda *now: told.append(now))
    assert told == [("searching", number, 3) for number in (1, 2, 3)]


def test_nothing_to_search_is_no_error(index):
    report = evaluate(index, {}, {}, url_of, passages=index.passages)
    assert (report.latency, report.scores["hits"].means["ndcg@10"]) == ({}, 0.0)


def test_an_unknown_metric_is_refused(index):
    with pytest.raises(ConfigError, match="'f1@3'"):
        evaluate(index, QUERIES, QRELS, url_of, metrics=["f1@3"])


def test_an_index_that_finds_the_same_may_take_the_place(index):
    items = heading_items(index.passages, 100)
    found = compare(index, index, items)
    assert (found.items, found.new, found.old, found.drop) == (4, 1.0, 1.0, 0.0)
    assert (found.lost, found.gained) == ((), ())
    refuse_drop(found, 0.0)


def test_an_index_that_lost_pages_is_refused_with_figures_and_questions(index, tmp_path):
    worse = SmallIndex(tmp_path / "worse", chunks(), forget={"disk", "people"})
    found = compare(worse, index, heading_items(index.passages, 100))
    assert (found.new, found.old) == (0.5, 1.0)
    assert {item.url for item in found.lost} == {"disk", "people"}
    refuse_drop(found, 0.5)
    with pytest.raises(GateRefused) as caught:
        refuse_drop(found, 0.49)
    said = str(caught.value)
    assert caught.value.exit_code == 3
    for part in ("50.0% of 4 known pages", "100.0%", "49.0%", "“All about disk” (disk)", "(people)", "--force"):
        assert part in said
    assert "\n" not in said
    back = compare(index, worse, heading_items(index.passages, 100))
    assert {item.url for item in back.gained} == {"disk", "people"}
    refuse_drop(back, 0.0)
    assert json.loads(json.dumps(back.as_json()))["gained"][0]["kind"] == "heading"


def test_pages_that_only_one_index_holds_do_not_count(index, tmp_path):
    topics = {name: text for name, text in TOPICS.items() if name != "disk"}
    smaller = SmallIndex(tmp_path / "smaller", chunks(topics))
    found = compare(smaller, index, heading_items(index.passages, 100))
    assert (found.items, found.skipped, found.new) == (3, 1, 1.0)


def test_indexes_with_nothing_in_common_are_not_refused(index, tmp_path):
    other = SmallIndex(tmp_path / "other", [passage("new", "Something else entirely.", "Other matters")])
    found = compare(other, index, heading_items(index.passages, 100))
    assert (found.items, found.skipped) == (0, 4)
    assert found.figures() == {"recall_at_5": 1.0, "recall_at_5_before": 1.0}
    refuse_drop(found, 0.0)


def test_the_worst_misses_come_first():
    items = [
        Item(name, f"{name}?", url, "heading") for name, url in (("i1", "a"), ("i2", "b"), ("i3", "c"), ("i4", "d"))
    ]
    run = {"i1": ["a", "b"], "i2": ["a", "b"], "i3": [], "i4": ["x", "y", "d"]}
    assert misses_of(iter(items), run) == [Miss(items[2], None, ""), Miss(items[3], 3, "x"), Miss(items[1], 2, "a")]
