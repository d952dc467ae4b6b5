"""Examples: grounded answers with the right citation, honest abstentions, and no document in both halves."""

import pytest

from configs.errors import ArtifactError
from ingest.chunk import chunk_document
from ingest.examples import ABSTENTION, make_examples, opening_sentences, sentences
from ingest.index import Index, build_index
from tests.ingest.samples import WordHashEmbedder, document

TOPICS = "vacuum analyze reindex cluster backup restore replicate monitor upgrade configure verify encrypt".split()


def corpus(topics=TOPICS):
    chunks = []
    for topic in topics:
        doc = document(
            f"https://x.org/{topic}",
            topic.upper(),
            (1, topic.upper(), f"The {topic} command does the {topic} work on a table of the database. It is safe."),
            (2, "Description", f"{topic.title()} reads every row of the table, and {topic} then writes what changed."),
            (2, f"When to {topic}", f"You {topic} a table when it has grown large and its queries have become slow."),
        )
        chunks += chunk_document(doc, lambda text: len(text.split()), max_tokens=64, min_tokens=2)
    return chunks


@pytest.fixture(scope="module")
def chunks():
    return corpus()


@pytest.fixture(scope="module")
def index(chunks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index")
    build_index(chunks, WordHashEmbedder(), folder)
    return Index.load(folder, WordHashEmbedder())


SETTINGS = {"max_examples": 100, "passages": 3, "unanswerable_share": 0.25, "holdout_share": 0.25, "seed": 1}


@pytest.fixture(scope="module")
def examples(chunks, index):
    return make_examples(chunks, index, **SETTINGS)


def test_answers_quote_the_passage_that_they_cite(examples):
    for example in (example for example in examples if example.answerable):
        text, _, marker = example.answer.rpartition(" ")
        cited = example.passages[int(marker.strip("[]")) - 1]
        assert cited.doc_id == example.doc_id
        assert text in " ".join(cited.text.split())


def test_the_right_passage_stands_in_every_place(examples):
    places = {example.answer.rpartition(" ")[2] for example in examples if example.answerable}
    assert places == {"[1]", "[2]", "[3]"}


def test_abstentions_show_no_passage_of_the_document_asked_about(examples):
    unanswerable = [example for example in examples if not example.answerable]
    assert 0.1 < len(unanswerable) / len(examples) < 0.45
    for example in unanswerable:
        assert example.answer == ABSTENTION
        assert example.doc_id not in {chunk.doc_id for chunk in example.passages}


def test_no_document_and_no_passage_is_in_both_halves(examples):
    halves = {"train": set(), "holdout": set()}
    for example in examples:
        halves[example.split] |= {example.doc_id, *(chunk.doc_id for chunk in example.passages)}
    assert halves["train"] and halves["holdout"]
    assert halves["train"] & halves["holdout"] == set()
    assert len(halves["holdout"]) == round(len(TOPICS) * 0.25)


def test_a_generic_heading_is_asked_by_the_title(examples):
    assert not any("Description" in example.question for example in examples)
    assert any("VACUUM" in example.question for example in examples)


def test_the_same_seed_gives_the_same_examples_and_another_one_others(chunks, index, examples):
    assert make_examples(chunks, index, **SETTINGS) == examples
    assert make_examples(chunks, index, **{**SETTINGS, "seed": 2}) != examples
    assert len({example.id for example in examples}) == len(examples)


def test_the_limit_is_kept(chunks, index):
    assert len(make_examples(chunks, index, **{**SETTINGS, "max_examples": 7})) == 7


def test_a_single_document_is_split_by_section(index):
    lone = corpus(["vacuum"])
    halves = {e.split for e in make_examples(lone, index, **{**SETTINGS, "unanswerable_share": 0.0})}
    assert halves == {"train", "holdout"}


def test_passages_without_prose_are_refused_clearly(index):
    table = document("u", "T", (1, "Values", "| a | b |\n| 1 | 2 |"))
    with pytest.raises(ArtifactError, match="none of the 1 passages"):
        make_examples(
            list(chunk_document(table, lambda t: len(t.split()), max_tokens=64, min_tokens=2)), index, **SETTINGS
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two three four five six seven.", "One two three four five six seven."),
        ("Too short.", ""),
        ("| a | b | c | d | e | f |", ""),
        ("- item one of a list that goes on.", ""),
        ("No full stop at the end of these words", ""),
        ("A line that\nbreaks, as in source files. Second.\n\nB.", "A line that breaks, as in source files. Second."),
    ],
)
def test_only_prose_opens_an_answer(text, expected):
    assert opening_sentences(text) == expected


def test_abbreviations_do_not_end_sentences():
    assert sentences("Use e.g. VACUUM here. Then stop.") == ["Use e.g. VACUUM here.", "Then stop."]
