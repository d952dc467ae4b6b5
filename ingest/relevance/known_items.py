"""Known items: questions about a corpus of which the right page is known, made from what the corpus says of itself.

In: passages, and links between pages. Out: `Item` records, the same for the same input, spread over the pages.

- A heading asks for the page that it stands on. What stands on several pages, or names a place in any manual
  ("Introduction"), asks for none and is left out.
- The text of a link asks for the page that it leads to: what somebody else calls a page, which is how people look for
  it (Craswell, Hawking and Robertson 2001). Links in menus, and texts that lead to several pages, are left out.

Questions made from a document overrate search by words, since the document holds them as they stand (Azzopardi, de
Rijke and Balog 2007). A heading is the extreme: it is part of what is searched for its own passages. As it is, it tells
whether an index still finds what it found before, which is what comparing two indexes needs. To learn how well search
would do with people's questions, search `without_headings`: what a question was made from is taken away from its
passages, as the inverse cloze task does with sentences (Lee, Chang and Toutanova 2019). Links need no such care.

Known limits: the right page is the only one that counts, where another may answer as well; general headings are known
in English only, and others by standing on several pages.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

from ingest.records import Chunk, stable_id

MIN_LETTERS, MAX_WORDS = 4, 16
_GENERAL = frozenset(
    (
        "table of contents|in this section|see also|related pages|related topics|further reading|next steps|"
        "what's next|what next|return value|getting started|release notes|this page|read more|learn more|"
        "more information|click here|full example|more details|read the docs|api reference|api documentation|"
        "the documentation|user guide|this section|this document|this guide|quick start|how to use it|"
        "how it works|known issues|known limitations|best practices"
    ).split("|")
)
_NUMBER = re.compile(r"^(?:[\dA-Z]{1,3}(?:\.\d+)*[.)]?|§)\s+(?=\S)")
_SPACES = re.compile(r"\s+")

Kind = Literal["heading", "anchor"]


@dataclass(frozen=True)
class Item:
    """A question and where its answer stands.

    Attributes:
        url: of the one page that is right.
        kind: what the question was made from, a `heading` of that page or an `anchor`, the text of a link to it.
    """

    id: str
    question: str
    url: str
    kind: Kind


def heading_items(chunks: Iterable[Chunk], most: int) -> list[Item]:
    """At most so many questions from headings, each page having its turn before any has another."""
    return _items((((heading, chunk.url) for chunk in chunks for heading in chunk.headings)), "heading", most)


def anchor_items(links: Iterable[tuple[str, str]], urls: Collection[str], most: int) -> list[Item]:
    """At most so many questions from links, as `heading_items`.

    Args:
        links: text and address of each link, as `ingest.relevance.anchors.anchors_of` gives them.
        urls: of the pages that can be found; links elsewhere are left out.
    """
    # What leads elsewhere counts too when it comes to whether a text leads to one place.
    return [item for item in _items(links, "anchor", None) if item.url in urls][:most]


def without_headings(chunks: Iterable[Chunk], items: Iterable[Item]) -> Iterator[Chunk]:
    """The passages, those of each item's page without the heading that asks for them.

    Their ids stay; what is embedded and searched by words is the shorter path.
    """
    asked = {(item.url, _plain(item.question)) for item in items if item.kind == "heading"}
    for chunk in chunks:
        headings = tuple(part for part in chunk.headings if (chunk.url, _plain(_question(part))) not in asked)
        title = "" if (chunk.url, _plain(_question(chunk.title))) in asked else chunk.title
        yield replace(chunk, headings=headings, title=title) if (title, headings) != _path(chunk) else chunk


def _path(chunk: Chunk) -> tuple[str, tuple[str, ...]]:
    return chunk.title, chunk.headings


def _items(pairs: Iterable[tuple[str, str]], kind: Kind, most: int | None) -> list[Item]:
    places: dict[str, tuple[str, set[str]]] = {}
    for text, url in pairs:
        question = _question(text)
        places.setdefault(_plain(question), (question, set()))[1].add(url)
    by_page: dict[str, list[Item]] = {}
    for plain, (question, urls) in places.items():
        if len(urls) == 1 and _tells(plain):
            url = next(iter(urls))
            by_page.setdefault(url, []).append(Item(stable_id(kind, plain, url), question, url, kind))
    return _in_turn(by_page)[:most]


def _in_turn(by_page: Mapping[str, list[Item]]) -> list[Item]:
    """One of each page, then another of each; ids are hashes, so their order is as good as drawn."""
    pages = sorted((sorted(items, key=_id) for items in by_page.values()), key=lambda items: items[0].id)
    return [item for turn in zip_longest(*pages) for item in turn if item]


def _id(item: Item) -> str:
    return item.id


def _question(text: str) -> str:
    """Without its number and the sign that links to it."""
    return _NUMBER.sub("", _SPACES.sub(" ", text).strip(" \xb6#:"))


def _plain(text: str) -> str:
    return text.casefold()


def _tells(plain: str) -> bool:
    """Whether a text says what it is about; a single plain word seldom does."""
    letters = sum(letter.isalpha() for letter in plain)
    single = plain.isascii() and plain.isalpha()
    return letters >= MIN_LETTERS and not single and plain not in _GENERAL and len(plain.split()) <= MAX_WORDS
