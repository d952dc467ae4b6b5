"""Markdown to an outline: rendered to HTML (CommonMark with tables), which is then read like any other page.

The additions of documentation generators are taken out first, see `ingest/extractors/markdown_flavours.py`. A front
matter (YAML between `---`, TOML between `+++`) is left out; its title, date and tags
become the document's.
"""

import re
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore

from ingest.extractors.charset import decode
from ingest.extractors.html import outline_of
from ingest.extractors.markdown_flavours import to_commonmark
from ingest.extractors.outline import Outline, Unreadable, iso_date, tags_in

# Emphasis on every word of so much text takes 20 seconds and most of a gigabyte to render.
MAX_CHARS = 4_000_000
MAX_LINES = 200_000
# The time that brackets without an end take grows with the square of the paragraph: 200 KB of them take 7 seconds.
LONGEST_INLINE = 20_000

_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?\n)(?:\1|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_ANY_FIELD = re.compile(r"^[\w.-]+[ \t]*[:=]", re.MULTILINE)
_FIELD = r"^{}[ \t]*[:=][ \t]*(.+?)[ \t]*$"
_TITLE = re.compile(_FIELD.format("title"), re.MULTILINE | re.IGNORECASE)
_DATES = [
    re.compile(_FIELD.format(name), re.MULTILINE | re.IGNORECASE)
    for name in ("(?:last_?mod(?:ified)?|updated)", "date", "published")
]
# A list in one line, or one item a line below the field.
_TAGS = re.compile(
    r"^(?:tags|keywords|categories)[ \t]*[:=][ \t]*(.*(?:\n[ \t]*(?:-[ \t]+.*|\"[^\"\n]*\",?[ \t]*$|\]))*)",
    re.MULTILINE | re.IGNORECASE,
)
_ITEM = re.compile(r"\n[ \t]*(?:-[ \t]+)?")


def read_markdown(body: bytes, charset: str) -> Outline:
    """The outline of a Markdown text.

    Raises:
        Unreadable: there is no text (`empty`), or too much of it (`too_complex`).
    """
    return outline_of_markdown(decode(body, charset))


def outline_of_markdown(text: str) -> Outline:
    """`read_markdown` for decoded text."""
    if len(text) > MAX_CHARS or text.count("\n") > MAX_LINES:
        raise Unreadable("too_complex", f"more than {MAX_CHARS} characters, or {MAX_LINES} lines, of Markdown")
    title = date = ""
    tags: tuple[str, ...] = ()
    front = _FRONT_MATTER.match(text)
    if front and _ANY_FIELD.search(front[2]):
        title = _value(_TITLE, front[2])
        date = next(filter(None, (iso_date(_value(pattern, front[2])) for pattern in _DATES)), "")
        tags = tags_in(_ITEM.sub(",", found[1]) for found in _TAGS.finditer(front[2]))
        text = text[front.end() :]
    outline = outline_of(f"<html><body><main>{_html(text)}</main></body></html>")
    return replace(outline, title=title, date=date or outline.date, tags=tags)


def _html(text: str) -> str:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    markdown.core.ruler.before("inline", "long_as_they_stand", _leave_long)
    return str(markdown.render(to_commonmark(text)))


def _leave_long(state: StateCore) -> None:
    """Leave the markup of a very long paragraph as it stands."""
    for token in state.tokens:
        if token.type == "inline" and len(token.content) > LONGEST_INLINE:
            token.type = "text"


def _value(pattern: re.Pattern[str], fields: str) -> str:
    """A field of a front matter, without its quotes."""
    found = pattern.search(fields)
    if not found:
        return ""
    text = found[1]
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    if not quoted:
        return text
    return text[1:-1].replace("''", "'") if text[0] == "'" else re.sub(r'\\(["\\])', r"\1", text[1:-1])
