"""What refuses a request before it is answered, told in OpenAI's form.

In: what FastAPI raises. Out: a JSON body with `message`, `type`, `param` and `code`. A value that is refused is
repeated where it is short, so that the reader finds it.
"""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serve.edge import error_response

MAX_TOLD_CHARS = 80

_CODES: dict[int, str] = {413: "request_too_large", 404: "not_found", 405: "method_not_allowed", 503: "unavailable"}


def add_errors(app: FastAPI) -> None:
    """Answer requests that are not understood, and errors with a status, in OpenAI's form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        if "json" not in request.headers.get("content-type", ""):
            return error_response(400, "send JSON, with the header Content-Type: application/json", "invalid_type")
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return error_response(400, "the request body is not valid JSON", "invalid_json")
        param = ".".join(str(part) for part in first["loc"] if part != "body")
        reason = first["msg"].removeprefix("Value error, ") + _told(first)
        return error_response(400, f"{param}: {reason}" if param else reason, first["type"], param or None)

    @app.exception_handler(HTTPException)
    async def refused(_request: Request, error: HTTPException) -> JSONResponse:
        response = error_response(error.status_code, str(error.detail), _CODES.get(error.status_code))
        response.headers.update(error.headers or {})
        return response


def _told(error: dict[str, Any]) -> str:
    value = error["input"]
    short = isinstance(value, bool | int | float | str) and len(str(value)) <= MAX_TOLD_CHARS
    return f", not {value!r}" if short and error["type"] != "extra_forbidden" else ""
