"""Markdown to an outline: rendered to HTML (CommonMark with tables), which is then read like any other page.

A YAML front matter is left out; its `title` becomes the document's.
"""

import re
from dataclasses import replace

from markdown_it import MarkdownIt

from ingest.extractors.charset import decode
from ingest.extractors.html import outline_of
from ingest.extractors.outline import Outline, Unreadable

# Emphasis on every word of so much text takes 20 seconds and most of a gigabyte to render.
MAX_CHARS = 4_000_000

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def read_markdown(body: bytes, charset: str) -> Outline:
    """The outline of a Markdown text.

    Raises:
        Unreadable: there is no text (`empty`), or too much of it (`too_complex`).
    """
    text = decode(body, charset)
    if len(text) > MAX_CHARS:
        raise Unreadable("too_complex", f"more than {MAX_CHARS} characters of Markdown")
    title = ""
    if front := _FRONT_MATTER.match(text):
        named = _TITLE.search(front[1])
        title = named[1].strip("'\"") if named else ""
        text = text[front.end() :]
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text)
    return replace(outline_of(f"<html><body><main>{html}</main></body></html>"), title=title)
