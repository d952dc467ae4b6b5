"""DOCX (Office Open XML) to an outline: the paragraphs of the main part, headings by their outline level.

Headings are found by the outline level of their style, whatever the style is called in the author's language.

    list items   "- item", indented by depth          tables      Markdown rows, `| a | b |`
    code styles  and paragraphs in fonts of one width  footnotes   below the paragraph that names them
                 verbatim, consecutive ones together

Deleted text, comments, page headers and footers, pictures and the table of contents are left out. No part is decoded
beyond `MAX_PART_BYTES`, no entity is expanded and nothing outside the file is read.

Known limits: numbers of lists and headings are not shown, as Word makes them up when it shows the file; formulas give
their letters in a row; text boxes stand where they are anchored.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from lxml import etree

from ingest.extractors.charset import plain
from ingest.extractors.docx_styles import Styles, child, local, property_of, value
from ingest.extractors.outline import Block, Outline, Unreadable, iso_date, list_item, table_text

# A book of 500 pages has 10 MB of XML; a zip archive of 10 KB can hold a gigabyte of it.
MAX_PART_BYTES = 48_000_000

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
# All that zipfile, zlib and lxml raise for archives that are cut off, damaged, or made to harm.
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, etree.LxmlError, EOFError, KeyError),
    *(NotImplementedError, OSError, OverflowError, ValueError, RuntimeError),
)
_PARTS = ("ins", "moveTo", "hyperlink", "smartTag", "fldSimple", "sdt", "sdtContent", "customXml", "dir", "bdo")
_PLAIN = {"tab": "\t", "noBreakHyphen": "-", "br": "\n", "cr": "\n"}
_FIRST_ROW = 0x0020


def read_docx(body: bytes) -> Outline:
    """The outline of a DOCX file.

    Raises:
        Unreadable: it is damaged (`broken_docx`), locked (`encrypted`), no DOCX file (`not_a_document`), too large once
            decoded (`too_complex`), or holds no text (`empty`).
    """
    if body.startswith(_OLE):
        if _ENCRYPTED_STREAM in body:
            raise Unreadable("encrypted", "the file is locked with a password")
        raise Unreadable("not_a_document", "a file of Word 2003 or older; save it as DOCX")
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as package:
            return _outline(package)
    except _BROKEN as error:
        if "password required" in str(error):
            raise Unreadable("encrypted", "the archive is locked with a password") from None
        raise Unreadable("broken_docx", str(error) or type(error).__name__) from None


def _outline(package: zipfile.ZipFile) -> Outline:
    name = _main_part(package)
    folder = name.rpartition("/")[0]
    styles = Styles(_part(package, f"{folder}/styles.xml"))
    notes = _notes(_part(package, f"{folder}/footnotes.xml"), _part(package, f"{folder}/endnotes.xml"))
    document = _part(package, name)
    body = None if document is None else child(document, "body")
    if body is None:
        raise Unreadable("broken_docx", f"{name} has no text body")
    blocks = tuple(_Walk(styles, notes).run(body))
    if not blocks:
        raise Unreadable("empty", "there is no text, perhaps only pictures")
    core = _part(package, "docProps/core.xml")
    found = {local(item): item.text or "" for item in core} if core is not None else {}
    return Outline(
        " ".join(plain(found.get("title", "")).split()),
        blocks,
        language=found.get("language", "").strip().lower().partition("-")[0][:3],
        date=iso_date(found.get("modified", "")) or iso_date(found.get("created", "")),
    )


def _main_part(package: zipfile.ZipFile) -> str:
    """The name of the part that holds the text, as the package's relations say."""
    relations = _part(package, "_rels/.rels")
    for item in relations if relations is not None else ():
        if str(item.get("Type", "")).endswith("/officeDocument"):
            name = str(item.get("Target", "")).lstrip("/")
            if not name.startswith("word/") and name.partition("/")[0] in ("xl", "ppt", "visio"):
                raise Unreadable("not_a_document", f"an Office file, but no text document: {name}")
            return name
    if "word/document.xml" in package.namelist():
        return "word/document.xml"
    raise Unreadable("not_a_document", "a zip archive, but no DOCX file")


def _part(package: zipfile.ZipFile, name: str) -> Any:
    """The root element of a part; None when there is no such part."""
    try:
        with package.open(name) as file:
            xml = file.read(MAX_PART_BYTES + 1)
    except KeyError:
        return None
    if len(xml) > MAX_PART_BYTES:
        raise Unreadable("too_complex", f"{name} is more than {MAX_PART_BYTES} bytes once decoded")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True)
    root = etree.fromstring(xml, parser)
    # ECMA-376 part 2, section 8.1.4: parts hold no document type, so one that does was made to harm.
    if root.getroottree().docinfo.doctype:
        raise Unreadable("broken_docx", f"{name} declares a document type")
    return root


def _notes(*parts: Any) -> dict[tuple[str, str], Any]:
    """Kind (`footnote`, `endnote`) and id to the element of the note."""
    found = {}
    for part in parts:
        for note in part if part is not None else ():
            if not value(note, "type"):
                found[(local(note), value(note, "id"))] = note
    return found


class _Walk:
    """One pass over a body. `run` may be called once."""

    def __init__(self, styles: Styles, notes: dict[tuple[str, str], Any]) -> None:
        self._styles = styles
        self._notes = notes
        self._found: list[Block] = []
        self._code: list[str] = []
        self._after_item = False
        self._named: list[Any] = []

    def run(self, body: Any) -> list[Block]:
        """All blocks of the document."""
        self._blocks(body)
        self._end_code()
        return self._found

    def _blocks(self, parent: Any) -> None:
        for node in parent:
            name = local(node)
            if name == "p":
                self._paragraph(node)
            elif name == "tbl":
                self._table(node)
            elif name == "AlternateContent":
                self._blocks(next(iter(node), ()))
            elif name == "sdt" and _is_contents(node):
                continue
            elif name in _PARTS:
                self._blocks(node)

    def _paragraph(self, node: Any) -> None:
        style = self._styles.of(node)
        text = plain("".join(self._strings(node))).strip("\n")
        notes, self._named = self._named, []
        boxes = [part for part in node.iter() if local(part) == "txbxContent" and _belongs(part, node)]
        if style.contents:
            pass
        elif style.code and not style.level:
            self._code.append(text.rstrip())
        elif text.strip():
            self._text(text, style.level, style.list_depth)
        for part in (*boxes, *notes):
            self._blocks(part)

    def _text(self, text: str, level: int, list_depth: int) -> None:
        self._end_code()
        lines = (" ".join(line.split()) for line in text.split("\n"))
        text = (" " if level else "\n").join(line for line in lines if line)
        if level:
            self._add(level, text)
        elif list_depth:
            self._add(0, list_item(text, list_depth), tight=self._after_item)
            self._after_item = True
        else:
            self._add(0, text)

    def _end_code(self) -> None:
        """End the run of code lines."""
        text = "\n".join(self._code).strip("\n")
        self._code.clear()
        if text.strip():
            self._add(0, text)

    def _add(self, level: int, text: str, *, tight: bool = False) -> None:
        self._found.append(Block(level, text, tight))
        self._after_item = False

    def _table(self, table: Any) -> None:
        self._end_code()
        rows = list(_rows(table))
        cells = [list(_children(row, "tc")) for row in rows]
        if sum(map(len, cells)) == 1 or any(self._is_layout(cell) for row in cells for cell in row):
            for row in cells:
                for cell in row:
                    self._blocks(cell)
            return
        texts = [[self._cell(cell) for cell in row] for row in cells]
        if text := table_text(texts, header=bool(rows) and _has_header(table, rows[0])):
            self._add(0, text)
        notes, self._named = self._named, []
        for note in notes:
            self._blocks(note)

    def _is_layout(self, cell: Any) -> bool:
        """Whether a cell holds what no data table does: another table, or a heading."""
        parts = (local(part) for part in cell)
        if "tbl" in parts:
            return True
        return any(self._styles.of(part).level for part in _children(cell, "p"))

    def _cell(self, cell: Any) -> str:
        paragraphs = (part for part in cell.iter() if local(part) == "p")
        return " ".join(plain(" ".join("".join(self._strings(part)) for part in paragraphs)).split())

    def _strings(self, node: Any) -> Iterator[str]:
        """The strings of a paragraph, text boxes excluded."""
        for part in node:
            name = local(part)
            if name == "t":
                yield part.text or ""
            elif name in ("footnoteReference", "endnoteReference"):
                note = self._notes.pop((name.removesuffix("Reference"), value(part, "id")), None)
                self._named += [] if note is None else [note]
            elif name in _PLAIN:
                yield "" if value(part, "type") in ("page", "column") else _PLAIN[name]
            elif name == "ruby":
                base = child(part, "rubyBase")
                yield from () if base is None else self._strings(base)
            elif name in _PARTS or name in ("r", "oMath", "oMathPara") or part.tag.startswith(_MATH):
                yield from self._strings(part)


_MATH = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"


def _rows(table: Any) -> Iterator[Any]:
    for node in table:
        if local(node) == "tr":
            yield node
        elif local(node) in _PARTS:
            yield from _rows(node)


def _children(node: Any, name: str) -> Iterator[Any]:
    for part in node:
        if local(part) == name:
            yield part
        elif local(part) in _PARTS:
            yield from _children(part, name)


def _has_header(table: Any, first: Any) -> bool:
    if property_of(first, "trPr", "tblHeader") is not None:
        return True
    look = property_of(table, "tblPr", "tblLook")
    if look is None:
        return False
    bits = value(look, "val")
    named = value(look, "firstRow") in ("1", "true", "on")
    return named or (bool(re.fullmatch(r"[0-9A-Fa-f]{1,8}", bits)) and bool(int(bits, 16) & _FIRST_ROW))


def _is_contents(node: Any) -> bool:
    """Whether a content control is the table of contents that Word made."""
    gallery = property_of(node, "sdtPr", "docPartObj", "docPartGallery")
    return gallery is not None and value(gallery, "val") == "Table of Contents"


def _belongs(box: Any, paragraph: Any) -> bool:
    """Whether a text box is anchored in this paragraph, and no second copy for older programs of one that is."""
    for above in box.iterancestors():
        if above is paragraph:
            return True
        if local(above) in ("Fallback", "p"):
            return False
    return False
