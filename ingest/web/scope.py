"""Which addresses belong to a crawl, and which of them lead nowhere.

A link belongs when it is on the start address's host and the settings' patterns let it through; a pattern that is a
whole address lets other hosts in. A trap is an address of a shape that a site can make without end: calendars, filters
in the query, paths that repeat themselves. Both answer without a request.

Known limit: an endless row of pages that differ in one word of the path is ended by the page limit alone.
"""

import re
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

from ingest.records import Reject
from ingest.web.patterns import matches, spelled
from ingest.web.urls import DEFAULT_PORTS, site_of

MAX_SEGMENTS = 20
MAX_REPEATS = 4
# A year, a month and perhaps a day at the end of a path, with nothing that names an article after them.
_DATE = re.compile(r"(?<=[/_-])(?:19|20|21)\d\d[/_-]\d{1,2}(?:[/_-]\d{1,2})?/?$")

Verdict = Literal["in", "off_site", "excluded"]


class Scope:
    """What the settings let through.

    Args:
        start: normalised address that is read in any case.
        include: patterns of which one has to match; empty lets everything on the start's host through.
        exclude: patterns of which none may match. They match the whole path and query, or the whole address where they
            begin with `http://` or `https://`; `*` is any run of characters.
    """

    def __init__(self, start: str, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._start = start
        self._site = site_of(start)
        self._include = tuple(_Pattern(pattern) for pattern in include)
        self._exclude = tuple(_Pattern(pattern) for pattern in exclude)

    def judge(self, url: str) -> Verdict:
        """Whether a normalised address is in, on another host, or excluded by a pattern."""
        at_home = site_of(url) == self._site
        if url == self._start:
            return "in"
        path = url[url.index("/", 8) :]
        named = any(pattern.fits(url, path, at_home=at_home) for pattern in self._include)
        if not at_home and not named:
            return "off_site"
        if (self._include and not named) or any(p.fits(url, path, at_home=True) for p in self._exclude):
            return "excluded"
        return "in"


class _Pattern:
    def __init__(self, pattern: str) -> None:
        self._whole = pattern.startswith(("http://", "https://"))
        self._pattern = _spelled_address(pattern) if self._whole else spelled(pattern)

    def fits(self, url: str, path: str, *, at_home: bool) -> bool:
        """A pattern of paths speaks of the start's host alone when it lets something in."""
        return (self._whole or at_home) and matches(self._pattern, url if self._whole else path, whole=True)


def _spelled_address(pattern: str) -> str:
    scheme, _, rest = pattern.partition("://")
    host, slash, path = rest.partition("/")
    host = host.lower().removesuffix(f":{DEFAULT_PORTS[scheme]}")
    return f"{scheme}://{host}/{spelled(slash + path).removeprefix('/')}"


def trap(url: str) -> Reject | None:
    """Why the shape of an address alone says that a site makes such addresses without end, or None."""
    segments = [segment for segment in urlsplit(url).path.split("/") if segment]
    if len(segments) > MAX_SEGMENTS:
        return _refusal(url, f"its path has {len(segments)} parts", len(segments), MAX_SEGMENTS)
    if len(segments) > MAX_REPEATS:
        most = max(segments, key=segments.count)
        if segments.count(most) > MAX_REPEATS:
            times = segments.count(most)
            return _refusal(url, f"its path repeats {most!r} {times} times", times, MAX_REPEATS)
    return None


def family(url: str) -> str:
    """What addresses share that differ in their query, or in the date at their end; empty for all others."""
    path, mark, _ = url.partition("?")
    if mark:
        return path
    dated = _DATE.sub("{date}", path)
    return dated if dated != path else ""


def too_many(url: str, number: int, most: int) -> Reject:
    """The refusal of an address whose family has been let in often enough."""
    return _refusal(url, f"more than {most} addresses differ from it only in query or date", number, most)


def _refusal(url: str, detail: str, score: float, threshold: float) -> Reject:
    return Reject(url, "trap", detail, float(score), float(threshold))
