"""One address in, its body (or a redirect, or the reason why not) out; politely, and never more than was asked for.

A known body is asked for on the condition that it has changed (RFC 9110 section 13), and may come back `Unchanged`.

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
import re
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import httpcore
import httpx

from ingest.formats import READABLE, media_type
from ingest.web.network import PrivateAddressError

logger = logging.getLogger(__name__)

SLOWEST = 15
FIRST_BACKOFF_S = 0.5
MAX_BACKOFF_S = 60.0
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
MAX_VALIDATOR = 500
MAX_DRAINED = 65_536
_LINK = re.compile(r"<([^<>]{1,2000})>[^<>,]*?;\s*rel\s*=\s*\"?([a-z :/.-]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Fetched:
    """A body, decoded from its transfer form.

    Attributes:
        content_type, charset, etag, last_modified: as in `Page`.
        tags: the X-Robots-Tag headers, joined by commas.
        canonical: what a Link header names as canonical, as written, or empty.
    """

    content_type: str
    charset: str
    body: bytes
    etag: str = ""
    last_modified: str = ""
    tags: str = ""
    canonical: str = ""


@dataclass(frozen=True)
class Unchanged:
    """The body is the one that was known. `tags` is as in `Fetched`."""

    tags: str = ""


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


Outcome = Fetched | Unchanged | Redirected | Failed


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


@dataclass(frozen=True)
class Wanted:
    """What is asked for besides the address.

    Attributes:
        any_type: bodies that are no documents are wanted, too.
        max_bytes: instead of the fetcher's own limit, if not 0.
        cut: of a body that is larger, the beginning is wanted.
        etag, last_modified: of the body that is known, which need not be sent again.
    """

    any_type: bool = False
    max_bytes: int = 0
    cut: bool = False
    etag: str = ""
    last_modified: str = ""

    def conditions(self) -> dict[str, str]:
        """The headers that ask for nothing but a changed body."""
        named = {"if-none-match": self.etag, "if-modified-since": self.last_modified}
        return {name: value for name, value in named.items() if value}


DOCUMENT = Wanted()


class Fetcher:
    """Fetches over one transport. No cookies are kept: what an address gives must not depend on what was asked before.

    Args:
        transport: makes the connections.
        user_agent: is sent with every request.
        max_bytes: largest decoded body.
        timeout_s: seconds without progress after which a request is given up.
        retries: further tries after network errors, timeouts and the statuses in `RETRIED`.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        *,
        user_agent: str,
        max_bytes: int,
        timeout_s: float,
        retries: int,
    ) -> None:
        self._transport = transport
        # Content codings: only those whose decoded size can be bounded while decoding.
        accept = {"accept": "text/html, */*;q=0.5", "accept-encoding": "gzip, deflate"}
        self._headers = {"user-agent": user_agent, **accept}
        self._extensions = {"timeout": httpx.Timeout(timeout_s).as_dict()}
        self._max_bytes = max_bytes
        self._timeout_s = timeout_s
        self._retries = retries

    async def get(self, url: str, pace: Pace, wanted: Wanted = DOCUMENT) -> Outcome:
        """Fetch an address at its host's pace, with retries."""
        for attempt in range(self._retries + 1):
            await pace.turn()
            outcome = await self._attempt(url, wanted)
            if not isinstance(outcome, Failed) or not outcome.transient or attempt == self._retries:
                break
            backoff = FIRST_BACKOFF_S * 2**attempt * random.uniform(1.0, 1.25)
            wait = min(max(outcome.retry_after, backoff), MAX_BACKOFF_S)
            logger.info("%s: %s; trying again in %.1f s", url, outcome.detail, wait)
            if outcome.retry_after:
                pace.hold(wait)
            await asyncio.sleep(wait)
        return outcome

    async def _attempt(self, url: str, wanted: Wanted) -> Outcome:
        try:
            headers = self._headers | wanted.conditions()
            request = httpx.Request("GET", url, headers=headers, extensions=self._extensions)
            async with asyncio.timeout(SLOWEST * self._timeout_s):
                response = await self._transport.handle_async_request(request)
                try:
                    outcome = await self._read(url, response, wanted)
                    await _drain(response)
                finally:
                    await response.aclose()
                return outcome
        except PrivateAddressError as error:
            return Failed("private_address", str(error))
        except (TimeoutError, httpcore.TimeoutException) as error:
            return Failed("timeout", str(error) or f"no progress for {self._timeout_s:g} s", transient=True)
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            return Failed("network", str(error) or type(error).__name__, transient=True)
        except (httpx.HTTPError, httpx.InvalidURL, httpcore.UnsupportedProtocol) as error:
            return Failed("bad_address", str(error))

    async def _read(self, url: str, response: httpx.Response, wanted: Wanted) -> Outcome:
        status = response.status_code
        if response.has_redirect_location:
            return Redirected(response.headers["location"])
        if status == httpx.codes.NOT_MODIFIED and wanted.conditions():
            return Unchanged(response.headers.get("x-robots-tag", ""))
        if not response.is_success:
            return Failed(
                f"http_{status}",
                f"the server answered {status} {response.reason_phrase}".rstrip(),
                transient=status in RETRIED,
                retry_after=_retry_after(response.headers.get("retry-after", "")),
            )
        kind = media_type(response.headers.get("content-type", ""), urlsplit(url).path)
        if kind not in READABLE and not wanted.any_type:
            return Failed("not_a_document", kind)
        body = await self._body(response, wanted)
        if isinstance(body, Failed):
            return body
        return Fetched(
            kind,
            response.charset_encoding or "",
            body,
            _short(response.headers.get("etag", "")),
            _short(response.headers.get("last-modified", "")),
            response.headers.get("x-robots-tag", ""),
            _canonical(response.headers.get("link", "")),
        )

    async def _body(self, response: httpx.Response, wanted: Wanted) -> bytes | Failed:
        coding = response.headers.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", "gzip", "x-gzip", "deflate"):
            return Failed("unknown_coding", coding)
        most = wanted.max_bytes or self._max_bytes
        claimed = response.headers.get("content-length", "")
        if not wanted.cut and claimed.isdecimal() and len(claimed) < 20 and int(claimed) > most:
            return _too_large(int(claimed), most)
        body = bytearray()
        try:
            async for part in _decoded(response.aiter_raw(), coding, most + 1):
                body += part
                if len(body) > most:
                    return bytes(body[:most]) if wanted.cut else _too_large(len(body), most)
        except zlib.error as error:
            return Failed("bad_coding", f"{coding}: {error}")
        return bytes(body)


def _too_large(size: int, most: int) -> Failed:
    return Failed("too_large", f"{size} bytes or more", float(size), float(most))


def _short(value: str) -> str:
    """A validator to send back; one that is absurdly long, or that no header may hold, is as good as none."""
    return value if len(value) <= MAX_VALIDATOR and value.isascii() and value.isprintable() else ""


def _canonical(link: str) -> str:
    """The target that a Link header (RFC 8288) gives the relation `canonical`."""
    return next((found[1] for found in _LINK.finditer(link) if "canonical" in found[2].lower().split()), "")


async def _drain(response: httpx.Response) -> None:
    """Read the little that an error or a redirect brings, since a connection with something unread is closed."""
    if response.is_stream_consumed or not _is_short(response):
        return
    total = 0
    async for part in response.aiter_raw():
        total += len(part)
        if total > MAX_DRAINED:
            return


def _is_short(response: httpx.Response) -> bool:
    claimed = response.headers.get("content-length", "0")
    return claimed.isdecimal() and len(claimed) < 20 and int(claimed) <= MAX_DRAINED


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
