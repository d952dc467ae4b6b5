"""The side of docutils in reading reStructuredText: a parser that reads no files, says nothing, and knows every role.

In: text. Out: the tree of docutils, before its transforms, which serve printing; and the parts of a directive's source.
"""

import re
from collections.abc import Sequence
from copy import copy
from functools import cache
from typing import Any

from docutils import nodes, utils
from docutils.frontend import get_default_settings
from docutils.parsers.rst import Parser, states

# docutils searches the rest of the paragraph for the end of every start: 5 KB of stray stars take 60 ms, 90 KB 18 s.
LONGEST_INLINE = 5_000

# Directives, by what is done with them. First those of which the content is code.
CODE = frozenset(
    "code code-block sourcecode code-cell ipython prompt parsed-literal literal highlight math doctest testcode "
    "testoutput testsetup productionlist graphviz digraph graph mermaid plantuml uml tikz aafig jinja console "
    "command-output program-output ipython3 code-include sql".split()
)
# These arrange pages, or name files.
SILENT = frozenset(
    "toctree contents index image include literalinclude raw highlight currentmodule sectionauthor codeauthor "
    "moduleauthor tabularcolumns role default-role meta sectnum header footer target-notes autosummary date replace "
    "bibliography minigallery plot unicode title csv-table-file".split()
)
# Their argument says something about the page, not to its reader.
NO_ARGUMENT = frozenset("only figure container cssclass rst-class ifconfig grid card-carousel glossary table".split())
# Fields that speak to Sphinx.
SPHINX_FIELDS = frozenset("orphan tocdepth nocomments nosearch no-search hide-toc".split())
LABELS = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "versionremoved": "Removed in version",
    "deprecated": "Deprecated since version",
    "seealso": "See also",
    "todo": "To do",
}

_OPTION = re.compile(r":[\w-][^:]*:(?:[ ]|$)")
# `.. class::` means a Python class to Sphinx, and a style to docutils, whose names have no capitals, dots or brackets.
_PYTHON_CLASS = re.compile(r"^([ ]*\.\.[ ]+)class(?=::[ ]+[^\n]*[A-Z._(])", re.MULTILINE)
_ROLE_TARGET = re.compile(r"(.*\S)\s*<[^<>]*>$", re.DOTALL)


def parse(text: str) -> nodes.document:
    """The tree of a text. What docutils makes of shapes that nobody writes on purpose may be any exception."""
    # Making the settings takes a millisecond, ten times what a short piece takes to parse.
    document = utils.new_document("", copy(_settings()))
    Parser(inliner=_inliner()).parse(_PYTHON_CLASS.sub(r"\1py:class", text), document)
    return document


def substitutions(document: nodes.document) -> dict[str, str]:
    """What stands for each `|name|`."""
    return {name: node.astext() for name, node in document.substitution_defs.items()}


def split_directive(lines: Sequence[str]) -> tuple[str, list[str]]:
    """The argument of a directive, and its content without the common indentation; options are left out.

    Args:
        lines: what follows the `::`; all but the first are indented.
    """
    rest = [*_dedented(lines[1:])]
    argument = [lines[0].strip()] if lines[0].strip() else []
    while rest and rest[0].strip() and not _OPTION.match(rest[0]) and argument:
        argument.append(rest.pop(0).strip())
    while rest and _OPTION.match(rest[0]):
        rest.pop(0)
        while rest and rest[0].startswith(" "):
            rest.pop(0)
    return " ".join(argument), rest


def _dedented(lines: Sequence[str]) -> list[str]:
    margin = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]


@cache
def _settings() -> Any:
    settings = get_default_settings(Parser())
    settings.file_insertion_enabled = settings.raw_enabled = False
    settings.report_level = settings.halt_level = 6
    settings.warning_stream = False
    settings.syntax_highlight = "none"
    settings.line_length_limit = 1 << 40
    return settings


def _inliner() -> states.Inliner:
    """Inline markup to text: roles of any name give what they show.

    Methods are replaced on the object, since docutils takes its patterns from the class alone, not from its bases.
    """
    inliner: Any = states.Inliner()
    parse = inliner.parse

    def parse_short(text: str, *rest: Any) -> tuple[list[Any], list[Any]]:
        if len(text) > LONGEST_INLINE:
            return [nodes.Text(nodes.unescape(utils.escape2null(text)))], []
        return parse(text, *rest)  # type: ignore[no-any-return]

    def interpreted(source: str, text: str, role: str, _line: int) -> tuple[list[Any], list[Any]]:
        return [nodes.inline(source, _shown(nodes.unescape(text), role))], []

    inliner.parse, inliner.interpreted = parse_short, interpreted
    return inliner


def _shown(text: str, role: str) -> str:
    if role in ("code", "math", "literal", "samp"):
        return text
    if named := _ROLE_TARGET.match(text):
        return named[1]
    # Sphinx: `~package.module.Name` shows the last part, `!name` is no link.
    return text[1:].rpartition(".")[2] if text.startswith("~") else text.removeprefix("!")
