"""What surrounds every request: size limit, headers, the access log, and a last net under all errors.

Plain ASGI, so that streams pass through untouched. Paths of ours (`/v1`, `/healthz`, `/readyz`) get the strict headers
and the size limit; pages that are mounted beside them only get what does not disturb a page.
"""

import json
import logging
import time
import traceback
from typing import Any

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.wire import ErrorBody

logger = logging.getLogger(__name__)

OURS = ("/v1", "/healthz", "/readyz", "/openapi.json")
HEADERS_FOR_ALL = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
HEADERS_FOR_OURS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)


class BodyTooLargeError(HTTPException):
    """The request's body exceeds the limit. An `HTTPException`: FastAPI calls any other failed read a 400."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, f"the request body is larger than {limit} bytes", {"connection": "close"})


def error_response(status: int, message: str, code: str | None = None, param: str | None = None) -> JSONResponse:
    """An error in OpenAI's form."""
    return JSONResponse(error_body(status, message, code, param), status)


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The JSON of an error in OpenAI's form; its type follows from the status."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return ErrorBody(error={"message": message, "type": kind, "param": param, "code": code}).model_dump()


def log_failure(event: str, error: BaseException) -> None:
    """Log an unexpected error: its type and place, never its message, which may quote what a user wrote."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    logger.error(json.dumps({"event": event, "error": type(error).__name__, "at": place}))


class Edge:
    """The outermost middleware.

    Args:
        max_body_bytes: larger bodies to our own paths are refused with 413, unread.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        ours = scope["path"].startswith(OURS)
        started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *HEADERS_FOR_ALL, *(HEADERS_FOR_OURS if ours else ())]
            await send(message)

        try:
            await self._app(
                scope, _limited(scope, receive, self._max_body_bytes) if ours else receive, send_with_headers
            )
        # The last net: a traceback in a response or a log could quote what a user wrote.
        except Exception as error:  # noqa: BLE001
            log_failure("request_failed", error)
            if not status:
                await error_response(500, "the server failed on this request", "internal_error")(
                    scope, receive, send_with_headers
                )
        finally:
            if ours:
                seconds = round(time.perf_counter() - started, 4)
                line = {"event": "request", "method": scope["method"], "path": scope["path"], "status": status}
                # Health checks come every few seconds, and would drown the rest.
                level = logging.INFO if scope["path"].startswith("/v1") else logging.DEBUG
                logger.log(level, json.dumps({**line, "seconds": seconds}))


def _limited(scope: Scope, receive: Receive, limit: int) -> Receive:
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    size = int(declared) if declared.isdigit() else 0

    async def limited() -> Message:
        nonlocal size
        if size > limit:
            raise BodyTooLargeError(limit)
        message = await receive()
        if message["type"] == "http.request":
            received = len(message.get("body", b""))
            # A chunked body declares no length; it is counted while it comes.
            size = size if declared != b"0" else size + received
            if size > limit:
                raise BodyTooLargeError(limit)
        return message

    return limited
