"""A small real server that speaks `serve/wire.py` with canned answers, and remembers what it was sent.

In: questions, whose words choose the answer (`SCRIPTS`). Out: server-sent events over a real socket on a free port.
It runs in a thread of the test process, and can be stopped to see what its clients then say.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Self

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from serve.wire import (
    AnswerMessage,
    ChatChunk,
    ChatRequest,
    ChatResponse,
    Choice,
    ChunkChoice,
    Citation,
    Delta,
    FeedbackRequest,
    FeedbackResponse,
    FinishReason,
    GuardReport,
    Health,
    ModelCard,
    ModelList,
    Usage,
)

VACUUM_PASSAGE = (
    "Plain VACUUM (without FULL) simply reclaims space and makes it available for re-use. This form of the command can "
    "operate in parallel with normal reading and writing of the table, as an exclusive lock is not obtained. However, "
    "extra space is not returned to the operating system (in most cases); it's just kept available for re-use within "
    "the same table. VACUUM FULL rewrites the entire contents of the table into a new disk file with no extra space, "
    "allowing unused space to be returned to the operating system. This form is much slower and requires an ACCESS "
    "EXCLUSIVE lock on each table while it is being processed."
)
VACUUM_QUOTE = (
    "VACUUM FULL rewrites the entire contents of the table into a new disk file with no extra space, allowing unused "
    "space to be returned to the operating system."
)
EVIL = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def citation(number: int, **changes: Any) -> Citation:
    values = {
        "number": number,
        "url": "https://docs.example.org/sql-vacuum.html",
        "title": "VACUUM",
        "heading": "VACUUM > Description",
        "quote": VACUUM_QUOTE,
        "passage": VACUUM_PASSAGE,
        "start": 0,
        "end": len(VACUUM_QUOTE),
        "score": 0.78,
        "chunk_id": f"chunk-{number}",
    }
    return Citation.model_validate(values | changes)


LOCKS = citation(
    2,
    url="https://docs.example.org/explicit-locking.html",
    title="Explicit Locking",
    heading="Concurrency Control > Explicit Locking > Table-Level Locks",
    quote="Conflicts with locks of all modes. This mode guarantees that the holder is the only transaction accessing "
    "the table in any way.",
    passage="ACCESS EXCLUSIVE (AccessExclusiveLock). Conflicts with locks of all modes. This mode guarantees that the "
    "holder is the only transaction accessing the table in any way. Acquired by the DROP TABLE, TRUNCATE, REINDEX, "
    "CLUSTER, VACUUM FULL, and REFRESH MATERIALIZED VIEW commands.",
    score=0.64,
)
ROUTINE = citation(
    3,
    url="https://docs.example.org/routine-vacuuming.html",
    title="Routine Vacuuming",
    heading="Routine Database Maintenance Tasks > Routine Vacuuming > Recovering Disk Space",
    quote="The usual goal of routine vacuuming is to do standard VACUUMs often enough to avoid needing VACUUM FULL.",
    passage="The usual goal of routine vacuuming is to do standard VACUUMs often enough to avoid needing VACUUM FULL. "
    "The autovacuum daemon attempts to work this way, and in fact will never issue VACUUM FULL.",
    score=0.59,
)


@dataclass
class Script:
    """A canned answer: its pieces, the pause before each, and what the last chunk carries."""

    pieces: list[str]
    pause_s: float = 0.02
    citations: list[Citation] = field(default_factory=list)
    grounded: bool = True
    guard: list[GuardReport] = field(default_factory=list)
    finish_reason: FinishReason = "stop"
    breaks: bool = False
    """Hang up before the last chunk."""


def words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")]


SCRIPTS = {
    "vacuum": Script(
        words(
            "`VACUUM FULL` rewrites the whole table into a new disk file without extra space, so unused space goes "
            "back to the operating system [1]. It is much slower than plain `VACUUM`, and needs an `ACCESS EXCLUSIVE` "
            "lock while it runs [1], which conflicts with every other lock [2].\n\nStandard `VACUUM` often enough "
            "makes it unnecessary [3]."
        ),
        citations=[citation(1), LOCKS, ROUTINE],
    ),
    "attack": Script(
        [
            EVIL,
            "\n\n![pixel](http://evil.example/pixel.png) [press](javascript:alert(3)) <http://evil.example/auto> ",
            "{{constructor}} ${alert(4)} [1] [2]\n\n<style>body{display:none}</style>\n\n<iframe src=//evil.example>",
        ],
        citations=[
            citation(
                1, url="javascript:alert(5)", title=EVIL, heading=EVIL, quote=EVIL, passage=f"before {EVIL} after"
            ),
            citation(
                2, url='http://127.0.0.1:9/"onmouseover="alert(6)', title='"><b id=injected>', heading="{{value}}"
            ),
        ],
    ),
    "blocked": Script(
        ["I cannot help with that."],
        grounded=False,
        guard=[GuardReport(stage="input", action="block", category="toxicity", reason="It reads as abusive.")],
        finish_reason="content_filter",
    ),
    "mail": Script(
        ["Write to <EMAIL> instead [1]."],
        citations=[citation(1)],
        guard=[GuardReport(stage="input", action="redact", category="pii", reason="Personal data was taken out.")],
    ),
    "moon": Script(["The documents do not answer this."], citations=[citation(1), LOCKS], grounded=False),
    "slow": Script(words("One two three four five six seven eight nine ten " * 12), pause_s=0.1),
    "break": Script(["Half of an "], breaks=True),
}
DEFAULT = Script(words("The documents say so [1]."), citations=[citation(1)])


class FakeServer:
    """Starts on entering a `with` block; `url` is then set."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.feedback: list[FeedbackRequest] = []
        self.hung_up = 0
        self.ready = True
        self.refuse_feedback = False
        self.sent: list[tuple[float, str]] = []
        self.app = self._routes()
        self.url = ""
        self._running: RunningApp | None = None

    def __enter__(self) -> Self:
        self._running = RunningApp(self.app)
        self._running.start()
        self.url = self._running.url
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Shut the server down; its address refuses connections from then on."""
        if self._running:
            self._running.stop()
            self._running = None

    def _routes(self) -> FastAPI:
        app = FastAPI()
        app.add_api_route("/v1/chat/completions", self._chat, methods=["POST"], response_model=None)
        app.add_api_route("/v1/feedback", self._feedback, methods=["POST"], response_model=None)
        app.add_api_route("/v1/models", self._models)
        app.add_api_route("/readyz", self._readyz, response_model=None)
        app.add_api_route("/plain", lambda: PlainTextResponse("hello"), response_model=None)
        return app

    async def _models(self) -> ModelList:
        return ModelList(data=[ModelCard(id="champion", created=0, version="fake-1")])

    async def _readyz(self) -> Response:
        health = Health(status="ok", model="SmolLM2-135M-Instruct", index="4f1c09aa")
        if not self.ready:
            health = Health(status="starting", detail="loading the model")
        return JSONResponse(health.model_dump(), status_code=200 if self.ready else 503)

    async def _feedback(self, request: FeedbackRequest) -> Response:
        if self.refuse_feedback:
            return _error(404, f"there is no answer {request.interaction_id}")
        self.feedback.append(request)
        return JSONResponse(
            FeedbackResponse(id=f"f{len(self.feedback)}", interaction_id=request.interaction_id).model_dump()
        )

    async def _chat(self, request: ChatRequest, http: Request) -> Response:
        if not self.ready:
            return _error(503, "loading the model")
        self.requests.append(request)
        question = request.messages[-1].text.lower()
        script = next((script for word, script in SCRIPTS.items() if word in question), DEFAULT)
        answer_id = f"answer-{len(self.requests)}"
        if request.stream:
            return StreamingResponse(self._stream(script, answer_id, http), media_type="text/event-stream")
        message = AnswerMessage(
            content="".join(script.pieces), citations=script.citations, grounded=script.grounded, guard=script.guard
        )
        choice = Choice(message=message, finish_reason=script.finish_reason)
        response = ChatResponse(id=answer_id, created=0, model="champion", choices=[choice], usage=Usage())
        return JSONResponse(response.model_dump())

    async def _stream(self, script: Script, answer_id: str, http: Request) -> AsyncIterator[str]:
        def event(delta: Delta, finish_reason: FinishReason | None = None) -> str:
            choice = ChunkChoice(delta=delta, finish_reason=finish_reason)
            chunk = ChatChunk(id=answer_id, created=0, model="champion", choices=[choice])
            return f"data: {chunk.model_dump_json(exclude_none=True)}\n\n"

        try:
            for piece in script.pieces:
                await asyncio.sleep(script.pause_s)
                self.sent.append((time.time(), piece))
                yield event(Delta(content=piece))
        except (asyncio.CancelledError, GeneratorExit):
            self.hung_up += 1
            raise
        if script.breaks:
            return
        last = Delta(citations=script.citations, grounded=script.grounded, guard=script.guard)
        yield event(last, script.finish_reason)
        yield "data: [DONE]\n\n"


class RunningApp:
    """An ASGI app served by uvicorn in a thread, on a free loopback port."""

    def __init__(self, app: FastAPI) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True)

    def start(self) -> None:
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the test's server did not start")
            time.sleep(0.01)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._socket.close()


def _error(status: int, message: str) -> Response:
    return JSONResponse(
        {"error": {"message": message, "type": "error", "param": None, "code": None}}, status_code=status
    )
