"""A tree to the blocks of its text: headings with their levels, paragraphs, list items, tables and code, in order.

The tree is walked once, without recursion. Every block notes whether it lies in `<main>`, `<article>` or a known
content container, so that the caller can keep the narrowest of these that holds the text.

    list items      "- item", indented by depth      tables    Markdown rows, `| a | b |`
    definitions     term, then text on the next line  <pre>     verbatim

Known limits: layout tables are told from data tables by their content; a `|` in a cell is not escaped, because text is
quoted as the page shows it.
"""

from collections.abc import Callable
from typing import NamedTuple

from ingest.extractors.furniture import CONTENT, DROPPED_TAGS, HEADINGS_ONLY, NOTE, says
from ingest.extractors.inline import (
    BLOCKS,
    BREAK,
    HEADINGS,
    Skips,
    collapse,
    is_anchor,
    is_layout,
    line,
    push,
    table_rows,
    verbatim,
)
from ingest.extractors.outline import Block, list_item
from ingest.extractors.tree import Element

IN_MAIN, IN_ARTICLE, IN_CONTENT = 4, 2, 1

_LISTS = frozenset(("ul", "ol", "menu", "dir"))


class Found(NamedTuple):
    """A block, and the bits of the containers that it lies in."""

    block: Block
    within: int


def blocks_of(root: Element, left_out: Skips, *, headers: bool = False) -> list[Found]:
    """All blocks below an element.

    Args:
        left_out: whether an element is left out with all that is in it.
        headers: the text in headers counts, not their headings only.
    """
    return _Walk(left_out, headers).run(root)


class _Walk:
    """One pass over a tree. `run` may be called once."""

    def __init__(self, left_out: Skips, headers: bool) -> None:
        self._headers = headers
        self._left_out = left_out
        self._found: list[Found] = []
        self._words: list[str] = []
        self._stack: list[Element | str | Callable[[], None]] = []
        self._within = {IN_MAIN: 0, IN_ARTICLE: 0, IN_CONTENT: 0}
        self._headings_only = 0
        self._notes = 0
        self._depth = 0
        self._item_open = False
        self._after_item = False
        self._after_term = False

    def run(self, root: Element) -> list[Found]:
        stack, words = self._stack, self._words
        stack.append(root)
        while stack:
            node = stack.pop()
            if type(node) is str:
                words.append(node)
            elif callable(node):
                node()
            else:
                self._enter(node)
        self._flush()
        return self._found

    def _enter(self, element: Element) -> None:
        name = element.tag
        if name in DROPPED_TAGS or self._left_out(element):
            if name in BLOCKS:
                self._flush()
        elif name in BLOCKS:
            self._flush()
            self._enter_block(element, name)
        elif name == "br":
            self._words.append(BREAK)
        elif name == "q":
            self._stack.append(lambda: self._words.append("”"))
            push(self._stack, element)
            self._words.append("“")
        elif element.get("role") == "heading":
            self._flush()
            self._heading(heading_level(element), element)
        elif not is_anchor(element):
            push(self._stack, element)

    def _enter_block(self, element: Element, name: str) -> None:
        if level := heading_level(element):
            self._heading(level, element)
        elif name == "pre":
            self._add(0, verbatim(element, self._skips), code=True)
        elif name == "table" and not is_layout(element):
            caption, rows = table_rows(element, self._skips)
            self._add(0, caption)
            self._add(0, rows)
        else:
            self._descend(element, name)

    def _descend(self, element: Element, name: str) -> None:
        """Go into a block element, and undo at its end what it changes."""
        said = says(element)
        scope = _scope(element, name, said)
        only_headings = not self._headers and (name == "header" or bool(said & HEADINGS_ONLY))
        nested = name in _LISTS
        if not (scope or only_headings or nested or said & NOTE or name in ("li", "dt")):
            self._stack.append(self._flush)
            push(self._stack, element)
            return
        note = bool(said & NOTE)
        if scope:
            self._within[scope] += 1
        self._headings_only += only_headings
        self._notes += note
        self._depth += nested
        if name == "li":
            self._item_open = True

        def leave() -> None:
            self._flush(term=name == "dt")
            if scope:
                self._within[scope] -= 1
            self._headings_only -= only_headings
            self._notes -= note
            self._depth -= nested
            if name == "li" or (nested and not self._depth):
                self._item_open = False
            if nested and not self._depth:
                self._after_item = False

        self._stack.append(leave)
        push(self._stack, element)

    def _flush(self, *, term: bool = False) -> None:
        """End the running paragraph."""
        if not self._words:
            return
        joined = "".join(self._words)
        self._words.clear()
        if BREAK in joined:
            lines = [collapse(part) for part in joined.split(BREAK)]
            text = "\n".join(part for part in lines if part)
        else:
            text = collapse(joined)
        if not text:
            return
        tight = self._after_term
        if self._depth:
            tight = tight or (self._item_open and self._after_item)
            text = list_item(text, self._depth, marked=self._item_open)
            self._item_open = False
        self._add(0, text, tight=tight)
        self._after_item = self._depth > 0
        self._after_term = term

    def _heading(self, level: int, element: Element) -> None:
        # The label of a note is no heading: what follows the note still belongs to the section around it.
        self._add(0 if self._notes else level, line(element, self._skips))
        self._after_term = bool(self._notes)

    def _add(self, level: int, text: str, *, tight: bool = False, code: bool = False) -> None:
        if text and (level or not self._headings_only):
            within = self._within
            bits = (within[IN_MAIN] and IN_MAIN) | (within[IN_ARTICLE] and IN_ARTICLE)
            block = Block(level, text, tight, code)
            self._found.append(Found(block, bits | (within[IN_CONTENT] and IN_CONTENT)))
            self._after_item = self._after_term = False

    def _skips(self, element: Element) -> bool:
        return element.tag in DROPPED_TAGS or self._left_out(element) or is_anchor(element)


def heading_level(element: Element) -> int:
    """1 to 6 for a heading, 0 for anything else."""
    level = HEADINGS.get(element.tag, 0)
    if not level and element.get("role") == "heading":
        claimed = element.get("aria-level", "2")
        level = min(int(claimed), 6) if claimed in tuple("123456789") else 2
    return level


def _scope(element: Element, name: str, said: int) -> int:
    if name == "main" or element.get("role") == "main":
        return IN_MAIN
    if name == "article":
        return IN_ARTICLE
    return IN_CONTENT if said & CONTENT else 0
