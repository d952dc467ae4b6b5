"""Reading reStructuredText: everything that is text is there once, and what speaks to Sphinx is not."""

import pytest

from ingest.extractors import rst_parse
from ingest.extractors.outline import Outline, Unreadable
from ingest.extractors.rst import read_rst


def read(source: str) -> Outline:
    return read_rst(source.encode(), "")


def texts(source: str) -> list[str]:
    return [block.text for block in read(source).blocks]


def test_headings_keep_their_levels_and_order() -> None:
    source = "=====\nGuide\n=====\n\nIntro.\n\nPart\n----\n\nDeep\n~~~~\n\nOther\n-----\n\nEnd.\n"
    found = [(block.level, block.text) for block in read(source).blocks]
    assert found == [(1, "Guide"), (0, "Intro."), (2, "Part"), (3, "Deep"), (2, "Other"), (0, "End.")]


def test_a_heading_out_of_order_is_a_heading_still() -> None:
    found = [(block.level, block.text) for block in read("A\n=\n\nB\n-\n\nC\n~\n\nD\n=\n\nE\n~\n\nend\n").blocks]
    assert [text for level, text in found if level] == ["A", "B", "C", "D", "E"]


def test_inline_markup_and_roles_give_their_text() -> None:
    source = (
        "See :ref:`the link <t>`, :py:func:`~os.path.join`, ``a  b``, *em*, |v|, x_, `y <z>`_ and :any:`!q` [1]_.\n\n"
        ".. |v| replace:: 3.2\n\n.. [1] Note.\n"
    )
    assert texts(source) == ["See the link, join, a b, em, 3.2, x, y and q [1].", "[1] Note."]


def test_code_is_verbatim() -> None:
    source = (
        "Like so::\n\n    if x:\n        y  = 1\n\n"
        ".. code-block:: python\n   :emphasize-lines: 1\n   :caption: C\n\n   def f():\n\n       pass\n\n"
        ".. sourcecode:: c\n\n   int  x;\n\n>>> 1 + 1\n2\n\n.. math:: a^2\n   :label: q\n"
    )
    assert texts(source) == ["Like so:", "if x:\n    y  = 1", "def f():\n\n    pass", "int  x;", ">>> 1 + 1\n2", "a^2"]


def test_lists_and_definitions() -> None:
    source = "- one\n\n  more\n- two\n\n  1. deep\n\nterm\n   Its meaning.\n\n--opt  does it\n\n:Field: body\n"
    found = read(source).blocks
    expected = ["- one", "  more", "- two", "  - deep", "term", "Its meaning.", "--opt", "does it", "Field: body"]
    assert [block.text for block in found] == expected
    assert [block.text for block in found if block.tight] == ["- two", "  - deep", "Its meaning.", "does it"]


@pytest.mark.parametrize(
    "source",
    [
        "+---+---+\n| a | b |\n+===+===+\n| 1 | 2 |\n+---+---+\n",
        "== ==\na  b\n== ==\n1  2\n== ==\n",
        ".. list-table::\n   :header-rows: 1\n\n   * - a\n     - b\n   * - 1\n     - 2\n",
        ".. csv-table::\n   :header: a, b\n\n   1, 2\n",
    ],
)
def test_tables_are_markdown_rows(source: str) -> None:
    assert texts(source) == ["| a | b |\n| --- | --- |\n| 1 | 2 |"]


def test_sphinx_directives_lose_no_text_and_show_no_messages() -> None:
    source = """
.. py:function:: open(file, *args)
   :module: io

   Opens a :class:`File`.

   .. versionadded:: 3.2
      With more.

   .. note::

      Mind *this*.

.. class:: Path(x)

   A path.

.. tab-set::

   .. tab-item:: Linux

      .. code-block:: sh

         ls  -l

.. only:: html

   Shown.

.. figure:: y.png
   :bogus: 1

   The caption.
"""
    assert texts(source) == [
        *("open(file, *args)", "Opens a File.", "Added in version 3.2 With more.", "Note", "Mind this."),
        *("Path(x)", "A path.", "Linux", "ls  -l", "Shown.", "The caption."),
    ]


def test_what_only_arranges_pages_or_reads_files_is_left_out() -> None:
    source = (
        ":orphan:\n\n.. _label:\n\n.. toctree::\n   :maxdepth: 1\n\n   a\n\n.. contents::\n\n.. comment\n\n"
        ".. include:: /etc/passwd\n\n.. literalinclude:: /etc/passwd\n\n.. raw:: html\n   :file: /etc/passwd\n\n"
        ".. csv-table:: x\n   :file: /etc/passwd\n\n.. image:: x.png\n   :alt: alt\n\nText.\n"
    )
    assert texts(source) == ["Text."]


def test_code_in_cells_and_fields_is_kept() -> None:
    table = ".. list-table::\n\n   * - .. code-block:: sh\n          :caption: c\n\n          ls\n     - b\n"
    assert texts(table) == ["| ls | b |"]
    assert texts(":param x: given\n:returns:\n    .. code-block:: sh\n\n       ls  -l\n") == [
        *("param x: given", "returns:", "ls  -l"),
    ]
    nested = "+-------+\n| +---+ |\n| | a | |\n| +---+ |\n+-------+\n"
    assert texts(nested) == ["| a |"]


def test_malformed_tables_are_kept_as_they_stand() -> None:
    assert texts("+----+\n| bad\n+----+\n") == ["+----+\n| bad\n+----+"]


def test_title_and_date() -> None:
    found = read(".. title:: Named\n\nGuide\n=====\n\n:Date: 2024-05-06\n\nText.\n")
    assert (found.title, found.date) == ("Named", "2024-05-06")
    with pytest.raises(Unreadable, match="no text"):
        read(".. comment\n")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("\n".join("  " * depth + "- x\n" for depth in range(400)), id="deep"),
        pytest.param("```\n" * 30_000, id="rules"),
        pytest.param("a\n=\n" * 30_000, id="titles"),
        pytest.param("*a " * 100_000, id="stars"),
        pytest.param("word " * 2_000_000, id="10-MB-line"),
        pytest.param("\n\n".join("   " * depth + ".. foo:: a" for depth in range(100)), id="directives"),
    ],
)
def test_hostile_shapes_end(source: str) -> None:
    assert sum(len(block.text) for block in read(source).blocks) >= 100


def test_a_failing_parser_leaves_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rst_parse, "LONGEST_INLINE", "not a number")
    assert texts("A *text*.") == ["A *text*."]
