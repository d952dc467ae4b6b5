"""What the class names, ids and short texts of article pages say about an element.

Names are split into words at every character that is no letter, and where a capital begins one: `post-relatedArticles`
says post, related, articles. Journals and blogs name these parts in their own language; the lists hold English, German
and what a few other European languages write most.

Known limit: a page whose names are generated (`css-1x2y3z`) says nothing here; its links and lengths have to do.
"""

import re
from functools import lru_cache

# Bits of `flags_of`: a part around the article; its body by a usual name; its lead; a part around it without any doubt;
# a container of documentation, whose pages need no guessing.
AROUND, BODY, LEAD, SURELY, DOCUMENTATION = 1, 2, 8, 64, 128

_AROUND = frozenset(
    # sharing, following, signing up
    "share shares sharing shareaholic sharebar sharethis addthis addtoany sharedaddy social socials sociable whatsapp "
    "pinterest newsletter subscribe signup login register donate donation donations paywall shop "
    # other pages
    "related relatedposts relatedarticles recommended recommendation recommendations recommend recirc verwandte "
    "empfehlungen weitere mehr more next prev previous upnext readmore readnext trending popular mostread teaser "
    "teasers promo promotion promos crp yarpp "
    # what readers say
    "comment comments commentlist disqus respond replies reply feedback kommentar kommentare rating ratings vote poll "
    # frames and ways around
    "sidebar breadcrumb breadcrumbs footer rodape fusszeile nav navi navigation navbar menu pagination pager pagenav "
    "toolbar topbar masthead bottom banner skip search dropdown toc widget widgets "
    # money and law
    "advert advertisement advertising ads ad adv adsense sponsored sponsor anzeige werbung taboola outbrain cookie "
    "cookies consent gdpr disclaimer legal copyright "
    # about the article
    "tags tag taglist byline author authors authorbox autor bio meta metadata postmeta timestamp "
    # laid over or beside it
    "popup modal overlay lightbox tooltip carousel slider slideshow infobox factbox marginal caption captions "
    "figcaption legend credit disclosure button buttons btn print noprint".split()
)
# Of these a page never calls its article.
_SURELY = frozenset(
    "comments commentlist disqus kommentare sidebar footer newsletter cookie cookies consent relatedposts rodape "
    "taboola outbrain addthis sharedaddy breadcrumbs".split()
)
_LEAD = frozenset(
    "lead lede leader intro introduction excerpt abstract summary standfirst perex teaser description chapo "
    "vorspann entradilla bajada einleitung anriss anrisstext sumario copete".split()
)
_NO_LEAD = frozenset("media image caption video gallery form author site".split())
# Containers that generators of documentation name so, and nobody else.
_DOCUMENTATION = frozenset(
    "rst-content wy-nav-content md-content theme-doc-markdown bd-article bd-main sphinxsidebar documentwrapper "
    "navheader refentry toctree-wrapper mw-parser-output td-content vp-doc markdown-section docs-content doc-content "
    "docs-sidebar book-body gitbook-root rustdoc doxygen headerlink mkdocs_search_modal sect1 sect2 refsect1 "
    "wiki-content javadoc docs-wrapper docmainwrapper bs-sidebar".split()
)
# Page builders call every part of a page a widget; publishers' embeds are part of what they say.
_BUILDERS, _EMBEDDED = frozenset(("elementor", "vc", "et")), frozenset(("embed", "embedded", "tweet"))
_WIDGETS, _SOCIAL = frozenset(("widget", "widgets")), frozenset(("social",))
# A short word has to stand by itself: generated names such as `hJpRRP` hold any.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]{3,}|(?<![A-Za-z])[A-Za-z]{2,3}(?![A-Za-z])")
_BODY = re.compile(
    r"\b(article|story|entry|post|news|blog|content|main|artikel|single)[-_]{0,2}(body|content|text|copy|inhalt|full)\b"
    r"|fulltext|articlebody",
    re.IGNORECASE,
)
# How a heading, or a line of its own, begins that announces what is not the article.
_CLOSING = re.compile(
    "|".join(
        (
            # comments
            r"((\d+|no|keine|top rated|latest|all) )?(comments?|kommentare?|responses?|replies)\W*(\(?\d+\)?)?$",
            r"(\d+|no|keine) (comments?|kommentare?|responses?|replies) ",
            r"leave a (reply|comment)|post a comment|schreib\w* (einen|ein) kommentar",
            # other pages
            r"(related|recommended|popular|trending|latest)( (articles?|posts?|stories|content|topics|news|links"
            r"|reading|videos?|for you|now|in .*|on .*))?:?$",
            r"you (may|might) also|more (from|on|in)\b|read (more|next|also)|most (read|popular)|about the author",
            r"das k(ö|oe)nnte (dich|sie|euch)|(auch|ebenfalls) interessant|mehr (zum|aus|von|zu)\b|lesen sie auch",
            r"lesen sie hier|weitere (artikel|beitr|meldungen|informationen|themen|nachrichten)|weiterführende",
            r"ähnliche (artikel|beitr|themen)|meist-?(gelesen|diskutiert|kommentiert)|beliebte (artikel|beitr)",
            r"verwandte|empfohlene|zum weiterlesen|über (den autor|die autorin)|zurück zu|schlagw(ort|ör)",
            r"lire aussi|à lire|sur le même|vous aimerez",
            r"veja (também|mais)|leia (também|mais)|você pode|pode gostar|le(e|a) también|te puede interesar",
            r"(artículos|temas) relacionados|leggi anche|lees ook|zobacz (też|także)|czytaj (też|także|więcej)",
            # signing up, sharing, filing
            r"sign up|subscribe (to|now|for)|subscribe$|newsletter|share (this|on)|diesen (artikel|beitrag)",
            r"artikel (teilen|bewerten|drucken)|tags?:?$|filed under",
        )
    ),
    re.IGNORECASE,
)
# The same, wherever it stands in the line.
_ANYWHERE = re.compile(
    r"könnten? (dich|sie|euch|ihnen)( auch)?( noch)? (interessieren|gefallen)|(dich|sie|euch) auch interessieren"
    r"|(zum|unser\w*|our|my) newsletter|newsletter (anmelden|abonnieren|erhalten|sign)|artikel (teilen|bewerten)",
    re.IGNORECASE,
)
# A line of its own that is no part of the text, wherever it stands.
_STRAY = re.compile(
    r"\W*((advert|advertisement|anzeige|werbung)( ?[-\u2013:].*)?|publicité|publicidad|sponsored( links| content)?"
    r"|story continues below.{0,20}"
    r"|(photo|foto|image|bild|picture|credit|source|quelle)s?( credit)?( ?[:/©|].{0,60}| (by|von) .{0,40})?"
    r"|(.{0,40}/ ?)?getty images|(©|\(c\)|copyright) ?.{0,60}"
    r"|share|teilen|drucken|print|tweet|e-?mail|comments?|kommentare|tags?|\d+ min(ute)?s?( read)?|lesedauer.{0,30}"
    r"|(last )?(updated|modified|published|posted|aktualisiert|veröffentlicht|erstellt)( (am|on|at)\b|:).{0,40})\W*",
    re.IGNORECASE,
)
_LONGEST_REMEMBERED = 200
_LONGEST_LABEL, _LONGEST_LINE = 80, 60
_MARKS = " \n\t:*-\u2013»>"


def flags_of(names: str) -> int:
    """What class names and id say, as bits."""
    return _remembered(names) if len(names) <= _LONGEST_REMEMBERED else _flags(names)


def closes(text: str, *, heading: bool) -> bool:
    """Whether a line announces what is not the article any more: comments, related pages, sharing.

    Args:
        heading: it is marked as a heading; a sentence that is not says something.
    """
    if len(text) > (_LONGEST_LABEL if heading else _LONGEST_LINE) or (not heading and text.endswith(".")):
        return False
    return _CLOSING.match(text.strip(_MARKS)) is not None or _ANYWHERE.search(text) is not None


def is_stray(text: str) -> bool:
    """Whether a line is a label or credit that is no part of the text."""
    return len(text) <= _LONGEST_LABEL and _STRAY.fullmatch(text) is not None


def _flags(names: str) -> int:
    if not _DOCUMENTATION.isdisjoint(names.lower().split()):
        return DOCUMENTATION
    words = {word.lower() for word in _WORD.findall(names)}
    around = words & _AROUND
    if words & _BUILDERS:
        around -= _WIDGETS
    if words & _EMBEDDED:
        around -= _WIDGETS | _SOCIAL
    flags = (AROUND if around else 0) | (SURELY if around & _SURELY else 0) | (BODY if _BODY.search(names) else 0)
    # A teaser is both: above the text it is the lead.
    return flags | (LEAD if words & _LEAD and not words & _NO_LEAD and around <= _LEAD else 0)


_remembered = lru_cache(maxsize=8192)(_flags)
