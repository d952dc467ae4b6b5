"""Over HTTP: filters, how many passages, sections in the prompt, and answers that are not in the documents."""

import pytest

from guards.base import Action
from guards.policy import Policy
from guards.stage import Stage
from ingest.examples import ABSTENTION
from tests.guards.samples import PatternGuard, stage_of
from tests.serve.conftest import SITE, WordIndex, build_runtime, passage
from tests.serve.test_api import QUESTION, error, events, message


def vacuum(page, text, **more):
    return passage(page, "What does VACUUM FULL do?", text, **more)


SITE_DOCUMENTS = (
    vacuum("guide/vacuum", "It rewrites the table.", language="en", date="2024-03-01", tags=("sql",)),
    vacuum("guide/vacuum-de", "Die Tabelle wird neu geschrieben.", language="de", date="2025-07-09"),
    vacuum("blog/vacuum", "It makes the table small.", language="en", date="2021-01-31", tags=("sql", "old")),
)
HANDBOOK = "The pump opens slowly. Its valve is red.\n\nThen the motor waits for a minute."
PARTS = (
    passage("handbook", "Start", HANDBOOK[:40], start=200),
    passage("handbook", "Start", HANDBOOK[42:], start=242),
    passage("handbook", "Stop", "The pump closes.", start=300),
)


@pytest.fixture
def serving(start, tmp_path, engine):
    """Starts a server over the given passages."""

    def begin(chunks=SITE_DOCUMENTS, **options):
        runtime = build_runtime(tmp_path, engine, index=WordIndex(chunks), **options)
        server = start(lambda: runtime)
        server.loaded.wait()
        return server, runtime

    return begin


def pages(said):
    return [cited.url.removeprefix(f"{SITE}/") for cited in said.citations]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "guide/vacuum"),
        ({"url_prefix": f"{SITE}/blog"}, "blog/vacuum"),
        ({"since": "2025"}, "guide/vacuum-de"),
        ({"until": "2021-01"}, "blog/vacuum"),
        ({"since": "2024-01-01", "until": "2024-12-31"}, "guide/vacuum"),
        ({"language": "de"}, "guide/vacuum-de"),
        ({"tags": ["old", "sql"]}, "blog/vacuum"),
    ],
)
def test_filters_limit_what_is_found(serving, filters, found):
    server, _ = serving()
    said = message(server.ask(QUESTION, filters=filters))
    assert (said.grounded, pages(said)) == (True, [found])


def test_filters_are_recorded_without_personal_data(serving):
    server, runtime = serving()
    asked = {"url_prefix": f"{SITE}/guide", "tags": ["sql", "ada@example.org"]}
    kept = runtime.store.interaction(server.ask(QUESTION, filters=asked, top_passages=2).json()["id"])
    assert kept.parameters["filters"] == {"url_prefix": f"{SITE}/guide", "tags": ["sql", "<EMAIL>"]}
    assert kept.parameters["top_passages"] == 2


def test_where_nothing_passes_the_filter_the_documents_hold_no_answer(serving, engine):
    server, _ = serving()
    said = message(server.ask(QUESTION, filters={"tags": ["nothing"]}))
    assert (said.content, said.grounded, said.citations, said.answerable) == (ABSTENTION, False, [], 0.0)
    assert engine.calls == []


@pytest.mark.parametrize(
    ("body", "param", "told"),
    [
        ({"filters": {"since": "yesterday"}}, "filters", "since 'yesterday' is no date"),
        ({"filters": {"since": "2025-02-30"}}, "filters", "2025-02-30"),
        ({"filters": {"since": "2025", "until": "2024"}}, "filters", "since 2025 is after until 2024"),
        ({"filters": {"language": "klingon"}}, "filters", "'klingon'"),
        ({"filters": {"url_prefix": "docs.example.org"}}, "filters", "'docs.example.org'"),
        ({"filters": {"tags": "sql"}}, "filters.tags", "'sql'"),
        ({"filters": {"tags": ["a"] * 21}}, "filters.tags", "at most 20"),
        ({"filters": {"path": "/guide"}}, "filters.path", "not permitted"),
        ({"filters": {"since": 2025}}, "filters.since", "2025"),
        ({"filters": {"url_prefix": "https://a.org/" + "x" * 2000}}, "filters.url_prefix", "at most 2000"),
        ({"top_passages": 0}, "top_passages", "not 0"),
        ({"top_passages": 21}, "top_passages", "not 21"),
        ({"top_passages": "many"}, "top_passages", "'many'"),
    ],
)
def test_options_that_make_no_sense_are_400_and_tell_the_value(serving, body, param, told):
    server, _ = serving()
    found = error(server.ask(QUESTION, **body), 400)
    assert (found["type"], found["param"]) == ("invalid_request_error", param)
    assert told in found["message"]


def test_long_values_are_not_repeated_in_errors(serving):
    server, _ = serving()
    assert "xxxx" not in error(server.ask(QUESTION, top_passages="x" * 500), 400)["message"]


@pytest.mark.parametrize(("asked", "shown"), [(1, 1), (2, 2), (20, 3)])
def test_a_request_says_how_many_passages_the_model_reads(serving, engine, asked, shown):
    server, _ = serving()
    message(server.ask(QUESTION, top_passages=asked))
    assert engine.calls[0][-1]["content"].count("What does VACUUM FULL do?") == shown + 2


def test_answerable_is_told_plain_and_streamed(serving):
    server, _ = serving()
    said = message(server.ask(QUESTION))
    assert 0.5 <= said.answerable <= 1
    assert events(server, QUESTION)[-1].choices[0].delta.answerable == said.answerable
    asked = server.ask("Which bananas grow fastest?")
    missing = message(asked)
    assert (missing.content, missing.grounded, len(missing.citations)) == (ABSTENTION, False, 3)
    assert missing.answerable < 0.5
    assert asked.json()["choices"][0]["finish_reason"] == "stop"


def test_a_threshold_of_0_always_asks_the_model(serving, engine):
    server, _ = serving(min_answerable=0.0)
    message(server.ask("Which bananas grow fastest?"))
    assert len(engine.calls) == 1


@pytest.mark.parametrize("question", ["\x00", "\x1b \x07"])
def test_a_question_of_control_characters_finds_nothing(serving, question):
    server, _ = serving()
    said = message(server.ask(question))
    assert (said.content, said.citations) == (ABSTENTION, [])


def test_a_question_of_100_kb_is_searched_for(serving):
    server, _ = serving()
    assert message(server.ask("bananas " * 6_000)).content == ABSTENTION


def test_the_model_reads_the_section_and_citations_quote_the_document(serving, engine):
    server, runtime = serving(PARTS, read_as="section")
    engine.script["pump"] = "The pump opens slowly. [1] Then the motor waits for a minute. [1]"
    response = server.ask("How does the pump open slowly?")
    assert engine.calls[0][-1]["content"].count("Then the motor waits") == 1
    [cited] = message(response).citations
    assert HANDBOOK[cited.start - 200 : cited.end - 200] == cited.quote
    assert cited.chunk_id == PARTS[0].id
    kept = runtime.store.interaction(response.json()["id"]).passages
    assert [(row["chunk_id"], row["shown"]) for row in kept] == [(PARTS[0].id, True), (PARTS[2].id, True)]


def test_a_section_that_does_not_fit_is_read_as_the_passage(serving, engine):
    long = passage("handbook", "Start", "Much more is said. " * 90, start=241)
    server, _ = serving((PARTS[0], long), read_as="section")
    said = message(server.ask("Does the pump open slowly?", top_passages=1))
    assert "Much more" not in engine.calls[0][-1]["content"]
    assert said.citations[0].passage == PARTS[0].text


def guarded_passages(pattern, action):
    stages = {name: Stage([]) for name in ("document", "input", "output")}
    return Policy("test", "1", {**stages, "passage": stage_of(PatternGuard(pattern, action, "orders"))}, Stage([]))


def test_a_section_around_a_refused_passage_is_not_read(serving, engine):
    server, _ = serving(PARTS, read_as="section", policy=guarded_passages("motor", Action.BLOCK))
    said = message(server.ask("How does the pump open slowly?"))
    assert "motor" not in engine.calls[0][-1]["content"]
    assert "The pump opens slowly" in engine.calls[0][-1]["content"]
    assert [report.category for report in said.guard] == ["orders"]


def test_what_guards_find_around_a_passage_is_redacted_too(serving, engine):
    server, _ = serving(PARTS, read_as="section", policy=guarded_passages("motor", Action.REDACT))
    message(server.ask("How does the pump open slowly?", top_passages=1))
    assert "motor" not in engine.calls[0][-1]["content"]
    assert "waits for a minute" in engine.calls[0][-1]["content"]
