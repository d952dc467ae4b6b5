"""reStructuredText to an outline, through the parser of docutils and a walk over its tree.

Nothing is fetched: `include` and `raw` are left out. Directives that docutils does not know, most of them Sphinx's,
are read by their form: argument, options, content. Their code is kept verbatim, their content is read like the text
around it, and what only arranges pages (`toctree`, `contents`, `index`) is left out. Roles give their text.

    list items      "- item", indented by depth      tables         Markdown rows, `| a | b |`
    definitions     term, then text on the next line  literal blocks verbatim

Known limits: about a third of a megabyte a second, and ten megabytes in one file, with ten thousand titles, take a
minute and a half; a paragraph of more than `LONGEST_INLINE` characters keeps its inline markup; references to other
documents by label alone give the label; what the parser fails on, and a document of more than `MOST_ADORNED` titles, is
read as plain text.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from docutils import nodes

from ingest.extractors.charset import decode
from ingest.extractors.outline import Block, Outline, Unreadable, iso_date, list_item, table_text, tags_in
from ingest.extractors.rst_parse import (
    CODE,
    LABELS,
    NO_ARGUMENT,
    SILENT,
    SPHINX_FIELDS,
    parse,
    split_directive,
    substitutions,
)
from ingest.extractors.text import outline_of_text

logger = logging.getLogger(__name__)

# Lines that may be those of a title. docutils compares the names of all titles: 20,000 of them take some seconds.
MOST_ADORNED = 20_000
# Directives in directives are parsed each by itself.
_DEEPEST = 20

_DIRECTIVE = re.compile(r"\.\.[ ]+(?:\|[^|]*\|[ ]+)?([\w:.+-]+?)[ ]?::(?:[ ]+|(?=\n)|$)")
_ADORNED = re.compile(r"(?:([!-/:-@[-`{-~])\1*\n)?[ ]*(\S.*)\n([!-/:-@[-`{-~])\3*$")
_ADORNMENT = re.compile(r"^([!-/:-@[-`{-~])\1*[ ]*$", re.MULTILINE)
_CLASS_NAMES = re.compile(r"[a-z][a-z0-9 -]*$")
_SEVERITY_OF_LOSS = 3


def read_rst(body: bytes, charset: str) -> Outline:
    """The outline of a reStructuredText document.

    Raises:
        Unreadable: there is no text (`empty`).
    """
    text = decode(body, charset)
    if sum(1 for _ in _ADORNMENT.finditer(text)) > MOST_ADORNED:
        return outline_of_text(text)
    try:
        document = parse(text)
        blocks = tuple(_Walk(document).run())
    # docutils is recursive, and some shapes that nobody writes on purpose break it.
    except Exception as error:  # noqa: BLE001
        logger.info("reStructuredText that docutils cannot parse is read as plain text: %s", type(error).__name__)
        return outline_of_text(text)
    if not blocks:
        raise Unreadable("empty", "there is no text")
    outline = Outline(str(document.get("title", "")), blocks)
    return replace(outline, date=_date(document), tags=_tags(document))


def _date(document: nodes.document) -> str:
    """The date of the bibliographic fields at the top."""
    found = ""
    for field in _front(document):
        if field[0].astext().strip().lower() in ("date", "revised", "updated"):
            found = found or iso_date(field[1].astext())
    return found


def _tags(document: nodes.document) -> tuple[str, ...]:
    """The keywords of the bibliographic fields at the top, and of `meta` directives."""
    fields = (field for field in _front(document) if field[0].astext().strip().lower() in ("tags", "keywords"))
    metas = (meta for meta in document.findall(nodes.meta) if str(meta.get("name", "")).lower() == "keywords")
    return tags_in([*(field[1].astext() for field in fields), *(str(meta.get("content", "")) for meta in metas)])


def _front(document: nodes.document) -> list[Any]:
    """The fields that a document begins with, above or below its title."""
    first: Any = document
    while isinstance(first, nodes.document | nodes.section):
        inner = (child for child in first.children if not isinstance(child, nodes.comment | nodes.target | nodes.title))
        first = next(inner, None)
    return list(first.children) if isinstance(first, nodes.field_list) else []


class _Walk:
    """One pass over a tree. `run` may be called once."""

    def __init__(self, document: nodes.document, *, level: int = 0, nested: int = 0, names: Any = None) -> None:
        self._document = document
        self._named: dict[str, str] = {**(names or {}), **substitutions(document)}
        self._found: list[Block] = []
        self._level = level
        self._nested = nested
        self._depth = 0
        self._item_open = False
        self._after_item = False
        self._tight_next = False

    def run(self) -> list[Block]:
        """All blocks of the document."""
        self._children(self._document)
        return self._found

    def _children(self, node: Any) -> None:
        for child in node.children:
            self._enter(child)

    def _enter(self, node: Any) -> None:
        handle = _HANDLERS.get(type(node).__name__)
        if handle is not None:
            handle(self, node)
        elif isinstance(node, nodes.Admonition):
            self._admonition(node)
        elif isinstance(node, nodes.FixedTextElement):
            self._verbatim(node.astext())
        elif isinstance(node, nodes.Text | nodes.TextElement):
            self._paragraph(self._text(node))
        else:
            self._children(node)

    def _section(self, node: Any) -> None:
        self._level += 1
        self._children(node)
        self._level -= 1

    def _title(self, node: Any) -> None:
        if isinstance(node.parent, nodes.section):
            self._add(min(self._level, 6), self._text(node))
        else:
            self._paragraph(self._text(node))
            self._tight_next = isinstance(node.parent, nodes.Admonition | nodes.topic | nodes.sidebar)

    def _list(self, node: Any) -> None:
        self._depth += 1
        for item in node.children:
            self._item_open = True
            self._children(item)
        self._depth -= 1
        self._item_open = False
        if not self._depth:
            self._after_item = False

    def _term(self, node: Any) -> None:
        """A line whose text follows on the next one."""
        self._paragraph(self._text(node), tight=self._tight_next)
        self._tight_next = True

    def _definition_item(self, node: Any) -> None:
        self._children(node)
        self._tight_next = False

    def _field(self, node: Any) -> None:
        name, body = (self._text(part) for part in (node[0], node[1]))
        if name.lower() in SPHINX_FIELDS:
            return
        if len(node[1]) < 2 and isinstance(node[1].next_node(), nodes.paragraph | None):
            self._paragraph(f"{name}: {body}".strip())
        else:
            self._paragraph(f"{name}:")
            self._tight_next = True
            self._children(node[1])

    def _note(self, node: Any) -> None:
        """A footnote or citation: `[1] text`."""
        label = f"[{node[0].astext()}] " if node.children and isinstance(node[0], nodes.label) else ""
        self._paragraph(label + self._text(node, skip=nodes.label))

    def _admonition(self, node: Any) -> None:
        if not isinstance(node, nodes.admonition):
            self._paragraph(node.tagname.capitalize())
            self._tight_next = True
        self._children(node)
        self._tight_next = False

    def _topic(self, node: Any) -> None:
        if "contents" not in node.get("classes", ()):
            self._children(node)

    def _lines(self, node: Any) -> None:
        lines = (" ".join(self._text(line).split()) for line in node.findall(nodes.line))
        self._paragraph("\n".join(line for line in lines if line), keep_lines=True)

    def _attribution(self, node: Any) -> None:
        self._paragraph(f"— {self._text(node)}")

    def _table(self, node: Any) -> None:
        for title in node.children:
            if isinstance(title, nodes.title):
                self._add(0, self._text(title))
        # Tables in cells have rows, too.
        groups = [
            part for group in node.children for part in group.children if isinstance(part, nodes.thead | nodes.tbody)
        ]
        rows = [[self._text(cell) for cell in row.children] for group in groups for row in group.children]
        self._add(0, table_text(rows, header=any(isinstance(group, nodes.thead) for group in groups)))

    def _lost(self, node: Any) -> None:
        """What docutils could not make sense of and quotes in a message: read here, so that no text is lost."""
        if node.get("level", 0) < _SEVERITY_OF_LOSS:
            return
        for quoted in node.findall(nodes.literal_block):
            source = quoted.astext()
            if directive := _DIRECTIVE.match(source):
                self._directive(directive[1].lower(), source[directive.end() :])
            elif adorned := _ADORNED.match(source):
                self._add(min(self._level + 1, 6), " ".join(adorned[2].split()))
            elif not source.startswith(".. "):
                self._verbatim(source)

    def _directive(self, full_name: str, source: str) -> None:
        name = full_name.rpartition(":")[2]
        if name in SILENT:
            return
        argument, content = split_directive(source.split("\n"))
        if name in CODE or full_name == "math":
            self._verbatim("\n".join(content) or argument)
            return
        if name == "class" and _CLASS_NAMES.match(argument):
            argument = ""
        label = LABELS.get(name, "")
        first = " ".join(part for part in (label, "" if name in NO_ARGUMENT else argument) if part)
        if first:
            self._paragraph(self._without_markup(first) if label or name == full_name else first)
            self._tight_next = True
        self._nest("\n".join(content))
        self._tight_next = False

    def _nest(self, source: str) -> None:
        if not source.strip():
            return
        if self._nested == _DEEPEST:
            self._verbatim(source)
            return
        inner = _Walk(parse(source), level=self._level, nested=self._nested + 1, names=self._named)
        inner._tight_next = self._tight_next
        for block in inner.run():
            self._item_open = False
            self._found.append(block)

    def _without_markup(self, source: str) -> str:
        return " ".join(block.text for block in _Walk(parse(source), names=self._named, nested=_DEEPEST).run())

    def _paragraph(self, text: str, *, tight: bool = False, keep_lines: bool = False) -> None:
        text = text if keep_lines else " ".join(text.split())
        if not text:
            return
        if self._depth:
            tight = tight or (self._item_open and self._after_item)
            text = list_item(text, self._depth, marked=self._item_open)
            self._item_open = False
        self._add(0, text, tight=tight)
        self._after_item = self._depth > 0

    def _verbatim(self, text: str) -> None:
        self._add(0, text.strip("\n").rstrip(), code=True)

    def _add(self, level: int, text: str, *, tight: bool = False, code: bool = False) -> None:
        if text:
            self._found.append(Block(level, text, (tight or self._tight_next) and not level, code))
            self._after_item = self._tight_next = False

    def _text(self, node: Any, skip: type[Any] | None = None) -> str:
        """The text below a node, white space collapsed."""
        return " ".join("".join(self._strings(node, skip)).split())

    def _strings(self, node: Any, skip: type[Any] | None) -> Iterator[str]:
        if isinstance(node, nodes.Text):
            yield node.astext()
        elif isinstance(node, nodes.substitution_reference):
            yield self._named.get(node.get("refname", ""), node.astext())
        elif isinstance(node, nodes.footnote_reference | nodes.citation_reference):
            yield f"[{node.astext()}]" if node.children else ""
        elif isinstance(node, nodes.system_message):
            outer, self._found = self._found, []
            self._lost(node)
            quoted, self._found = self._found, outer
            yield " ".join(["", *(block.text for block in quoted), ""])
        elif not isinstance(node, _WITHOUT_TEXT) and not (skip and isinstance(node, skip)):
            edge = "" if isinstance(node, nodes.Inline) else " "
            yield edge
            for child in node.children:
                yield from self._strings(child, skip)
            yield edge


_WITHOUT_TEXT = (nodes.image, nodes.raw, nodes.comment, nodes.substitution_definition)


def _skip(_walk: _Walk, _node: Any) -> None:
    """Nothing to read."""


_HANDLERS: dict[str, Any] = {
    "section": _Walk._section,
    "title": _Walk._title,
    "bullet_list": _Walk._list,
    "enumerated_list": _Walk._list,
    "definition_list_item": _Walk._definition_item,
    "option_list_item": _Walk._definition_item,
    "term": _Walk._term,
    "option_group": _Walk._term,
    "field": _Walk._field,
    "footnote": _Walk._note,
    "citation": _Walk._note,
    "topic": _Walk._topic,
    "line_block": _Walk._lines,
    "attribution": _Walk._attribution,
    "table": _Walk._table,
    "system_message": _Walk._lost,
    **dict.fromkeys(("comment", "target", "substitution_definition", "pending", "image", "raw", "meta"), _skip),
    **dict.fromkeys(("decoration", "generated", "transition"), _skip),
}
