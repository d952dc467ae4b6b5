"""HTML to an outline: the readable part of a page, its headings with their levels, in document order.

Pages of documentation say what their text is: the generator names itself, or its containers have known names. Of these
everything is kept that is no furniture (navigation, headers, footers, tables of contents, search boxes, banners,
heading anchors), in the narrowest of `<main>`, `<article>` and known containers that holds the text. On other pages
`ingest.extractors.article` decides where the article is; where it finds none, the page is read like documentation.

Known limit: text that only a script would show is not there.
"""

from functools import partial

from ingest.extractors.article import Article, find_article
from ingest.extractors.article_names import AROUND, flags_of, is_stray
from ingest.extractors.charset import decode
from ingest.extractors.furniture import is_furniture, names_of
from ingest.extractors.head import Head
from ingest.extractors.outline import Block, Outline, Unreadable
from ingest.extractors.tree import Element, parse
from ingest.extractors.walk import IN_ARTICLE, IN_CONTENT, IN_MAIN, Found, blocks_of


def read_html(body: bytes, charset: str) -> Outline:
    """The outline of an HTML page.

    Raises:
        Unreadable: it has no text (`empty`), or too many elements (`too_complex`).
    """
    head = Head(parse(decode(body, charset, markup=True)))
    root = _body(head.root)
    article = None if head.is_documentation else find_article(root)
    return _outline(head, (_text_of(article) if article else []) or _structure(root))


def outline_of(html: str) -> Outline:
    """The outline of HTML that was made from another format, all of which is text.

    Raises:
        Unreadable: as `read_html`.
    """
    head = Head(parse(html))
    return _outline(head, _structure(_body(head.root)))


def _outline(head: Head, blocks: list[Block]) -> Outline:
    if not blocks:
        raise Unreadable("empty", "the page shows no text")
    return Outline(head.title, tuple(blocks), head.canonical, head.language, head.date, head.tags)


def _body(root: Element) -> Element:
    body = root.find("body")
    return root if body is None else body


def _text_of(article: Article) -> list[Block]:
    """The blocks of an article, without its labels and the credits of its pictures."""
    cut = article.cut

    def left_out(element: Element) -> bool:
        if element in cut or element.tag == "figcaption":
            return True
        if element.tag != "span" or not element.keys():
            return False
        return bool(flags_of(names_of(element)) & AROUND)

    found = [block for lead in article.leads for block in blocks_of(lead, lambda _: False, headers=True)]
    found += blocks_of(article.root, left_out, headers=True)
    return [block for block, _ in found if not is_stray(block.text)]


def _structure(body: Element) -> list[Block]:
    """Everything on a page that is no furniture."""
    # A page of nothing but furniture keeps what only a name says to be such.
    for by_class in (True, False):
        if blocks := _narrowest(blocks_of(body, partial(is_furniture, by_class=by_class))):
            return blocks
    return []


def _narrowest(found: list[Found]) -> list[Block]:
    """The blocks of the narrowest scope that holds enough of the text."""
    scope = 0
    sizes = {bits: _size(found, bits) for bits in (IN_MAIN, IN_ARTICLE, IN_CONTENT, IN_MAIN | IN_ARTICLE)}
    total = _size(found, 0)
    if sizes[IN_MAIN]:
        scope = IN_MAIN | IN_ARTICLE if 2 * sizes[IN_MAIN | IN_ARTICLE] >= sizes[IN_MAIN] else IN_MAIN
    elif 3 * sizes[IN_ARTICLE] >= total > 0:
        scope = IN_ARTICLE
    elif 3 * sizes[IN_CONTENT] >= total > 0:
        scope = IN_CONTENT
    blocks = [block for block, bits in found if bits & scope == scope]
    # A page's title often stands above the container that holds its text.
    first = next((block for block, _ in found if block.level == 1), None)
    if first and not any(block.level == 1 for block in blocks):
        blocks.insert(0, first)
    return blocks


def _size(found: list[Found], scope: int) -> int:
    return sum(len(block.text) for block, bits in found if bits & scope == scope and not block.level)
