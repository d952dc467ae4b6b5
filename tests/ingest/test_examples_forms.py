"""Questions: natural English from headings, terms and names, and nothing asked that no heading or title names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.examples.answers import Definition, definitions, holds, numbers_missing, support
from ingest.examples.forms import ANY, ask_heading, ask_term, plain_heading, plain_title, site_suffixes

PROSE = "Some sentences follow that say what there is to say."


def asked(heading, title="Guide", answer=PROSE, *, repeated=False, pick=0.0):
    return ask_heading(heading, title, answer, repeated=repeated, pick=pick)


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Where are files kept?", "Where are files kept?"),
        ("How to create and use row factories", "How do I create and use row factories?"),
        ("How To Create a table", "How do I create a table?"),
        ("When to vacuum", "When should I vacuum?"),
        ("Why bisecting is hard", "Can you explain why bisecting is hard?"),
        ("Create a table", "How do I create a table?"),
        ("Set up your key", "How do I set up your key?"),
        ("SELECT INTO", "What does the documentation say about SELECT INTO?"),
        ("Log files", "What does the documentation say about Log files?"),
        ("Recovering disk space", "What does the documentation say about recovering disk space?"),
        ("Using Git", "What does the documentation say about Using Git?"),
        ("The FROM clause", "What does the documentation say about the FROM clause?"),
        ("pg_stat_statements", "What is pg_stat_statements?"),
        ("VACUUM", "What is VACUUM?"),
        ("random.shuffle(x)", "What does random.shuffle() do?"),
        ("gitmodules(5)", "What is gitmodules(5)?"),
        ("--mirror", "What does the option --mirror do?"),
        ("Cleanup", "What does the documentation say about Cleanup in Guide?"),
        ("Overview", "What does the documentation say about Guide?"),
        ("Notes", "What is there to note about Guide?"),
        ("Usage", "How is Guide used?"),
    ],
)
def test_headings_become_questions(heading, question):
    title = "Guide" if heading != "Create a table" else ""
    assert asked(heading, title) == question


def test_what_the_answer_defines_is_asked_by_its_own_words():
    assert asked("Champion", answer="The champion is the model that answers.") == "What is the champion?"
    assert asked("Fast-forwards", answer="Fast-forwards are merges without a commit.") == "What are Fast-forwards?"
    assert asked("LoRA", answer="LoRA is a way to train few weights.") == "What is LoRA?"
    assert not asked("Champion", answer="Ask the champion for an answer.").startswith("What is")


def test_a_heading_that_stands_in_several_documents_names_its_own():
    assert asked("Exit Status", "git-diff", repeated=True) == ANY[0].format("Exit Status in git-diff")
    assert asked("HOOKS", "git-commit(1)", repeated=True) == ANY[0].format("hooks in git-commit(1)")
    assert asked("Exit Status", "git-diff") == ANY[0].format("Exit Status")


def test_nothing_is_asked_where_nothing_is_named():
    assert asked("Overview", "Introduction") == asked("", "") == ""


@pytest.mark.parametrize("pick", [0.0, 0.3, 0.6, 0.99])
def test_several_forms_are_used(pick):
    assert asked("Parallel plans", pick=pick) == ANY[int(pick * len(ANY))].format("Parallel plans")


@given(st.text(max_size=60), st.text(max_size=40), st.text(max_size=80), st.booleans(), st.floats(0, 0.999999))
def test_any_heading_is_asked_about_without_error(heading, title, answer, repeated, pick):
    assert isinstance(ask_heading(heading, title, answer, repeated=repeated, pick=pick), str)


@pytest.mark.parametrize(
    ("term", "question"),
    [
        ("--recurse-submodules=check|only", "What does the option --recurse-submodules of git-push(1) do?"),
        ("-D <depth>", "What does the option -D of git-push(1) do?"),
        ("math.sin(x)", "What does math.sin() do?"),
        ("class ast.Assign(targets, value)", "What is the class ast.Assign?"),
        ("shared_buffers (integer)", "What is shared_buffers?"),
        ("fast-forward", "What does fast-forward mean?"),
        ("Foreign table (relation)", "What does Foreign table mean?"),
    ],
)
def test_terms_become_questions(term, question):
    assert ask_term(Definition(term, PROSE), "git-push(1)", repeated=False, pick=0.0) == question


def test_a_term_with_several_meanings_names_its_document():
    term = Definition("name", PROSE)
    assert ask_term(term, "ALTER TABLE", repeated=True, pick=0.0) == "What does name in ALTER TABLE mean?"
    stated = Definition("branch", PROSE, "is a branch")
    assert ask_term(stated, "Concepts", repeated=True, pick=0.0) == "What is a branch in Concepts?"
    assert ask_term(stated, "Concepts", repeated=False, pick=0.0) == "What is a branch?"


def test_the_name_of_the_site_is_taken_from_titles():
    titles = [f"{name} — Python 3.11 documentation" for name in ("os — Paths", "sys", "re", "json")] + ["Index"]
    suffixes = site_suffixes(titles)
    assert [plain_title(title, suffixes) for title in titles] == ["os — Paths", "sys", "re", "json", "Index"]
    assert site_suffixes(["a - b", "c - b"]) == frozenset()


@pytest.mark.parametrize("text", ["1.2. Setup", "B.5. Setup", "Chapter 5. Setup", "Appendix C. Setup", "Setup"])
def test_section_numbers_are_not_asked_about(text):
    assert plain_heading(text) == "Setup"


DEFINITIONS = """\
--mirror
Instead of naming each ref to push, push all of them to the other side.

A fast-forward is a special type of merge, in which no commit has to be made.

This is a pronoun, and what it stands for is said somewhere else in the text.

Note
This is a label and no term, however well the sentence after it reads.

When the tank is a small one, the pump has to run twice as often as usual.

- A list item is a thing that stands among others, so it is left alone here.

a wrapped line of
prose that goes on in small letters is no term with a definition, of course.

The HEAD ref is a pointer that names the branch which is checked out now."""


def test_definitions_are_found_in_lists_and_sentences():
    found = list(definitions(DEFINITIONS, opening=True))
    assert [(one.term, one.subject) for one in found] == [
        ("--mirror", ""),
        ("fast-forward", "is a fast-forward"),
        ("HEAD ref", "is the HEAD ref"),
    ]
    assert all(one.answer in " ".join(DEFINITIONS.split()) for one in found)


def test_the_first_paragraph_under_a_heading_is_the_heading_s():
    text = "A branch is a line of development that goes on by itself."
    assert not list(definitions(text, opening=True))
    assert [one.term for one in definitions(text, opening=False)] == ["branch"]


@given(st.text(max_size=200))
def test_definitions_are_text_of_the_passage(text):
    for one in definitions(text, opening=False):
        assert one.answer in " ".join(text.split())


def test_support_is_the_share_of_content_words():
    passage = "The pump moves 40 litres a minute from the tank."
    assert support("The pump moves 40 litres. [1]", passage) == 1.0
    assert support("A pump moves air", passage) == pytest.approx(2 / 3)
    assert support("litres 40 moves pump", passage, 2) == 0.0
    assert support("It is so.", passage) == 1.0
    assert numbers_missing("It moves 40 litres in 3 minutes [2]", passage) == ["3"]
    assert holds(passage, "The pump moves 40 litres a minute.")
    assert not holds(passage, "The boiler heats 40 litres an hour.")
