"""The addresses that an HTML page leads to: links, image maps, frames, and refresh redirects.

In: the body as it came. Out: normalised addresses, each once, in document order. Damaged HTML gives what can be read.
"""

import re
from collections.abc import Mapping
from contextlib import suppress

from lxml import etree

from ingest.extractors.charset import decode
from ingest.urls import normalise

_SOURCES = {"a": "href", "area": "href", "frame": "src", "iframe": "src"}
_REFRESH = re.compile(r"^\s*[\d.]*\s*[;,]?\s*url\s*=\s*['\"]?([^'\"]+)", re.IGNORECASE)


def find_links(body: bytes, charset: str, url: str) -> list[str]:
    """All http(s) addresses that the page at `url` links to.

    Args:
        charset: the declared one; unknown names are ignored.
    """
    collector = _Collector(url)
    # Events, not a tree: libxml2 stops building one at 256 levels. It gets UTF-8, since it knows few charsets by name.
    parser = etree.HTMLParser(target=collector, encoding="utf-8", huge_tree=True)
    # What comes before the damage counts.
    with suppress(etree.LxmlError):
        parser.feed(decode(body, charset, markup=True).encode("utf-8"))
        parser.close()
    return list(collector.found)


class _Collector:
    """Takes the parser's events."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._base = url
        self.found: dict[str, None] = {}

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if tag == "base":
            self._base = normalise(attributes.get("href", ""), self._url) or self._base
        elif tag in _SOURCES:
            self._add(attributes.get(_SOURCES[tag], ""))
        elif tag == "meta" and attributes.get("http-equiv", "").lower() == "refresh":
            refresh = _REFRESH.match(attributes.get("content", ""))
            self._add(refresh[1] if refresh else "")

    def close(self) -> None:
        """Required by the parser."""

    def _add(self, link: str) -> None:
        address = normalise(link, self._base) if link.strip() else None
        if address:
            self.found[address] = None
