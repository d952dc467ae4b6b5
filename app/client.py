"""A thin client of the public API: what `serve/wire.py` describes, over HTTP.

In: the address of a server and the wire types. Out: the wire types, and a `ServeError` in plain words for everything
that can go wrong on the way (no server there, not ready, too slow, an answer that breaks off, a foreign server).

Known limits: no retries, since an answer that is asked for twice is generated twice; one client belongs to one event
loop, because its connections do.
"""

import json
from collections.abc import AsyncIterator
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from configs.errors import ServeError
from serve.wire import (
    ChatChunk,
    ChatRequest,
    ChatResponse,
    FeedbackRequest,
    FeedbackResponse,
    Health,
    ModelCard,
    ModelList,
)

Reply = TypeVar("Reply", bound=BaseModel)

CHAT = "/v1/chat/completions"
MAX_ERROR_CHARS = 300


class Client:
    """One server's API.

    Args:
        server_url: for example `http://127.0.0.1:8000`.
        timeout_s: seconds without a byte after which a request is given up; it bounds the wait for the first token,
            not the length of an answer.

    Raises:
        ServeError: the address is not an http or https URL.
    """

    def __init__(self, server_url: str, timeout_s: float = 120.0) -> None:
        host = _host(server_url)
        self.server_url = server_url.rstrip("/")
        self.timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=self.server_url,
            timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            # A proxy from the environment cannot reach a server on this machine.
            trust_env=host not in ("localhost", "127.0.0.1", "::1"),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def stream(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        """Yield the chunks of an answer as they arrive; closing the iterator hangs up, which stops the generation.

        Raises:
            ServeError: see the module's text. Chunks that came before it are valid.
        """
        body = request.model_copy(update={"stream": True}).model_dump(exclude_none=True)
        try:
            async with self._http.stream("POST", CHAT, json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise self._refusal(response)
                async for data in read_events(response.aiter_bytes()):
                    if data == "[DONE]":
                        return
                    yield self._chunk(data)
        except httpx.HTTPError as error:
            raise self._failure(error) from None
        raise ServeError("the answer broke off before its end", "Ask again; the server's log says why it stopped")

    async def answer(self, request: ChatRequest) -> ChatResponse:
        """Return a whole answer.

        Raises:
            ServeError: see the module's text.
        """
        body = request.model_copy(update={"stream": False}).model_dump(exclude_none=True)
        return self._parse(ChatResponse, await self._send("POST", CHAT, body))

    async def feedback(self, request: FeedbackRequest) -> FeedbackResponse:
        """Store a vote, a correction or a comment.

        Raises:
            ServeError: see the module's text; nothing was saved then, as far as the client can know.
        """
        return self._parse(FeedbackResponse, await self._send("POST", "/v1/feedback", request.model_dump()))

    async def models(self) -> list[ModelCard]:
        """The models that the server offers.

        Raises:
            ServeError: see the module's text.
        """
        return self._parse(ModelList, await self._send("GET", "/v1/models")).data

    async def ready(self) -> Health:
        """The server's state, once it can answer questions.

        Raises:
            ServeError: it is not ready, and why; or see the module's text.
        """
        return self._parse(Health, await self._send("GET", "/readyz"))

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        try:
            response = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise self._failure(error) from None
        if response.is_error:
            raise self._refusal(response)
        return response

    def _parse(self, kind: type[Reply], response: httpx.Response) -> Reply:
        try:
            return kind.model_validate_json(response.content)
        except ValidationError:
            raise self._foreign() from None

    def _chunk(self, data: str) -> ChatChunk:
        try:
            return ChatChunk.model_validate_json(data)
        except ValidationError:
            message = _error_message(data)
            if message:
                raise ServeError(f"the answer broke off: {message}", "Ask again") from None
            raise self._foreign() from None

    def _foreign(self) -> ServeError:
        return ServeError(
            f"{self.server_url} answered with something that is not wellread's API",
            "Check the address; `wellread serve` prints the right one",
        )

    def _failure(self, error: httpx.HTTPError) -> ServeError:
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout():
                return ServeError(
                    f"cannot reach the server at {self.server_url}",
                    "Start it with `wellread serve`, or check the address",
                )
            case httpx.TimeoutException():
                return ServeError(
                    f"the server at {self.server_url} sent nothing for {self.timeout_s:g} seconds",
                    "Try again, or ask for a shorter answer",
                )
            case _:
                return ServeError(
                    f"the connection to {self.server_url} broke off",
                    "Try again; if it happens again, the server's log says why",
                )

    def _refusal(self, response: httpx.Response) -> ServeError:
        message = _error_message(response.text)
        match response.status_code:
            case 503:
                detail = f": {message}" if message else ""
                return ServeError(f"the server is not ready yet{detail}", "Try again in a moment")
            case 413:
                return ServeError(f"the request is too long{f': {message}' if message else ''}", "Shorten it")
            case status if message:
                return ServeError(f"the server refused the request ({status}): {message}")
            case status:
                return ServeError(f"the server at {self.server_url} answered with status {status}", "See its log")


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    """The data of each server-sent event in a byte stream, however the bytes are cut.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, without lone carriage returns as line
    ends. Lines are cut at newlines only: httpx's own `aiter_lines` also cuts at U+2028 and U+0085, which JSON text
    may hold.
    """
    rest = b""
    data: list[str] = []
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode("utf-8", "replace")
            if text.startswith("data:"):
                data.append(text[5:].removeprefix(" "))
            elif not text and data:
                yield "\n".join(data)
                data = []


def _host(server_url: str) -> str:
    try:
        httpx.URL(server_url)
        parts = urlsplit(server_url)
        host = parts.hostname if parts.scheme in ("http", "https") and parts.port != 0 else None
    except (ValueError, httpx.InvalidURL):
        host = None
    if not host or server_url.split() != [server_url]:
        raise ServeError(f"{server_url!r} is not a server's address", "Give one such as http://127.0.0.1:8000")
    return host


def _error_message(text: str) -> str:
    """The sentence in an error body of OpenAI's form, of FastAPI's, or in a `Health`; empty when there is none."""
    try:
        body = json.loads(text)
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    found = error.get("message") if isinstance(error, dict) else error or body.get("detail")
    return " ".join(found.split())[:MAX_ERROR_CHARS].rstrip(".") if isinstance(found, str) else ""
