"""The crawler: a start address in, every readable page of that site out, as a table.

Breadth first, one host unless the patterns name others, within limits of depth, number and size; robots.txt and robots
tags obeyed, sitemaps read, requests paced, redirects followed by hand. What it knows lives in `crawl.db` (see
`ingest/web/frontier.py`) until it is done: a killed crawl goes on where it was, and loses or repeats nothing but the
requests that were under way.

A crawl that goes on from a previous version asks only for what has changed, and keeps what has not: body, time and
crawl number. A page that is gone stays until it has been gone for some runs in a row.

Writes `pages.parquet` (Page), `rejects.parquet` (Reject), and `trails.parquet` (Trail) for the next crawl, each sorted
by address. All pages that are new or changed in one run carry the time at which it began.

Known limits: no JavaScript is run; a crawl that goes on days later mixes old pages with new ones; links of PDF and
plain-text pages are not followed.
"""

import asyncio
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path

from configs.artifacts import Made
from configs.errors import SourceError
from ingest.records import Progress
from ingest.snapshot import DISK_REMEDY, disk_errors
from ingest.web.fetch import Fetcher
from ingest.web.frontier import Frontier
from ingest.web.hosts import Hosts
from ingest.web.leads import Reader
from ingest.web.network import CheckedBackend, CheckedTransport, Resolver, resolve
from ingest.web.previous import PreviousPages
from ingest.web.publish import publish
from ingest.web.robots import product_of
from ingest.web.scope import Scope
from ingest.web.settle import settle
from ingest.web.urls import normalise
from ingest.web.visit import MAX_RUNNING, BrokenOffError, Limits, Visit

STATE = "crawl.db"

GOES_ON = f"{DISK_REMEDY}: it goes on where it stopped"


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
    only_listed: bool = False,
    sitemaps: bool = True,
    robots_tags: bool = True,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    max_total_bytes: int = 10_000_000_000,
    max_per_path: int = 500,
    gone_after: int = 2,
    previous: Path | None = None,
    keep_state: bool = False,
    progress: Progress = lambda _what, _done, _total: None,
    resolver: Resolver = resolve,
) -> Made:
    """Read a site into `folder`, going on with what a killed crawl left there.

    The settings are those of `SourceSettings`, sizes in bytes and times in seconds.

    Args:
        only_listed: `site` is the address of a sitemap; the pages that it lists are read, and no links followed.
        previous: folder of the version to go on from.
        keep_state: leave the crawl's state where it is when all is done; the same call then asks for nothing again.
        progress: called with ("crawl", pages so far, pages known so far).
        resolver: looks host names up.

    Returns:
        Counts: pages, rejected, unvisited (known and not read, for a limit); and against the previous version added,
        changed, unchanged, missing (kept, though the site says that they are gone), unanswered (kept, as the site gave
        no answer) and gone. The fingerprint: SHA-256 over the sorted (url, SHA-256 of body, missing if not 0).

    Raises:
        SourceError: the start page cannot be read, nothing readable is found, or the site stops answering. In the
            last case the state is kept, and the same call goes on from there.
        ArtifactError: `folder` cannot be written, or `previous` cannot be read.
    """
    start = normalise(site)
    if start is None:
        raise SourceError(f"{site!r} is not a web address", "Give one such as https://example.org/docs/")
    limits = Limits(max_pages, max_total_bytes, max_per_path, concurrency)
    scope = Scope(start, include, exclude)
    reader = Reader(scope, max_depth, product_of(user_agent), obey_tags=robots_tags, follow_links=not only_listed)
    backend = CheckedBackend(allow_private=allow_private, resolver=resolver)

    async def visit(frontier: Frontier) -> None:
        async with CheckedTransport(backend, connections=MAX_RUNNING) as transport:
            fetcher = Fetcher(
                transport, user_agent=user_agent, max_bytes=max_page_bytes, timeout_s=timeout_s, retries=retries
            )
            hosts = Hosts(fetcher, delay_s=delay_s, concurrency=concurrency, user_agent=user_agent, robots=robots)
            await Visit(start, frontier, hosts, reader, limits, progress, sitemaps=sitemaps).run()

    with disk_errors(folder, database=folder / STATE, remedy=GOES_ON):
        folder.mkdir(parents=True, exist_ok=True)
        frontier = Frontier(folder / STATE, f"{start} {previous or ''}")
        try:
            with closing(PreviousPages(previous)) if previous else nullcontext() as pages:
                _take_in(frontier, pages)
                if not frontier.fact("settled"):
                    asyncio.run(visit(frontier))
                settle(frontier, pages, gone_after=gone_after, max_total_bytes=max_total_bytes)
                made = publish(folder, frontier, pages)
                if not keep_state:
                    frontier.delete()
                return made
        except BrokenOffError:
            raise
        except SourceError:
            frontier.delete()
            raise
        finally:
            frontier.close()


def _take_in(frontier: Frontier, previous: PreviousPages | None) -> None:
    """Note what the previous version holds, and this run's number; once."""
    if frontier.fact("crawl"):
        return
    for group in previous.groups() if previous else ():
        frontier.add_previous(group)
    frontier.remember("crawl", str(frontier.last_crawl() + 1))
