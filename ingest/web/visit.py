"""One run over a frontier: wave after wave, each address fetched and its outcome written down, within the limits.

In: a frontier with something queued, and the hosts to ask. Out: the frontier with nothing queued, or at a limit.
"""

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from typing import NoReturn

from configs.errors import SourceError
from ingest.records import Progress, Reject
from ingest.web.fetch import DOCUMENT, Failed, Fetched, Outcome, Redirected, Unchanged, Wanted
from ingest.web.frontier import Frontier, Leads, Wave
from ingest.web.hosts import UNREACHABLE, Hosts
from ingest.web.leads import EXCLUDED, Reader
from ingest.web.links import PageLinks
from ingest.web.listing import read_sitemaps
from ingest.web.previous import Known
from ingest.web.robots import Rules
from ingest.web.urls import normalise, origin_of

logger = logging.getLogger(__name__)


MAX_REDIRECTS = 10
# So many pages in a row without any answer mean that the site is gone, not that the pages are.
GONE_AFTER = 10
# The same at the end of a crawl, where fewer addresses are left to tell a dead site from dead links.
GONE_AT_END = 3
# Requests under way at all hosts together.
MAX_RUNNING = 64
_REPORT_EVERY_S = 0.2

READABLE_HINT = "Give the address of a page to read: HTML, Markdown, plain text or PDF"
REMEDIES = {
    "private_address": "If that is meant, allow it with `--set source.allow_private=true`",
    "robots": "Start at another page or, if the site is yours, pass `--set source.robots=false`",
    "noindex": "Start at another page or, if the site is yours, pass `--set source.robots_tags=false`",
    "off_site": "Start from that address instead",
    "excluded": "Start from that address instead, or change source.include and source.exclude",
    "network": "Check the address and the connection, then run the same command again",
    "timeout": "Run the same command again, or raise source.timeout_s",
    "too_large": "Start at another page, or raise source.max_page_mb",
    "redirect_loop": "Open the address in a browser, and start from the page that it ends at",
    "bad_sitemap": "Give the address of a sitemap in XML, or of a list with one address a line",
    "not_a_document": READABLE_HINT,
    "binary": READABLE_HINT,
    "empty": READABLE_HINT,
}


class BrokenOffError(SourceError):
    """The site went away in the middle: what was read is kept for the next try."""


@dataclass(frozen=True)
class Limits:
    """How far to go: pages kept, bytes of all decoded bodies, addresses of one family, requests under way at a host."""

    max_pages: int
    max_total_bytes: int
    max_per_path: int
    concurrency: int


class Visit:
    """One run.

    Args:
        start: normalised start address, or that of a sitemap when the reader follows no links.
        sitemaps: read what robots.txt names, and `/sitemap.xml`.
    """

    def __init__(
        self,
        start: str,
        frontier: Frontier,
        hosts: Hosts,
        reader: Reader,
        limits: Limits,
        progress: Progress,
        *,
        sitemaps: bool,
    ) -> None:
        self._start = start
        self._frontier = frontier
        self._goes_on = frontier.last_crawl() > 0
        self._hosts = hosts
        self._reader = reader
        self._limits = limits
        self._progress = progress
        self._sitemaps = sitemaps
        self._crawl = int(frontier.fact("crawl"))
        self._began = frontier.fact("began")
        self._pages = frontier.count("page")
        self._size = frontier.total_size()
        self._unanswered = 0
        self._trusted = False
        self._reported = 0.0

    async def run(self) -> None:
        """Visit wave after wave until nothing is queued or a limit is reached.

        Raises:
            SourceError: nothing can be read.
            BrokenOffError: nothing more can be read, and something has been.
        """
        rules = await self._hosts.rules(self._start)
        if isinstance(rules, Failed):
            raise self._unusable(rules.reason, rules.detail)
        await self._seed(rules)
        asked_for_orphans = not self._goes_on
        while not self._is_full():
            wave = self._frontier.next_wave()
            if wave:
                self._frontier.admit(wave, self._limits.max_per_path)
                await self._visit(wave)
            elif asked_for_orphans:
                break
            else:
                self._frontier.enqueue_orphans()
                asked_for_orphans = True
        if not self._pages:
            raise self._nothing_read()
        if self._unanswered >= GONE_AT_END:
            await self._doubt()
        self._report(at_once=True)

    async def _seed(self, rules: Rules) -> None:
        """Queue what the run begins with: the start page and the sitemaps, or one sitemap alone."""
        guess = ""
        if not self._reader.follow_links:
            self._frontier.add_sitemaps([self._start])
        else:
            self._frontier.enqueue([self._start], Wave(0, 0))
            if self._sitemaps and self._reader.max_depth:
                named = [url for link in rules.sitemaps if (url := normalise(link, self._start))]
                guess = "" if named else f"{origin_of(self._start)}/sitemap.xml"
                if named or rules.allows(guess):
                    self._frontier.add_sitemaps(named or [guess])
        await read_sitemaps(self._frontier, self._hosts, self._reader.scope, self._start, guess=guess)

    def _is_full(self) -> bool:
        return self._pages >= self._limits.max_pages or self._size >= self._limits.max_total_bytes

    def _free(self, running: int) -> int:
        """How many requests may be started. No more run than pages are missing, so what that limit keeps is well
        defined."""
        if self._is_full():
            return 0
        at_once = min(self._limits.concurrency * len(self._hosts), MAX_RUNNING)
        return min(at_once, self._limits.max_pages - self._pages) - running

    async def _visit(self, wave: Wave) -> None:
        urls = self._frontier.queued(wave)
        running: dict[asyncio.Task[Outcome], tuple[str, Known | None]] = {}
        try:
            while True:
                for _, url in zip(range(self._free(len(running))), urls, strict=False):
                    known = self._frontier.known(url) if self._goes_on else None
                    running[asyncio.create_task(self._hosts.get(url, _wanted(known)))] = url, known
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    await self._record(*running.pop(task), task.result(), wave)
                self._report()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _record(self, url: str, known: Known | None, outcome: Outcome, wave: Wave) -> None:
        leads = Leads()
        match outcome:
            case Fetched():
                failed, leads = self._keep(url, known, outcome, wave)
            case Unchanged() if known:
                failed, leads = self._keep_known(known, outcome, wave)
            case Unchanged():
                failed = Failed("http_304", "unchanged, but not known")
            case Redirected():
                failed = self._redirect(url, outcome.target, wave)
            case Failed():
                failed = outcome
        if failed:
            logger.debug("%s: %s (%s)", url, failed.reason, failed.detail)
            reject = Reject(url, failed.reason, failed.detail, failed.score, failed.threshold)
            self._frontier.reject_leading(reject, leads, wave)
        if not failed or failed.reason != "robots":
            self._unanswered = self._unanswered + 1 if failed and failed.reason in UNREACHABLE else 0
        if self._unanswered >= GONE_AFTER and self._pages:
            await self._doubt()

    def _keep(self, url: str, known: Known | None, fetched: Fetched, wave: Wave) -> tuple[Failed | None, Leads]:
        links = self._reader.look(url, fetched)
        if isinstance(links, Failed):
            return links, Leads()
        failed, leads = self._reader.judge(url, links, "", wave)
        if not failed:
            body = fetched.body
            facts = (
                url,
                fetched.content_type,
                fetched.charset,
                hashlib.sha256(body).hexdigest(),
                len(body),
                self._began,
            )
            page = Known(*facts, fetched.etag, fetched.last_modified, self._crawl, 0, links.to_text())
            if known and known.sha256 == page.sha256:
                page = page._replace(fetched_at=known.fetched_at, crawl=known.crawl)
                self._frontier.add_page(page, None, leads, wave)
            else:
                self._frontier.add_page(page, body, leads, wave)
            self._count(page.size)
        return failed, leads

    def _keep_known(self, known: Known, answer: Unchanged, wave: Wave) -> tuple[Failed | None, Leads]:
        failed, leads = self._reader.judge(known.url, PageLinks.from_text(known.links), answer.tags, wave)
        if not failed:
            self._frontier.add_page(known._replace(missing=0), None, leads, wave)
            self._count(known.size)
        return failed, leads

    def _count(self, size: int) -> None:
        self._pages += 1
        self._size += size

    def _redirect(self, url: str, target: str, wave: Wave) -> Failed | None:
        address = normalise(target, url)
        if address is None:
            return Failed("bad_address", f"redirects to {target!r}")
        verdict = self._reader.scope.judge(address)
        if verdict == "off_site":
            return Failed("off_site", f"redirects to {address}, on another host")
        if verdict == "excluded":
            return Failed("excluded", f"redirects to {address}: {EXCLUDED}")
        if wave.hops >= MAX_REDIRECTS:
            return Failed("redirect_loop", f"more than {MAX_REDIRECTS} redirects", wave.hops + 1, MAX_REDIRECTS)
        if not self._frontier.add_redirect(url, address, wave):
            return Failed("redirect_loop", f"redirects to {address} and from there back")
        return None

    async def _doubt(self) -> None:
        """Many addresses in a row gave no answer. Stop and keep the state; but when the last run stopped at the same
        place, and the start page does answer, then it is those addresses that are dead, and not the site."""
        if self._trusted:
            return
        if self._frontier.fact("gave_up_at") == str(self._pages):
            outcome = await self._hosts.get_unasked(self._start, DOCUMENT)
            if not (isinstance(outcome, Failed) and outcome.reason in UNREACHABLE):
                self._trusted = True
                return
        self._frontier.remember("gave_up_at", str(self._pages))
        self._give_up()

    def _give_up(self) -> NoReturn:
        """The site is gone: what it did not answer is asked again by the next run."""
        self._frontier.requeue(UNREACHABLE)
        raise self._unusable("network", f"it stopped answering after {self._pages} pages")

    def _report(self, *, at_once: bool = False) -> None:
        # Counting what is queued takes longer than keeping a page.
        now = time.monotonic()
        if at_once or now - self._reported >= _REPORT_EVERY_S:
            self._reported = now
            known = min(self._pages + self._frontier.count("queued"), self._limits.max_pages)
            self._progress("crawl", self._pages, known)

    def _nothing_read(self) -> SourceError:
        reject = next(self._frontier.rejects(), None)
        if reject is None:
            return self._unusable("empty", "it lists no pages")
        return self._unusable(reject.rule, reject.detail)

    def _unusable(self, reason: str, detail: str) -> SourceError:
        kind = BrokenOffError if self._pages else SourceError
        fallback = "Try again later" if reason.startswith("http_5") else "Check the address: a page must answer there"
        return kind(f"cannot read {self._start} ({reason}): {detail}", REMEDIES.get(reason, fallback))


def _wanted(known: Known | None) -> Wanted:
    return Wanted(etag=known.etag, last_modified=known.last_modified) if known else DOCUMENT
