"""Every reader of every format: any bytes give an outline or a reason, charsets are found, additions are understood."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.extractors.docx import read_docx
from ingest.extractors.markdown import LONGEST_INLINE, read_markdown
from ingest.extractors.markdown_flavours import to_commonmark
from ingest.extractors.notebook import read_notebook
from ingest.extractors.outline import Outline, Unreadable, iso_date
from ingest.extractors.pdf import read_pdf
from ingest.extractors.rst import read_rst
from ingest.extractors.text import read_text
from ingest.formats import DOCX, NOTEBOOK, PDF, body_type, is_binary, media_type
from tests.ingest.office_files import docx, paragraph, pdf

TEXT_READERS = {"markdown": read_markdown, "rst": read_rst, "text": read_text, "notebook": read_notebook}
TEXTS = [read_markdown, read_rst, read_text]


def markdown(source: str) -> Outline:
    return read_markdown(source.encode(), "")


def texts(source: str) -> list[str]:
    return [block.text for block in markdown(source).blocks]


def test_front_matter_names_the_document() -> None:
    found = markdown('---\ntitle: "It\'s \\"here\\""\ndate: 2024-03-01T10:00:00Z\n---\n# Guide\n\nText.\n')
    assert (found.title, found.date) == ('It\'s "here"', "2024-03-01")
    assert [block.text for block in found.blocks] == ["Guide", "Text."]
    toml = markdown("+++\ntitle = 'Named'\ndate = 2024-03-01\nlastmod = 2025-01-02\n+++\nText.\n")
    assert (toml.title, toml.date) == ("Named", "2025-01-02")
    assert texts("---\n\nA rule above, none of this is front matter.\n\n---\n")[0].startswith("A rule")


def test_code_stays_as_it_is_in_every_kind_of_fence() -> None:
    code = "def f(x):\n    return  {{< x >}}  # {a}`b`\n\n(label)="
    indented = "\n".join(f"    {line}" if line else "" for line in code.split("\n"))
    source = (
        f"~~~python\n{code}\n~~~\n\n````\n```\n````\n\n{indented}\n\n```{{code-block}} python\n:linenos:\n{code}\n```\n"
    )
    assert texts(source) == [code, "```", code, code]
    assert texts("- item\n\n  ```sh\n  ls  -l\n  ```\n") == ["- item", "ls  -l"]
    assert texts("`{{< a >}}` and `{ref}`\n") == ["{{< a >}} and {ref}"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("(top)=\n# Guide {#guide .x}\n", ["Guide"]),
        ("See {ref}`the link <t>` and {py:func}`os.path`.\n", ["See the link and os.path."]),
        ("```{note}\n:class: x\nInner *text*.\n```\n", ["Note", "Inner text."]),
        (":::{tip} Mind\nInner.\n:::\n", ["Mind", "Inner."]),
        (":::: {.wide}\n::: note\nInner.\n:::\n::::\n", ["Note", "Inner."]),
        ("````{tab-set}\n```{tab-item} One\nFirst.\n```\n````\n", ["One", "First."]),
        ("```{toctree}\n:maxdepth: 1\na\n```\nText.\n", ["Text."]),
        ('!!! warning "Hot"\n    Careful.\n\n        code\n\nAfter.\n', ["Hot", "Careful.", "code", "After."]),
        ('=== "Tab"\n\n    Content.\n', ["Tab", "Content."]),
        ("> [!NOTE]\n> Useful.\n", ["Note\nUseful."]),
        ('{{% alert title="Mind!" %}}\nBody.\n{{% /alert %}}\n', ["Mind!", "Body."]),
        ("{{< highlight go >}}\nfunc  x() {{< y\n{{< /highlight >}}\n", ["func  x() {{< y"]),
        ("{% include a.html %}Text {% raw %}here{% endraw %}.\n", ["Text here."]),
        ("Text.\n{: .no_toc}\n\n[^1]: word\n", ["Text.", "[^1]: word"]),
        ("Setext\n======\n\n<details><summary>Sum</summary>\n\nIn *it*.\n\n</details>\n", ["Setext", "Sum", "In it."]),
    ],
)
def test_additions_of_generators_leave_no_junk(source: str, expected: list[str]) -> None:
    assert texts(source) == expected


def test_notebooks_are_their_cells_in_order() -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Guide\n", "\n", "Text."]},
        {"cell_type": "code", "source": "x  = 1\n```", "outputs": [{"text": "not shown"}]},
        {"cell_type": "raw", "source": "not shown"},
        {"cell_type": "markdown", "source": "## Part"},
    ]
    found = read_notebook(json.dumps({"nbformat": 4, "cells": cells}).encode(), "")
    expected = [(1, "Guide"), (0, "Text."), (0, "x  = 1\n```"), (2, "Part")]
    assert [(block.level, block.text) for block in found.blocks] == expected
    old = {
        "worksheets": [
            {"cells": [{"cell_type": "heading", "level": 3, "source": "Old"}, {"cell_type": "code", "input": "y"}]}
        ]
    }
    assert [(block.level, block.text) for block in read_notebook(json.dumps(old).encode(), "").blocks] == [
        (3, "Old"),
        (0, "y"),
    ]


@pytest.mark.parametrize(
    "body", [b"", b"no json", b"[1]", b"[" * 50_000, b'{"cells": [1, {"source": 3}]}', b'{"cells": "x"}']
)
def test_what_is_no_notebook_has_a_reason(body: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        read_notebook(body, "")
    assert caught.value.reason in ("not_a_document", "empty")


@pytest.mark.parametrize("read", TEXTS)
@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("Größe 10 €".encode(), ""),
        ("Größe 10 €".encode("utf-16"), ""),
        ("Größe 10 €".encode("cp1252"), "windows-1252"),
        ("\ufeffGröße 10 €".encode(), "ascii"),
        ("Gr\x00öße 10\x01 €".encode(), "utf-8"),
        ("Größe".encode() + b" \xed\xa0\x8010 " + "€".encode(), "utf-8"),
    ],
)
def test_charsets_and_stray_characters(read: Callable[[bytes, str], Outline], body: bytes, charset: str) -> None:
    text = read(body, charset).blocks[0].text
    assert "\x00" not in text
    if b"\xed\xa0" not in body:
        assert text == "Größe 10 €"


@pytest.mark.parametrize("read", TEXTS)
def test_ten_megabytes_in_one_line_end(read: Callable[[bytes, str], Outline]) -> None:
    try:
        assert read(b"word " * 2_000_000, "").blocks
    except Unreadable as error:
        assert error.reason == "too_complex"


@pytest.mark.parametrize("hostile", ["[", "`a ", "*a ", "![a](", "{{< a ", "{%", "{a}`b ", "!!! note ", "<a "])
def test_markup_without_an_end_ends(hostile: str) -> None:
    source = hostile * (2 * LONGEST_INLINE // len(hostile))
    assert len(to_commonmark(source)) >= len(source) - 1
    assert texts(source)


def test_media_types_of_servers_that_do_not_know() -> None:
    assert media_type("application/octet-stream", "/a/b.docx") == DOCX
    assert media_type("application/zip; x=1", "/a/b.docx") == DOCX
    assert media_type("application/zip", "/a/b.zip") == "application/zip"
    assert media_type("application/json", "/a/b.ipynb") == NOTEBOOK
    assert media_type("Text/X-Markdown", "/a") == "text/markdown"
    assert body_type("text/html", b"%PDF-1.7") == PDF
    assert body_type("text/html", b"<p>") == "text/html"
    assert is_binary(docx(paragraph("x")))
    assert not is_binary("Größe".encode("utf-16"))


def test_dates_are_whole_and_real() -> None:
    assert iso_date(" 2024-02-29T10:00") == "2024-02-29"
    assert [iso_date(text) for text in ("2023-02-29", "2024", "20240229xx", "", "29.02.2024")] == [""] * 5


MARKS = "`*_#~=-+|>![](){}<>:.\\&;\"'%^0a \n\t\u00e4\x00\x1b\r\u2028"
marked = st.text(st.sampled_from(MARKS), max_size=200).map(str.encode)


@pytest.mark.parametrize("name", TEXT_READERS)
@given(
    body=st.binary(max_size=200) | marked, charset=st.sampled_from(["", "utf-8", "utf-16", "rot13", "nonsense", "idna"])
)
def test_any_bytes_give_an_outline_or_a_reason(name: str, body: bytes, charset: str) -> None:
    try:
        outline = TEXT_READERS[name](body, charset)
    except Unreadable as error:
        assert error.reason
    else:
        assert all(block.text.strip() and 0 <= block.level <= 6 for block in outline.blocks)


WHOLE = {"docx": (read_docx, docx(paragraph("x") * 3)), "pdf": (read_pdf, pdf([[(700, 12, "x")]] * 2, [("x", 1)]))}


@pytest.mark.parametrize("name", WHOLE)
@given(at=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), cut=st.floats(0, 1), junk=st.binary(max_size=50))
def test_damaged_files_give_an_outline_or_a_reason(name: str, at: float, byte: int, cut: float, junk: bytes) -> None:
    read, whole = WHOLE[name]
    damaged = bytearray(whole)
    damaged[int(at * len(whole))] = byte
    for body in (bytes(damaged), whole[: int(cut * len(whole))], junk, whole[: int(cut * len(whole))] + junk):
        try:
            assert read(body).blocks
        except Unreadable as error:
            assert error.reason
