"""Overlap with evaluation sets: 13 words in a row, whole short texts, and nothing else."""

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.errors import SourceError
from ingest.decontaminate import SHORTEST, WORDS, EvaluationGrams, Hit, find_contaminated

LONG = [f"word{number}" for number in range(40)]


def overlap(text, *evaluation, n=WORDS):
    return EvaluationGrams.from_texts({"exam": evaluation}, n=n).overlaps(text)


def test_thirteen_words_in_a_row_are_a_hit_and_twelve_are_none():
    assert overlap(f"before {' '.join(LONG[5:18])} after", " ".join(LONG)) == Hit("exam", " ".join(LONG[5:18]))
    assert overlap(f"before {' '.join(LONG[5:17])} after", " ".join(LONG)) is None


def test_case_punctuation_and_width_do_not_hide_an_overlap():
    shown = ", ".join(word.upper() for word in LONG[:13]).replace("0", "\uff10")
    assert overlap(f'He said: "{shown}!"', " ".join(LONG)) == Hit("exam", " ".join(LONG[:13]))


def test_a_gram_does_not_run_from_one_evaluation_text_into_the_next():
    assert overlap(" ".join(LONG[:20]), " ".join(LONG[:10]) + " x y z", "q r s " + " ".join(LONG[10:20])) is None


def test_a_short_evaluation_text_counts_where_all_of_it_stands():
    question = "What does VACUUM FULL do in the database?"
    assert len(question.split()) == SHORTEST
    assert overlap(f"Asked often: {question} It rewrites the table.", question) == Hit(
        "exam", "what does vacuum full do in the database"
    )


def test_a_very_short_evaluation_text_counts_only_as_the_whole():
    assert overlap("Yes.", "yes") == Hit("exam", "yes")
    assert overlap("Yes, it does.", "yes") is None


def test_the_set_is_named_and_the_first_hit_of_an_id_kept():
    evaluation = {"a": [" ".join(LONG)], "b": ["one two three four five six seven eight nine"]}
    train = [
        ("clean", "nothing of it"),
        ("x", "one two three four five six seven eight nine"),
        ("x", " ".join(LONG)),
        ("y", " ".join(LONG[3:30])),
    ]
    assert find_contaminated(iter(train), evaluation) == {
        "x": Hit("b", "one two three four five six seven eight nine"),
        "y": Hit("a", " ".join(LONG[3:16])),
    }


def test_nothing_to_compare_with_is_no_hit():
    assert find_contaminated([("x", "a b c")], {}) == {}
    assert find_contaminated([("x", ""), ("y", "...")], {"empty": ["", "!"]}) == {}


def test_grams_of_a_few_words_are_refused():
    with pytest.raises(ValueError, match="n is 3"):
        find_contaminated([], {}, n=3)


FEW = st.sampled_from("pump valve seal".split())


@given(st.lists(st.lists(FEW, max_size=30), max_size=4), st.lists(FEW, max_size=30), st.sampled_from([8, 9, 13]))
def test_it_agrees_with_the_definition(evaluation, text, n):
    def stands_in(part, whole):
        return any(whole[at : at + len(part)] == part for at in range(len(whole) - len(part) + 1))

    expected = any(
        (entry and entry == text)
        or any(stands_in(entry[at : at + n], text) for at in range(len(entry) - n + 1))
        or (SHORTEST <= len(entry) < n and stands_in(entry, text))
        for entry in evaluation
    )
    hit = overlap(" ".join(text), *map(" ".join, evaluation), n=n)
    assert (hit is not None) == expected
    assert hit is None or hit.gram in " ".join(text)


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "parquet"])
def test_evaluation_files_are_read_with_their_text_columns(tmp_path, kind):
    rows = [
        {"id": " ".join(LONG), "question": "Which one of all the pumps leaks most often?", "answers": ["the left one"]}
    ]
    path = tmp_path / f"exam.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        data = "".join(json.dumps(row) + "\n\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if kind.endswith("gz") else data)
    grams = EvaluationGrams.load([path])
    assert grams.overlaps("Which one of all the pumps leaks most often?") == Hit(
        path.name, "which one of all the pumps leaks most often"
    )
    assert grams.overlaps("The left one!") == Hit(path.name, "the left one")
    assert grams.overlaps(" ".join(LONG)) is None


def test_of_a_conversation_what_is_said_counts(tmp_path):
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"messages": [{"role": "user", "content": "Which pump leaks"}]}))
    grams = EvaluationGrams.load([path])
    assert grams.overlaps("which pump leaks") and not grams.overlaps("user")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b'{"title": "x"}\n', "none of the columns question"),
        ("a.jsonl", b"", "none of the columns"),
        ("a.jsonl", b"{", "cannot read evaluation set"),
        ("a.jsonl", b"\xff\xfe", "cannot read evaluation set"),
        ("a.jsonl", b"[1]\n", "line 1"),
        ("a.jsonl.gz", b"no gzip", "cannot read evaluation set"),
        ("a.parquet", b"no table", "cannot read evaluation set"),
    ],
)
def test_a_file_that_is_no_evaluation_set_is_named(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(SourceError, match=message):
        EvaluationGrams.load([tmp_path / name])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"absent\.jsonl"):
        EvaluationGrams.load([tmp_path / "absent.jsonl"])
