"""Extraction: a page as it came, in; the readable document with its heading tree, or the reason why not, out.

The formats are in `ingest/extractors/`, one file each. Here the format is chosen, and the outline that it gives
becomes a `Document` with its text, sections, title, address, language, date, tags and id.

Known limit: PDF is read through a library that is not thread-safe; extract in one thread, or in several processes.
"""

import logging
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from typing import Protocol
from urllib.parse import unquote, urlsplit

from ingest.extractors.charset import plain
from ingest.extractors.docx import read_docx
from ingest.extractors.html import read_html
from ingest.extractors.markdown import read_markdown
from ingest.extractors.notebook import read_notebook
from ingest.extractors.outline import Block, Outline, Unreadable, lay_out
from ingest.extractors.pdf import read_pdf
from ingest.extractors.rst import read_rst
from ingest.extractors.text import read_text
from ingest.formats import BINARY, DOCX, NOTEBOOK, PDF, body_type, is_binary
from ingest.records import Document, Page, Reject, stable_id
from ingest.web.urls import normalise, site_of

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[bytes, str], Outline]] = {
    "text/html": read_html,
    "application/xhtml+xml": read_html,
    "text/markdown": read_markdown,
    "text/plain": read_text,
    "text/x-rst": read_rst,
    NOTEBOOK: read_notebook,
    PDF: lambda body, _charset: read_pdf(body),
    DOCX: lambda body, _charset: read_docx(body),
}

# The first pages of the web are of 1990; a date before that is a default that nobody filled in.
_EARLIEST = date(1990, 1, 1)
# A page may be dated by a clock that is ahead of ours.
_AHEAD = timedelta(days=1)


class Repair(Protocol):
    """Mends a text; `verbatim` says that its white space means something."""

    def __call__(self, text: str, *, verbatim: bool = False) -> str: ...


def extract(page: Page, repair: Repair | None = None) -> Document | Reject:
    """Read a page.

    Args:
        repair: applied to the title and to each block's text before they are laid out, so that the offsets of sections
            are those of the repaired text; for broken Unicode.

    Returns:
        The document, or a reject: `not_a_document`, `binary`, `empty`, `too_complex`, `broken_pdf`, `encrypted`,
        `reader_failed`, and what the readers of other formats give as theirs.
    """
    try:
        outline = _read(page)
    except Unreadable as error:
        return Reject(page.url, error.reason, error.detail)
    # Pages are written by anyone; one that breaks a reader must not stop the thousands behind it.
    except Exception as error:
        logger.debug("%s: the reader of %s failed", page.url, page.content_type, exc_info=True)
        message = " ".join(str(error).split())[:200]
        return Reject(
            page.url, "reader_failed", f"{type(error).__name__}: {message}" if message else type(error).__name__
        )
    blocks = _repaired(_without_controls(outline.blocks), repair)
    text, sections = lay_out(blocks)
    if not text.strip():
        return Reject(page.url, "empty", "there is no text")
    title = _title(outline.title, blocks, page.url)
    return Document(
        id=stable_id(page.url, text),
        url=_address(page.url, outline.canonical),
        title=repair(title) if repair else title,
        text=text,
        sections=sections,
        language=outline.language,
        date=_plausible(outline.date, page),
        crawl=page.crawl,
        tags=outline.tags,
    )


def _read(page: Page) -> Outline:
    kind = body_type(page.content_type, page.body)
    reader = READERS.get(kind)
    if reader is None:
        raise Unreadable("not_a_document", kind)
    if kind not in BINARY and is_binary(page.body):
        raise Unreadable("binary", f"labelled {kind}, but not text")
    return reader(page.body, page.charset)


def _without_controls(blocks: tuple[Block, ...]) -> list[Block]:
    """Character references can write what decoding has removed. Few pages do, so that all is looked at first."""
    whole = "\n".join(block.text for block in blocks)
    if plain(whole) == whole:
        return list(blocks)
    return [block._replace(text=plain(block.text)) for block in blocks]


def _repaired(blocks: list[Block], repair: Repair | None) -> list[Block]:
    if repair is None:
        return blocks
    kept: Iterable[Block] = (block._replace(text=repair(block.text, verbatim=block.code)) for block in blocks)
    return [block for block in kept if block.text]


def _title(named: str, blocks: list[Block], url: str) -> str:
    heading = next((block.text for block in blocks if block.level), "")
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]).encode("utf-8", "replace").decode()
    return " ".join(plain(named or heading or name or url).split())


def _address(url: str, canonical: str) -> str:
    """The address that the page itself names, if it is one of the same site."""
    named = normalise(canonical, url) if canonical and url.startswith("http") else None
    return named if named and site_of(named) == site_of(url) else url


def _plausible(stated: str, page: Page) -> str:
    """A stated date, unless it is of another age, or later than the page was fetched."""
    if not stated:
        return ""
    return stated if _EARLIEST <= date.fromisoformat(stated) <= page.fetched_at.date() + _AHEAD else ""
