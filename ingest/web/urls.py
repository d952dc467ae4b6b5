"""Addresses: one spelling for each page, and which links are worth following.

In: links as pages write them. Out: normalised http(s) addresses (RFC 3986 section 6.2.2, without parameters that only
track the reader, query parameters sorted by name), or None for what cannot be fetched.

Known limit: a server to which the order of differently named parameters matters is asked in our order.
"""

import re
from functools import lru_cache
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

import idna

MAX_LENGTH = 2000
DEFAULT_PORTS = {"http": 80, "https": 443}
# Parameters that say where a reader came from or who they are, and never which page is meant: those of Google,
# Facebook, Microsoft, Mailchimp, HubSpot, Marketo, Yandex, Matomo and others, and the usual names of session ids.
TRACKING = re.compile(
    r"^(utm_.*|g(ad_source|braid|clid|clsrc)|dclid|wbraid|srsltid|_ga|_gl|fbclid|fb_(action|ref|source).*|igshid|igsh|"
    r"msclkid|mc_(cid|eid)|_hs(enc|mi)|__hs(fp|sc|tc)|hsctatracking|mkt_tok|ya?clid|ysclid|_openstat|twclid|ttclid|"
    r"li_fat_id|rdt_cid|epik|vero_(conv|id)|oly_(anon|enc)_id|rb_clickid|s_cid|wickedid|ml_subscriber(_hash)?|"
    r"(pk|piwik|mtm|matomo)_.*|_branch_match_id|phpsessid|aspsessionid.*|jsessionid|cfid|cftoken)$",
    re.IGNORECASE,
)

# Images, styles, scripts, fonts, media, archives, programs, data: fetching them to find that out costs the site.
NOT_DOCUMENTS = frozenset(
    "png jpg jpeg gif svg ico webp avif bmp tif tiff psd css js mjs map json xml rss atom woff woff2 ttf otf eot "
    "mp3 mp4 m4a ogg oga ogv wav flac avi mov mkv webm zip gz tgz bz2 xz zst tar rar 7z jar war whl deb rpm dmg iso "
    "exe msi bin apk so dll csv tsv parquet sqlite db doc xls xlsx ppt pptx odt ods epub mobi ps eps".split()
)

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DROPPED = re.compile(r"[\t\r\n]")
_INDEX = re.compile(r"/(?:index\.(?:html?|php))?$")
# The same for a whole link: a path, absolute or not, of which no part begins with a dot after those that lead upwards.
_PLAIN_LINK = re.compile(r"(/|(?:\.\./)*)([A-Za-z0-9_~-][A-Za-z0-9._~-]*(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?)")
# Short enough for the whole address, whatever the base, to stay below the limit.
MAX_PLAIN = 500
MAX_BASE = 1400
_SPACES = " \t\r\n\f\0"
_SESSION = re.compile(r";jsessionid=[^/;]*", re.IGNORECASE)
# Nothing in such a path has to be escaped, unescaped or resolved.
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?")


def normalise(link: str, base: str = "") -> str | None:
    """The one spelling of an address, without fragment, credentials and tracking parameters.

    Args:
        link: absolute, or relative to `base`.

    Returns:
        None when it is not an http(s) address, cannot be parsed, or is longer than `MAX_LENGTH`.
    """
    link = _DROPPED.sub("", link.partition("#")[0].strip(_SPACES))
    try:
        parts = urlsplit(urljoin(base, link))
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return None
    host = _host(host or "")
    if scheme not in DEFAULT_PORTS or not host:
        return None
    place = host if port in (None, DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    path = parts.path if _PLAIN_PATH.fullmatch(parts.path) else _path(parts.path)
    query = _query(parts) if parts.query else ""
    url = f"{scheme}://{place}{path or '/'}{'?' if query else ''}{query}"
    return url if len(url) <= MAX_LENGTH else None


class Resolver:
    """`normalise` for the many links of one page: what was worked out for a page beside it is remembered.

    Args:
        base: normalised address that relative links start from.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        path = base.partition("?")[0]
        self._folder = path.rpartition("/")[0] + "/"
        self._origin = path[: path.index("/", 8)]
        # Of empty parts in the base, urljoin has an opinion of its own.
        self._is_plain = len(self._folder) < MAX_BASE and "//" not in self._folder[8:]
        self._known: dict[str, str | None] = {}

    def __call__(self, link: str) -> str | None:
        """The normalised address; None as for `normalise`."""
        link = link.partition("#")[0].strip(_SPACES)
        if link not in self._known:
            self._known[link] = self._resolve(link)
        return self._known[link]

    def _resolve(self, link: str) -> str | None:
        if not link:
            return self._base
        # Nearly all links are of these forms, and the full procedure takes ten times as long.
        if self._is_plain and len(link) < MAX_PLAIN and (plain := _PLAIN_LINK.fullmatch(link)):
            return self._above(plain[1]) + plain[2]
        # Relative to the whole address, so no other page shares it.
        if link[0] in "?;" or link.startswith("//"):
            return normalise(link, self._base)
        return _remembered(link, self._folder)

    def _above(self, lead: str) -> str:
        """The folder that a slash or steps upwards lead to; there is nothing above the top."""
        if lead == "/":
            return self._origin + "/"
        folder = self._folder
        for _ in range(len(lead) // len("../")):
            folder = folder[: max(folder.rfind("/", 0, -1), len(self._origin)) + 1]
        return folder


@lru_cache(maxsize=16_384)
def _remembered(link: str, folder: str) -> str | None:
    return normalise(link, folder)


def site_of(url: str) -> str:
    """Host and explicit port: what two addresses of one site have in common. The scheme does not count."""
    return urlsplit(url).netloc


def origin_of(url: str) -> str:
    """Scheme, host and port, for example `https://example.org`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def may_be_document(url: str) -> bool:
    """False when the file extension says that there is nothing to read."""
    name = urlsplit(url).path.rpartition("/")[2]
    return name.rpartition(".")[2].lower() not in NOT_DOCUMENTS if "." in name else True


def without_index(url: str) -> str:
    """What `/a`, `/a/` and `/a/index.html` have in common."""
    path, mark, query = url.partition("?")
    return _INDEX.sub("", path) + mark + query


def with_scheme_of(url: str, other: str) -> str:
    """`url` under the scheme of `other`: sites that answer on both must not be read twice."""
    return urlunsplit(urlsplit(url)._replace(scheme=urlsplit(other).scheme))


def _host(host: str) -> str:
    host = host.rstrip(".").lower()
    if ":" in host:
        return f"[{host}]"
    try:
        host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    except idna.IDNAError:
        return ""
    return host if re.fullmatch(r"[a-z0-9._-]+", host) else ""


def _path(path: str) -> str:
    return _without_dots(_SESSION.sub("", _escaped(path, "/:@!$&'()*+,;=")))


def _escaped(part: str, keep: str) -> str:
    """One spelling of percent escapes: unreserved bytes bare, all else as upper-case escapes."""
    part = _BARE_PERCENT.sub("%25", part)
    part = quote(part.encode("utf-8", "replace"), safe=keep + "%")
    return _ESCAPE.sub(_unescaped_if_unreserved, part)


def _unescaped_if_unreserved(match: re.Match[str]) -> str:
    byte = unquote_to_bytes(match[0])
    return byte.decode() if byte[0] in _UNRESERVED else match[0].upper()


def _without_dots(path: str) -> str:
    """RFC 3986 section 5.2.4, for a path that begins with a slash or is empty."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _query(parts: SplitResult) -> str:
    pairs = [_escaped(pair, "/:@!$'()*+,;=?") for pair in parts.query.split("&")]
    kept = [pair for pair in pairs if pair and not TRACKING.match(pair.partition("=")[0])]
    # By name alone: the order of equal names may mean something.
    return "&".join(sorted(kept, key=lambda pair: pair.partition("=")[0]))
