"""What a page says about itself beside its text: title, address, language, date, tags, and the program that made it.

In: the `<html>` element. Out: a `Head`. Titles lose the name of the site where the page's headline or `og:site_name`
shows which part that is. Dates come from `<meta>`, JSON-LD and `<time>`, first those of publishing, then those of
change; whether one is plausible is for the caller to say, who knows when the page was fetched.

Known limit: of dates in words only English ones are read.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate
from functools import cached_property
from time import strptime

from ingest.extractors.inline import collapse
from ingest.extractors.outline import iso_date, tags_in
from ingest.extractors.tree import Element

# Program names in `<meta name="generator">` of documentation, whose pages say by their structure what is text.
_DOCUMENTATION = re.compile(
    r"docutils|sphinx|docbook|mkdocs|docusaurus|asciidoc|doxygen|javadoc|texi2html|makeinfo|mediawiki|gitbook|vitepress"
    r"|vuepress|pandoc|latex2html|rustdoc|pdoc|antora|mdbook|yard|jsdoc|typedoc|readme\.io|starlight",
    re.IGNORECASE,
)
# ISO 639-1.
_LANGUAGES = frozenset(
    "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee "
    "el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is "
    "it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms "
    "mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk "
    "sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi "
    "yo za zh zu".split()
)
# Codes that were renamed and are still written.
_OLD_LANGUAGES = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro"}

_PUBLISHED = (
    "article:published_time datepublished og:published_time parsely-pub-date sailthru.date pubdate publish-date "
    "publish_date publication_date publicationdate date dc.date dc.date.issued dcterms.date dcterms.issued "
    "dc.date.created dcterms.created citation_publication_date datecreated originalpublicationdate "
    "cxenseparse:recs:publishtime"
).split()
_CHANGED = "article:modified_time datemodified og:updated_time dcterms.modified dc.date.modified last-modified".split()
_LINKED_DATA = re.compile(r'"(datePublished|dateModified|dateCreated|uploadDate)"\s*:\s*"([^"]{8,40})"')
_COMPACT = re.compile(r"(\d{4})[./-]?(\d{1,2})[./-]?(\d{1,2})(?!\d)")
_WORDS = ("%B %d, %Y", "%b %d, %Y", "%d %B %Y", "%d %b %Y", "%B %d %Y", "%b. %d, %Y")

_SEPARATOR = re.compile(r"\s+(?:[|\u2013—·•»«]|-{1,2}|::|/)\s+")
_LONGEST_TITLE = 300


@dataclass(frozen=True)
class Head:
    """A page's `<html>` element, and what it says."""

    root: Element

    @cached_property
    def meta(self) -> dict[str, str]:
        """The `<meta>` values by name, property or itemprop in lower case; the first of a name counts."""
        found: dict[str, str] = {}
        for tag in self.root.iter("meta"):
            name = tag.get("property") or tag.get("name") or tag.get("itemprop") or tag.get("http-equiv") or ""
            content = tag.get("content")
            if name and content:
                found.setdefault(name.strip().lower(), collapse(content))
        return found

    @property
    def is_documentation(self) -> bool:
        """Whether the page names a generator of documentation as its own."""
        return _DOCUMENTATION.search(self.meta.get("generator", "")) is not None

    @property
    def title(self) -> str:
        """The page's title without the name of the site; may be empty."""
        full = self.meta.get("og:title") or self._first("title")
        return _without_site(full[:_LONGEST_TITLE], self.meta.get("og:site_name", ""), self._first("h1"))

    @property
    def canonical(self) -> str:
        """The address that the page names as its own; may be empty."""
        for link in self.root.iter("link"):
            if "canonical" in (link.get("rel") or "").lower().split() and link.get("href"):
                return str(link.get("href"))
        return ""

    @property
    def language(self) -> str:
        """ISO 639-1 code; empty when the page declares none, or none that exists."""
        declared = (
            self.root.get("lang"),
            self.root.get("{http://www.w3.org/XML/1998/namespace}lang") or self.root.get("xml:lang"),
            self.meta.get("content-language"),
            self.meta.get("og:locale"),
        )
        return next(filter(None, map(_language, filter(None, declared))), "")

    @property
    def date(self) -> str:
        """`YYYY-MM-DD`; empty when the page gives none that can be read."""
        return next(filter(None, map(_date, self._dates())), "")

    @property
    def tags(self) -> tuple[str, ...]:
        """The keywords that the page gives itself: those of `keywords`, and each `article:tag`."""
        named = (tag.get("content") for tag in self.root.iter("meta") if tag.get("property") == "article:tag")
        return tags_in([self.meta.get("keywords", ""), *filter(None, named)])

    def _dates(self) -> Iterator[str]:
        meta = self.meta
        yield from (meta[name] for name in _PUBLISHED if name in meta)
        linked = dict[str, str]()
        for script in self.root.iter("script"):
            if script.get("type") == "application/ld+json" and script.text:
                for key, value in _LINKED_DATA.findall(script.text):
                    linked.setdefault(key, value)
        yield from (linked[key] for key in ("datePublished", "dateCreated", "uploadDate") if key in linked)
        yield from (meta[name] for name in _CHANGED if name in meta)
        yield from (linked[key] for key in ("dateModified",) if key in linked)
        for tag in self.root.iter("time"):
            yield tag.get("datetime") or collapse("".join(tag.itertext()))

    def _first(self, tag: str) -> str:
        found = next(self.root.iter(tag), None)
        return "" if found is None else collapse("".join(found.itertext()))


def _without_site(title: str, site: str, headline: str) -> str:
    parts = _SEPARATOR.split(title)
    if len(parts) < 2:
        return title
    for first, last in ((0, 1), (1, 0)):
        # The longest part of the title that is the headline; titles hold separators of their own.
        for size in range(len(parts) - 1, 0, -1):
            part = _between(title, parts, size, from_end=bool(first))
            if headline and _letters(part) == _letters(headline):
                return part
        if site and _letters(parts[-1] if last else parts[0]) == _letters(site):
            return _between(title, parts, len(parts) - 1, from_end=bool(first))
    is_manual = parts[-1].lower().endswith((" documentation", " manual"))
    return _between(title, parts, len(parts) - 1, from_end=False) if is_manual else title


def _between(title: str, parts: list[str], size: int, *, from_end: bool) -> str:
    """The first or last parts of a title as they are written, separators between them included."""
    if from_end:
        return title[title.rindex(parts[-size]) :] if size == 1 else title[title.index(parts[-size]) :]
    at = 0
    for part in parts[:size]:
        at = title.index(part, at) + len(part)
    return title[:at]


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _language(declared: str) -> str:
    code = re.split(r"[-_,;\s]", declared.strip().lower())[0]
    code = _OLD_LANGUAGES.get(code, code)
    return code if code in _LANGUAGES else ""


def _date(text: str) -> str:
    text = text.strip()[:60]
    if found := iso_date(text):
        return found
    if match := _COMPACT.match(text):
        return iso_date(f"{match[1]}-{match[2]:0>2}-{match[3]:0>2}")
    for form in _WORDS:
        try:
            parsed = strptime(text, form)
        except ValueError:
            continue
        return f"{parsed.tm_year:04}-{parsed.tm_mon:02}-{parsed.tm_mday:02}"
    mail = parsedate(text)
    return iso_date(f"{mail[0]:04}-{mail[1]:02}-{mail[2]:02}") if mail else ""
