"""What stands inside one block: its text with its line breaks, and the rows of a table.

In: an element, and which of the elements below it to skip. Out: strings. Nothing here recurses, and each element is
met once, so the time is linear in the size of what is read.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ingest.extractors.furniture import LAYOUT, says
from ingest.extractors.outline import table_text
from ingest.extractors.tree import Element

# Stands for <br> until white space is collapsed. The decoded text holds no control characters of its own.
BREAK = "\x1e"
BLOCKS = frozenset(
    "address article blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer "
    "form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre search section summary "
    "table tbody td tfoot th thead tr ul".split()
)
HEADINGS = {f"h{level}": level for level in range(1, 7)}

# Presence of one of these makes a table a layout.
_NOT_IN_DATA = ("table", *HEADINGS)
_ANCHORS = frozenset(("", "¶", "§", "🔗", "#"))

Skips = Callable[[Element], bool]


def collapse(text: str) -> str:
    """The text with each run of white space as one space."""
    return " ".join(text.split())


def line(element: Element, skips: Skips) -> str:
    """The text of an element in one line."""
    return collapse("".join(strings(element, skips)).replace(BREAK, " "))


def verbatim(element: Element, skips: Skips) -> str:
    """The text of an element as it is written, without empty lines around it."""
    return "".join(strings(element, skips)).replace(BREAK, "\n").strip("\n").rstrip()


def strings(element: Element, skips: Skips) -> Iterator[str]:
    """The strings below an element, with a break at each `<br>` and, unless it is a `<pre>`, around each block."""
    edged = element.tag != "pre"
    stack: list[Element | str] = []
    push(stack, element)
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            yield node
        elif skips(node):
            continue
        elif node.tag == "br":
            yield BREAK
        elif edged and node.tag in BLOCKS:
            stack.append(" ")
            push(stack, node)
            stack.append(" ")
        else:
            push(stack, node)


def push(stack: list[Any], element: Element) -> None:
    """Put what is in an element onto a stack, so that it comes off in reading order."""
    for child in reversed(element):
        if child.tail:
            stack.append(child.tail)
        stack.append(child)
    if element.text:
        stack.append(element.text)


def is_anchor(element: Element) -> bool:
    """Whether this is the small link beside a heading that leads to the heading itself."""
    return element.tag == "a" and not len(element) and (element.text or "").strip() in _ANCHORS


def is_layout(table: Element) -> bool:
    """Whether a `<table>` only arranges what is in it."""
    if table.get("role") in ("presentation", "none") or says(table) & LAYOUT:
        return True
    return next((True for found in table.iter(*_NOT_IN_DATA) if found is not table), False)


def table_rows(table: Element, skips: Skips) -> tuple[str, str]:
    """The caption and the Markdown rows of a data table."""
    caption, rows, header = "", list[list[str]](), False
    for part in table.iter("caption", "tr"):
        if part.tag == "caption":
            caption = line(part, skips)
            continue
        cells = [cell for cell in part if cell.tag in ("td", "th")]
        texts = [line(cell, skips) for cell in cells if not skips(cell)]
        if any(texts):
            header = header if rows else all(cell.tag == "th" for cell in cells)
            rows.append(texts)
    return caption, table_text(rows, header=header)
