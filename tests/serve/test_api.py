"""The routes over a real socket: answers, streams, feedback, health, and every error."""

import json
import logging
import threading
import time

import httpx
import pytest

from configs.errors import ArtifactError, ModelError
from feedback.store import Store
from ingest.examples import ABSTENTION
from serve.wire import ChatChunk, ChatResponse
from tests.serve.conftest import ScriptedEngine, build_runtime

QUESTION = "What does VACUUM FULL do?"


def message(response):
    assert response.status_code == 200, response.text
    return ChatResponse.model_validate(response.json()).choices[0].message


def events(server, question, **more):
    """Chunks of a streamed answer; checks the frame around them."""
    body = {"messages": [{"role": "user", "content": question}], "stream": True, **more}
    with server.client.stream("POST", "/v1/chat/completions", json=body) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        data = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert data.pop() == "[DONE]"
    return [ChatChunk.model_validate_json(item) for item in data]


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def error(response, status):
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    return response.json()["error"]


class FailingStore(Store):
    """A store whose disk is full."""

    def record(self, interaction):
        raise ArtifactError("the disk is full")

    def add_feedback(self, feedback):
        raise ArtifactError("the disk is full")


def test_an_answer_carries_its_citation_and_is_recorded(server, runtime):
    response = server.ask(QUESTION, user="ann")
    said = message(response)
    assert said.content == "VACUUM FULL rewrites the whole table into a new file on disk. [1]"
    assert said.grounded
    assert [(cited.number, cited.url) for cited in said.citations] == [(1, "https://docs.example.org/vacuum")]
    kept = runtime.store.interaction(response.json()["id"])
    assert (kept.question, kept.answer, kept.user, kept.model) == (QUESTION, said.content, "ann", "champion:v1")
    assert (kept.index_version, kept.grounded, kept.finish_reason) == ("index-1", True, "stop")
    assert [(row["shown"], row["cited"]) for row in kept.passages] == [(True, True), (True, False), (True, False)]
    assert kept.parameters["max_tokens"] == 120
    assert {"preprocess", "guard_input", "retrieve", "prompt", "generate", "guard_output", "total"} <= set(kept.timings)


def test_usage_and_openai_fields(server):
    body = server.ask(QUESTION).json()
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_a_stream_says_the_same_as_a_plain_answer(server):
    chunks = events(server, QUESTION)
    plain = message(server.ask(QUESTION))
    assert text_of(chunks) == plain.content
    last = chunks[-1].choices[0]
    assert (last.finish_reason, last.delta.content) == ("stop", None)
    assert last.delta.citations == plain.citations
    assert last.delta.grounded
    assert len({chunk.id for chunk in chunks}) == 1


def test_text_parts_and_system_turns_are_understood(server, engine):
    content = [{"type": "text", "text": "What does"}, {"type": "text", "text": "VACUUM FULL do?"}]
    messages = [{"role": "system", "content": "Talk like a pirate."}, {"role": "user", "content": content}]
    response = server.client.post("/v1/chat/completions", json={"messages": messages})
    assert message(response).grounded
    assert "pirate" not in json.dumps(engine.calls[0])


def test_earlier_turns_reach_the_model(server, engine):
    messages = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi there"},
        {"role": "user", "content": QUESTION},
    ]
    message(server.client.post("/v1/chat/completions", json={"messages": messages}))
    assert [turn["content"] for turn in engine.calls[0][1:3]] == ["Hello", "Hi there"]


def test_a_question_that_the_documents_do_not_answer_never_reaches_the_model(server, engine):
    said = message(server.ask("Which bananas grow fastest?"))
    assert said.content == ABSTENTION
    assert not said.grounded
    assert len(said.citations) == 3
    assert engine.calls == []


def test_the_models_own_abstention_is_not_grounded(server, engine):
    engine.script["VACUUM"] = ABSTENTION
    said = message(server.ask(QUESTION))
    assert (said.content, said.grounded, len(said.citations)) == (ABSTENTION, False, 3)


def test_an_answer_without_support_is_not_grounded(server, engine):
    engine.script["VACUUM"] = "Bananas grow quickly near tropical rivers."
    said = message(server.ask(QUESTION))
    assert not said.grounded
    assert "[" not in said.content


def test_markers_of_passages_that_do_not_exist_are_dropped(server, engine):
    engine.script["VACUUM"] = "It rewrites the table [1]. It needs a lock [17]."
    assert message(server.ask(QUESTION)).content == "It rewrites the table [1]. It needs a lock."
    assert text_of(events(server, QUESTION)) == "It rewrites the table [1]. It needs a lock."


def test_without_retrieval_the_model_answers_alone(server, engine):
    said = message(server.ask("Hello there", retrieval=False))
    assert said.content == "You said: Hello there"
    assert (said.grounded, said.citations) == (False, [])


def test_a_toxic_question_is_refused_without_the_model(server, engine, runtime):
    response = server.ask("You are a fucking stupid piece of shit, VACUUM")
    said = message(response)
    assert response.json()["choices"][0]["finish_reason"] == "content_filter"
    assert engine.calls == []
    assert [(report.stage, report.action, report.category) for report in said.guard] == [("input", "block", "insult")]
    assert "fucking" not in said.content
    assert runtime.store.interaction(response.json()["id"]).finish_reason == "content_filter"


def test_a_toxic_answer_is_cut_off(server, engine):
    engine.script["VACUUM"] = (
        "VACUUM rewrites the table into a file. You fucking stupid piece of shit. And more text here."
    )
    response = server.ask(QUESTION)
    said = message(response)
    assert response.json()["choices"][0]["finish_reason"] == "content_filter"
    assert "fucking" not in response.text
    assert "And more" not in said.content
    assert "held back" in said.content
    assert not said.grounded
    chunks = events(server, QUESTION)
    assert text_of(chunks) == said.content
    assert chunks[-1].choices[0].finish_reason == "content_filter"


def test_personal_data_is_redacted_on_both_sides(server, engine, runtime):
    engine.script["VACUUM"] = "Ask jane@example.org about the table on disk."
    response = server.ask(f"I am joe@example.org. {QUESTION}")
    said = message(response)
    assert "jane@example.org" not in response.text
    assert "<EMAIL>" in said.content
    assert "joe@" not in json.dumps(engine.calls)
    kept = runtime.store.interaction(response.json()["id"])
    assert kept.question.startswith("I am <EMAIL>.")
    assert {report.stage for report in said.guard} == {"input", "output"}


def test_a_history_turn_that_a_guard_refuses_is_left_out(server, engine):
    messages = [
        {"role": "user", "content": "You fucking stupid piece of shit"},
        {"role": "assistant", "content": "This question was held back."},
        {"role": "user", "content": QUESTION},
    ]
    assert message(server.client.post("/v1/chat/completions", json={"messages": messages})).grounded
    assert "fucking" not in json.dumps(engine.calls)


def test_parameters_reach_the_model_and_the_length_is_capped(server, engine, runtime):
    asked = {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "repetition_penalty": 1.3, "max_tokens": 4000}
    response = server.ask(QUESTION, **asked)
    sampling = engine.sampling[0]
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.repetition_penalty) == (0.7, 0.9, 5, 1.3)
    assert sampling.max_tokens == 120
    assert sampling.seed is not None
    assert runtime.store.interaction(response.json()["id"]).parameters["seed"] == sampling.seed


def test_a_short_limit_ends_with_length(server):
    body = server.ask(QUESTION, max_completion_tokens=3).json()
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["completion_tokens"] == 3


def test_hanging_up_stops_the_model_and_is_recorded(server, engine, runtime):
    engine.delay = 0.01
    engine.script["VACUUM"] = "A sentence of some words. " * 40
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with server.client.stream("POST", "/v1/chat/completions", json=body) as response:
        line = next(line for line in response.iter_lines() if "sentence" in line)
    assert engine.stopped.wait(30)
    written = engine.written
    assert written < 120
    server.client.get("/healthz")
    assert engine.written == written
    asked = json.loads(line.removeprefix("data: "))["id"]
    # The model stops before the request is over, and nobody is left to be told when it is recorded.
    deadline = time.monotonic() + 30
    while (kept := runtime.store.interaction(asked)) is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert kept.finish_reason == "cancelled"
    assert kept.answer.startswith("A sentence")
    assert not kept.grounded


def test_hanging_up_on_a_plain_request_stops_the_model(server, engine):
    engine.delay = 0.01
    engine.script["VACUUM"] = "word " * 400
    with pytest.raises(httpx.ReadTimeout):
        server.client.post(
            "/v1/chat/completions", json={"messages": [{"role": "user", "content": QUESTION}]}, timeout=0.2
        )
    assert engine.stopped.wait(5)
    assert engine.written < 120


def test_a_model_that_breaks_is_an_error_and_no_traceback(server, engine, runtime, caplog):
    engine.script["VACUUM"] = RuntimeError("secret detail")
    assert error(server.ask(QUESTION), 500)["type"] == "server_error"
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
    response = server.client.post("/v1/chat/completions", json=body)
    assert '"error"' in response.text
    assert "[DONE]" not in response.text
    assert "secret" not in response.text + caplog.text
    assert [kept.finish_reason for kept in runtime.store.interactions()] == ["error", "error"]


def test_answers_survive_a_store_that_cannot_be_written(start, tmp_path, engine):
    store = FailingStore(f"sqlite:///{tmp_path / 'full.db'}")
    server = start(lambda: build_runtime(tmp_path, engine, store))
    server.loaded.wait()
    response = server.ask(QUESTION)
    assert message(response).grounded
    vote = {"interaction_id": response.json()["id"], "vote": "up"}
    assert error(server.client.post("/v1/feedback", json=vote), 503)["type"] == "server_error"


def test_a_vote_follows_an_answer(server, runtime):
    answer = server.ask(QUESTION).json()
    feedback = {"interaction_id": answer["id"], "vote": "down", "correction": "Ask joe@example.org", "user": "ann"}
    response = server.client.post("/v1/feedback", json=feedback)
    assert response.status_code == 200
    [kept] = runtime.store.feedback()
    assert (kept.id, kept.vote, kept.correction, kept.user) == (response.json()["id"], "down", "Ask <EMAIL>", "ann")


def test_a_vote_on_a_streamed_answer_finds_it(server, runtime):
    chunks = events(server, QUESTION)
    response = server.client.post("/v1/feedback", json={"interaction_id": chunks[0].id, "vote": "up"})
    assert response.status_code == 200


def test_feedback_on_nothing_or_without_content(server):
    assert (
        "no interaction"
        in error(server.client.post("/v1/feedback", json={"interaction_id": "x", "vote": "up"}), 404)["message"]
    )
    assert "at least one" in error(server.client.post("/v1/feedback", json={"interaction_id": "x"}), 400)["message"]
    assert (
        error(server.client.post("/v1/feedback", json={"interaction_id": "x", "vote": "sideways"}), 400)["param"]
        == "vote"
    )


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, None),
        ({"messages": [{"role": "user", "content": "   "}]}, None),
        ({"messages": [{"role": "user", "content": "x"}], "temperature": 9}, "temperature"),
        ({"messages": [{"role": "user", "content": "x"}], "max_tokens": 0}, "max_tokens"),
        ([], None),
    ],
)
def test_bad_requests_are_400_and_name_the_parameter(server, body, param):
    found = error(server.client.post("/v1/chat/completions", json=body), 400)
    assert found["type"] == "invalid_request_error"
    assert found["param"] == param


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b"[" * 60_000])
def test_malformed_json_is_400(server, content):
    headers = {"content-type": "application/json"}
    error(server.client.post("/v1/chat/completions", content=content, headers=headers), 400)


def test_other_content_types_are_refused(server):
    assert "Content-Type" in error(server.client.post("/v1/chat/completions", content=b"{}"), 400)["message"]


def test_unknown_models_and_paths_are_404(server):
    assert error(server.ask(QUESTION, model="gpt-9"), 404)["code"] == "model_not_found"
    assert message(server.ask(QUESTION, model="champion")).grounded
    assert message(server.ask(QUESTION, model="v1")).grounded
    error(server.client.get("/v1/nothing"), 404)
    error(server.client.get("/v1/chat/completions"), 405)


def test_large_bodies_are_413_declared_or_not(start, runtime):
    server = start(lambda: runtime, max_body_bytes=1000)
    server.loaded.wait()
    error(server.ask("x" * 2000), 413)

    def chunked():
        yield from (b"x" * 500 for _ in range(10))

    headers = {"content-type": "application/json"}
    error(server.client.post("/v1/chat/completions", content=chunked(), headers=headers), 413)
    assert message(server.ask(QUESTION)).grounded


def test_a_question_longer_than_the_context_is_400_plain_and_streamed(server):
    for stream in (False, True):
        found = error(server.ask("vacuum full " * 300, stream=stream), 400)
        assert found["code"] == "context_length_exceeded"


def test_odd_characters_do_no_harm(server, runtime):
    response = server.ask(f"{QUESTION} \0\x1b", user="a\0b")
    assert message(response).grounded
    kept = runtime.store.interaction(response.json()["id"])
    assert (kept.question, kept.user) == (QUESTION, "ab")
    headers = {"content-type": "application/json"}
    body = b'{"messages": [{"role": "user", "content": "half a pair: \\ud800"}]}'
    error(server.client.post("/v1/chat/completions", content=body, headers=headers), 400)


def test_health_models_and_headers(server):
    response = server.client.get("/readyz")
    assert response.json() == {"status": "ok", "detail": "", "model": "champion:v1", "index": "index-1"}
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers
    assert server.client.get("/healthz").json()["status"] == "ok"
    [card] = server.client.get("/v1/models").json()["data"]
    assert (card["id"], card["version"], card["base"]) == ("champion", "v1", "scripted")
    assert server.client.get("/docs").status_code == 404


def test_until_it_is_loaded_the_server_lives_and_is_not_ready(start, runtime):
    go = threading.Event()

    def load():
        go.wait()
        return runtime

    server = start(load)
    try:
        assert server.client.get("/healthz").status_code == 200
        waiting = server.client.get("/readyz")
        assert (waiting.status_code, waiting.json()["status"]) == (503, "starting")
        assert error(server.ask(QUESTION), 503)["code"] == "unavailable"
        error(server.client.get("/v1/models"), 503)
    finally:
        go.set()
    server.loaded.wait()
    assert server.client.get("/readyz").status_code == 200


def test_a_load_that_fails_is_told(start):
    def load():
        raise ModelError("cannot load model 'x'", "Check the spelling")

    server = start(load)
    server.loaded.wait()
    response = server.client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "failed")
    assert "Check the spelling" in response.json()["detail"]


def test_logs_hold_no_text(server, caplog):
    caplog.set_level(logging.INFO)
    server.ask("What does VACUUM FULL do to zebrafish?")
    server.client.get("/healthz")  # on the same connection, so the line about the first request is written by now
    lines = [json.loads(record.message) for record in caplog.records if record.name.startswith("serve.")]
    assert {"answered", "request"} <= {line["event"] for line in lines}
    assert "zebrafish" not in caplog.text


def test_many_readers_at_once_get_their_own_answers(server):
    answers: dict[int, str] = {}

    def ask(number):
        answers[number] = message(server.ask(f"Repeat number {number}", retrieval=False)).content

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: f"You said: Repeat number {number}" for number in range(12)}


def test_engines_are_told_to_close(start, tmp_path):
    engine = ScriptedEngine()
    server = start(lambda: build_runtime(tmp_path, engine))
    server.loaded.wait()
    server.stop()
    assert engine.stopped.is_set()
