"""The block elements of a page with how much text each holds, and how much of that is links.

In: the body of a page. Out: a `Measured`, arrays over the block elements in document order, in which whole branches can
be cut off. Inline elements count for the block around them.
"""

from collections.abc import Iterable, Iterator

from ingest.extractors.article_names import BODY, flags_of
from ingest.extractors.furniture import DROPPED_TAGS, is_hidden, names_of
from ingest.extractors.inline import BLOCKS, HEADINGS
from ingest.extractors.tree import Element

# Bits besides those of the names: not shown; the article's body by its markup; beside the article by its role.
NOT_SHOWN, MARKED_BODY, ASIDE = 4, 16, 32

_ROLES = frozenset(
    "navigation banner contentinfo search complementary menu menubar toolbar tablist dialog alertdialog".split()
)
_PARAGRAPH, _LONG = 40, 80
# What text in such an element is worth: menus and tables of figures are made of them. Other short text is worth less.
_WORTH = {"li": 0.5, "td": 0.5, "th": 0.5, "dd": 0.5, "address": 0.5}
_SHORT_WORTH = 0.3


class Measured:
    """Arrays over block elements, parents before children. Lengths are characters without the space around strings.

    Attributes:
        nodes: the elements.
        parents: position of the block around each; -1 for the first.
        own, own_links: characters in the block itself, not in blocks below it, and those of them in links.
        flags: what names, role and style say.
        text, links: as `own` and `own_links`, with all blocks below.
        good: how much running text there is, below included.
        gone: cut off.
    """

    def __init__(self) -> None:
        self.nodes: list[Element] = []
        self.parents: list[int] = []
        self.own: list[int] = []
        self.own_links: list[int] = []
        self.flags: list[int] = []
        self.text: list[int] = []
        self.links: list[int] = []
        self.good: list[float] = []
        self.gone: list[bool] = []

    def add(self, node: Element, parent: int) -> int:
        """Another block; its position."""
        self.nodes.append(node)
        self.parents.append(parent)
        self.own.append(0)
        self.own_links.append(0)
        # Headings are named after what they are about.
        self.flags.append(0 if node.tag in HEADINGS else _flags(node))
        return len(self.nodes) - 1

    def sum_up(self) -> None:
        """Fill `text`, `links` and `good` from the blocks' own figures."""
        self.text, self.links = self.own[:], self.own_links[:]
        self.good = [self._worth(at) for at in range(len(self.nodes))]
        self.gone = [False] * len(self.nodes)
        for at in range(len(self.nodes) - 1, 0, -1):
            above = self.parents[at]
            self.text[above] += self.text[at]
            self.links[above] += self.links[at]
            self.good[above] += self.good[at]

    def remaining(self) -> Iterator[int]:
        """The blocks that are not cut off, without the first. Blocks may be cut while this goes on."""
        for at in range(1, len(self.nodes)):
            if self.gone[self.parents[at]]:
                self.gone[at] = True
            if not self.gone[at]:
                yield at

    def cut(self, at: int) -> None:
        """Cut off a block, and with it all below, which `remaining` marks when it comes to it."""
        text, links, good = self.text[at], self.links[at], self.good[at]
        self.gone[at] = True
        above = self.parents[at]
        while above >= 0:
            self.text[above] -= text
            self.links[above] -= links
            self.good[above] -= good
            above = self.parents[above]

    def cut_all(self, blocks: Iterable[int]) -> None:
        """Cut off several."""
        for at in blocks:
            self.cut(at)

    def children(self) -> dict[int, list[int]]:
        """The blocks in each, without those cut off."""
        found: dict[int, list[int]] = {}
        for at in self.remaining():
            found.setdefault(self.parents[at], []).append(at)
        return found

    def contains(self, outer: int, inner: int) -> bool:
        """Whether block `outer` is `inner` or lies around it."""
        while inner > outer:
            inner = self.parents[inner]
        return inner == outer

    def is_linked(self, at: int, share: float) -> bool:
        """Whether more than a share of a block's text is in links."""
        return self.links[at] > share * self.text[at]

    def _worth(self, at: int) -> float:
        own, links = self.own[at], self.own_links[at]
        if own < _PARAGRAPH or 2 * links > own:
            return 0.0
        tag = self.nodes[at].tag
        words = own - links
        return words * _WORTH.get(tag, 1.0) * (1.0 if words >= _LONG or tag == "p" else _SHORT_WORTH)


def measure(body: Element) -> Measured:
    """Measure a page."""
    found = Measured()
    own, own_links = found.own, found.own_links
    stack = [(body, -1, False)]
    while stack:
        element, block, linked = stack.pop()
        tail = element.tail
        if tail and block >= 0:
            size = len(tail.strip())
            own[block] += size
            if linked:
                own_links[block] += size
        tag = element.tag
        if tag in DROPPED_TAGS:
            continue
        # A link within the page leads to more of the same text.
        if tag == "a" and not (element.get("href") or "#").startswith("#"):
            linked = True
        if tag in BLOCKS or block < 0:
            block = found.add(element, block)
        text = element.text
        if text:
            size = len(text.strip())
            own[block] += size
            if linked:
                own_links[block] += size
        if len(element):
            stack.extend([(child, block, linked) for child in reversed(element)])
    found.sum_up()
    return found


def _flags(node: Element) -> int:
    # Most elements have a class and nothing else, and asking for each attribute takes half of the time of measuring.
    keys = node.keys()
    if not keys:
        return 0
    if keys == ["class"]:
        return flags_of(node.get("class"))
    role = node.get("role")
    flags = NOT_SHOWN if is_hidden(node, role) else ASIDE if role in _ROLES else 0
    if node.get("itemprop") == "articleBody":
        flags |= MARKED_BODY | BODY
    names = names_of(node)
    return flags | (flags_of(names) if names else 0)
