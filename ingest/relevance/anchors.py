"""Links between pages with their texts: what the pages of a site call each other.

In: pages as they were read, HTML or not. Out: text and address of each link in the text of a page to another page,
without fragments. Menus, tables of contents and other furniture are not text.

Known limits: only HTML is read, since documents keep no links; where a page has an address of its own choosing
(`<link rel=canonical>`), links to the address that it was read from lead nowhere.
"""

from collections.abc import Iterable, Iterator
from urllib.parse import urljoin

from ingest.extractors.charset import decode
from ingest.extractors.furniture import is_furniture
from ingest.extractors.outline import Unreadable
from ingest.extractors.tree import Element, parse
from ingest.records import Page
from ingest.web.urls import normalise

HTML = ("text/html", "application/xhtml+xml")
_SKIPPED = frozenset(("nav", "header", "footer", "aside", "form", "button", "head", "script", "style", "template"))


def anchors_of(pages: Iterable[Page]) -> Iterator[tuple[str, str]]:
    """Text and address of each link to another page, in order; a page that cannot be read has none."""
    for page in pages:
        if page.content_type in HTML:
            try:
                root = parse(decode(page.body, page.charset, markup=True))
            except Unreadable:
                continue
            yield from _links(root, page.url)


def _links(root: Element, url: str) -> Iterator[tuple[str, str]]:
    base = next((one.get("href") for one in root.iter("base") if one.get("href")), "")
    start = _joined(url, base) or url
    for link in _anchors(root):
        # The text alone is asked for, so that a page need not say what an image shows.
        text = " ".join("".join(link.itertext()).split())
        address = _address(link.get("href"), start)
        if text and address and address != url:
            yield text, address


def _anchors(root: Element) -> Iterator[Element]:
    """The links that are part of the text; with a list instead of calls, since pages may be nested deeply."""
    waiting = [root]
    while waiting:
        element = waiting.pop()
        if element.tag in _SKIPPED or is_furniture(element, by_class=True):
            continue
        if element.tag == "a" and element.get("href"):
            yield element
        waiting += reversed(element)


def _address(href: str, start: str) -> str | None:
    """Where a link leads, spelled as pages' addresses are; None for what is no page."""
    if not start.startswith("file:"):
        return normalise(href, start)
    address = (_joined(start, href) or "").partition("#")[0].partition("?")[0]
    return address if address.startswith("file:") else None


def _joined(base: str, link: str) -> str | None:
    try:
        return urljoin(base, link)
    except ValueError:
        return None
