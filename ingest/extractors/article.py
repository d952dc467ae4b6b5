"""Which part of a page is the article: for journals, blogs and the like, whose pages say little about their structure.

In: the body of a page. Out: an `Article`, the element that holds the article, what is cut out of it, and the lead that
stands before it. Everything is decided by what most pages have in common: names of classes, the share of links, runs
of cards with linked headings, lines that announce comments or other pages, and where the running text is. The figures
below were chosen on the development halves of two public sets of pages; moving any of them by a quarter moves the F1
there by less than half a point.

Known limit: one page is looked at at a time, so what repeats over a site is not known here.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ingest.extractors.article_names import AROUND, BODY, DOCUMENTATION, LEAD, SURELY, closes
from ingest.extractors.article_tree import ASIDE, MARKED_BODY, NOT_SHOWN, Measured, measure
from ingest.extractors.inline import HEADINGS, collapse
from ingest.extractors.tree import Element

# Less running text than this is no article.
_LEAST = 200
# A part whose name says that it is around the article is believed up to this share of the running text.
_BELIEVED, _SURELY_BELIEVED = 0.35, 0.8
# What is mostly links, and has little running text, is a way to other pages.
_LINKED, _MOST_LINKED = 0.66, 0.1
# So many cards make a run; they are short, and not all of the page.
_CARDS, _CARD_TEXT, _CARDS_SHARE = 3, 700, 0.6
# Running text that a closing line may take with it.
_CLOSED_SHARE = 0.4
# Running text that an element has to hold to be the article's body by its name, by its markup, or as an `<article>`.
_NAMED, _MARKED, _ARTICLE = 0.25, 0.1, 0.5
# An element that holds so much of its parent's running text, and of all its text, stands for it.
_DOMINANT, _DOMINANT_TEXT = 0.85, 0.5
# A body in several elements of the same class: what the others hold, as a share of the largest.
_TWINS = 0.15
_LEAD_TEXT, _LEAD_UNNAMED, _LEAD_LINKED = 40, 80, 0.3
_AROUND_WEIGHT, _DEEPER = 0.3, 0.7

_WHOLE = frozenset("p li ul ol table tbody tr td blockquote pre dl figure figcaption header".split())
_NEVER_AROUND = frozenset(("article", "main", "body"))
_LINK_TESTED = frozenset("ul ol div section table p dl h2 h3 h4 h5 h6 header figure form".split())


@dataclass(frozen=True)
class Article:
    """Where the article is.

    Attributes:
        root: the element that holds it.
        cut: elements below `root` that are left out.
        leads: elements before `root` that belong to it.
    """

    root: Element
    cut: frozenset[Element]
    leads: tuple[Element, ...]


def find_article(body: Element) -> Article | None:
    """The article of a page, or None when there is too little running text to tell, or the page is documentation."""
    page = measure(body)
    if page.good[0] < _LEAST or any(flags & DOCUMENTATION for flags in page.flags):
        return None
    for cut in (_cut_around, _cut_cards, _cut_after_closing, _cut_links):
        cut(page)
    if page.good[0] < _LEAST:
        return None
    root = _container(page)
    gone = frozenset(node for node, is_gone in zip(page.nodes, page.gone, strict=True) if is_gone)
    return Article(page.nodes[root], gone, tuple(page.nodes[at] for at in _leads(page, root)))


def _cut_around(page: Measured) -> None:
    """What is not shown, and what a name or a role says is around the article."""
    total = page.good[0]
    for at in page.remaining():
        flags = page.flags[at]
        if flags & NOT_SHOWN:
            page.cut(at)
        elif flags & (AROUND | ASIDE) and page.nodes[at].tag not in _NEVER_AROUND:
            most = _SURELY_BELIEVED if flags & SURELY else _BELIEVED
            if page.good[at] < most * total:
                page.cut(at)


def _cut_cards(page: Measured) -> None:
    """Runs of elements of the same name, each with a heading that is a link: other pages, announced."""
    total = page.good[0]
    for cards in _runs(page):
        text, good = sum(page.text[at] for at in cards), sum(page.good[at] for at in cards)
        if len(cards) >= _CARDS and text < _CARD_TEXT * len(cards) and good < _CARDS_SHARE * total:
            page.cut_all(cards)


def _runs(page: Measured) -> Iterable[list[int]]:
    linked = [False] * len(page.nodes)
    for at in range(len(page.nodes) - 1, 0, -1):
        if linked[at] or (page.nodes[at].tag in HEADINGS and page.is_linked(at, _LINKED)):
            linked[at] = linked[page.parents[at]] = True
    runs: dict[tuple[int, str, str], list[int]] = defaultdict(list)
    for at in page.remaining():
        node = page.nodes[at]
        if linked[at] and node.tag not in HEADINGS:
            runs[page.parents[at], node.tag, (node.get("class") or "").partition(" ")[0]].append(at)
    return runs.values()


def _cut_after_closing(page: Measured) -> None:
    """A line that announces comments or other pages and, where it is a heading, what is under it."""
    total = page.good[0]
    children = page.children()
    for at in page.remaining():
        is_heading = page.nodes[at].tag in HEADINGS
        if at in children or not closes(_label(page, at), heading=is_heading):
            continue
        top = at
        while page.text[page.parents[top]] == page.text[top]:
            top = page.parents[top]
        page.cut(top)
        under = _under(page, children[page.parents[top]], top) if is_heading else []
        if sum(page.good[other] for other in under) < _CLOSED_SHARE * total:
            page.cut_all(under)


def _label(page: Measured, at: int) -> str:
    """The text of a block if it is short; else nothing."""
    return collapse("".join(page.nodes[at].itertext())) if 3 <= page.text[at] <= 100 else ""


def _under(page: Measured, siblings: list[int], heading: int) -> list[int]:
    """What stands between a heading and the next one."""
    after = [at for at in siblings if at > heading and not page.gone[at]]
    stop = next((n for n, at in enumerate(after) if page.nodes[at].tag in HEADINGS), len(after))
    return after[:stop]


def _cut_links(page: Measured) -> None:
    total = page.good[0]
    for at in page.remaining():
        if page.nodes[at].tag in _LINK_TESTED and page.is_linked(at, _LINKED) and page.good[at] < _MOST_LINKED * total:
            page.cut(at)


def _container(page: Measured) -> int:
    """The block that holds the article."""
    weights = [
        0.0 if gone else good * (_AROUND_WEIGHT if flags & AROUND and node.tag not in _NEVER_AROUND else 1.0)
        for node, flags, good, gone in zip(page.nodes, page.flags, page.good, page.gone, strict=True)
    ]
    for bit, share in ((MARKED_BODY, _MARKED), (BODY, _NAMED)):
        named = _heaviest_named(page, weights, bit, share * page.good[0])
        if named is not None:
            return _with_twins(page, weights, named)
    return _narrowed(page, weights, _article(page, weights))


def _heaviest_named(page: Measured, weights: list[float], bit: int, least: float) -> int | None:
    """The block with a flag that has the most running text; one within another needs not quite as much."""
    best: int | None = None
    for at, flags in enumerate(page.flags):
        if not flags & bit or weights[at] < max(least, 1.0):
            continue
        if best is None or weights[at] > (_DEEPER if page.contains(best, at) else 1) * weights[best]:
            best = at
    return best


def _with_twins(page: Measured, weights: list[float], best: int) -> int:
    """The block around all that have the same class as one, where an article's body comes in several."""
    name = page.nodes[best].get("class")
    if not name:
        return best
    twins = [
        at
        for at, node in enumerate(page.nodes)
        if weights[at] and node.get("class") == name and not page.contains(best, at) and not page.contains(at, best)
    ]
    around = best
    if sum(weights[at] for at in twins) >= _TWINS * weights[best]:
        while not all(page.contains(around, at) for at in twins):
            around = page.parents[around]
    return around


def _article(page: Measured, weights: list[float]) -> int:
    """The `<article>` with the headline or the most text, else `<main>`, else the first block."""
    headed = {_ancestor(page, at, "article") for at in page.remaining() if page.nodes[at].tag == "h1"}
    if len(headed) == 1 and weights[only := headed.pop()] >= _LEAST and only:
        return only
    for tag in ("article", "main"):
        found = [at for at, node in enumerate(page.nodes) if node.tag == tag and weights[at] >= _ARTICLE * page.good[0]]
        if found:
            return max(found, key=weights.__getitem__)
    return 0


def _ancestor(page: Measured, at: int, tag: str) -> int:
    """The block of a name around another; 0 where there is none."""
    while at > 0 and page.nodes[at].tag != tag:
        at = page.parents[at]
    return at


def _narrowed(page: Measured, weights: list[float], at: int) -> int:
    """The deepest block that stands for the one given."""
    children = page.children()
    weight: Callable[[int], float] = weights.__getitem__
    while at in children:
        best = max(children[at], key=weight)
        plain = page.text[best] - page.links[best] >= _DOMINANT_TEXT * (page.text[at] - page.links[at])
        if weights[best] < _DOMINANT * weights[at] or not plain or page.nodes[best].tag in _WHOLE:
            break
        at = best
    return at


def _leads(page: Measured, root: int) -> list[int]:
    """Paragraphs between the headline and the block that holds the article."""
    headline = max((at for at in range(root) if page.nodes[at].tag == "h1" and not page.gone[at]), default=0)
    return [at for at in range(headline + 1, root) if _is_lead(page, at, root, headline > 0)]


def _is_lead(page: Measured, at: int, root: int, below_headline: bool) -> bool:
    own = page.own[at]
    if own < _LEAD_TEXT or page.own_links[at] > _LEAD_LINKED * own or page.contains(at, root):
        return False
    said, above = 0, at
    while above > 0 and not page.contains(above, root):
        flags = page.flags[above]
        # A teaser has a name of what is around articles, but above the text it is the lead.
        if flags & (NOT_SHOWN | ASIDE) or (flags & AROUND and not flags & LEAD):
            return False
        said |= flags
        above = page.parents[above]
    return bool(said & LEAD) or (below_headline and own >= _LEAD_UNNAMED and page.nodes[at].tag == "p")
