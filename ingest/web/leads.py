"""What follows from a page that was read: whether it may be kept, and where it leads within the crawl.

In: a body with what its headers said. Out: `Leads`, or the reason for not keeping it, or both.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

from ingest.formats import BINARY, body_type, is_binary
from ingest.records import Reject
from ingest.web.fetch import Failed, Fetched
from ingest.web.frontier import ORPHANED, Leads, Wave
from ingest.web.links import PageLinks, RobotsTags, find_links, robots_tags
from ingest.web.scope import Scope
from ingest.web.urls import Resolver, may_be_document, origin_of, site_of, with_scheme_of

EXCLUDED = "source.include and source.exclude leave it out"
NOINDEX = "it asks not to be kept (noindex)"


class Reader:
    """The rules by which bodies are read.

    Args:
        scope: where links may lead.
        max_depth: links from the start page.
        product: our name in robots tags.
        obey_tags: do what noindex and nofollow ask.
        follow_links: false reads nothing but what sitemaps list.
    """

    def __init__(self, scope: Scope, max_depth: int, product: str, *, obey_tags: bool, follow_links: bool) -> None:
        self.scope = scope
        self.max_depth = max_depth
        self.follow_links = follow_links
        self._product = product
        self._obey_tags = obey_tags
        # The pages of a site lead to much the same places.
        self._place = lru_cache(maxsize=16_384)(self._judged)

    def look(self, url: str, found: Fetched) -> Failed | PageLinks:
        """Where a body and its headers lead; or why it is nothing to read."""
        if not found.body.strip():
            return Failed("empty", "the answer has no content")
        if body_type(found.content_type, found.body) not in BINARY and is_binary(found.body):
            return Failed("binary", f"labelled {found.content_type}, but not text")
        links = PageLinks()
        if "html" in found.content_type:
            links = find_links(found.body, found.charset, url, self._product)
        canonical = links.canonical or (found.canonical and Resolver(url)(found.canonical)) or ""
        return replace(links, canonical=canonical, tags=links.tags | robots_tags(found.tags, self._product))

    def judge(self, url: str, links: PageLinks, header: str, wave: Wave) -> tuple[Failed | None, Leads]:
        """Why a page is not kept, if so, and where it leads within the crawl.

        Args:
            header: the X-Robots-Tag of an answer that brought no body.
        """
        tags = (links.tags | robots_tags(header, self._product)) if self._obey_tags else RobotsTags()
        follow = self.follow_links and not tags.nofollow and wave.links < self.max_depth and wave.depth < ORPHANED
        leads = self._within(url, self._followed(links) if follow else ())
        leads = leads._replace(canonical=self._canonical(url, links.canonical))
        return (Failed("noindex", NOINDEX) if tags.noindex else None), leads

    def _followed(self, links: PageLinks) -> Iterable[str]:
        return links.follow if self._obey_tags else (*links.follow, *links.nofollow)

    def _within(self, url: str, links: Iterable[str]) -> Leads:
        origin = origin_of(url)
        places = [self._place(link, origin) for link in links]
        follow = dict.fromkeys(address for verdict, address in places if verdict == "in")
        refused = [Reject(address, "excluded", EXCLUDED) for verdict, address in places if verdict == "excluded"]
        return Leads(tuple(follow), tuple(refused))

    def _canonical(self, url: str, canonical: str) -> str:
        """The canonical address, if it is another page within the crawl."""
        if not canonical:
            return ""
        verdict, address = self._place(canonical, origin_of(url))
        return address if verdict == "in" and address != url else ""

    def _judged(self, link: str, origin: str) -> tuple[str, str]:
        """The scope's verdict, and the address under the scheme of the page that names it."""
        address = with_scheme_of(link, origin) if site_of(link) == site_of(origin) else link
        return (self.scope.judge(address) if may_be_document(link) else "off_site"), address
