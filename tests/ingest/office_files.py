"""Small DOCX and PDF files, written by hand so that they can be broken on purpose."""

import io
import zipfile
from collections.abc import Sequence

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
MAIN = "word/document.xml"
RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"


def docx(
    body: str, *, styles: str = "", parts: dict[str, str] | None = None, target: str = "word/document.xml"
) -> bytes:
    """A DOCX file with the XML of a body, of styles, and of further parts by name."""
    files = {
        "_rels/.rels": f'<Relationships><Relationship Type="{RELATION}" Target="{target}"/></Relationships>',
        target: f'<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>',
        "word/styles.xml": f'<w:styles xmlns:w="{WORD}">{styles}</w:styles>',
        **(parts or {}),
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, xml in files.items():
            package.writestr(name, xml)
    return out.getvalue()


def paragraph(text: str, marks: str = "", run: str = "") -> str:
    """A paragraph of one run."""
    return f'<w:p><w:pPr>{marks}</w:pPr><w:r><w:rPr>{run}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def pdf(pages: Sequence[Sequence[tuple[int, int, str]]], marks: Sequence[tuple[str, int]] = ()) -> bytes:
    """A PDF file.

    Args:
        pages: lines as (height above the lower edge, size of type, text).
        marks: bookmarks as (title, page).
    """
    kids = " ".join(f"{10 + 2 * number} 0 R" for number in range(len(pages)))
    chain = [100 + number for number in range(len(marks))]
    outlines = f"/Outlines<</First {chain[0]} 0 R/Last {chain[-1]} 0 R>>" if chain else ""
    objects = {
        1: f"<</Type/Catalog/Pages 2 0 R{outlines}>>",
        2: f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>",
        3: "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
        4: "<</Title(The manual)/ModDate(D:20240131120000Z)>>",
    }
    for number, lines in enumerate(pages):
        content = "".join(f"BT /F1 {size} Tf 72 {height} Td ({text}) Tj ET\n" for height, size, text in lines)
        page = 10 + 2 * number
        resources = "/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
        objects[page] = f"<</Type/Page/Parent 2 0 R{resources}/Contents {page + 1} 0 R>>"
        objects[page + 1] = f"<</Length {len(content)}>>stream\n{content}\nendstream"
    for at, (title, page) in enumerate(marks):
        following = f"/Next {chain[at + 1]} 0 R" if at + 1 < len(chain) else ""
        objects[chain[at]] = f"<</Title({title})/Dest[{10 + 2 * page} 0 R/Fit]{following}>>"
    return _assembled(objects)


def _assembled(objects: dict[int, str]) -> bytes:
    out, table = "%PDF-1.4\n", ""
    for number, content in objects.items():
        table += f"{number} 1\n{len(out):010} 00000 n \n"
        out += f"{number} 0 obj{content}endobj\n"
    trailer = f"trailer<</Size {max(objects) + 1}/Root 1 0 R/Info 4 0 R>>\nstartxref\n{len(out)}\n%%EOF"
    return f"{out}xref\n0 1\n0000000000 65535 f \n{table}{trailer}".encode()
