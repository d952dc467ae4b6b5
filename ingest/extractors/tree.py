"""Text to a tree of elements, for any text at all.

libxml2 builds the tree. It gives up on a page that is nested deeper than 2048 levels, and then Beautiful Soup, which
has no such limit, reads it; what lies deeper than `DEEPEST` levels is put at that level, so that no page can make a
later step slow or exhaust a stack.

Known limit: scripts do not run, so text that only they would write is not there.
"""

import re
from typing import Any

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString
from lxml import etree

from ingest.extractors.outline import Unreadable

# A parsed element takes up to a kilobyte: this many are what fits beside a model.
MAX_TAGS = 400_000
DEEPEST = 200

_XML_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_TOO_DEEP = etree.ErrorTypes.ERR_RESOURCE_LIMIT
# What a tag or an attribute may be called in a tree of lxml.
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]*\Z")

# What may stand in a head (HTML standard, metadata content).
_METADATA = frozenset("title meta link base script style noscript template".split())

Element = Any  # lxml publishes no type for its elements.


def parse(html: str) -> Element:
    """The `<html>` element of a page; there is always one.

    Args:
        html: without control characters, as `ingest.extractors.charset.plain` leaves it.

    Raises:
        Unreadable: too many elements (`too_complex`), or none (`empty`).
    """
    if html.count("<") > 2 * MAX_TAGS:
        raise Unreadable("too_complex", f"more than {MAX_TAGS} elements")
    html = _XML_DECLARATION.sub("", html, count=1)
    parser = etree.HTMLParser(encoding="utf-8", huge_tree=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(html.encode("utf-8", "replace"), parser)
    except etree.XMLSyntaxError:
        root = None
    if any(error.type == _TOO_DEEP for error in parser.error_log.filter_from_fatals()):
        return _flattened(html)
    if root is None:
        raise Unreadable("empty", "the page has no elements")
    _move_out_of_head(root)
    return root


def _move_out_of_head(root: Element) -> None:
    """Put what is no metadata into the body: libxml2 knows HTML 4 only, and where a page leaves `<body>` out, it takes
    a `<main>` or `<article>` that follows the title for a part of the head."""
    head, body = root.find("head"), root.find("body")
    stray = [] if head is None else [child for child in head if child.tag not in _METADATA]
    if not stray:
        return
    if body is None:
        body = etree.SubElement(root, "body")
    text, body.text = body.text, None
    for place, child in enumerate(stray):
        body.insert(place, child)
    if text:
        stray[-1].tail = (stray[-1].tail or "") + text


def _flattened(html: str) -> Element:
    """The tree that Beautiful Soup builds, cut to `DEEPEST` levels."""
    soup = BeautifulSoup(html, "lxml", multi_valued_attributes=None)
    root = etree.Element("html")
    stack: list[tuple[Any, Element, int]] = [(node, root, 1) for node in reversed((soup.html or soup).contents)]
    while stack:
        node, parent, depth = stack.pop()
        if type(node) is NavigableString:
            _append_text(parent, node)
        elif isinstance(node, Tag) and _NAME.match(node.name):
            inside = etree.SubElement(parent, node.name, _attributes(node)) if depth < DEEPEST else parent
            stack.extend((child, inside, depth + 1) for child in reversed(node.contents))
    return root


def _attributes(tag: Tag) -> dict[str, str]:
    return {name: str(value) for name, value in tag.attrs.items() if _NAME.match(name)}


def _append_text(parent: Element, text: str) -> None:
    if len(parent):
        parent[-1].tail = (parent[-1].tail or "") + text
    else:
        parent.text = (parent.text or "") + text
