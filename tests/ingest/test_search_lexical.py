import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ArtifactError
from ingest.records import Chunk
from ingest.search.lexical import ARRAYS, MOST_TERMS, Lexical, best, indexed_text
from ingest.search.postings import K1, B
from ingest.search.terms import analyser

TEXTS = [
    "Vacuuming > The vacuum daemon removes dead rows and frees their space.",
    "Indexes > A B-tree index finds rows by their key. An index costs space.",
    "Backup > Use pg_dump to write a database to a file, and pg_restore to read it.",
    "Statistics > The view pg_stat_activity shows what each server process does.",
    "The quick brown fox.",
    "",
]


@pytest.fixture(scope="module")
def lexical() -> Lexical:
    return Lexical.build(TEXTS)


def by_hand(texts: list[str], query: str) -> list[float]:
    """BM25 as the formula stands."""
    one = analyser("en")
    cut = [[term for term in one.terms(text) if term not in one.stop_words] for text in texts]
    mean = sum(map(len, cut)) / len(cut)
    scores = []
    for words in cut:
        counts, total = Counter(words), 0.0
        for term in (term for term in one.terms(query) if term not in one.stop_words):
            holding = sum(term in other for other in cut)
            idf = math.log(1 + (len(cut) - holding + 0.5) / (holding + 0.5))
            total += idf * counts[term] / (counts[term] + K1 * (1 - B + B * len(words) / mean))
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", ["index space", "rows rows index", "how does the vacuum free space?", "nothing here"])
def test_scores_are_those_of_the_formula(lexical: Lexical, query: str) -> None:
    asked = lexical.query(query)
    assert lexical.scores(asked) == pytest.approx(by_hand(TEXTS, query), abs=1e-5)
    rows = np.array([4, 1, 0, 5])
    assert lexical.scores_of(asked, rows) == pytest.approx(lexical.scores(asked)[rows], abs=1e-5)


@pytest.mark.parametrize(
    ("query", "row"),
    [
        ("pg_stat_activity", 3),
        ("stat activity", 3),
        ("pgStatActivity", 3),
        ("PG_DUMP", 2),
        ("b-tree", 1),
        ("vacuum", 0),
    ],
)
def test_the_passage_that_holds_the_words_comes_first(lexical: Lexical, query: str, row: int) -> None:
    found = lexical.search(query, 3)
    assert found.rows[0] == row
    assert list(found.scores) == sorted(found.scores, reverse=True)


def test_only_passages_that_share_a_word_and_that_the_mask_allows_are_found(lexical: Lexical) -> None:
    assert set(lexical.search("rows", 10).rows) == {0, 1}
    mask = np.array([False, True, True, True, True, True])
    assert list(lexical.search("rows", 10, mask).rows) == [1]
    assert not len(lexical.search("rows", 10, np.zeros(6, np.bool_)).rows)
    assert len(lexical.search("rows", 1).rows) == 1


def test_stop_words_count_only_where_there_is_nothing_else(lexical: Lexical) -> None:
    assert set(lexical.weights("what does the index do?")) == {"index"}
    assert set(lexical.weights("the")) == {"the"}
    assert 4 in lexical.search("the", 10).rows
    assert not len(lexical.search("?!", 10).rows)


def test_weights_are_larger_for_rarer_words_and_largest_for_unknown_ones(lexical: Lexical) -> None:
    weights = lexical.weights("rows fox unheard")
    assert weights["row"] < weights["fox"] < weights["unheard"]
    assert lexical.idf("fox") == pytest.approx(weights["fox"])


def test_what_is_saved_is_what_is_loaded(lexical: Lexical, tmp_path: Path) -> None:
    lexical.save(tmp_path)
    again = Lexical.load(tmp_path)
    assert len(again) == len(TEXTS)
    for query in ("index space", "pg_stat_activity", "the"):
        assert list(again.search(query, 9).rows) == list(lexical.search(query, 9).rows)
        assert list(again.search(query, 9).scores) == list(lexical.search(query, 9).scores)


@pytest.mark.parametrize("name", ["lexical.json", "terms.txt", *(f"{array}.npy" for array in ARRAYS)])
@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_damaged_files_are_refused(lexical: Lexical, tmp_path: Path, name: str, damage: str) -> None:
    lexical.save(tmp_path)
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[-2] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match="wellread index"):
        Lexical.load(tmp_path)


def test_an_index_of_another_version_is_refused(lexical: Lexical, tmp_path: Path) -> None:
    lexical.save(tmp_path)
    meta = json.loads((tmp_path / "lexical.json").read_text())
    (tmp_path / "lexical.json").write_text(json.dumps(meta | {"version": 99}))
    with pytest.raises(ArtifactError, match="another version"):
        Lexical.load(tmp_path)


def test_a_save_that_was_cut_off_leaves_nothing_that_can_be_loaded(lexical: Lexical, tmp_path: Path) -> None:
    lexical.save(tmp_path)
    (tmp_path / "rows.npy").unlink()
    (tmp_path / "rows.npy").mkdir()
    with pytest.raises(OSError):
        lexical.save(tmp_path)
    with pytest.raises(ArtifactError):
        Lexical.load(tmp_path)


@pytest.mark.parametrize("texts", [[], [""], ["", ""], ["one passage"], ["equal words"] * 5])
def test_small_and_empty_indexes_answer(texts: list[str], tmp_path: Path) -> None:
    Lexical.build(texts).save(tmp_path)
    loaded = Lexical.load(tmp_path)
    found = loaded.search("equal passage", 3)
    assert len(loaded) == len(texts)
    assert list(found.rows) == list(range(min(3, sum(bool(text) for text in texts))))


def test_passages_of_several_languages_are_cut_in_their_own() -> None:
    texts = ["The servers were running.", "Die Verbindungen wurden getrennt.", "Die Verbindung wird geprüft."]
    lexical = Lexical.build(texts, ["en", "de", "de"])
    assert lexical.languages == ["de", "en"]
    assert set(lexical.search("Verbindung", 3).rows) == {1, 2}
    assert list(lexical.search("run server", 3).rows) == [0]


def test_every_passage_needs_a_language_if_any_has_one() -> None:
    with pytest.raises(ValueError):
        Lexical.build(["one", "two"], ["en"])


def passage(title: str, *headings: str, text: str = "Some text.", language: str = "en") -> Chunk:
    return Chunk("0", "d", "u", title, headings, text, 0, len(text), language)


def test_titles_and_headings_count_twice() -> None:
    passages = [passage("Backup", "Restore"), passage("Locks", text="Backup, restore, restore. Some more text.")]
    lexical = Lexical.of(passages)
    assert list(lexical.search("backup", 2).rows) == [0, 1]
    texts = Lexical.build(map(indexed_text, passages))
    assert lexical.search("restore text", 2).scores == pytest.approx(texts.search("restore text", 2).scores)


def likeness(lexical: Lexical, query: str) -> list[float]:
    return list(map(float, lexical.likeness(lexical.query(query), np.arange(len(lexical)))))


def test_a_question_is_like_the_headings_that_say_the_same() -> None:
    lexical = Lexical.of(
        [
            passage("Backup"),
            passage("Backup", "Restoring the dump"),
            passage("Locks", "Backup"),
            passage("", text="Backup"),
            passage("The", "How"),
        ]
    )
    alone, path, heading, none, stop = likeness(lexical, "the backup?")
    assert alone == pytest.approx(1)
    assert 1 > path > heading > none == stop == 0
    assert likeness(lexical, "unheard") == [0] * 5


def test_a_long_question_is_like_no_heading() -> None:
    lexical = Lexical.of([passage("Backup", text="long question of many words that the text holds each and every one")])
    assert likeness(lexical, "backup")[0] == pytest.approx(1)
    assert likeness(lexical, "backup: a long question of many words that a text holds")[0] < 0.4


def test_likeness_weighs_rare_words_more(tmp_path: Path) -> None:
    passages = [*(passage("Server", f"Part {n}") for n in range(9)), passage("Vacuum", "Server")]
    Lexical.of(passages).save(tmp_path)
    lexical = Lexical.load(tmp_path)
    by_title = likeness(lexical, "vacuum server")
    assert by_title[9] > by_title[0] > 0
    vacuum, server = lexical.idf("vacuum"), lexical.idf("server")
    assert by_title[9] == pytest.approx((1 + 2 * vacuum / (2 * vacuum + server)) / 2)
    assert by_title == pytest.approx(likeness(Lexical.of(passages), "vacuum server"))


def test_texts_without_headings_are_like_nothing(lexical: Lexical) -> None:
    assert likeness(lexical, "vacuum daemon") == [0] * len(TEXTS)


def test_headings_are_cut_in_the_language_of_their_passage() -> None:
    lexical = Lexical.of([passage("Verbindungen", language="de"), passage("Connections"), passage("Locks")])
    assert likeness(lexical, "Verbindung") == pytest.approx([1, 0, 0])
    assert likeness(lexical, "connection") == pytest.approx([0, 1, 0])
    assert Lexical.of([]).languages == ["en"]


def test_a_long_query_is_cut_to_the_words_that_tell_most(lexical: Lexical) -> None:
    many = Lexical.build([f"term{number} common" for number in range(300)])
    asked = many.query(" ".join(f"term{number}" for number in range(300)) + " term7" * 5 + " common" * 2)
    assert len(asked) == MOST_TERMS
    assert many.search("term7 " * 15_000 + "term8", 2).rows[0] == 7


def test_the_best_are_those_of_a_full_sort() -> None:
    rng = np.random.default_rng(3)
    for size, k in [(10, 3), (5000, 100), (50_000, 100), (50_000, 60_000), (1, 1), (0, 5)]:
        scores = np.maximum(rng.normal(size=size), 0).round(1).astype(np.float32)
        wanted = np.argsort(-scores, kind="stable")[:k]
        found = best(scores, k)
        assert list(found.rows) == [row for row in wanted if scores[row] > 0]
    assert not len(best(np.ones(5, np.float32), 0).rows)
