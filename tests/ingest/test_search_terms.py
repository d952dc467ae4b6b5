from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.search.terms import STEMMERS, Analyser, analyser, fold


def terms(text: str, language: str = "en") -> list[str]:
    return analyser(language).terms(text)


def test_words_are_casefolded_and_cut_to_their_stem() -> None:
    assert terms("Indexes INDEXED indexing") == ["index"] * 3
    assert terms("bases de données", "fr") == terms("BASE de donnée", "fr")
    assert terms("running", "xx") == ["running"]
    assert terms("running", "") == ["run"]


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("pg_stat_activity", ["pg", "stat", "activ"]),
        ("--dry-run", ["dri", "run"]),
        ("CamelCase", ["camel", "case"]),
        ("HTTPServer", ["http", "server"]),
        ("v1.2.3", ["1", "2", "3", "1.2.3"]),
        ("TCP/IP", ["tcp", "ip"]),
        ("os.path.join", ["os", "path", "join"]),
        ("2024-01-05", ["2024", "01", "05"]),
    ],
)
def test_identifiers_are_found_whole_and_by_their_parts(identifier: str, parts: list[str]) -> None:
    found = terms(identifier)
    assert set(parts) < {*found, "whole"}
    assert len(found) == len(set(parts) | {found[-1]})
    assert all(found[-1] not in terms(part) for part in parts if part != found[-1])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pg_stat_activity", "PgStatActivity"),
        ("dry-run", "dryRun"),
        ("v1.2.3", "1.2.3"),
        ("e-mail", "email"),
        ("naïve Straße Ørsted", "naive STRASSE orsted"),
        ("the server\u2019s", "the server's"),
        ("\uff21\uff22\uff23 ﬁle", "abc file"),
    ],
)
def test_spellings_of_one_name_share_a_term(one: str, other: str) -> None:
    assert terms(one)[-1] == terms(other)[-1]


def test_names_of_languages_keep_their_signs() -> None:
    assert terms("C++ and C# or C") == ["c++", "and", "c#", "or", "c"]


def test_apostrophes_leave_the_word() -> None:
    assert terms("it's the server's") == ["it", "the", "server"]
    assert terms("l'école qu'elle", "fr") == terms("école elle", "fr")


def test_scripts_without_spaces_give_pairs_of_characters() -> None:
    assert terms("数据库 です") == ["数据", "据库", "です"]
    assert terms("黒") == ["黒"]
    assert terms("SQL数据库") == ["sql", "数据", "据库"]
    assert set(terms("ไทย")) < set(terms("ภาษาไทย"))


def test_marks_inside_words_do_not_split_them() -> None:
    assert terms("हिन्दी", "mr") == ["हिन्दी"]
    assert terms("שָׁלוֹם", "he") == [fold("שָׁלוֹם")]


@pytest.mark.parametrize("text", ["", "   ", "?!... --- ___ ''", "\n\t", "🙂"])
def test_text_without_words_has_no_terms(text: str) -> None:
    assert terms(text) == []


def test_every_stemmer_and_every_list_of_stop_words_is_there() -> None:
    for language in STEMMERS:
        assert analyser(language).terms("word")
    assert {"the", "how", "what"} <= analyser("en").stop_words
    assert "und" in analyser("de").stop_words
    assert analyser("el").stop_words == frozenset()


def test_very_long_words_and_texts_are_cut_not_refused() -> None:
    assert terms("a" * 100_000) == ["a" * 100]
    assert len(terms("wörd_x " * 15_000)) == 30_000
    assert max(map(len, terms("-".join(["part"] * 10_000)))) == 4


@given(st.text(max_size=200))
def test_terms_are_words_and_always_the_same(text: str) -> None:
    found = Analyser().terms(text)
    assert found == terms(text)
    assert all(found) and all(term == term.strip() and not term.isspace() for term in found)


def test_threads_agree() -> None:
    fresh = Analyser()
    texts = [f"running word{number} indexes connections" for number in range(500)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fresh.terms, texts * 4)) == [terms(text) for text in texts * 4]
