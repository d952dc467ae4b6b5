"""Which elements of a page are furniture: everything that repeats from page to page and is not the text.

In: an element. Out: yes or no, by its name, ARIA role, class names and id. The names are those of the common
generators (Sphinx, Read the Docs, MkDocs, Docusaurus, DocBook, Texinfo, Doxygen, Hugo, MediaWiki, Bootstrap).

Known limit: a class name can lie. `<html>`, `<body>`, `<main>` and `<article>` are therefore never furniture.
"""

from collections.abc import Mapping
from functools import lru_cache

from bs4 import Tag

DROPPED_TAGS = frozenset(
    "script style noscript template head link meta nav aside footer search button input select option optgroup "
    "datalist textarea svg canvas iframe object embed applet audio video map img picture progress meter dialog".split()
)

# Of these only the headings are text: a title often stands in a header.
HEADINGS_ONLY = frozenset("header site-header page-header masthead".split())

# Boxes whose title is a label.
NOTES = frozenset("note tip hint important warning caution danger attention error admonition callout alert".split())

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
    "bd-header bd-sidebar bd-toc bd-footer prev-next-area prev-next-footer theme-doc-footer theme-doc-breadcrumbs "
    "theme-doc-toc-mobile pagination-nav pagination pager page-nav prevnext docs-sidebar bs-sidebar "
    # ways around the page
    "breadcrumb breadcrumbs toc toc-wrapper tocwrapper localtoc table-of-contents tableofcontents toctree-wrapper "
    "page-toc sidebar-toc mini-toc list-of-tables list-of-figures list-of-examples "
    "skip skip-link skiplink skip-to-content sr-only visually-hidden screen-reader-text "
    "search searchbox search-form searchform search-box edit-this-page edit-link edit-page github-link "
    # marks and tools within the text
    "headerlink header-anchor header-link hash-link anchor-link anchorjs-link permalink id_link indexterm "
    "linenos linenodiv lineno linenumber gutter copybtn copy-button copy-btn btn-clipboard clipboard "
    "mw-editsection mw-jump-link navbox noprint printonly "
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


def is_furniture(tag: Tag, *, by_class: bool) -> bool:
    """Whether an element and all below it is left out.

    Args:
        by_class: also judge by class names and ids.
    """
    attributes = tag.attrs
    if not attributes or tag.name in _NEVER:
        return False
    role = attributes.get("role")
    if role == "main":
        return False
    if role in _ROLES or _is_hidden(attributes, str(role)):
        return True
    if not by_class:
        return False
    names = names_of(tag)
    # Docutils marks its table of contents `contents topic`; `contents` alone is Doxygen's main part.
    return any(map(_is_furniture_name, names)) or ("contents" in names and ("topic" in names or "local" in names))


def is_content(tag: Tag) -> bool:
    """Whether a class name or id says that this element holds the text."""
    return not _CONTENT.isdisjoint(names_of(tag))


def names_of(tag: Tag) -> list[str]:
    """Class names and id, in lower case. The tree keeps `class` as one string."""
    attributes = tag.attrs
    if not attributes:
        return []
    return f"{attributes.get('class', '')} {attributes.get('id', '')}".lower().split()


def _is_hidden(attributes: Mapping[str, object], role: str) -> bool:
    # The panels of a tab set are hidden until chosen, but are part of the text.
    if role == "tabpanel":
        return False
    if "hidden" in attributes or attributes.get("aria-hidden") == "true":
        return True
    return "style" in attributes and "display:none" in str(attributes["style"]).replace(" ", "").lower()


@lru_cache(maxsize=8192)
def _is_furniture_name(name: str) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES)
