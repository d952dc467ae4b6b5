"""A connection that is used again only when its last answer ended where it said that it would.

A server that sends more than its Content-Length leaves bytes behind, and over HTTP/1.1 those would be read as the
answer to the next request: one page's text under another page's address. Here the bytes of each answer are counted, and
a connection with any too many, or whose answers cannot be counted, calls itself readable while it is idle, which makes
`httpcore` close it. HTTP/2 has frames, and no such trouble.

Known limit: what arrives only after the next request was sent cannot be told from its answer.
"""

import re
import ssl
from typing import Any

import httpcore

_MAX_HEAD = 200_000
_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})")
_LENGTH = re.compile(rb"^content-length:[ \t]*(\d{1,18})[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_CHUNKED = re.compile(rb"^transfer-encoding:[ \t]*chunked[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_NO_BODY = (b"204", b"304")
_LAST_CHUNK = b"0\r\n\r\n"


class ExactStream(httpcore.AsyncNetworkStream):
    """Wraps a stream, and the one that TLS makes of it."""

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._answer = _Answer()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._inner.read(max_bytes, timeout)
        self._answer.add(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Requests have no bodies here, and none is sent before the last answer has been read.
        if self._answer.received:
            self._answer = _Answer()
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        inner = await self._inner.start_tls(ssl_context, server_hostname, timeout)
        agreed = inner.get_extra_info("ssl_object")
        is_http2 = agreed is not None and agreed.selected_alpn_protocol() == "h2"
        return inner if is_http2 else ExactStream(inner)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._answer.received and not self._answer.is_exact():
            return True
        return self._inner.get_extra_info(info)


class _Answer:
    """What has come since the last request."""

    def __init__(self) -> None:
        self.received = 0
        self._head = b""
        self._tail = b""
        self._is_whole = False

    def add(self, data: bytes) -> None:
        self.received += len(data)
        self._tail = (self._tail + data[-len(_LAST_CHUNK) :])[-len(_LAST_CHUNK) :]
        if not self._is_whole and len(self._head) < _MAX_HEAD:
            self._head += data
            self._is_whole = b"\r\n\r\n" in self._head

    def is_exact(self) -> bool:
        """Whether it ends where it says; false, too, when it cannot be told."""
        head, end, _ = self._head.partition(b"\r\n\r\n")
        status = _STATUS.match(head)
        if not end or status is None or status[1].startswith(b"1"):
            return False
        size = self.received - len(head) - len(end)
        if status[1] in _NO_BODY:
            return size == 0
        if _CHUNKED.search(head):
            return self._tail == _LAST_CHUNK
        length = _LENGTH.search(head)
        return length is not None and size == int(length[1])
