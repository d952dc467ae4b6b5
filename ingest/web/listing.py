"""From sitemaps into the frontier: every address that a site lists, and the sitemaps that its sitemaps name.

In: addresses of sitemaps. Out: queued pages; a sitemap or an address that is of no use is noted as a reject. Which
sitemaps have been read is kept on disk, so a killed crawl reads none of them again.
"""

import logging

from ingest.records import Reject
from ingest.web.fetch import Failed, Fetched, Outcome, Redirected, Wanted
from ingest.web.frontier import Frontier
from ingest.web.hosts import Hosts
from ingest.web.leads import EXCLUDED
from ingest.web.scope import Scope
from ingest.web.sitemap import MAX_BYTES, Listed, read_sitemap
from ingest.web.urls import may_be_document, normalise, site_of, with_scheme_of

logger = logging.getLogger(__name__)

MAX_SITEMAPS = 1000
# The protocol allows an index of sitemaps, and no index of indexes; some sites have one nevertheless.
MAX_NESTING = 3
MAX_REDIRECTS = 5
_WANTED = Wanted(any_type=True, max_bytes=MAX_BYTES)
_PROBLEMS = {
    "too_large": f"more than {MAX_BYTES} bytes once decoded; what stands before that is read",
    "too_many": "more than 50000 entries; those before that are read",
    "bad_sitemap": "no sitemap, or damaged; what can be read is read",
}


async def read_sitemaps(frontier: Frontier, hosts: Hosts, scope: Scope, start: str, *, guess: str = "") -> None:
    """Read the frontier's sitemaps and all that they name.

    Args:
        start: address whose scheme the pages of its host get.
        guess: a sitemap of which it is no news when it is not there.
    """
    while next_one := frontier.next_sitemap():
        url, depth, number = next_one
        if number > MAX_SITEMAPS:
            logger.warning("%s and further sitemaps are not read: %d are enough", url, MAX_SITEMAPS)
            return
        outcome = await _fetch(url, hosts)
        if isinstance(outcome, Fetched):
            listed = read_sitemap(outcome.body)
            # Sites that answer every address with a page have no sitemap there either.
            rejects = _rejects(url, listed) if url != guess or listed.pages or listed.sitemaps else []
        else:
            listed = Listed((), ())
            rejects = [] if url == guess else [_failure(url, outcome)]
        pages, refused = _judged(listed, url, scope, start)
        nested = [address for link in listed.sitemaps if (address := normalise(link, url))]
        if nested and depth + 1 > MAX_NESTING:
            rejects.append(Reject(url, "bad_sitemap", f"sitemaps nested deeper than {MAX_NESTING}"))
            nested = []
        frontier.finish_sitemap(url, nested, pages, [*rejects, *refused])


async def _fetch(url: str, hosts: Hosts) -> Outcome:
    outcome: Outcome = Redirected(url)
    for _ in range(MAX_REDIRECTS + 1):
        if not isinstance(outcome, Redirected):
            break
        url = normalise(outcome.target, url) or url
        outcome = await hosts.get_unasked(url, _WANTED)
    return outcome


def _failure(url: str, outcome: Outcome) -> Reject:
    if isinstance(outcome, Failed):
        return Reject(url, outcome.reason, outcome.detail, outcome.score, outcome.threshold)
    return Reject(url, "redirect_loop", f"more than {MAX_REDIRECTS} redirects")


def _rejects(url: str, listed: Listed) -> list[Reject]:
    return [Reject(url, listed.problem, _PROBLEMS[listed.problem])] if listed.problem else []


def _judged(listed: Listed, sitemap: str, scope: Scope, start: str) -> tuple[list[str], list[Reject]]:
    pages, refused = [], []
    for link in listed.pages:
        url = normalise(link, sitemap)
        if url is None:
            logger.debug("%s lists %r, which is no web address", sitemap, link[:200])
            continue
        if site_of(url) == site_of(start):
            url = with_scheme_of(url, start)
        verdict = scope.judge(url)
        if verdict == "off_site":
            refused.append(Reject(url, "off_site", f"listed by {sitemap}, but on another host"))
        elif verdict == "excluded":
            refused.append(Reject(url, "excluded", EXCLUDED))
        elif may_be_document(url):
            pages.append(url)
    return pages, refused
