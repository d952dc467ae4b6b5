"""Which elements of a page are furniture: everything that repeats from page to page and is not the text.

In: an element. Out: yes or no, by its name, ARIA role, class names and id. The names are those of the common
generators (Sphinx, Read the Docs, MkDocs, Docusaurus, DocBook, Texinfo, Doxygen, Hugo, MediaWiki, Bootstrap).

Known limit: a class name can lie. `<html>`, `<body>`, `<main>` and `<article>` are therefore never furniture.
"""

from functools import lru_cache

from ingest.extractors.tree import Element

DROPPED_TAGS = frozenset(
    "script style noscript template head link meta nav aside footer search button input select option optgroup "
    "datalist textarea svg canvas iframe object embed applet audio video map img picture progress meter dialog".split()
)

# What the names of an element say, as bits.
FURNITURE, CONTENT, HEADINGS_ONLY, NOTE, LAYOUT = 1, 2, 4, 8, 16

# Of these only the headings are text: a title often stands in a header.
_HEADINGS_ONLY = frozenset("header site-header page-header masthead".split())
# Boxes whose title is a label.
_NOTES = frozenset("note tip hint important warning caution danger attention error admonition callout alert".split())
_LAYOUTS = frozenset(("highlighttable", "lntable", "rouge-table", "codehilitetable"))

_NEVER = frozenset(("html", "body", "main", "article"))
_ROLES = frozenset(
    "navigation banner contentinfo search complementary menu menubar toolbar tablist dialog alertdialog "
    "doc-toc doc-pagelist doc-index".split()
)
_NAMES = frozenset(
    # page frames
    "nav navbar navigation navheader navfooter nav-panel nav-path side-nav sidenav sidebar sidebar-wrapper menu "
    "topbar top-bar topnav bottomnav footer site-footer page-footer banner related related-pages "
    "sphinxsidebar sphinxsidebarwrapper wy-nav-side wy-nav-top rst-versions rst-footer-buttons wy-breadcrumbs "
    "md-header md-tabs md-sidebar md-footer md-top md-skip md-source md-search md-content__button md-feedback "
    "bd-header bd-sidebar bd-toc bd-footer bd-header-article bd-footer-article bd-footer-content header-article "
    "prev-next-area prev-next-footer theme-doc-footer theme-doc-breadcrumbs theme-doc-toc-mobile pagination-nav "
    "pagination pager page-nav prevnext docs-sidebar bs-sidebar "
    # ways around the page
    "breadcrumb breadcrumbs toc toc-wrapper tocwrapper localtoc table-of-contents tableofcontents toctree-wrapper "
    "page-toc sidebar-toc mini-toc list-of-tables list-of-figures list-of-examples "
    "skip skip-link skiplink skip-to-content sr-only visually-hidden screen-reader-text "
    "search searchbox search-form searchform search-box edit-this-page edit-link edit-page github-link "
    # marks and tools within the text
    "headerlink header-anchor header-link hash-link anchor-link anchorjs-link permalink id_link indexterm "
    "linenos linenodiv lineno linenumber gutter copybtn copy-button copy-btn btn-clipboard clipboard "
    "mw-editsection mw-jump-link navbox noprint printonly onlyprint jb-print-docs-body jb-print-toc "
    # what is laid over the page or sold beside it
    "modal popup overlay announcement newsletter subscribe social social-links share sharing share-buttons "
    "ad ads advert advertisement".split()
)
_PREFIXES = ("cookie", "consent", "gdpr", "cc-window", "cc-banner", "onetrust")
_CONTENT = frozenset(
    "content main main-content maincontent page-content document documentwrapper body-content doc-content docs-content "
    "markdown-body markdown entry-content post-content article-content wiki-content mw-parser-output mw-content-text "
    "rst-content theme-doc-markdown md-content contents".split()
)
# Strings longer than this are not worth the memory of remembering what they say.
_LONGEST_REMEMBERED = 200


def is_furniture(element: Element, *, by_class: bool) -> bool:
    """Whether an element and all below it is left out.

    Args:
        by_class: also judge by class names and ids.
    """
    keys = element.keys()
    if not keys or element.tag in _NEVER:
        return False
    # Most elements have a class and nothing else, and asking for each attribute takes a fifth of the time of a walk.
    if keys == ["class"]:
        return by_class and bool(_said(element.get("class")) & FURNITURE)
    role = element.get("role")
    if role == "main":
        return False
    if role in _ROLES or is_hidden(element, role):
        return True
    return by_class and bool(says(element) & FURNITURE)


def says(element: Element) -> int:
    """What the class names and the id of an element say: the bits `FURNITURE`, `CONTENT`, `HEADINGS_ONLY`, ..."""
    names = names_of(element)
    return _said(names) if names else 0


def names_of(element: Element) -> str:
    """Class names and id as they are written."""
    names, own = element.get("class"), element.get("id")
    return f"{names or ''} {own}" if own else names or ""


def is_hidden(element: Element, role: str | None) -> bool:
    """Whether an element is marked as not shown."""
    # The panels of a tab set are hidden until chosen, but are part of the text.
    if role == "tabpanel":
        return False
    if element.get("hidden") is not None or element.get("aria-hidden") == "true":
        return True
    style = element.get("style")
    return style is not None and "display:none" in style.replace(" ", "").lower()


def _said(names: str) -> int:
    return _remembered(names) if len(names) <= _LONGEST_REMEMBERED else _bits(names)


def _bits(text: str) -> int:
    names = text.lower().split()
    bits = 0
    for bit, known in ((CONTENT, _CONTENT), (HEADINGS_ONLY, _HEADINGS_ONLY), (NOTE, _NOTES), (LAYOUT, _LAYOUTS)):
        bits |= 0 if known.isdisjoint(names) else bit
    # Docutils marks its table of contents `contents topic`; `contents` alone is Doxygen's main part.
    contents = "contents" in names and ("topic" in names or "local" in names)
    if contents or not _NAMES.isdisjoint(names) or any(name.startswith(_PREFIXES) for name in names):
        bits |= FURNITURE
    return bits


_remembered = lru_cache(maxsize=8192)(_bits)
