"""Extraction: a page as it came, in; the readable document with its heading tree, or the reason why not, out.

The formats are in `ingest/extractors/`, one file each. Here the format is chosen, and the outline that it gives
becomes a `Document` with its text, sections, title, address and id.

Known limit: PDF is read through a library that is not thread-safe; extract in one thread, or in several processes.
"""

import logging
from collections.abc import Callable
from urllib.parse import unquote, urlsplit

from ingest.extractors.charset import plain
from ingest.extractors.html import read_html
from ingest.extractors.markdown import read_markdown
from ingest.extractors.outline import Outline, Unreadable, lay_out
from ingest.extractors.pdf import read_pdf
from ingest.extractors.text import read_text
from ingest.formats import is_binary
from ingest.records import Document, Page, Reject, stable_id
from ingest.urls import normalise, site_of

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[bytes, str], Outline]] = {
    "text/html": read_html,
    "application/xhtml+xml": read_html,
    "text/markdown": read_markdown,
    "text/plain": read_text,
    "text/x-rst": read_text,
}


def extract(page: Page) -> Document | Reject:
    """Read a page.

    Returns:
        The document, or a reject: `not_a_document`, `binary`, `empty`, `too_complex`, `broken_pdf`, `encrypted`,
        `reader_failed`.
    """
    try:
        outline = _read(page)
    except Unreadable as error:
        return Reject(page.url, error.reason, error.detail, 0.0, 0.0)
    # Pages are written by anyone; one that breaks a reader must not stop the thousands behind it.
    except Exception as error:
        logger.exception("%s: the reader of %s failed", page.url, page.content_type)
        return Reject(page.url, "reader_failed", type(error).__name__, 0.0, 0.0)
    # Character references can write what decoding has removed.
    text, sections = lay_out(block._replace(text=plain(block.text)) for block in outline.blocks)
    if not text.strip():
        return Reject(page.url, "empty", "there is no text", 0.0, 0.0)
    url = _address(page.url, outline.canonical)
    return Document(stable_id(url, text), url, _title(outline, page.url), text, sections)


def _read(page: Page) -> Outline:
    # Servers label PDF files as anything; nothing else begins like this.
    if page.content_type == "application/pdf" or page.body.startswith(b"%PDF-"):
        return read_pdf(page.body)
    reader = READERS.get(page.content_type)
    if reader is None:
        raise Unreadable("not_a_document", page.content_type)
    if is_binary(page.body):
        raise Unreadable("binary", f"labelled {page.content_type}, but not text")
    return reader(page.body, page.charset)


def _title(outline: Outline, url: str) -> str:
    heading = next((block.text for block in outline.blocks if block.level), "")
    name = unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2]).encode("utf-8", "replace").decode()
    return " ".join(plain(outline.title or heading or name or url).split())


def _address(url: str, canonical: str) -> str:
    """The address that the page itself names, if it is one of the same site."""
    named = normalise(canonical, url) if canonical and url.startswith("http") else None
    return named if named and site_of(named) == site_of(url) else url
