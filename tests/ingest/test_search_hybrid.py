from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ingest.passages import Passages, embedding_text, write_passages
from ingest.records import Chunk, stable_id
from ingest.search.collapse import groups
from ingest.search.hybrid import Ranker, Searcher
from ingest.search.lexical import Lexical
from ingest.search.terms import analyser
from ingest.vectors.base import Vectors
from ingest.vectors.faiss_index import FaissIndex

TEXTS = [
    "The vacuum daemon removes dead rows and gives their space back.",
    "An index finds rows by their key, and costs space on disk.",
    "Use pg_dump to write a database to a file, and pg_restore to read it back.",
    "The view pg_stat_activity shows what each server process does.",
    "A lock keeps two transactions from changing one row at once.",
    "Rows that a transaction deleted stay on disk until vacuum removes them.",
    "Streaming replication copies changes to a standby server.",
    "Each connection is served by a process of its own.",
]
DIMENSIONS = 64


def encode(texts: Sequence[str]) -> Vectors:
    """Words thrown into a few dimensions: texts that share words are near, whatever their order."""
    vectors = np.full((len(texts), DIMENSIONS), 0.01, np.float32)
    for vector, text in zip(vectors, texts, strict=True):
        for term in analyser("en").terms(text):
            vector[int(stable_id(term), 16) % DIMENSIONS] += 1
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


Make = Callable[..., Searcher]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    def made(texts: Sequence[str] = TEXTS, ranker: Ranker | None = None, **more: object) -> Searcher:
        chunks = [
            Chunk(stable_id(str(n)), str(n), f"u/{n}", "", (), text, 0, len(text)) for n, text in enumerate(texts)
        ]
        write_passages(tmp_path, chunks)
        passages = Passages.load(tmp_path)
        vectors = FaissIndex.create(DIMENSIONS, "exact")
        embedded = [embedding_text(chunk) for chunk in passages]
        vectors.add(passages.numbers, encode(embedded))
        encoder = more.pop("encode", encode)
        return Searcher(passages, vectors, Lexical.build(embedded), encoder, ranker, **more)  # type: ignore[arg-type]

    yield made


RANKERS = [
    Ranker(),
    Ranker(mode="dense"),
    Ranker(mode="lexical"),
    Ranker(fusion="rrf"),
    Ranker(feedback=0, smoothing=0),
]


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize(
    ("query", "row"), [("pg_stat_activity", 3), ("vacuum daemon space", 0), ("standby servers", 6)]
)
def test_the_passage_that_answers_comes_first(make: Make, ranker: Ranker, query: str, row: int) -> None:
    found = make(ranker=ranker).search(query, 3)
    assert found.rows[0] == row
    assert found.hits[0].chunk.text == TEXTS[row]
    assert [hit.rank_score for hit in found.hits] == sorted((hit.rank_score for hit in found.hits), reverse=True)
    assert len(set(found.rows)) == len(found.rows) <= 3


@pytest.mark.parametrize("ranker", RANKERS)
def test_scores_are_cosines_to_the_question_whichever_search_has_found_it(make: Make, ranker: Ranker) -> None:
    found = make(ranker=ranker).search("dead rows on disk", 20)
    cosines = encode(["dead rows on disk"]) @ encode([embedding_text(hit.chunk) for hit in found.hits]).T
    assert [hit.score for hit in found.hits] == pytest.approx(cosines[0].tolist(), abs=1e-5)


def test_the_rankings_that_were_fused_are_told(make: Make) -> None:
    found = make().search("vacuum", 2)
    assert set(found.lexical.rows) == {0, 5}
    assert len(found.dense.rows) == len(TEXTS)
    assert len(make(ranker=Ranker(mode="dense")).search("vacuum", 2).lexical.rows) == 0
    assert len(make(ranker=Ranker(mode="lexical")).search("vacuum", 2).dense.rows) == 0


def test_words_alone_and_meaning_alone_are_both_found(make: Make) -> None:
    def blind(texts: Sequence[str]) -> Vectors:
        return np.tile(encode([TEXTS[7]]), (len(texts), 1))

    found = make(encode=blind, ranker=Ranker(candidates=2)).search("pg_restore", 4)
    assert {2, 7} <= set(found.rows)


def test_only_allowed_passages_are_found(make: Make) -> None:
    allowed = np.zeros(len(TEXTS), np.bool_)
    allowed[[1, 5]] = True
    for ranker in RANKERS:
        searcher = make(ranker=ranker)
        assert set(searcher.search("vacuum rows", 5, allowed).rows) <= {1, 5}
        assert searcher.search("vacuum rows", 5, allowed).rows
        assert searcher.search("vacuum rows", 5, ~allowed & allowed).rows == ()


def test_questions_at_once_answer_as_one_by_one_and_are_embedded_at_once(make: Make) -> None:
    calls: list[list[str]] = []

    def counted(texts: Sequence[str]) -> Vectors:
        calls.append(list(texts))
        return encode(texts)

    searcher = make(encode=counted)
    queries = ["vacuum", "", "standby server", "vacuum", "?!"]
    many = searcher.search_many(queries, 3)
    assert calls == [["vacuum", "standby server"]]
    assert [found.query for found in many] == queries
    assert [found.rows for found in many] == [searcher.search(query, 3).rows for query in queries]
    assert searcher.search_many([], 3) == []


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize("query", ["", "   ", "?!...", "\x00\n"])
def test_a_question_without_words_finds_nothing(make: Make, ranker: Ranker, query: str) -> None:
    found = make(ranker=ranker).search(query, 3)
    assert found.query == query and found.hits == () and found.rows == ()


@pytest.mark.parametrize("ranker", RANKERS)
def test_unusual_questions_are_answered(make: Make, ranker: Ranker) -> None:
    searcher = make(ranker=ranker)
    assert searcher.search("vacuum " * 15_000, 1).rows[0] in (0, 5)
    assert len(searcher.search("数据库连接 unheard", 3).rows) <= 3
    assert searcher.search("the", 3) is not None
    assert searcher.search("vacuum", 0).rows == ()


@pytest.mark.parametrize("ranker", RANKERS)
@pytest.mark.parametrize("texts", [[], ["one"], ["one passage"] * 12, ["", "one", ""]])
def test_small_empty_and_uniform_collections_are_searched(make: Make, ranker: Ranker, texts: list[str]) -> None:
    found = make(texts, ranker).search("one", 50)
    assert len(found.rows) <= len(texts)
    assert {0, 1} & set(found.rows) or not texts
    assert all(np.isfinite([hit.score, hit.rank_score]).all() for hit in found.hits)


def test_more_than_there_are_candidates_can_be_asked_for(make: Make) -> None:
    texts = [f"passage number{n} about vacuum" for n in range(40)]
    found = make(texts, Ranker(candidates=10)).search("vacuum", 30)
    assert len(found.rows) == 30


def test_repeats_are_left_out_and_counted(make: Make) -> None:
    long = " ".join(f"vacuum word{n}" for n in range(30))
    texts = [*TEXTS, *[long] * 15, *[f"{long} more"] * 5]
    found = make(texts, collapse=partial(groups, threshold=0.9)).search("vacuum word3 word4 word5", 4)
    assert len(found.hits) == 4
    assert sum(row >= len(TEXTS) for row in found.rows) == 1
    assert found.hits[0].repeats == 19
    assert sum(hit.repeats for hit in found.hits[1:]) == 0


def test_the_first_passages_are_read_again(make: Make) -> None:
    read: list[tuple[str, int]] = []

    def longest_first(query: str, texts: Sequence[str]) -> np.ndarray:
        read.append((query, len(texts)))
        return np.array([len(text) for text in texts], np.float32)

    searcher = make(rerank=longest_first, reranked=4)
    plain = make().search("vacuum rows", 6)
    found = searcher.search("vacuum rows", 6)
    assert read == [("vacuum rows", 4)]
    assert set(found.rows[:4]) == set(plain.rows[:4])
    assert found.rows[4:] == plain.rows[4:]
    lengths = [len(hit.chunk.text) for hit in found.hits[:4]]
    assert lengths == sorted(lengths, reverse=True)
    assert found.hits[0].rank_score == len(embedding_text(found.hits[0].chunk))
    assert found.hits[0].score <= 1
    assert searcher.search("vacuum rows", 1).rows == found.rows[:1]


@pytest.fixture
def pages(tmp_path: Path) -> Callable[..., Searcher]:
    def made(ranker: Ranker, *sections: tuple[str, str, str]) -> Searcher:
        chunks = [
            Chunk(stable_id(str(n)), title, f"u/{title}", title, (heading,), text, 0, len(text))
            for n, (title, heading, text) in enumerate(sections)
        ]
        write_passages(tmp_path, chunks)
        passages = Passages.load(tmp_path)
        vectors = FaissIndex.create(DIMENSIONS, "exact")
        vectors.add(passages.numbers, encode([embedding_text(chunk) for chunk in passages]))
        return Searcher(passages, vectors, Lexical.of(passages), encode, ranker)

    return made


def test_a_page_that_the_question_names_comes_before_those_that_speak_of_it(pages: Callable[..., Searcher]) -> None:
    told = "Vacuum settings: vacuum cost, vacuum delay, vacuum settings of a table."
    sections = [
        ("Tables", "Storage", told),
        ("Vacuum settings", "Overview", "What each of them does."),
        ("Locks", "", ""),
    ]
    for part in (Ranker(), Ranker(feedback=0, smoothing=0)):
        assert pages(part, *sections).search("vacuum settings", 3).rows[0] == 1
    plain = pages(Ranker(headings=0), *sections).search("vacuum settings", 3)
    named = pages(Ranker(), *sections).search("vacuum settings", 3)
    gains = {row: hit.rank_score for row, hit in zip(named.rows, named.hits, strict=True)}
    assert gains[1] > {row: hit.rank_score for row, hit in zip(plain.rows, plain.hits, strict=True)}[1]


def test_one_document_does_not_take_all_the_first_places(pages: Callable[..., Searcher]) -> None:
    changes = [("Changes", f"Release {n}", f"The vacuum daemon is faster since release {n}.") for n in range(6)]
    sections = [*changes, ("Maintenance", "Routine", "The vacuum daemon frees space."), ("Locks", "", "Rows wait.")]
    crowded = pages(Ranker(spread=0), *sections).search("faster vacuum daemon", 4)
    assert set(crowded.rows) <= set(range(6))
    spread = pages(Ranker(), *sections).search("faster vacuum daemon", 4)
    assert spread.rows[0] == crowded.rows[0]
    assert 6 in spread.rows
    assert len(pages(Ranker(), *sections).search("faster vacuum daemon", 20).rows) == 8


def test_documents_are_numbered_across_the_whole_file(tmp_path: Path) -> None:
    chunks = [Chunk(stable_id(str(n)), f"d{n // 7 % 800}", "", "", (), f"text {n}", 0, 6) for n in range(9000)]
    write_passages(tmp_path, chunks)
    passages = Passages.load(tmp_path)
    assert passages.documents.tolist() == [n // 7 % 800 for n in range(9000)]
    assert list(passages) == chunks == [*passages[:5000], *passages[5000:]]


def test_vectors_of_passages_that_are_gone_are_passed_over(make: Make) -> None:
    searcher = make()
    gone = encode(["vacuum"])
    searcher._vectors.add(np.array([12345]), gone)
    assert all(0 <= row < len(TEXTS) for row in searcher.search("vacuum", 5).rows)
