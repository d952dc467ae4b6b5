"""Jupyter notebooks to an outline: their Markdown cells as they stand, their code cells as code, in order.

Known limits: outputs are left out, as most of them are numbers and pictures; so are raw cells.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from ingest.extractors.charset import decode
from ingest.extractors.markdown import outline_of_markdown
from ingest.extractors.outline import Outline, Unreadable

_TICKS = re.compile(r"`{3,}")


def read_notebook(body: bytes, charset: str) -> Outline:
    """The outline of a notebook (nbformat 3 and 4).

    Raises:
        Unreadable: it is no notebook (`not_a_document`), has no cell with text (`empty`), or too much (`too_complex`).
    """
    try:
        notebook = json.loads(decode(body, charset or "utf-8"))
    except (ValueError, RecursionError):
        raise Unreadable("not_a_document", "a notebook has to be JSON, and this is not") from None
    cells = list(_cells(notebook))
    if not cells:
        raise Unreadable("empty", "the notebook has no cells with text")
    return outline_of_markdown("\n\n".join(cells))


def _cells(notebook: Any) -> Iterator[str]:
    """The cells as Markdown."""
    for cell in _list(notebook, "cells") or [
        cell for sheet in _list(notebook, "worksheets") for cell in _list(sheet, "cells")
    ]:
        source = _source(cell)
        kind = cell.get("cell_type") if source else ""
        if kind == "markdown":
            yield source
        elif kind == "heading":
            level = cell.get("level")
            yield f"{'#' * min(max(level if isinstance(level, int) else 1, 1), 6)} {source}"
        elif kind == "code":
            fence = "`" * (max(map(len, _TICKS.findall(source)), default=2) + 1)
            yield f"{fence}\n{source}\n{fence}"


def _list(value: Any, name: str) -> list[Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def _source(cell: Any) -> str:
    """The text of a cell, which is kept as one string or as a list of lines."""
    if not isinstance(cell, dict):
        return ""
    source = cell.get("source", cell.get("input", ""))
    text = "".join(map(str, source)) if isinstance(source, list) else str(source)
    return text.strip("\n") if text.strip() else ""
