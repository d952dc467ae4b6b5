"""What documentation generators add to Markdown, brought back to plain CommonMark.

    MyST, Docusaurus, Pandoc   ```{note} and ::: containers become their content; code directives plain fences;
                               roles such as {ref}`text <target>` their text; (target)= lines nothing
    MkDocs                     !!! note "Title" and === "Tab" blocks: their content, no longer indented
    Hugo, Jekyll               {{< shortcodes >}} and {% tags %} nothing, {#anchors} and {: .class} nothing
    GitHub                     > [!NOTE] its label

In and out: Markdown text. Code, fenced or inline, is never changed. Known limits: a line is judged by itself, so a
shortcode over several lines stays; content that a shortcode would fetch is not there.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Directives of which the content is code, or a picture drawn from text.
_CODE = frozenset(
    "code code-block code-cell sourcecode parsed-literal literal math mermaid graphviz plantuml doctest testcode "
    "eval-rst ipython prompt productionlist raw".split()
)
_SILENT = frozenset(
    "toctree contents tableofcontents index bibliography include literalinclude image highlight currentmodule "
    "autosummary meta".split()
)
_NOTES = frozenset(
    "note tip info important warning caution danger attention hint error success question abstract summary example "
    "seealso todo definition".split()
)

_FENCE = re.compile(r"^([ \t>]*(?:[-*+][ \t]+)?)(`{3,}|~{3,}|:{3,})[ \t]*([^`\n]*)$")
_DIRECTIVE = re.compile(r"^\{([\w:.+-]+)\}[ \t]*(.*)$")
_CONTAINER = re.compile(r"^(?:\{([^}]*)\}|\.?([\w-]+))?[ \t]*(.*)$")
_OPTION = re.compile(r"^[ \t>]*:[\w-]+:(?:[ \t].*)?$")
_LIST_ITEM = re.compile(r"^ {0,3}(?:[-*+]|\d+[.)])(?:[ \t]|$)")
_INDENTED_BLOCK = re.compile(r"""^([ ]*)(?:!!!|\?\?\?\+?|===!?)[ \t]+([\w-]*)(?:[ \t]+[\w-]+)*[ \t]*(?:"([^"]*)")?$""")
_DROPPED = re.compile(r"^[ \t]*(?:\([^()\s]+\)=|\{:.*\}|\+\+\+.*|:::+)[ \t]*$")
_HEADING_MARKS = re.compile(r"^([ ]{0,3}#{1,6}[ \t].*?)[ \t]*(?:#+[ \t]*)?\{[#.:][^{}]*\}[ \t]*$")
_NOTE = re.compile(r"^([ \t]*>[ \t]*)\[!([A-Za-z]+)\][-+]?[ \t]*(.*)$")
_FOOTNOTE = re.compile(r"^( {0,3})\[(\^[^\]\s]+\]:)")
_HIGHLIGHT = re.compile(r"^([ \t]*)\{[{%][<%]?-?[ \t]*(end|/)?highlight(?:[ \t]+(\w+))?.*$")

_CODE_SPAN = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)")
_ROLE = re.compile(r"\{([a-zA-Z][\w:.+-]*)\}(`+)(?!`)(.+?)(?<!`)\2(?!`)")
_ROLE_TARGET = re.compile(r"^(.*\S)\s*<[^<>]*>$", re.DOTALL)
_SHORTCODE = re.compile(r"\{\{([<%])[ \t]*(.*?)[ \t]*[>%]\}\}")
_TAG = re.compile(r"\{%-?.*?-?%\}")
_TITLE = re.compile(r"""\b(?:title|name|tabTotal|heading)[ \t]*=[ \t]*["']([^"']+)["']""")


# The time that braces and backticks without an end take grows with the square of the line.
LONGEST_LINE = 5_000


def to_commonmark(text: str) -> str:
    """Markdown of any of these flavours as CommonMark with tables."""
    return "\n".join(_Lines().run(_dedented(text.split("\n"))))


@dataclass
class _Open:
    """A fence that waits for its end: `code` is copied, `silent` left out, `prose` read on."""

    mark: str
    length: int
    kind: str


class _Lines:
    """One pass over the lines of a document."""

    def __init__(self) -> None:
        self._open: list[_Open] = []
        self._options = False
        self._listing = False
        self._in_list = False
        self._may_be_code = True

    def run(self, lines: Iterator[str]) -> Iterator[str]:
        """The lines as CommonMark."""
        for line in lines:
            if len(line) > LONGEST_LINE:
                yield "" if self._open and self._open[-1].kind == "silent" else line
                continue
            if self._options and self._is_option(line):
                continue
            self._options = False
            inner = self._open[-1] if self._open else None
            fence = _FENCE.match(line)
            if inner and fence and self._ends(inner, fence):
                self._open.pop()
                yield f"{fence[1]}{fence[2]}" if inner.kind == "code" else ""
            elif inner and inner.kind != "prose":
                if inner.kind == "code":
                    yield line
            elif fence:
                yield from self._begin(fence, line)
            elif shown := _HIGHLIGHT.match(line):
                self._listing = not self._listing
                yield f"{shown[1]}```{shown[3] or ''}"
            else:
                yield line if self._listing or self._is_code(line) else _line(line)

    def _is_code(self, line: str) -> bool:
        """Whether a line is indented code: not in a list, and below a blank line or another one."""
        if not line.strip():
            self._may_be_code = True
            return False
        indented = line.startswith(("    ", "\t"))
        if not indented:
            self._in_list = bool(_LIST_ITEM.match(line)) or (self._in_list and line.startswith(" "))
        self._may_be_code = indented and self._may_be_code and not self._in_list
        return self._may_be_code

    @staticmethod
    def _ends(inner: _Open, fence: re.Match[str]) -> bool:
        return fence[2][0] == inner.mark and len(fence[2]) >= inner.length and not fence[3].strip()

    def _is_option(self, line: str) -> bool:
        """Whether a line is one of a directive's options; the first other line ends them."""
        return bool(_OPTION.match(line))

    def _begin(self, fence: re.Match[str], line: str) -> Iterator[str]:
        indent, marks, info = fence[1], fence[2], fence[3].strip()
        directive = _DIRECTIVE.match(info)
        if marks[0] != ":" and not directive:
            self._open.append(_Open(marks[0], len(marks), "code"))
            yield line
            return
        name, argument = _named(info)
        kind = "silent" if name in _SILENT else "code" if name in _CODE and directive else "prose"
        self._open.append(_Open(marks[0], len(marks), kind))
        self._options = bool(directive)
        if kind == "code":
            yield f"{indent}{marks.replace(':', '`')}{argument.split(' ')[0]}"
        elif kind == "prose":
            label = argument or (name.capitalize() if name in _NOTES else "")
            # Blank lines around it, so that it runs on from no paragraph and into none.
            yield from ("", f"{indent}{_line(label)}", "") if label else ("",)


def _named(info: str) -> tuple[str, str]:
    """Name and argument of a container: `{note} Title`, `note Title`, `{.note}`, `.note`."""
    found = _CONTAINER.match(info)
    if found is None:
        return "", info
    name = (found[1] or found[2] or "").strip(".# ").partition(" ")[0].rpartition(":")[2]
    return name.lower(), found[3].strip("{} ") if not found[3].startswith("{") else ""


def _line(line: str) -> str:
    """A line of prose."""
    if _DROPPED.match(line):
        return ""
    if note := _NOTE.match(line):
        return f"{note[1]}{note[3] or note[2].capitalize()}  "
    if marked := _HEADING_MARKS.match(line):
        line = marked[1]
    # CommonMark takes a footnote of one word for the target of a link.
    line = _FOOTNOTE.sub(r"\1\\[\2", line)
    if "{" in line:
        line = _without_code(_ROLE.sub(_role_text, line)) if "`" in line else _without_tags(line)
    return line


def _role_text(role: re.Match[str]) -> str:
    if named := _ROLE_TARGET.match(role[3]):
        return named[1]
    return role[2] + role[3] + role[2]


def _without_code(line: str) -> str:
    """The line without tags, those in code spans excepted."""
    parts: list[str] = []
    at = 0
    for span in _CODE_SPAN.finditer(line):
        parts += [_without_tags(line[at : span.start()]), span[0]]
        at = span.end()
    return "".join([*parts, _without_tags(line[at:])])


def _without_tags(text: str) -> str:
    return _TAG.sub("", _SHORTCODE.sub(_shortcode_text, text))


def _shortcode_text(code: re.Match[str]) -> str:
    """What a shortcode shows by itself: the title of a box or a tab."""
    titled = None if code[2].startswith("/") else _TITLE.search(code[2])
    return f"\n\n{titled[1]}\n\n" if titled else ""


def _dedented(lines: list[str]) -> Iterator[str]:
    """The lines with the content of MkDocs blocks moved out to their titles."""
    margins: list[int] = []
    fence = ""
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        while margins and line.strip() and not fence and indent < margins[-1] + 4:
            margins.pop()
        shown = line[4 * len(margins) :] if margins else line
        if len(line) > LONGEST_LINE:
            yield shown
            continue
        if found := _FENCE.match(shown):
            closes = fence and found[2].startswith(fence) and not found[3].strip()
            fence = "" if closes else fence or found[2]
        block = _INDENTED_BLOCK.match(line.rstrip()) if not fence else None
        if block and len(block[1]) == (4 * len(margins)):
            margins.append(len(block[1]))
            label = block[3] if block[3] is not None else (block[2] or "").capitalize()
            yield from ("", label, "")
        else:
            yield shown
