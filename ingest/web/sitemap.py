"""Sitemaps (sitemaps.org, version 0.9): the addresses that a site lists, and the further sitemaps that an index names.

In: the bytes of a sitemap, plain or gzip; XML or one address a line. Out: `Listed` batches. XML is read as a stream,
without a document type's entities, without any other file, and within limits: `MAX_BYTES` once decoded, and `MAX_URLS`
entries. What stands before a limit or before the damage counts.

Known limits: feeds (RSS, Atom) are not read, though the protocol allows them; `lastmod` and `priority` are not used.
"""

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from lxml import etree

from ingest.web.urls import MAX_LENGTH

MAX_BYTES = 50 * 1024 * 1024
MAX_URLS = 50_000
_PIECE = 65_536
_GZIP = b"\x1f\x8b"
_ADDRESS = re.compile(r"^https?://\S+$", re.IGNORECASE)


@dataclass(frozen=True)
class Listed:
    """What one sitemap lists, as written.

    Attributes:
        pages, sitemaps: addresses; one of the two is empty, as a sitemap is a list of either.
        problem: what kept the rest from being read: `too_large`, `too_many`, `bad_sitemap`; or empty.
    """

    pages: tuple[str, ...]
    sitemaps: tuple[str, ...]
    problem: str = ""


class _LimitError(Exception):
    """Names the problem."""


def read_sitemap(body: bytes) -> Listed:
    """Everything that a sitemap lists."""
    entries = _Entries()
    problem = ""
    try:
        pieces = _pieces(body)
        first = next(pieces, b"")
        is_xml = first.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<") or b"\0" in first[:4]
        (_read_xml if is_xml else _read_text)(chain([first], pieces), entries)
    except _LimitError as error:
        problem = str(error)
    except (etree.LxmlError, zlib.error):
        problem = "bad_sitemap"
    if not problem and not entries.found and not _is_list(body):
        problem = "bad_sitemap"
    return Listed(
        tuple(url for kind, url in entries.found if kind == "url"),
        tuple(url for kind, url in entries.found if kind == "sitemap"),
        problem,
    )


def _is_list(body: bytes) -> bool:
    """Whether a body without entries is an empty sitemap, and not something else."""
    return re.search(rb"<(\w+:)?(urlset|sitemapindex)\b", body[:_PIECE]) is not None


class _Entries:
    """Takes the XML parser's events. No tree is built: nothing piles up but what is listed."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []
        self._path: list[str] = []
        self._text: list[str] = []

    def start(self, tag: str, _attributes: Mapping[str, str]) -> None:
        self._path.append(tag.rpartition("}")[2])
        self._text.clear()

    def data(self, text: str) -> None:
        if self._path[-1:] == ["loc"] and len(self._text) < MAX_LENGTH:
            self._text.append(text[:MAX_LENGTH])

    def end(self, _tag: str) -> None:
        place = "".join(self._text).strip()
        if place and self._path[-2:] in (["url", "loc"], ["sitemap", "loc"]):
            self.add(self._path[-2], place)
        self._text.clear()
        self._path.pop()

    def close(self) -> None:
        """Required by the parser."""

    def add(self, kind: str, url: str) -> None:
        if len(self.found) == MAX_URLS:
            raise _LimitError("too_many")
        self.found.append((kind, url))


def _pieces(body: bytes) -> Iterator[bytes]:
    """The decoded body, piece by piece. Raises `_LimitError` at the limit, `zlib.error` for damaged data."""
    total = 0
    for piece in _inflated(body) if body.startswith(_GZIP) else _cut(body):
        total += len(piece)
        if total > MAX_BYTES:
            raise _LimitError("too_large")
        yield piece


def _cut(body: bytes) -> Iterator[bytes]:
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]


def _inflated(body: bytes) -> Iterator[bytes]:
    inflate = zlib.decompressobj(wbits=31)
    rest = body
    while rest and not inflate.eof:
        yield inflate.decompress(rest, _PIECE)
        rest = inflate.unconsumed_tail
    if not inflate.eof:
        raise zlib.error("the data end too early")


def _read_xml(pieces: Iterable[bytes], entries: _Entries) -> None:
    # Entities stay unexpanded, other files unread, and libxml2's own limits on depth and size in force.
    parser = etree.XMLParser(target=entries, resolve_entities=False, load_dtd=False, no_network=True, huge_tree=False)
    for piece in pieces:
        parser.feed(piece)
    parser.close()


def _read_text(pieces: Iterable[bytes], entries: _Entries) -> None:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        _add_lines(lines, entries)
        # No address is that long, and a file without line ends must not be copied over and over.
        rest = rest[-MAX_LENGTH - 1 :]
    _add_lines([rest], entries)


def _add_lines(lines: list[bytes], entries: _Entries) -> None:
    for line in lines:
        text = line.decode("utf-8-sig", "replace").strip()
        if _ADDRESS.match(text):
            entries.add("url", text)
