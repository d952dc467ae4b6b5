"""One address in, its body (or a redirect, or the reason why not) out; politely, and never more than was asked for.

Bodies are decoded here, chunk by chunk, with a limit on the decoded bytes: what is larger is given up unread, and a
compression bomb costs no more memory than the limit. Redirects are returned, never followed: the caller has to check
the new address first.

Known limits: content codings other than gzip and deflate are not asked for, and refused; `timeout_s` bounds the time
without progress, `SLOWEST` times that the whole request.
"""

import asyncio
import email.utils
import logging
import random
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpcore
import httpx

from ingest.formats import READABLE, media_type
from ingest.network import PrivateAddressError

logger = logging.getLogger(__name__)

SLOWEST = 15
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 60.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Fetched:
    """A body, decoded from its transfer form; `content_type` and `charset` are as in `Page`."""

    content_type: str
    charset: str
    body: bytes


@dataclass(frozen=True)
class Redirected:
    """The server names another address; as it wrote it, perhaps relative."""

    target: str


@dataclass(frozen=True)
class Failed:
    """Why there is no body. `reason`, `detail`, `score` and `threshold` are as in `Reject`."""

    reason: str
    detail: str
    score: float = 0.0
    threshold: float = 0.0
    transient: bool = False
    retry_after: float = 0.0


Outcome = Fetched | Redirected | Failed


class Pace:
    """Lets requests start at least `delay_s` apart, whatever their number and however long each takes."""

    def __init__(self, delay_s: float) -> None:
        self.delay_s = delay_s
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may start."""
        now = asyncio.get_running_loop().time()
        start = max(now, self._next)
        self._next = start + self.delay_s
        await asyncio.sleep(start - now)

    def hold(self, seconds: float) -> None:
        """Start nothing for so long."""
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)


class Fetcher:
    """Fetches with one client at one pace.

    Args:
        client: decides on connections and headers; must not follow redirects.
        max_bytes: largest decoded body.
        timeout_s: seconds without progress after which a request is given up.
        retries: further tries after network errors, timeouts and the statuses in `RETRIED`.
    """

    def __init__(
        self, client: httpx.AsyncClient, pace: Pace, *, max_bytes: int, timeout_s: float, retries: int
    ) -> None:
        self._client = client
        self._pace = pace
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._retries = retries

    async def get(self, url: str, *, any_type: bool = False) -> Outcome:
        """Fetch an address, with retries.

        Args:
            any_type: accept bodies that are no documents, too.
        """
        for attempt in range(self._retries + 1):
            await self._pace.turn()
            outcome = await self._attempt(url, any_type=any_type)
            if not isinstance(outcome, Failed) or not outcome.transient or attempt == self._retries:
                break
            backoff = FIRST_BACKOFF_S * 2**attempt * random.uniform(1.0, 1.25)
            wait = min(max(outcome.retry_after, backoff), MAX_BACKOFF_S)
            logger.info("%s: %s; trying again in %.1f s", url, outcome.detail, wait)
            if outcome.retry_after:
                self._pace.hold(wait)
            await asyncio.sleep(wait)
        return outcome

    async def _attempt(self, url: str, *, any_type: bool) -> Outcome:
        try:
            async with asyncio.timeout(SLOWEST * self._timeout_s), self._client.stream("GET", url) as response:
                return await self._read(url, response, any_type=any_type)
        except PrivateAddressError as error:
            return Failed("private_address", str(error))
        except (TimeoutError, httpcore.TimeoutException) as error:
            return Failed("timeout", str(error) or f"no progress for {self._timeout_s:g} s", transient=True)
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return Failed("network", str(error) or type(error).__name__, transient=True)
        # httpx builds the request that a redirect asks for even when it is told not to follow, and refuses bad targets.
        except (httpx.HTTPError, httpx.InvalidURL, httpcore.UnsupportedProtocol) as error:
            return Failed("bad_address", str(error))

    async def _read(self, url: str, response: httpx.Response, *, any_type: bool) -> Outcome:
        status = response.status_code
        if response.has_redirect_location:
            return Redirected(response.headers["location"])
        if not response.is_success:
            return Failed(
                f"http_{status}",
                f"the server answered {status} {response.reason_phrase}".rstrip(),
                transient=status in RETRIED,
                retry_after=_retry_after(response.headers.get("retry-after", "")),
            )
        kind = media_type(response.headers.get("content-type", ""), urlsplit(url).path)
        if kind not in READABLE and not any_type:
            return Failed("not_a_document", kind)
        return await self._body(response, kind)

    async def _body(self, response: httpx.Response, kind: str) -> Outcome:
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip", "x-gzip", "deflate"):
            return Failed("unknown_coding", coding)
        claimed = response.headers.get("content-length", "")
        if claimed.isdecimal() and len(claimed) < 20 and int(claimed) > self._max_bytes:
            return self._too_large(int(claimed))
        body = bytearray()
        try:
            async for part in _decoded(response.aiter_raw(), coding, self._max_bytes + 1):
                body += part
                if len(body) > self._max_bytes:
                    return self._too_large(len(body))
        except zlib.error as error:
            return Failed("bad_coding", f"{coding}: {error}")
        return Fetched(kind, response.charset_encoding or "", bytes(body))

    def _too_large(self, size: int) -> Failed:
        return Failed("too_large", f"{size} bytes or more", float(size), float(self._max_bytes))


async def _decoded(raw: AsyncIterator[bytes], coding: str, limit: int) -> AsyncIterator[bytes]:
    """Decoded parts, each of at most `limit` bytes; what a part leaves undecoded beyond that is dropped.

    Raises:
        zlib.error: the data are damaged or end too early.
    """
    if coding == "identity":
        async for chunk in raw:
            yield chunk
        return
    inflate = zlib.decompressobj(wbits=47)
    fresh = True
    async for chunk in raw:
        try:
            yield inflate.decompress(chunk, limit)
        except zlib.error:
            if coding != "deflate" or not fresh:
                raise
            # Some servers mean the bare deflate stream (RFC 1951) by "deflate", not the zlib form (RFC 1950).
            inflate = zlib.decompressobj(wbits=-15)
            yield inflate.decompress(chunk, limit)
        fresh = False
    yield inflate.flush()
    if not inflate.eof:
        raise zlib.error("the data end too early")


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After header asks for, given as a number or a date; 0 when it says nothing readable."""
    if value.strip().isdecimal():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return 0.0
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
