"""PDF to an outline, through PDFium: the lines of each page, laid out as paragraphs under their headings.

Headings are the bookmarks, at the line of the page that they name; a file without bookmarks has its larger lines as
headings. How lines become blocks is in `ingest/extractors/pdf_layout.py`. A page that breaks is left out and logged.

Known limits: scanned pages hold no text; the order of columns and the cells of tables are as PDFium reads them, and so
is the width of spaces, so code loses its indentation. PDFium is not thread-safe: call from one thread at a time.
"""

import ctypes
import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from ingest.extractors.charset import plain
from ingest.extractors.outline import Block, Outline, Unreadable, iso_date
from ingest.extractors.pdf_layout import Line, blocks_of
from ingest.extractors.text import LONGEST_TITLE

logger = logging.getLogger(__name__)

# Lines of the whole file are held in memory, to find what repeats.
MAX_CHARS = 20_000_000

_DIVIDED = ("\x02", "\xad", "\ufffe")


def read_pdf(body: bytes) -> Outline:
    """The outline of a PDF file.

    Raises:
        Unreadable: it is damaged (`broken_pdf`), locked (`encrypted`), has too much text (`too_complex`), or holds no
            text (`empty`).
    """
    try:
        document = pdfium.PdfDocument(body)
    except pdfium.PdfiumError as error:
        locked = any(word in str(error).lower() for word in ("password", "security"))
        raise Unreadable("encrypted" if locked else "broken_pdf", str(error)) from None
    try:
        return _outline(document)
    except pdfium.PdfiumError as error:
        raise Unreadable("broken_pdf", str(error)) from None
    finally:
        document.close()


def _outline(document: pdfium.PdfDocument) -> Outline:
    pages = _pages(document)
    marks = _bookmarks(document)
    blocks = blocks_of(pages, marks)
    if not any(block.level == 0 for block in blocks):
        raise Unreadable("empty", f"{len(document)} pages without text, perhaps scanned")
    about = document.get_metadata_dict()
    title = " ".join(plain(about.get("Title", "")).split())
    changed = about.get("ModDate") or about.get("CreationDate") or ""
    return Outline(title[:LONGEST_TITLE], tuple(blocks), date=_date(changed))


def _date(written: str) -> str:
    """`D:20240131...` (ISO 32000-1, section 7.9.4) as `2024-01-31`."""
    digits = written.removeprefix("D:")[:8]
    return iso_date(f"{digits[:4]}-{digits[4:6]}-{digits[6:]}") if digits.isdecimal() else ""


def _pages(document: pdfium.PdfDocument) -> list[list[Line]]:
    """The lines of each page; none for a page that breaks."""
    pages: list[list[Line]] = []
    broken = chars = 0
    for number in range(len(document)):
        try:
            pages.append(_lines(document, number))
        except pdfium.PdfiumError:
            pages.append([])
            broken += 1
        chars += sum(len(line.text) for line in pages[-1])
        if chars > MAX_CHARS:
            raise Unreadable("too_complex", f"more than {MAX_CHARS} characters")
    if broken and broken == len(pages):
        raise Unreadable("broken_pdf", f"none of {broken} pages can be read")
    if broken:
        logger.warning("%d of %d pages of a PDF file are broken and were left out", broken, len(pages))
    return pages


def _bookmarks(document: pdfium.PdfDocument) -> dict[int, list[Block]]:
    """Page number to the headings on it."""
    found: dict[int, list[Block]] = defaultdict(list)
    for bookmark in document.get_toc():
        target = bookmark.get_dest()
        heading = " ".join(plain(bookmark.get_title()).split())
        if target is not None and heading:
            found[target.get_index() or 0].append(Block(min(bookmark.level + 1, 6), heading))
    return found


def _lines(document: pdfium.PdfDocument, number: int) -> list[Line]:
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            return list(_measured(text_page))
        finally:
            text_page.close()
    finally:
        page.close()


def _measured(text_page: Any) -> Iterator[Line]:
    """The lines of a page with the boxes of their first and last characters."""
    at = 0
    for raw_line in text_page.get_text_range().split("\n"):
        text = raw_line.strip()
        # PDFium marks the hyphen of a divided word, which cleaning would take away.
        written = f"{text[:-1]}-" if text.endswith(_DIVIDED) else text
        if shown := " ".join(plain(written).split()):
            start = at + raw_line.index(text)
            first, last = _box(text_page, start), _box(text_page, start + len(text) - 1)
            yield Line(shown, first.left, last.right, first.top, first.bottom)
        at += len(raw_line) + 1


def _box(text_page: Any, at: int) -> Any:
    """The box of a character, as high as its font: in points, from the lower left corner of the page."""
    box = raw.FS_RECTF()
    index = raw.FPDFText_GetCharIndexFromTextIndex(text_page, at)
    if index >= 0:
        raw.FPDFText_GetLooseCharBox(text_page, index, ctypes.byref(box))
    return box
