import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.examples import ABSTENTION
from ingest.search.base import Hit
from serve import citations
from tests.serve.conftest import DOCUMENTS, passage

HITS = [Hit(chunk, 0.9 - place / 10) for place, chunk in enumerate(DOCUMENTS)]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It does. [1]", "It does. [1]"),
        ("It does [2]. So [9].", "It does [2]. So."),
        ("Both [1, 3, 7] and [2][8].", "Both [1][3] and [2]."),
        ("list[5] and [0]", "list[5] and"),
        ("[12] first", " first"),
        ("[]", "[]"),
        ("[abc](link)", "[abc](link)"),
    ],
)
def test_only_markers_of_shown_passages_stay(text, kept):
    assert citations.verified(text, "", HITS) == kept


@given(st.text(alphabet="ab []0123,;. \n"), st.text(alphabet="ab. [1]\n"), st.integers(0, 3))
def test_kept_markers_always_exist(text, before, count):
    kept = citations.verified(text, before, HITS[:count])
    assert all(1 <= number <= count for number in citations.cited_numbers(kept))


@pytest.mark.parametrize(
    ("before", "text", "kept"),
    [
        ("", "A script file is written by pg_dump. [1]", "A script file is written by pg_dump. [3]"),
        ("A script file is written by pg_dump.", " [1]", " [3]"),
        ("A script file is written by pg_dump. [3] VACUUM FULL rewrites the whole table.", " [3]", " [1]"),
        # Two markers of one sentence may turn out to mean the same passage.
        ("A script file is written by pg_dump.", " [1][3]", " [3][3]"),
        # No passage says it: the model's own number stays.
        ("Elephants are grey and live long.", " [2]", " [2]"),
        ("", "[2]", "[2]"),
    ],
)
def test_a_number_is_corrected_where_another_passage_clearly_is_the_source(before, text, kept):
    assert citations.verified(text, before, HITS) == kept


def test_the_quote_is_the_supporting_sentence_with_offsets_into_the_document():
    [citation] = citations.cite("VACUUM FULL rewrites the whole table. [1]", HITS, [1])
    assert citation.quote == "VACUUM FULL rewrites the whole table into a new file on disk."
    chunk = HITS[0].chunk
    assert chunk.text[citation.start - chunk.start : citation.end - chunk.start] == citation.quote
    assert (citation.url, citation.number) == (chunk.url, 1)


def test_each_citation_quotes_what_its_own_sentence_says():
    answer = "Indexes are created with CREATE INDEX. [2] A script file is written by pg_dump. [3]"
    second, third = citations.cite(answer, HITS, [2, 3])
    assert "CREATE INDEX" in second.quote
    assert "pg_dump" in third.quote


def test_the_best_supporting_passage_is_found():
    assert citations.best_supporting("A backup is made with pg_dump.", HITS) == 3


@pytest.mark.parametrize("answer", ["", "Bananas grow on tropical farms.", "the of and"])
def test_unsupported_text_is_not_attributed(answer):
    assert citations.best_supporting(answer, HITS) is None
    assert citations.best_supporting(answer, []) is None


@pytest.mark.parametrize(
    "answer",
    [
        ABSTENTION,
        f"{ABSTENTION} [1]",
        ABSTENTION.lower().rstrip("."),
        f"Sorry. {ABSTENTION}",
        "The document does not answer this question. [1]",
        "The passages don't hold the answer",
    ],
)
def test_abstentions_are_recognised(answer):
    assert citations.is_abstention(answer)


def test_an_answer_is_no_abstention():
    assert not citations.is_abstention("The documents answer this. [1]")


@given(st.text(), st.text(min_size=1))
def test_quotes_lie_in_their_passage_whatever_the_text(answer, text):
    chunk = passage("page", "Heading", text, start=7)
    [citation] = citations.cite(answer, [Hit(chunk, 0.5)], [1])
    assert text[citation.start - 7 : citation.end - 7] == citation.quote
