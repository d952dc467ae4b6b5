"""PDF to an outline, through PDFium: the text of each page, under the bookmarks that point to it.

Known limits: scanned pages hold no text; the order of columns and the cells of tables are as PDFium reads them; a
bookmark's heading stands at the top of its page. PDFium is not thread-safe: call from one thread at a time.
"""

import re
from collections import defaultdict

import pypdfium2 as pdfium

from ingest.extractors.charset import plain
from ingest.extractors.outline import Block, Outline, Unreadable
from ingest.extractors.text import LONGEST_TITLE

_HYPHEN = re.compile(r"(?<=[a-z])[\u00ad\ufffe-]\n(?=[a-z])")


def read_pdf(body: bytes) -> Outline:
    """The outline of a PDF file.

    Raises:
        Unreadable: it is damaged (`broken_pdf`), locked (`encrypted`), or holds no text (`empty`).
    """
    try:
        document = pdfium.PdfDocument(body)
    except pdfium.PdfiumError as error:
        reason = "encrypted" if "password" in str(error).lower() else "broken_pdf"
        raise Unreadable(reason, str(error)) from None
    try:
        return _outline(document)
    except pdfium.PdfiumError as error:
        raise Unreadable("broken_pdf", str(error)) from None
    finally:
        document.close()


def _outline(document: pdfium.PdfDocument) -> Outline:
    headings = _bookmarks(document)
    blocks: list[Block] = []
    for number in range(len(document)):
        blocks += headings[number]
        blocks += [Block(0, part) for part in _paragraphs(_text(document, number))]
    if not any(block.level == 0 for block in blocks):
        raise Unreadable("empty", f"{len(document)} pages without text, perhaps scanned")
    title = " ".join(plain(document.get_metadata_dict().get("Title", "")).split())
    return Outline(title[:LONGEST_TITLE], tuple(blocks))


def _bookmarks(document: pdfium.PdfDocument) -> dict[int, list[Block]]:
    """Page number to the headings at its top."""
    found: dict[int, list[Block]] = defaultdict(list)
    for bookmark in document.get_toc():
        target = bookmark.get_dest()
        heading = " ".join(plain(bookmark.get_title()).split())
        if target is not None and heading:
            found[target.get_index()].append(Block(min(bookmark.level + 1, 6), heading))
    return found


def _text(document: pdfium.PdfDocument, number: int) -> str:
    page = document[number]
    try:
        text_page = page.get_textpage()
        try:
            return str(text_page.get_text_bounded())
        finally:
            text_page.close()
    finally:
        page.close()


def _paragraphs(text: str) -> list[str]:
    joined = plain(_HYPHEN.sub("", text.replace("\r\n", "\n")))
    return [part.strip() for part in re.split(r"\n\s*\n", joined) if part.strip()]
