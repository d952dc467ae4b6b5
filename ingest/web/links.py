"""What an HTML page says to a reader of links: where it leads, where it belongs, and what it asks robots to leave.

In: the body as it came. Out: normalised addresses, each once, in document order, and the page's own requests. Damaged
HTML gives what can be read.

Known limit: links that scripts make are not seen.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser

from ingest.extractors.charset import decode
from ingest.web.urls import Resolver

_ASKED = "base, a[href], area[href], frame[src], iframe[src], link[rel][href], meta[content]"
_REFRESH = re.compile(r"^\s*[\d.]*\s*[;,]?\s*url\s*=\s*['\"]?([^'\"]+)", re.IGNORECASE)
# `agent: noindex` in an X-Robots-Tag; other directives with a colon hold a value of their own.
_FOR_ONE = re.compile(r"^([a-z0-9_-]+)\s*:\s*(.*)$", re.IGNORECASE | re.DOTALL)
_WITH_VALUE = frozenset(("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"))

Attributes = Mapping[str, str | None]


@dataclass(frozen=True)
class RobotsTags:
    """What a page asks in its own name: keep it out of the collection, do not follow its links."""

    noindex: bool = False
    nofollow: bool = False

    def __or__(self, other: "RobotsTags") -> "RobotsTags":
        return RobotsTags(self.noindex or other.noindex, self.nofollow or other.nofollow)


@dataclass(frozen=True)
class PageLinks:
    """What one page leads to.

    Attributes:
        follow: addresses of links, image maps, frames and refresh redirects.
        nofollow: addresses of links marked `rel=nofollow`, and not found unmarked.
        canonical: where the page says that it belongs (RFC 6596), or empty.
    """

    follow: tuple[str, ...] = ()
    nofollow: tuple[str, ...] = ()
    canonical: str = ""
    tags: RobotsTags = RobotsTags()

    def to_text(self) -> str:
        """All of it as JSON."""
        tags = (self.tags.noindex, self.tags.nofollow)
        return json.dumps((self.follow, self.nofollow, self.canonical, tags), separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> "PageLinks":
        """What `to_text` gave."""
        follow, nofollow, canonical, tags = json.loads(text)
        return cls(tuple(follow), tuple(nofollow), canonical, RobotsTags(*tags))


def find_links(body: bytes, charset: str, url: str, product: str = "") -> PageLinks:
    """All http(s) addresses that the page at `url` leads to.

    Args:
        charset: the declared one; unknown names are ignored.
        product: our name in robots tags.
    """
    nodes = [(node.tag or "", node.attributes) for node in LexborHTMLParser(_markup(body, charset)).css(_ASKED)]
    base = next((values.get("href") for tag, values in nodes if tag == "base" and values.get("href")), None)
    to = Resolver(url)
    if base:
        to = Resolver(to(base) or url)
    marked: dict[str, bool] = {}
    canonical, tags = "", RobotsTags()
    for tag, values in nodes:
        if tag == "link":
            canonical = canonical or _canonical(values, to)
        elif tag == "meta":
            tags |= _meta_tags(values, product)
        link = _link(tag, values)
        address = to(link) if link else None
        if address:
            marked[address] = marked.get(address, True) and "rel" in values and _has(values, "nofollow")
    follow = tuple(address for address, no in marked.items() if not no)
    return PageLinks(follow, tuple(address for address, no in marked.items() if no), canonical, tags)


def robots_tags(value: str, product: str) -> RobotsTags:
    """The directives of an X-Robots-Tag header, several headers joined by commas, that are meant for `product`.

    A name and a colon turn to one reader, up to the next name.
    """
    meant, found = True, RobotsTags()
    for part in value.lower().split(","):
        named = _FOR_ONE.match(part.strip())
        if named and named[1] not in _WITH_VALUE:
            meant, part = named[1] in ("*", "robots", product), named[2]
        if meant:
            found |= _directives(part)
    return found


def _markup(body: bytes, charset: str) -> str:
    # Reading a page's charset takes longer than all the rest; valid UTF-8 without NUL bytes is what it says.
    if b"\0" not in body:
        try:
            return body.decode("utf-8")
        except UnicodeDecodeError:
            pass
    return decode(body, charset, markup=True).encode("utf-8", "replace").decode("utf-8")


def _link(tag: str, values: Attributes) -> str | None:
    if tag in ("a", "area"):
        return values.get("href")
    if tag in ("frame", "iframe"):
        return values.get("src")
    if tag == "meta" and (values.get("http-equiv") or "").lower() == "refresh":
        refresh = _REFRESH.match(values.get("content") or "")
        return refresh[1] if refresh else None
    return None


def _canonical(values: Attributes, to: Resolver) -> str:
    return (to(values.get("href") or "") or "") if _has(values, "canonical") else ""


def _has(values: Attributes, word: str) -> bool:
    return word in (values.get("rel") or "").lower().split()


def _meta_tags(values: Attributes, product: str) -> RobotsTags:
    if (values.get("name") or "").strip().lower() not in ("robots", product or "robots"):
        return RobotsTags()
    return _directives(values.get("content") or "")


def _directives(text: str) -> RobotsTags:
    words = frozenset(text.lower().replace(",", " ").split())
    return RobotsTags(bool(words & {"noindex", "none"}), bool(words & {"nofollow", "none"}))
