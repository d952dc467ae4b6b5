"""HTML to an outline: the readable part of a page, its headings with their levels, in document order.

The tree is walked once, without recursion. Furniture (navigation, headers, footers, tables of contents, search boxes,
banners, heading anchors) is left out by element, ARIA role and class name. Every block notes whether it lies in
`<main>`, `<article>` or a known content container; afterwards the narrowest of these that holds the text is kept.

    list items      "- item", indented by depth      tables    Markdown rows, `| a | b |`
    definitions     term, then text on the next line  <pre>     verbatim

Known limits: text that only a script would show is not there; layout tables are told from data tables by their
content; a `|` in a cell is not escaped, because text is quoted as the page shows it.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from ingest.extractors.charset import decode
from ingest.extractors.furniture import DROPPED_TAGS, HEADINGS_ONLY, NOTES, is_content, is_furniture, names_of
from ingest.extractors.outline import Block, Outline, Unreadable

# A parsed element takes about a kilobyte: this many are what fits beside a model.
MAX_TAGS = 400_000

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    "address article blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer "
    "form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol p pre search section summary "
    "table tbody td tfoot th thead tr ul".split()
)
_LISTS = frozenset(("ul", "ol", "menu", "dir"))
# Presence of one of these makes a table a layout.
_NOT_IN_DATA = frozenset(("table", *_HEADINGS))
_LAYOUT_CLASSES = frozenset(("highlighttable", "lntable", "rouge-table", "codehilitetable"))
_ANCHORS = frozenset(("", "¶", "§", "🔗", "#"))
_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_DEEPEST_INDENT = 8
# Stands for <br> until white space is collapsed. The decoded text holds no control characters of its own.
_BREAK = "\x1e"

_MAIN, _ARTICLE, _CONTENT = 4, 2, 1


def read_html(body: bytes, charset: str) -> Outline:
    """The outline of an HTML page.

    Raises:
        Unreadable: it has no text (`empty`), or too many elements (`too_complex`).
    """
    return outline_of(decode(body, charset, markup=True))


def outline_of(html: str) -> Outline:
    """`read_html` for decoded text."""
    if html.count("<") > 2 * MAX_TAGS:
        raise Unreadable("too_complex", f"more than {MAX_TAGS} elements")
    # Beautiful Soup warns about text without tags that looks like an address or a file name.
    html = html if "<" in html else f"<p>{html}</p>"
    # Taking every attribute as one string, not a list of names, saves an eighth of the time.
    soup = BeautifulSoup(_XML_DECLARATION.sub("", html, count=1), "lxml", multi_valued_attributes=None)
    root = soup.body or soup
    blocks = _Walk(by_class=True).run(root) or _Walk(by_class=False).run(root)
    if not blocks:
        raise Unreadable("empty", "the page shows no text")
    title, canonical = _head(soup)
    return Outline(title, tuple(blocks), canonical)


def _head(soup: BeautifulSoup) -> tuple[str, str]:
    title, canonical = "", ""
    for tag in soup.head.find_all(["title", "link"]) if soup.head else []:
        if tag.name == "title":
            title = title or _collapse(tag.get_text())
        elif "canonical" in str(tag.get("rel", "")).lower().split():
            canonical = canonical or str(tag.get("href") or "")
    return title, canonical


class _Walk:
    """One pass over a tree. `run` may be called once."""

    def __init__(self, *, by_class: bool) -> None:
        self._by_class = by_class
        self._found: list[tuple[Block, int]] = []
        self._words: list[str] = []
        self._stack: list[Any] = []
        self._within = {_MAIN: 0, _ARTICLE: 0, _CONTENT: 0}
        self._headings_only = 0
        self._notes = 0
        self._depth = 0
        self._item_open = False
        self._after_item = False
        self._after_term = False

    def run(self, root: Tag) -> list[Block]:
        """All blocks of the readable part."""
        stack = self._stack
        stack.append(root)
        while stack:
            node = stack.pop()
            kind = type(node)
            if kind is NavigableString:
                self._words.append(node)
            elif kind is Tag or kind is BeautifulSoup:
                self._enter(node)
            elif kind is _Later:
                node.call()
        self._flush()
        return _readable(self._found)

    def _enter(self, tag: Tag) -> None:
        name = tag.name
        if name in DROPPED_TAGS or is_furniture(tag, by_class=self._by_class):
            if name in _BLOCKS:
                self._flush()
        elif level := _heading_level(tag):
            self._flush()
            self._heading(level, _line(_strings(tag, self._skips)))
        elif name == "pre":
            self._flush()
            self._add(0, "".join(_strings(tag, self._skips)).replace(_BREAK, "\n").strip("\n").rstrip())
        elif name == "table" and not _is_layout(tag):
            self._flush()
            self._table(tag)
        elif name == "br":
            self._words.append(_BREAK)
        elif name == "a" and _is_anchor(tag):
            pass
        elif name == "q":
            self._descend(tag, lambda: self._words.append("”"))
            self._words.append("“")
        elif name in _BLOCKS:
            self._flush()
            self._block(tag, name)
        else:
            self._stack.extend(reversed(tag.contents))

    def _block(self, tag: Tag, name: str) -> None:
        """Descend into a block element, and undo at its end what it changes."""
        scope = _scope(tag, name)
        only_headings = name == "header" or not HEADINGS_ONLY.isdisjoint(names_of(tag))
        note = not NOTES.isdisjoint(names_of(tag))
        nested = name in _LISTS
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

        self._descend(tag, leave)

    def _descend(self, tag: Tag, leave: Callable[[], None]) -> None:
        self._stack.append(_Later(leave))
        self._stack.extend(reversed(tag.contents))

    def _flush(self, *, term: bool = False) -> None:
        """End the running paragraph."""
        if not self._words:
            return
        lines = [_collapse(line) for line in "".join(self._words).split(_BREAK)]
        self._words.clear()
        text = "\n".join(line for line in lines if line)
        if not text:
            return
        tight = self._after_term
        if self._depth:
            indent = "  " * min(self._depth - 1, _DEEPEST_INDENT)
            tight = tight or (self._item_open and self._after_item)
            text = indent + ("- " if self._item_open else "  ") + text.replace("\n", f"\n{indent}  ")
            self._item_open = False
        self._add(0, text, tight=tight)
        self._after_item = self._depth > 0
        self._after_term = term

    def _heading(self, level: int, text: str) -> None:
        # The label of a note is no heading: what follows the note still belongs to the section around it.
        self._add(0 if self._notes else level, text)
        self._after_term = bool(self._notes)

    def _table(self, tag: Tag) -> None:
        for caption, lines in _tables(tag, self._skips):
            self._add(0, caption)
            self._add(0, "\n".join(lines))

    def _add(self, level: int, text: str, *, tight: bool = False) -> None:
        if text and (level or not self._headings_only):
            scope = sum(bit for bit, depth in self._within.items() if depth)
            self._found.append((Block(level, text, tight), scope))
            self._after_item = self._after_term = False

    def _skips(self, tag: Tag) -> bool:
        return tag.name in DROPPED_TAGS or is_furniture(tag, by_class=self._by_class) or _is_anchor(tag)


class _Later:
    """Something to do when the walk comes back to this place of the stack."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call


def _readable(found: list[tuple[Block, int]]) -> list[Block]:
    """The blocks of the narrowest scope that holds enough of the text."""
    scope = 0
    sizes = {bits: _size(found, bits) for bits in (_MAIN, _ARTICLE, _CONTENT, _MAIN | _ARTICLE)}
    total = _size(found, 0)
    if sizes[_MAIN]:
        scope = _MAIN | _ARTICLE if 2 * sizes[_MAIN | _ARTICLE] >= sizes[_MAIN] else _MAIN
    elif 3 * sizes[_ARTICLE] >= total > 0:
        scope = _ARTICLE
    elif 3 * sizes[_CONTENT] >= total > 0:
        scope = _CONTENT
    blocks = [block for block, bits in found if bits & scope == scope]
    # A page's title often stands above the container that holds its text.
    first = next((block for block, _ in found if block.level == 1), None)
    if first and not any(block.level == 1 for block in blocks):
        blocks.insert(0, first)
    return blocks


def _size(found: list[tuple[Block, int]], scope: int) -> int:
    return sum(len(block.text) for block, bits in found if bits & scope == scope and not block.level)


def _scope(tag: Tag, name: str) -> int:
    if name == "main" or tag.attrs.get("role") == "main":
        return _MAIN
    if name == "article":
        return _ARTICLE
    return _CONTENT if is_content(tag) else 0


def _heading_level(tag: Tag) -> int:
    level = _HEADINGS.get(tag.name, 0)
    if not level and tag.attrs.get("role") == "heading":
        claimed = str(tag.attrs.get("aria-level", "2"))
        level = min(int(claimed), 6) if claimed in tuple("123456789") else 2
    return level


def _is_anchor(tag: Tag) -> bool:
    """The small link beside a heading that leads to the heading itself."""
    if tag.name != "a" or len(tag.contents) > 1:
        return False
    text = tag.contents[0] if tag.contents else ""
    return isinstance(text, NavigableString | str) and text.strip() in _ANCHORS


def _is_layout(table: Tag) -> bool:
    if table.attrs.get("role") in ("presentation", "none") or not _LAYOUT_CLASSES.isdisjoint(names_of(table)):
        return True
    # Not `table.find`: that costs a walk to the last descendant, and so squares the time of deeply nested tables.
    stack = list(table.contents)
    while stack:
        node = stack.pop()
        if isinstance(node, Tag):
            if node.name in _NOT_IN_DATA:
                return True
            stack.extend(node.contents)
    return False


def _tables(table: Tag, skips: Callable[[Tag], bool]) -> Iterator[tuple[str, list[str]]]:
    """The caption and the Markdown rows of a data table."""
    caption, lines = "", []
    for part in table.find_all(["caption", "tr"]):
        if part.name == "caption":
            caption = _line(_strings(part, skips))
            continue
        cells = [cell for cell in part.contents if isinstance(cell, Tag) and cell.name in ("td", "th")]
        texts = [_line(_strings(cell, skips)) for cell in cells if not skips(cell)]
        if any(texts):
            lines.append(f"| {' | '.join(texts)} |")
            if len(lines) == 1 and len(texts) > 1 and all(cell.name == "th" for cell in cells):
                lines.append("|" + " --- |" * len(texts))
    yield caption, lines


def _strings(tag: Tag, skips: Callable[[Tag], bool]) -> Iterator[str]:
    """The strings below an element, with a break at each `<br>` and around each block."""
    stack: list[Any] = list(reversed(tag.contents))
    while stack:
        node = stack.pop()
        kind = type(node)
        if kind is NavigableString or kind is str:
            yield node
        elif kind is not Tag or skips(node):
            continue
        elif node.name == "br":
            yield _BREAK
        else:
            edge = [" "] if node.name in _BLOCKS and tag.name != "pre" else []
            stack.extend([*edge, *reversed(node.contents), *edge])


def _line(strings: Iterator[str]) -> str:
    return _collapse("".join(strings).replace(_BREAK, " "))


def _collapse(text: str) -> str:
    return " ".join(text.split())
