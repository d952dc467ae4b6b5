"""What is searched for in a conversation: by words, by the model, and over HTTP."""

import asyncio

import httpx
import pytest

from guards.base import Action
from guards.policy import Policy
from guards.stage import Stage
from serve.condense import leans, standalone, with_terms
from serve.rewrite import rewrite
from tests.guards.samples import PatternGuard, stage_of
from tests.serve.conftest import ScriptedEngine, WordIndex, build_runtime
from tests.serve.test_api import events, message
from train.chat import Turn

CREATE = "How do I create an index?"


def conversation(*questions):
    pairs = [(("user", each), ("assistant", "So.")) for each in questions]
    return [Turn(role=role, content=text) for pair in pairs for role, text in pair]


def searched(question, *earlier, mode="terms", engine=None):
    return asyncio.run(standalone(mode, question, conversation(*earlier), engine or ScriptedEngine()))


@pytest.mark.parametrize(
    "question",
    [
        "How do I turn it off?",
        "Does it lock the table?",
        "Why?",
        "And on Windows?",
        "What about tables?",
        "Is that safe?",
        "Which one is faster?",
        "How long does it take?",
        "Can I do the same for views?",
        "What should I use instead?",
        "How do I change its size?",
        "Tell me more",
        "When did he die?",
        "What is this setting for?",
        "Can they be deleted later?",
        "Is it different from VACUUM?",
    ],
)
def test_questions_that_point_back_lean(question):
    assert leans(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is autovacuum?",
        "autovacuum",
        "What does VACUUM FULL do?",
        "How long does it take to build an index?",
        "Is it safe to delete the log files?",
        "What does VACUUM do to the table while it is running?",
        "I have a big table. How do I shrink it?",
        "How do triggers work and when do they fire?",
        "What is a table that has no rows?",
        "How do I make sure that VACUUM runs?",
        "And how do I make a backup with pg_dump?",
        "Does an index lose its order?",
        "What is the IT policy?",
        "Which one of the index types supports ordering?",
        "What can this site tell me about backups?",
        "Wie lange dauert ein Backup?",
        "Pourquoi ?",
        "バックアップはどのくらいかかりますか",
        "",
        " ",
        "?",
        "it " * 1000,
        "Thanks!",
        "OK, thank you very much.",
        "Hello",
    ],
)
def test_questions_that_stand_alone_do_not(question):
    assert not leans(question)


def test_a_leaning_question_is_searched_for_with_what_the_one_before_was_about():
    assert searched("Does it lock the table?", CREATE) == "Does it lock the table? create index"


def test_a_question_that_stands_alone_is_not_touched():
    assert searched("What does VACUUM FULL do?", CREATE) == "What does VACUUM FULL do?"


def test_after_a_change_of_topic_nothing_of_the_old_one_is_left():
    found = searched("Is it slow?", CREATE, "And on tables?", "What does VACUUM FULL do?")
    assert found == "Is it slow? VACUUM FULL"


def test_questions_that_lean_on_leaning_ones_reach_further_back():
    assert searched("How long does it take?", CREATE, "Does it lock the table?", "Thanks!") == (
        "How long does it take? lock table create index"
    )


def test_words_that_are_there_already_are_not_added():
    assert searched("Is that Index safe?", CREATE) == "Is that Index safe? create"


def test_what_was_redacted_is_about_nothing():
    assert searched("Is it safe?", "I am <EMAIL_1>. May I drop an index?") == "Is it safe? drop index"


def test_few_words_are_added_however_long_the_earlier_question():
    long = " ".join(f"word{number}" for number in range(20_000))
    assert len(searched("Why?", long).split()) == 13


@pytest.mark.parametrize("earlier", [(), ("Hello!",), ("???",), ("",)])
def test_a_conversation_about_nothing_adds_nothing(earlier):
    assert searched("Why does it fail?", *earlier) == "Why does it fail?"


def test_other_languages_are_left_as_they_are():
    assert searched("Und wie lange dauert das?", "Wie erstelle ich ein Backup?") == "Und wie lange dauert das?"
    assert searched("為什麼", "如何備份") == "為什麼"


def test_off_touches_nothing():
    assert searched("Why?", CREATE, mode="off") == "Why?"


def test_with_terms_takes_questions_alone():
    assert with_terms("Why?", ["How do I drop a view?"]) == "Why? drop view"


def scripted(answer):
    engine = ScriptedEngine()
    engine.script["Rewrite the user's"] = answer
    return engine


@pytest.mark.parametrize(
    "written",
    [
        "Does creating an index lock the table?",
        '"Does creating an index lock the table?"',
        "Standalone question: Does creating an index lock the table?",
        "\n Does creating an index lock the table?\nI hope this helps.",
    ],
)
def test_the_model_rewrites_the_question(written):
    engine = scripted(written)
    assert searched("Does it lock the table?", CREATE, mode="model", engine=engine) == (
        "Does creating an index lock the table?"
    )
    [asked] = engine.calls
    assert CREATE in asked[0]["content"]
    assert (engine.sampling[0].temperature, engine.sampling[0].max_tokens) == (0.0, 48)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "   ",
        "Why are bananas yellow?",
        "index-and-more " * 200 + "?",
        CREATE,
        "Creating an index does lock the table.",
        "Does it lock the table [1]?",
        "Does it lock the table?",
        RuntimeError("secret detail"),
    ],
)
def test_what_the_model_writes_in_vain_is_replaced_by_terms(written, caplog):
    found = searched("Does it lock the table?", CREATE, mode="model", engine=scripted(written))
    assert found == "Does it lock the table? create index"
    assert "secret" not in caplog.text


def test_the_model_is_not_asked_without_a_conversation():
    engine = scripted("Something about an index?")
    assert asyncio.run(standalone("model", CREATE, [], engine)) == CREATE
    assert engine.calls == []


def test_the_model_is_not_asked_what_does_not_fit():
    engine = ScriptedEngine(max_context=60)
    assert searched("Does it lock the table?", CREATE, mode="model", engine=engine).endswith("create index")
    assert engine.calls == []


def test_a_model_that_takes_too_long_is_stopped():
    engine = scripted("Does creating an index lock the table?")
    engine.delay = 60
    assert asyncio.run(rewrite("Does it lock the table?", conversation(CREATE), engine, timeout_s=0.05)) is None
    assert engine.stopped.is_set()


@pytest.fixture
def serving(start, tmp_path, engine):
    """Starts a server; gives it, its runtime, and the index that tells what was searched for."""

    def begin(**options):
        index = WordIndex()
        runtime = build_runtime(tmp_path, engine, index=index, **options)
        server = start(lambda: runtime)
        server.loaded.wait()
        return server, runtime, index

    return begin


FOLLOWS = [
    {"role": "user", "content": "What does VACUUM FULL do?"},
    {"role": "assistant", "content": "It rewrites the table. [1]"},
    {"role": "user", "content": "Does it need a lock?"},
]
EXPANDED = "Does it need a lock? VACUUM FULL"


def test_the_answer_says_what_was_searched_for_and_the_model_reads_the_conversation(serving, engine):
    server, runtime, index = serving()
    response = server.client.post("/v1/chat/completions", json={"messages": FOLLOWS})
    said = message(response)
    assert index.searched == [EXPANDED]
    assert said.search_query == EXPANDED
    assert "vacuum" in said.citations[0].url
    assert engine.calls[0][1]["content"] == FOLLOWS[0]["content"]
    assert engine.calls[0][-1]["content"].endswith("Question: Does it need a lock?")
    kept = runtime.store.interaction(response.json()["id"])
    assert (kept.question, kept.parameters["searched"]) == ("Does it need a lock?", EXPANDED)
    assert "condense" in kept.timings
    last = events(server, "ignored", messages=FOLLOWS)[-1].choices[0].delta
    assert last.search_query == EXPANDED


def test_a_question_that_is_searched_for_as_it_is_says_nothing_of_it(serving):
    server, runtime, index = serving()
    response = server.ask("What does VACUUM FULL do?")
    assert message(response).search_query is None
    assert index.searched == ["What does VACUUM FULL do?"]
    assert "searched" not in runtime.store.interaction(response.json()["id"]).parameters


def test_the_model_may_rewrite_over_http(serving, engine):
    server, _, index = serving(condensing="model")
    engine.script["Rewrite the user's"] = "Does VACUUM FULL need a lock?"
    said = message(server.client.post("/v1/chat/completions", json={"messages": FOLLOWS}))
    assert index.searched == [said.search_query] == ["Does VACUUM FULL need a lock?"]


def test_what_the_guards_refuse_is_not_searched_for(serving, engine):
    stages = {name: Stage([]) for name in ("document", "passage", "output")}
    stages["input"] = stage_of(PatternGuard("forbidden", Action.BLOCK))
    server, _, index = serving(condensing="model", policy=Policy("test", "1", stages, Stage([])))
    engine.script["Rewrite the user's"] = "Does VACUUM FULL need a forbidden lock?"
    said = message(server.client.post("/v1/chat/completions", json={"messages": FOLLOWS}))
    assert index.searched == ["Does it need a lock?"]
    assert said.search_query is None


def test_without_retrieval_nothing_is_searched_for(serving, engine):
    server, _, index = serving(condensing="model")
    said = message(server.client.post("/v1/chat/completions", json={"messages": FOLLOWS, "retrieval": False}))
    assert (index.searched, said.search_query, said.answerable) == ([], None, None)
    assert len(engine.calls) == 1


def test_hanging_up_while_the_question_is_rewritten_stops_the_model(serving, engine):
    server, _, index = serving(condensing="model")
    engine.delay = 0.1
    engine.script["Rewrite the user's"] = "word " * 400
    with pytest.raises(httpx.ReadTimeout):
        server.client.post("/v1/chat/completions", json={"messages": FOLLOWS}, timeout=0.5)
    assert engine.stopped.wait(30)
    assert engine.written < 48
    assert index.searched == []
