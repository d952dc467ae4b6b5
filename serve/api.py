"""The HTTP routes: OpenAI's chat completions with citations, the model list, feedback, and the two health checks.

In: a function that loads a `Runtime`. Out: a FastAPI app whose port answers at once; everything that needs the runtime
answers 503 until it is loaded. Errors have OpenAI's form. There is no CORS: other origins may not read answers.

Known limits: no keys and no rates yet, so listen on loopback or behind a proxy that has them.
"""

import asyncio
import json
import random
import threading
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from configs.errors import ArtifactError, WellreadError
from feedback.store import Feedback
from serve.edge import Edge, error_body, error_response, log_failure
from serve.engines.base import Sampling
from serve.errors import add_errors
from serve.prompt import PromptTooLongError
from serve.runtime import Runtime
from serve.stream import EventStream, until_disconnect
from serve.text import storable
from serve.wire import (
    AnswerMessage,
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Delta,
    FeedbackRequest,
    FeedbackResponse,
    FinishReason,
    Health,
    ModelList,
    Usage,
)
from serve.work import Answer, Ask
from train.chat import Turn


class Loading:
    """The runtime while it is being loaded, and afterwards.

    Attributes:
        runtime: None until it is loaded.
        failure: why it could not be loaded.
    """

    def __init__(self, load: Callable[[], Runtime]) -> None:
        self._load = load
        self.runtime: Runtime | None = None
        self.failure: BaseException | None = None

    async def run(self) -> None:
        """Load in a thread; failures are kept, not raised."""
        loop, loaded = asyncio.get_running_loop(), asyncio.Event()

        def work() -> None:
            try:
                self.runtime = self._load()
            # Whatever fails is told by /readyz and by whoever started the server.
            except Exception as error:  # noqa: BLE001
                self.failure = error
            # The loop is closed when the server was stopped meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(loaded.set)

        # A daemon, unlike the threads of asyncio's pool: Ctrl-C must not wait a minute for a model.
        threading.Thread(target=work, name="load", daemon=True).start()
        await loaded.wait()

    @property
    def health(self) -> Health:
        if self.runtime:
            card = self.runtime.card
            return Health(
                status="ok",
                detail=self.runtime.index_note,
                model=f"{card.id}:{card.version}",
                index=self.runtime.index_version,
            )
        if self.failure:
            known = isinstance(self.failure, WellreadError)
            return Health(status="failed", detail=str(self.failure) if known else type(self.failure).__name__)
        return Health(status="starting", detail="The model, the index and the guards are being loaded.")

    def ready(self) -> Runtime:
        """The runtime.

        Raises:
            HTTPException: 503, while there is none.
        """
        if self.runtime is None:
            raise HTTPException(503, self.health.detail, headers={"retry-after": "2"})
        return self.runtime


def create_app(
    load: Callable[[], Runtime],
    *,
    max_body_bytes: int = 256 * 1024,
    on_loaded: Callable[[Loading], None] = lambda _loading: None,
) -> FastAPI:
    """The app.

    Args:
        load: makes the runtime; runs in a thread of its own once the port is open.
        max_body_bytes: larger request bodies are refused with 413.
        on_loaded: called when loading has ended, well or badly.
    """
    loading = Loading(load)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async def load_and_tell() -> None:
            await loading.run()
            on_loaded(loading)

        task = asyncio.create_task(load_and_tell())
        yield
        task.cancel()
        if loading.runtime:
            await loading.runtime.close()

    # The interactive pages of FastAPI load scripts from other hosts.
    app = FastAPI(title="wellread", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_middleware(Edge, max_body_bytes=max_body_bytes)
    add_errors(app)
    _add_routes(app, loading)
    return app


def _add_routes(app: FastAPI, loading: Loading) -> None:
    # Async, so that a thread pool full of work cannot make the process look dead.
    @app.get("/healthz")
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz")
    async def readyz() -> Response:
        return JSONResponse(loading.health.model_dump(), 200 if loading.runtime else 503)

    @app.get("/v1/models")
    async def models() -> ModelList:
        return ModelList(data=[loading.ready().card])

    @app.post("/v1/chat/completions", response_model=ChatResponse)
    async def chat(body: ChatRequest, request: Request) -> Response:
        return await answer_chat(loading.ready(), body, request)

    @app.post("/v1/feedback")
    def feedback(body: FeedbackRequest) -> FeedbackResponse:
        return keep_feedback(loading.ready(), body)


async def answer_chat(runtime: Runtime, body: ChatRequest, request: Request) -> Response:
    """Answer, plain or as a stream. When the reader goes away, the model is stopped."""
    if body.model is not None and body.model not in runtime.names:
        known = ", ".join(sorted(name for name in runtime.names if name))
        return error_response(404, f"there is no model {body.model!r}; known: {known}", "model_not_found", "model")
    ask = to_ask(body, runtime.defaults)
    events = runtime.assistant.answer(ask)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(aclosing(events))
        try:
            # Only from the first piece on is it known that the prompt fits, and a status can be sent.
            first = await until_disconnect(request, anext(events))
        except PromptTooLongError as error:
            return error_response(400, str(error), "context_length_exceeded", "messages")
        if first is None:
            return Response(status_code=499)
        if body.stream:
            stack.pop_all()
            return EventStream(_chunks(runtime, ask, events))
        answer = await until_disconnect(request, _last(events))
    return JSONResponse(_response(runtime, ask, answer).model_dump()) if answer else Response(status_code=499)


def keep_feedback(runtime: Runtime, body: FeedbackRequest) -> FeedbackResponse:
    """Store a vote, a correction, a comment; personal data in them is redacted as in answers."""

    def kept(text: str | None) -> str | None:
        return runtime.recorder.scrubbed(storable(text)).strip() or None if text else None

    feedback = Feedback(
        interaction_id=storable(body.interaction_id),
        vote=body.vote,
        correction=kept(body.correction),
        comment=kept(body.comment),
        user=storable(body.user or ""),
    )
    try:
        stored = runtime.store.add_feedback(feedback)
    except KeyError:
        raise HTTPException(404, f"there is no interaction {body.interaction_id!r}") from None
    except ArtifactError as error:
        log_failure("feedback_lost", error)
        raise HTTPException(503, "the feedback store cannot be written now; please try again later") from None
    return FeedbackResponse(id=stored.id, interaction_id=stored.interaction_id)


def to_ask(body: ChatRequest, defaults: Sampling) -> Ask:
    """The request with the server's defaults filled in, and its limit applied."""
    limit = body.max_completion_tokens or body.max_tokens or defaults.max_tokens
    temperature = defaults.temperature if body.temperature is None else body.temperature
    sampling = Sampling(
        max_tokens=min(limit, defaults.max_tokens),
        temperature=temperature,
        top_p=body.top_p,
        top_k=body.top_k,
        repetition_penalty=body.repetition_penalty or defaults.repetition_penalty,
        # Recorded with the answer, so that a sampled one can be had again.
        seed=random.randrange(2**31) if body.seed is None and temperature > 0 else body.seed,
    )
    turns = [Turn(role=message.role, content=message.text) for message in body.messages]
    return Ask(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        messages=turns,
        sampling=sampling,
        retrieval=body.retrieval,
        user=storable(body.user or ""),
        top_passages=body.top_passages,
        wanted=body.filters.filter() if body.filters else None,
    )


async def _last(events: AsyncGenerator[str | Answer, None]) -> Answer | None:
    answer = None
    async for event in events:
        answer = event if isinstance(event, Answer) else answer
    return answer


def _response(runtime: Runtime, ask: Ask, answer: Answer) -> ChatResponse:
    return ChatResponse(
        id=ask.id,
        created=int(time.time()),
        model=runtime.card.id,
        choices=[Choice(message=answer.message, finish_reason=answer.finish_reason)],
        usage=answer.usage,
    )


async def _chunks(runtime: Runtime, ask: Ask, events: AsyncGenerator[str | Answer, None]) -> AsyncGenerator[str, None]:
    """The JSON of each server-sent event; an error after the start becomes an event too."""
    created = int(time.time())

    def chunk(delta: Delta, finish: FinishReason | None = None, usage: Usage | None = None) -> str:
        choice = ChunkChoice(delta=delta, finish_reason=finish)
        whole = ChatChunk(id=ask.id, created=created, model=runtime.card.id, choices=[choice], usage=usage)
        data = whole.model_dump(exclude_none=True)
        data["choices"][0].setdefault("finish_reason", None)
        return json.dumps(data)

    async with aclosing(events):
        yield chunk(Delta(role="assistant", content=""))
        try:
            async for event in events:
                if isinstance(event, Answer):
                    yield chunk(_last_delta(event.message), event.finish_reason, event.usage)
                elif event:
                    yield chunk(Delta(content=event))
        # The status is sent already; an error event is how OpenAI's clients learn of it.
        except Exception as error:  # noqa: BLE001
            log_failure("stream_failed", error)
            yield json.dumps(error_body(500, "the server failed while answering", "internal_error"))
            return
    yield "[DONE]"


def _last_delta(said: AnswerMessage) -> Delta:
    return Delta(
        citations=said.citations,
        grounded=said.grounded,
        answerable=said.answerable,
        search_query=said.search_query,
        guard=said.guard,
    )
