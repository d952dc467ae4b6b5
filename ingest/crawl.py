"""The crawler: a start address in, every readable page of that site out, as a table.

Breadth first, one host, within limits of depth and number; robots.txt obeyed, requests paced, redirects followed by
hand. What it knows lives in `crawl.db` (see `ingest/frontier.py`) until it is done: a killed crawl goes on where it
was, and loses or repeats nothing but the requests that were under way.

Writes `pages.parquet` (Page) and `rejects.parquet` (Reject), both sorted by address.

Known limits: no JavaScript is run; a page that only a sitemap names is not found; a crawl that goes on days later
mixes old pages with new ones; links of PDF and plain-text pages are not followed.
"""

import asyncio
import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import httpx

from configs.artifacts import Made
from configs.errors import ArtifactError, SourceError
from ingest.fetch import Failed, Fetched, Fetcher, Outcome, Pace, Redirected
from ingest.formats import is_binary
from ingest.frontier import Frontier, Wave
from ingest.links import find_links
from ingest.network import CheckedBackend, CheckedTransport, Resolver, resolve
from ingest.records import Page, Reject, write_table
from ingest.robots import ALLOW_ALL, Rules, parse
from ingest.urls import may_be_document, normalise, origin_of, site_of, with_scheme_of

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int | None], None]
PAGES, REJECTS, STATE = "pages.parquet", "rejects.parquet", "crawl.db"

MAX_REDIRECTS = 10
MAX_ROBOTS_REDIRECTS = 5
# So many pages in a row without any answer mean that the site is gone, not that the pages are.
GONE_AFTER = 10
# The same at the end of a crawl, where fewer addresses are left to tell a dead site from dead links.
GONE_AT_END = 3
UNREACHABLE = ("network", "timeout")
# Bodies are held in memory while a batch is written; each may be as large as the page limit.
WRITTEN_AT_ONCE = 32

READABLE_HINT = "Give the address of a page to read: HTML, Markdown, plain text or PDF"
REMEDIES = {
    "private_address": "If that is meant, allow it with `--set source.allow_private=true`",
    "robots": "Start at another page or, if the site is yours, pass `--set source.robots=false`",
    "off_site": "Start from that address instead",
    "network": "Check the address and the connection, then run the same command again",
    "timeout": "Run the same command again, or raise source.timeout_s",
    "too_large": "Start at another page, or raise source.max_page_mb",
    "redirect_loop": "Open the address in a browser, and start from the page that it ends at",
    "not_a_document": READABLE_HINT,
    "binary": READABLE_HINT,
    "empty": READABLE_HINT,
}
DISK_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES))
DISK_REMEDY = "Make room or fix its permissions, then run the same command again: it goes on where it stopped"


class _BrokenOffError(SourceError):
    """The site went away in the middle: what was read is kept for the next try."""


@dataclass(frozen=True)
class Limits:
    """How far to go: pages kept, links from the start page, bytes of a decoded body."""

    max_pages: int
    max_depth: int
    max_page_bytes: int


def crawl(
    site: str,
    folder: Path,
    *,
    max_pages: int,
    max_depth: int,
    max_page_bytes: int,
    delay_s: float,
    concurrency: int,
    timeout_s: float,
    retries: int,
    robots: bool,
    user_agent: str,
    allow_private: bool,
    progress: Progress = lambda _what, _done, _total: None,
    resolver: Resolver = resolve,
) -> Made:
    """Read a site into `folder`, going on with what a killed crawl left there.

    The settings are those of `SourceSettings`, sizes in bytes and times in seconds. `progress` is called with
    ("crawl", pages so far, pages known so far). `resolver` looks host names up.

    Returns:
        Counts (pages, rejected, unvisited) and the fingerprint: SHA-256 over the sorted (url, SHA-256 of body).

    Raises:
        SourceError: the start page cannot be read, nothing readable is found, or the site stops answering. In the
            last case the state is kept, and the same call goes on from there.
        ArtifactError: `folder` cannot be written.
    """
    start = normalise(site)
    if start is None:
        raise SourceError(f"{site!r} is not a web address", "Give one such as https://example.org/docs/")
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        frontier = Frontier(folder / STATE, start)
        try:
            job = _Crawl(start, frontier, Limits(max_pages, max_depth, max_page_bytes), concurrency, progress)
            transport = CheckedTransport(
                CheckedBackend(allow_private=allow_private, resolver=resolver), connections=concurrency
            )
            asyncio.run(job.run(transport, Pace(delay_s), timeout_s, retries, user_agent, robots=robots))
            return _finish(folder, frontier)
        except _BrokenOffError:
            raise
        except SourceError:
            frontier.delete()
            raise
        finally:
            frontier.close()


def _finish(folder: Path, frontier: Frontier) -> Made:
    pages = write_table(folder / PAGES, frontier.pages(), Page, batch=WRITTEN_AT_ONCE)
    rejected = write_table(folder / REJECTS, frontier.rejects(), Reject)
    counts = {"pages": pages, "rejected": rejected, "unvisited": frontier.count("queued")}
    made = Made(counts=counts, fingerprint=frontier.fingerprint())
    frontier.delete()
    return made


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise ArtifactError(f"cannot write {folder / STATE}: {error}", DISK_REMEDY) from None
    except sqlite3.DatabaseError as error:
        raise ArtifactError(f"{folder / STATE} is damaged: {error}", "Delete it and run the command again") from None
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise ArtifactError(f"cannot write {folder}: {os.strerror(error.errno)}", DISK_REMEDY) from None


class _Crawl:
    """One run over a frontier."""

    def __init__(self, start: str, frontier: Frontier, limits: Limits, concurrency: int, progress: Progress) -> None:
        self._start = start
        self._frontier = frontier
        self._limits = limits
        self._concurrency = concurrency
        self._progress = progress
        self._rules = ALLOW_ALL
        self._pages = frontier.count("page")
        self._unanswered = 0

    async def run(
        self,
        transport: CheckedTransport,
        pace: Pace,
        timeout_s: float,  # a setting of each request, not of this call
        retries: int,
        user_agent: str,
        *,
        robots: bool,
    ) -> None:
        """Visit wave after wave until nothing is queued or the page limit is reached."""
        # Content codings: only those whose decoded size can be bounded while decoding.
        headers = {"user-agent": user_agent, "accept": "text/html, */*;q=0.5", "accept-encoding": "gzip, deflate"}
        async with httpx.AsyncClient(
            transport=transport, headers=headers, timeout=timeout_s, trust_env=False, follow_redirects=False
        ) as client:
            fetcher = Fetcher(client, pace, max_bytes=self._limits.max_page_bytes, timeout_s=timeout_s, retries=retries)
            if robots:
                self._rules = await self._ask_robots(fetcher, user_agent)
                pace.delay_s = max(pace.delay_s, self._rules.crawl_delay)
            if not self._rules.allows(self._start):
                raise self._unusable("robots", "robots.txt asks readers like this one not to fetch it")
            while self._pages < self._limits.max_pages and (wave := self._frontier.next_wave()):
                await self._visit(wave, fetcher)
        if not self._pages:
            reject = next(self._frontier.rejects())
            raise self._unusable(reject.rule, reject.detail)
        if self._unanswered >= GONE_AT_END:
            self._give_up()
        if unvisited := self._frontier.count("queued"):
            logger.warning("source.max_pages (%d) reached: %d known pages not read", self._limits.max_pages, unvisited)

    async def _ask_robots(self, fetcher: Fetcher, user_agent: str) -> Rules:
        url = f"{origin_of(self._start)}/robots.txt"
        outcome: Outcome = Redirected(url)
        for _ in range(MAX_ROBOTS_REDIRECTS + 1):
            if not isinstance(outcome, Redirected):
                break
            url = normalise(outcome.target, url) or url
            outcome = await fetcher.get(url, any_type=True)
        if isinstance(outcome, Fetched):
            return parse(outcome.body, user_agent)
        if isinstance(outcome, Redirected) or (outcome.reason.startswith("http_4") and outcome.reason != "http_429"):
            return ALLOW_ALL
        if outcome.reason in (*UNREACHABLE, "private_address"):
            raise self._unusable(outcome.reason, outcome.detail)
        raise self._unusable("robots", f"{url}: {outcome.detail}, so no page may be read (RFC 9309)")

    async def _visit(self, wave: Wave, fetcher: Fetcher) -> None:
        """Fetch a wave. No more requests run than pages are missing, so what the limit keeps is well defined."""
        urls = iter(self._frontier.queued(wave))
        running: dict[asyncio.Task[Outcome], str] = {}
        try:
            while True:
                free = min(self._concurrency, self._limits.max_pages - self._pages) - len(running)
                for _, url in zip(range(free), urls, strict=False):
                    running[asyncio.create_task(fetcher.get(url))] = url
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._record(running.pop(task), task.result(), wave)
                self._report()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _record(self, url: str, outcome: Outcome, wave: Wave) -> None:
        match outcome:
            case Fetched():
                failed = self._keep(url, outcome, wave)
            case Redirected():
                failed = self._redirect(url, outcome.target, wave)
            case Failed():
                failed = outcome
        if failed:
            logger.debug("%s: %s (%s)", url, failed.reason, failed.detail)
            self._frontier.reject(Reject(url, failed.reason, failed.detail, failed.score, failed.threshold))
        self._unanswered = self._unanswered + 1 if failed and failed.reason in UNREACHABLE else 0
        if self._unanswered >= GONE_AFTER and self._pages:
            self._give_up()

    def _give_up(self) -> NoReturn:
        """The site is gone: what it did not answer is asked again by the next run."""
        self._frontier.requeue(UNREACHABLE)
        raise self._unusable("network", f"it stopped answering after {self._pages} pages")

    def _keep(self, url: str, fetched: Fetched, wave: Wave) -> Failed | None:
        if not fetched.body.strip():
            return Failed("empty", "the answer has no content")
        if fetched.content_type != "application/pdf" and is_binary(fetched.body):
            return Failed("binary", f"labelled {fetched.content_type}, but not text")
        links: list[str] = []
        barred: list[str] = []
        if "html" in fetched.content_type and wave.depth < self._limits.max_depth:
            for link in find_links(fetched.body, fetched.charset, url):
                if site_of(link) == site_of(self._start) and may_be_document(link):
                    (links if self._rules.allows(link) else barred).append(with_scheme_of(link, url))
        self._frontier.add_page(url, fetched, links, barred, wave)
        self._pages += 1
        return None

    def _redirect(self, url: str, target: str, wave: Wave) -> Failed | None:
        address = normalise(target, url)
        if address is None:
            return Failed("bad_address", f"redirects to {target!r}")
        if site_of(address) != site_of(self._start):
            return Failed("off_site", f"redirects to {address}, on another host")
        if not self._rules.allows(address):
            return Failed("robots", f"redirects to {address}, which robots.txt asks not to fetch")
        if wave.hops >= MAX_REDIRECTS:
            return Failed("redirect_loop", f"more than {MAX_REDIRECTS} redirects", wave.hops + 1, MAX_REDIRECTS)
        if not self._frontier.add_redirect(url, address, wave):
            return Failed("redirect_loop", f"redirects to {address} and from there back")
        return None

    def _report(self) -> None:
        known = min(self._pages + self._frontier.count("queued"), self._limits.max_pages)
        self._progress("crawl", self._pages, known)

    def _unusable(self, reason: str, detail: str) -> SourceError:
        kind = _BrokenOffError if self._pages else SourceError
        fallback = "Try again later" if reason.startswith("http_5") else "Check the address: a page must answer there"
        return kind(f"cannot read {self._start} ({reason}): {detail}", REMEDIES.get(reason, fallback))
