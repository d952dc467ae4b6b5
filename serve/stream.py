"""Server-sent events, and noticing that the reader has gone."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import TypeVar

from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Send

Result = TypeVar("Result")


class EventStream(StreamingResponse):
    """Each string of an async generator as one server-sent event. The generator is closed when the reader goes."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[str, None]) -> None:
        # Buffering proxies such as nginx would otherwise collect the whole answer.
        super().__init__(_lines(events), headers={"x-accel-buffering": "no"})
        self._events = events

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._events):
            await super().stream_response(send)


async def until_disconnect(request: Request, work: Awaitable[Result]) -> Result | None:
    """The result of `work`, or None when the reader hangs up first; `work` is then cancelled and has ended."""
    working = asyncio.ensure_future(work)
    watching = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        return None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _lines(events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    async for event in events:
        yield f"data: {event}\n\n"
