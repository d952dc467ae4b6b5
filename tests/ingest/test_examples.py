"""Examples: grounded answers with the right citation, honest abstentions, and no document in both halves."""

from collections import Counter

import pytest

from configs.errors import ArtifactError
from ingest.chunk import chunk_document
from ingest.examples import ABSTENTION, make_examples, numbered, opening_sentences, sentences
from ingest.examples.answers import content_words, holds
from ingest.examples.candidates import Candidate, choose
from ingest.examples.unanswerable import EVERYDAY, absent_questions
from ingest.index import Index
from ingest.indexing import build_index
from ingest.search.base import Hit, Retrieved
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


class AnyOrder:
    """Finds every passage for every question, in reading order: no embedding is needed to see how they are shown."""

    def __init__(self, chunks):
        self.hits = [Hit(chunk, 0.5) for chunk in chunks]

    def search_many(self, queries, k):
        return [Retrieved(query, tuple(self.hits[:k])) for query in queries]


SETTINGS = {"max_examples": 100, "passages": 3, "unanswerable_share": 0.25, "holdout_share": 0.25, "seed": 1}


@pytest.fixture(scope="module")
def examples(chunks, index):
    return make_examples(chunks, index, **SETTINGS)


def test_answers_quote_the_passage_that_they_cite(examples):
    for example in (example for example in examples if example.answerable):
        marker = example.answer.rpartition(" ")[2]
        text = example.answer.replace(f" {marker}", "")
        cited = example.passages[int(marker.strip("[]")) - 1]
        assert cited.doc_id == example.doc_id
        assert text in " ".join(cited.text.split())


def test_the_right_passage_stands_in_every_place(examples):
    places = {example.answer.rpartition(" ")[2] for example in examples if example.answerable}
    assert places == {"[1]", "[2]", "[3]"}


def test_the_right_passage_stands_in_every_place_equally_often():
    many = corpus([f"{topic}{number}" for topic in TOPICS for number in range(10)])
    rows = [row for row in make_examples(many, AnyOrder(many), **SETTINGS | {"max_examples": 330}) if row.answerable]
    places = Counter(row.answer.rpartition(" ")[2] for row in rows)
    assert len(rows) > 200
    # 1 in 10,000 fair draws would leave these bounds (binomial, 4 standard deviations), and the seed is fixed.
    bound = 4 * (len(rows) * (1 / 3) * (2 / 3)) ** 0.5
    assert all(abs(count - len(rows) / 3) < bound for count in places.values())


def test_every_example_says_what_it_was_made_from(chunks, examples):
    by_id = {chunk.id: chunk for chunk in chunks}
    for example in examples:
        if example.kind == "absent":
            assert example.section == "" and example.doc_id == example.passages[0].doc_id
        else:
            assert by_id[example.section].doc_id == example.doc_id
        assert example.made_by == "extract"
        assert example.answerable == (example.kind in ("heading", "definition"))


def test_abstentions_show_no_passage_that_holds_the_answer(chunks, index):
    everything = make_examples(chunks, index, **SETTINGS | {"unanswerable_share": 0.0})
    answers = {row.question: row.answer for row in everything}
    unanswerable = make_examples(chunks, index, **SETTINGS | {"unanswerable_share": 1.0})
    assert {row.kind for row in unanswerable} == {"withheld", "elsewhere", "absent"}
    for row in unanswerable:
        assert row.answer == ABSTENTION
        if row.kind != "absent":
            assert not any(holds(chunk.text, answers[row.question]) for chunk in row.passages)
        if row.kind == "withheld":
            assert row.doc_id not in {chunk.doc_id for chunk in row.passages}
        if row.kind == "elsewhere":
            assert row.doc_id in {chunk.doc_id for chunk in row.passages}


def test_the_share_of_unanswerable_examples_is_kept(examples):
    unanswerable = [example for example in examples if not example.answerable]
    assert 0.1 < len(unanswerable) / len(examples) < 0.45


def test_everyday_questions_are_asked_once_and_only_where_nothing_is_said_about_them(chunks):
    free = absent_questions(chunks, 1)
    assert sorted(free) == sorted(EVERYDAY)
    said = document("https://x.org/zoo", "Zoo", (1, "Elephants", "An elephant may live for seventy years in the wild."))
    more = [*chunks, *chunk_document(said, lambda text: len(text.split()), max_tokens=64, min_tokens=2)]
    assert set(free) - set(absent_questions(more, 1)) == {"How long do elephants live?"}
    assert absent_questions(chunks, 2) != free


@pytest.mark.parametrize("question", EVERYDAY)
def test_everyday_subjects_are_words_that_can_be_found(question):
    subject = set(EVERYDAY[question].split())
    assert subject <= content_words(EVERYDAY[question])


def test_distractors_do_not_hold_the_answer(chunks):
    twin = document(
        "https://x.org/twin",
        "TWIN",
        (1, "TWIN", "The vacuum command does the vacuum work on a table of the database. It is safe."),
    )
    both = [*chunks, *chunk_document(twin, lambda text: len(text.split()), max_tokens=64, min_tokens=2)]
    for row in make_examples(both, AnyOrder(both), **SETTINGS | {"unanswerable_share": 0.0}):
        answer = row.answer.rpartition(" ")[0]
        assert sum(holds(chunk.text, answer) for chunk in row.passages) == 1


def test_written_questions_come_first_and_are_said_to_be_a_teacher_s(chunks, index):
    answer = "Cluster does the cluster work on a table."
    written = [Candidate(chunks[3], "What does one do to a table?", answer, "written", 0.9)]
    rows = make_examples(chunks, index, **SETTINGS | {"max_examples": 1, "unanswerable_share": 0.0}, written=written)
    assert [(row.question, row.kind, row.made_by, row.section) for row in rows] == [
        ("What does one do to a table?", "written", "teacher", chunks[3].id)
    ]
    assert rows[0].answer.startswith(answer)


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


def test_entries_of_definition_lists_are_asked_about_with_their_document():
    chunks = []
    for name in ("git-push", "git-fetch"):
        body = (
            f"--mirror\nInstead of naming each ref, {name} copies all of them to the other side.\n\n--quiet\nToo short."
        )
        doc = document(f"https://x.org/{name}", name, (1, "OPTIONS", body))
        chunks += chunk_document(doc, lambda text: len(text.split()), max_tokens=64, min_tokens=2)
    rows = make_examples(chunks, AnyOrder(chunks), **SETTINGS | {"unanswerable_share": 0.0})
    assert {row.kind for row in rows} == {"definition"}
    assert len({row.question for row in rows}) == 2
    for row in rows:
        name = row.passages[0].title
        assert "--mirror" in row.question and name in row.question
        assert row.answer == f"Instead of naming each ref, {name} copies all of them to the other side. [1]"


@pytest.mark.parametrize(("headings", "definitions", "expected"), [(90, 90, 10), (25, 90, 10), (5, 90, 25), (90, 0, 0)])
def test_definitions_are_a_third_at_most_unless_headings_are_few(chunks, headings, definitions, expected):
    def candidates(kind, count):
        return [Candidate(chunks[0], f"{kind} {n}?", "Yes.", kind, n / 100) for n in range(count)]

    chosen = choose(candidates("heading", headings), candidates("definition", definitions), 30)
    assert sum(candidate.kind == "definition" for candidate in chosen) == expected
    assert len(chosen) == 30


def test_a_question_that_two_passages_answer_is_asked_once(chunks):
    twice = [Candidate(chunks[n], question, "Yes.", "heading", 0.5) for n, question in enumerate(("A?", "a?"))]
    assert len(choose(twice, [], 10)) == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One is here. Two, e.g. this, is not.", "One is here. [2] Two, e.g. this, is not. [2]"),
        ("Call f(x) first", "Call f(x) first [2]"),
        ("First:\n- one item.\n- another", "First:\n- one item. [2]\n- another [2]"),
        (
            "Before it.\n\n    x = a.b\n    y = 1\n\nAfter it.",
            "Before it. [2]\n\n    x = a.b\n    y = 1 [2]\n\nAfter it. [2]",
        ),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 2 |\n[2]"),
        ("", ""),
    ],
)
def test_each_sentence_of_a_passage_carries_its_number(text: str, shown: str) -> None:
    assert numbered(text, 2) == shown
