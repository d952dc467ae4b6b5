"""Reading DOCX: what becomes of headings, lists, tables, code and notes, and files made to harm."""

import io
import zipfile

import pytest
from docx import Document

from ingest.extractors.docx import MAX_PART_BYTES, read_docx
from ingest.extractors.outline import Unreadable
from tests.ingest.office_files import WORD, docx, paragraph


def blocks(body: str, **parts) -> list[tuple[int, str]]:
    return [(block.level, block.text) for block in read_docx(docx(body, **parts)).blocks]


def refused(body: bytes) -> str:
    with pytest.raises(Unreadable) as caught:
        read_docx(body)
    return caught.value.reason


def style(name: str, style_id: str, inside: str = "") -> str:
    return f'<w:style w:type="paragraph" w:styleId="{style_id}"><w:name w:val="{name}"/>{inside}</w:style>'


def uses(style_id: str) -> str:
    return f'<w:pStyle w:val="{style_id}"/>'


def test_headings_are_found_by_their_level_in_any_language() -> None:
    styles = (
        style("berschrift 1", "berschrift1", '<w:pPr><w:outlineLvl w:val="0"/></w:pPr>')
        + style("Mine", "mine", '<w:basedOn w:val="berschrift1"/>')
        + style("heading 3", "h3")
        + style("Title", "Titel")
        + style("toc 1", "toc1")
    )
    body = "".join(
        [
            *(paragraph("Manual", uses("Titel")), paragraph("Contents 3", uses("toc1"))),
            *(paragraph("Part", uses("berschrift1")), paragraph("Own", uses("mine"))),
            *(paragraph("Deep", uses("h3")), paragraph("By mark", '<w:outlineLvl w:val="1"/>')),
            paragraph("Body", f'{uses("mine")}<w:outlineLvl w:val="9"/>'),
        ]
    )
    expected = [(1, "Manual"), (1, "Part"), (1, "Own"), (3, "Deep"), (2, "By mark"), (0, "Body")]
    assert blocks(body, styles=styles) == expected


def test_lists_code_and_text() -> None:
    def item(depth: int) -> str:
        return f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="1"/></w:numPr>'

    body = "".join(
        [
            *(paragraph("one", item(0)), paragraph("deep", item(1)), paragraph("two", item(0))),
            paragraph("no item", '<w:numPr><w:numId w:val="0"/></w:numPr>'),
            *(paragraph("def f():", uses("Code")), paragraph("    return  1", run='<w:rFonts w:ascii="Courier New"/>')),
            "<w:p><w:r><w:t>a</w:t><w:br/><w:t>b</w:t><w:delText>gone</w:delText><w:tab/><w:t>c</w:t></w:r></w:p>",
        ]
    )
    found = read_docx(docx(body, styles=style("Source Code", "Code"))).blocks
    expected = ["- one", "  - deep", "- two", "no item", "def f():\n    return  1", "a\nb c"]
    assert [block.text for block in found] == expected
    assert [block.tight for block in found] == [False, True, True, False, False, False]


def test_tables_are_markdown_rows_and_boxes_are_not() -> None:
    def table(*rows: tuple[str, ...], marks: str = "") -> str:
        cells = ("".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in row) for row in rows)
        return f"<w:tbl><w:tblPr>{marks}</w:tblPr>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"

    named = table(("a", "b"), ("1", "2"), marks='<w:tblLook w:val="04A0"/>')
    assert blocks(named) == [(0, "| a | b |\n| --- | --- |\n| 1 | 2 |")]
    assert blocks(table(("a", "b"), ("1", "2"))) == [(0, "| a | b |\n| 1 | 2 |")]
    assert blocks(table(("only",))) == [(0, "only")]
    outer = f"<w:tbl><w:tr><w:tc>{named}{paragraph('x')}</w:tc><w:tc>{paragraph('y')}</w:tc></w:tr></w:tbl>"
    assert [text for _, text in blocks(outer)] == ["| a | b |\n| --- | --- |\n| 1 | 2 |", "x", "y"]


def test_notes_and_text_boxes_stand_below_their_paragraph_once() -> None:
    choice = f"<w:txbxContent>{paragraph('boxed')}</w:txbxContent>"
    body = (
        '<w:p><w:r><w:t>See</w:t><w:footnoteReference w:id="2"/></w:r></w:p>'
        f"<w:p><w:r><w:t>Box</w:t><mc:AlternateContent xmlns:mc='m'><mc:Choice>{choice}</mc:Choice>"
        f"<mc:Fallback>{choice}</mc:Fallback></mc:AlternateContent></w:r></w:p>"
    )
    note = f'<w:footnotes xmlns:w="{WORD}"><w:footnote w:id="2">{paragraph("The note.")}</w:footnote></w:footnotes>'
    found = blocks(body, parts={"word/footnotes.xml": note})
    assert [text for _, text in found] == ["See", "The note.", "Box", "boxed"]


def test_what_the_file_says_of_itself() -> None:
    core = "<c><title>The\n manual</title><modified>2024-03-01T10:00:00Z</modified><language>de-DE</language></c>"
    found = read_docx(docx(paragraph("x"), parts={"docProps/core.xml": core}))
    assert (found.title, found.date, found.language) == ("The manual", "2024-03-01", "de")
    assert read_docx(docx(paragraph("x"), parts={"docProps/core.xml": "<c><modified>soon</modified></c>"})).date == ""


def test_what_another_program_writes_can_be_read() -> None:
    written = Document()
    written.add_heading("Guide", 0)
    written.add_heading("Part", 2)
    written.add_paragraph("one", style="List Bullet")
    out = io.BytesIO()
    written.save(out)
    found = read_docx(out.getvalue()).blocks
    assert [(block.level, block.text) for block in found] == [(1, "Guide"), (2, "Part"), (0, "- one")]


def test_what_is_locked_or_no_docx_has_a_reason() -> None:
    old = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)
    assert refused(old + "EncryptedPackage".encode("utf-16-le")) == "encrypted"
    assert refused(old) == "not_a_document"
    assert refused(docx(paragraph("x"), target="xl/workbook.xml")) == "not_a_document"
    assert refused(b"") == refused(b"PK\x03\x04 cut off") == refused(docx(paragraph("x"))[:-60]) == "broken_docx"
    assert refused(docx("")) == "empty"
    with zipfile.ZipFile(out := io.BytesIO(), "w") as package:
        package.writestr("a.txt", "a")
    assert refused(out.getvalue()) == "not_a_document"
    locked = bytearray(docx(paragraph("x")))
    for header in (b"PK\x03\x04", b"PK\x01\x02"):
        flags = locked.index(header) + (6 if header == b"PK\x03\x04" else 8)
        locked[flags] |= 1
    assert refused(bytes(locked)) == "encrypted"


def test_bombs_are_not_decoded() -> None:
    assert refused(docx(paragraph("x" * (MAX_PART_BYTES + 1)))) == "too_complex"
    laughs = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><d>&b;</d>'
    assert refused(docx(paragraph("x"), parts={"word/styles.xml": laughs})) == "broken_docx"
    outside = '<!DOCTYPE d SYSTEM "file:///etc/passwd"><d/>'
    assert refused(docx(paragraph("x"), parts={"word/styles.xml": outside})) == "broken_docx"
    assert refused(docx("<w:sdt><w:sdtContent>" * 2000)) == "broken_docx"
