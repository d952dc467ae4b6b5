"""The transformers engine: text that is never half a character, and the embedded model end to end."""

import asyncio
import json
import time
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.artifacts import Made, Workspace
from configs.load import SHIPPED, load_config
from ingest.embed import load_embedder
from ingest.indexing import build_index
from serve.engines.base import Sampling
from serve.engines.local import Detokenizer, LocalEngine
from serve.runtime import load_runtime
from serve.wire import ChatChunk, ChatResponse
from tests.serve.conftest import DOCUMENTS
from train.chat import build_messages
from train.model import load_model, load_tokenizer

MODEL = "embedded:SmolLM2-135M-Instruct"
QUESTION = "What does VACUUM FULL do?"


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(MODEL)


@given(text=st.text(max_size=60))
@settings(deadline=None)
def test_pieces_are_whole_characters_and_make_up_the_text(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    expected = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    detokenizer = Detokenizer(tokenizer)
    pieces = [detokenizer.add(token) for token in ids]
    assert "".join([*pieces, detokenizer.flush()]) == expected.rstrip("\ufffd")


@given(ids=st.lists(st.integers(0, 49_000), max_size=20))
@settings(deadline=None)
def test_broken_characters_never_leave_alone(tokenizer, ids):
    detokenizer = Detokenizer(tokenizer)
    assert not any(detokenizer.add(token).endswith("\ufffd") for token in ids)
    assert not detokenizer.flush().endswith("\ufffd")


async def collect(engine, messages, sampling):
    return [piece async for piece in engine.generate(messages, sampling)]


@pytest.mark.slow
def test_sampling_length_and_cancellation_of_the_embedded_model():
    engine = LocalEngine(load_model(MODEL, "cpu"), max_context=2048, threads=1)
    messages = build_messages(QUESTION, DOCUMENTS[:1])

    async def scenario():
        greedy = await collect(engine, messages, Sampling(max_tokens=6))
        again = await collect(engine, messages, Sampling(max_tokens=6, seed=3))
        assert "".join(piece.text for piece in greedy) == "".join(piece.text for piece in again)
        assert (greedy[-1].finish_reason, greedy[-1].completion_tokens) == ("length", 6)
        assert greedy[-1].prompt_tokens == engine.count_tokens(messages)

        warm = Sampling(max_tokens=6, temperature=1.5, top_p=0.95, top_k=50, seed=5)
        sampled = [await collect(engine, messages, warm) for _ in range(2)]
        assert sampled[0] == sampled[1]

        seen = []
        async with aclosing(engine.generate(messages, Sampling(max_tokens=400))) as long:
            waiting = asyncio.create_task(collect(engine, messages, Sampling(max_tokens=2)))
            async for piece in long:
                seen.append(piece)
                if len(seen) == 3:
                    break
        # The one in the queue only starts once the cancelled one has stopped.
        assert len(await waiting) == 3
        await engine.close()

    asyncio.run(scenario())


def publish(settings, chunks):
    """Make an index of the passages current. Returns its version."""
    embedder = load_embedder(settings.embed.model, "cpu")
    ids = {"chunks": [chunk.id for chunk in chunks]}
    workspace = Workspace(settings.root)
    return workspace.build(
        "index", lambda folder: Made(build_index(chunks, embedder, folder).counts), inputs={}, settings=ids
    ).id


@pytest.fixture
def config(tmp_path):
    """Settings of a workspace that holds a small index made with the embedded embedder."""
    settings = load_config(
        SHIPPED / "laptop.yaml", [f"root={tmp_path}", "serve.max_new_tokens=24", "serve.index_poll_s=0.05"], {}
    )
    publish(settings, DOCUMENTS)
    return settings


@pytest.mark.slow
def test_the_embedded_models_answer_over_http(start, config):
    runtimes = []
    server = start(lambda: runtimes.append(load_runtime(config)) or runtimes[0])
    server.loaded.wait()
    assert server.client.get("/readyz").json()["status"] == "ok"
    server.client.timeout = 300
    plain = ChatResponse.model_validate(server.ask(QUESTION).json())
    said = plain.choices[0].message
    assert said.citations
    assert said.citations[0].url == "https://docs.example.org/vacuum"

    streamed = server.ask(QUESTION, stream=True).text.split("\n\n")
    chunks = [ChatChunk.model_validate_json(line.removeprefix("data: ")) for line in streamed if "{" in line]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == said.content
    assert chunks[-1].choices[0].delta.citations == said.citations
    assert chunks[-1].usage == plain.usage

    engine = runtimes[0].engine
    body = {"messages": [{"role": "user", "content": QUESTION}], "stream": True}
    with server.client.stream("POST", "/v1/chat/completions", json=body) as response:
        first = json.loads(next(response.iter_lines()).removeprefix("data: "))
    # One worker: this comes back only when the abandoned answer has stopped.
    engine.warm_up("Is it over?")

    embedder = runtimes[0].live.current.embedder
    new = publish(config, DOCUMENTS[1:])
    deadline = time.monotonic() + 60
    while server.client.get("/readyz").json()["index"] != new and time.monotonic() < deadline:
        time.sleep(0.05)
    later = ChatResponse.model_validate(server.ask(QUESTION).json()).choices[0].message
    assert runtimes[0].live.current.embedder is embedder
    assert "https://docs.example.org/vacuum" not in [cited.url for cited in later.citations]

    runtimes[0].recorder.close()
    kept = runtimes[0].store.interaction(first["id"])
    assert kept.finish_reason == "cancelled"
    assert len(kept.answer.split()) < 24
