import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

import pytest

from app.client import Client, read_events
from configs.errors import ServeError
from serve.wire import ChatChunk, ChatRequest, FeedbackRequest, Message
from tests.app.fake_server import SCRIPTS, FakeServer

Result = TypeVar("Result")


def ask(question: str) -> ChatRequest:
    return ChatRequest(messages=[Message(role="user", content=question)])


def run(url: str, work: Any, timeout_s: float = 10.0) -> Any:
    async def inside() -> Any:
        async with Client(url, timeout_s) as client:
            return await work(client)

    return asyncio.run(inside())


async def collect(client: Client, question: str) -> list[ChatChunk]:
    return [chunk async for chunk in client.stream(ask(question))]


def failure(url: str, work: Any, timeout_s: float = 10.0) -> str:
    with pytest.raises(ServeError) as caught:
        run(url, work, timeout_s)
    return str(caught.value)


def test_a_stream_gives_the_pieces_and_then_the_citations(server: FakeServer) -> None:
    chunks = run(server.url, lambda client: collect(client, "vacuum"))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "".join(SCRIPTS["vacuum"].pieces)
    assert [citation.number for citation in chunks[-1].choices[0].delta.citations] == [1, 2, 3]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert server.requests[0].stream


def test_a_whole_answer(server: FakeServer) -> None:
    response = run(server.url, lambda client: client.answer(ask("moon")))
    assert response.choices[0].message.grounded is False
    assert not server.requests[0].stream


def test_closing_the_stream_hangs_up(server: FakeServer) -> None:
    async def first_only(client: Client) -> None:
        stream = client.stream(ask("slow"))
        await anext(stream)
        await stream.aclose()

    run(server.url, first_only)
    server.stop()
    assert server.hung_up == 1


def test_feedback_models_and_readiness(server: FakeServer) -> None:
    given = FeedbackRequest(interaction_id="answer-1", vote="down", correction="ä\u2028ß", comment="c")
    assert run(server.url, lambda client: client.feedback(given)).interaction_id == "answer-1"
    assert server.feedback == [given]
    assert [model.id for model in run(server.url, lambda client: client.models())] == ["champion"]
    assert run(server.url, lambda client: client.ready()).status == "ok"


def test_no_server_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    assert failure(url, lambda client: collect(client, "x")) == (
        f"cannot reach the server at {url}. Start it with `wellread serve`, or check the address"
    )


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "sent nothing for 0.2 seconds" in failure(url, lambda client: client.models(), timeout_s=0.2)


def test_a_server_that_is_not_ready(server: FakeServer) -> None:
    server.ready = False
    expected = "the server is not ready yet: loading the model. Try again in a moment"
    assert failure(server.url, lambda client: client.ready()) == expected
    assert failure(server.url, lambda client: collect(client, "x")) == expected


def test_a_refusal_carries_the_servers_words(server: FakeServer) -> None:
    server.refuse_feedback = True
    feedback = FeedbackRequest(interaction_id="gone", vote="up")
    assert failure(server.url, lambda client: client.feedback(feedback)) == (
        "the server refused the request (404): there is no answer gone"
    )


def test_an_answer_that_breaks_off(server: FakeServer) -> None:
    assert "broke off" in failure(server.url, lambda client: collect(client, "break"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'data: {"error": {"message": "the model ran out of memory"}}\n\n', "the model ran out of memory"),
        (b"data: {]\n\n", "is not wellread's API"),
        (b"<html>hello</html>", "broke off"),
        (b"", "broke off"),
    ],
)
def test_a_stream_of_something_else(body: bytes, expected: str) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    assert expected in raw_failure(head + body, lambda client: collect(client, "x"))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (b"HTTP/1.1 500 Oh\r\ncontent-length: 4\r\n\r\nboom", "answered with status 500. See its log"),
        (b'HTTP/1.1 413 Big\r\ncontent-length: 23\r\n\r\n{"detail":"over 256 kB"}'[:-1], "the request is too long"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", "is not wellread's API"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", "broke off"),
        (b"not http at all\r\n\r\n", "broke off"),
    ],
)
def test_a_foreign_or_broken_server(reply: bytes, expected: str) -> None:
    assert expected in raw_failure(reply, lambda client: client.models())


@pytest.mark.parametrize("address", ["", "localhost:8000", "ftp://host", "http://", "http://[", "http://a b:99999999"])
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(ServeError, match="is not a server's address"):
        Client(address)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_survive_any_cut(size: int) -> None:
    text = ': hello\n\ndata: {"a": "\u2028\u0085é"}\r\n\r\ndata:first\ndata: second\nid: 3\n\ndata: unfinished'.encode()
    cut = [text[start : start + size] for start in range(0, len(text), size)]
    assert asyncio.run(_events(cut)) == ['{"a": "\u2028\u0085é"}', "first\nsecond"]


async def _events(chunks: list[bytes]) -> list[str]:
    async def source() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return [event async for event in read_events(source())]


def raw_failure(reply: bytes, work: Any) -> str:
    """The client's words about a server that sends exactly these bytes and hangs up."""

    async def inside() -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(reply)
            await writer.drain()
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with Client(f"http://127.0.0.1:{port}", 10.0) as client:
                with pytest.raises(ServeError) as caught:
                    await work(client)
        return str(caught.value)

    running: Coroutine[Any, Any, str] = inside()
    return asyncio.run(running)
