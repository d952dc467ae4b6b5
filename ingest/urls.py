"""Addresses: one spelling for each page, and which links are worth following.

In: links as pages write them. Out: normalised http(s) addresses (RFC 3986 section 6.2.2, plus the removal of tracking
parameters), or None for what cannot be fetched.

Known limit: addresses that differ only in the order of their query parameters count as different pages.
"""

import re
from urllib.parse import SplitResult, quote, unquote_to_bytes, urljoin, urlsplit, urlunsplit

import idna

MAX_LENGTH = 2000
DEFAULT_PORTS = {"http": 80, "https": 443}
TRACKING = re.compile(r"^(utm_[^=]*|gclid|fbclid)$", re.IGNORECASE)

# Images, styles, scripts, fonts, media, archives, programs, data: fetching them to find that out costs the site.
NOT_DOCUMENTS = frozenset(
    "png jpg jpeg gif svg ico webp avif bmp tif tiff psd css js mjs map json xml rss atom woff woff2 ttf otf eot "
    "mp3 mp4 m4a ogg oga ogv wav flac avi mov mkv webm zip gz tgz bz2 xz zst tar rar 7z jar war whl deb rpm dmg iso "
    "exe msi bin apk so dll csv tsv parquet sqlite db doc docx xls xlsx ppt pptx odt ods epub mobi ps eps".split()
)

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DROPPED = re.compile(r"[\t\r\n]")


def normalise(link: str, base: str = "") -> str | None:
    """The one spelling of an address, without fragment, credentials and tracking parameters.

    Args:
        link: absolute, or relative to `base`.

    Returns:
        None when it is not an http(s) address, cannot be parsed, or is longer than `MAX_LENGTH`.
    """
    link = _DROPPED.sub("", link.strip(" \t\r\n\f\0"))
    try:
        parts = urlsplit(urljoin(base, link))
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return None
    host = _host(host or "")
    if scheme not in DEFAULT_PORTS or not host:
        return None
    place = host if port in (None, DEFAULT_PORTS[scheme]) else f"{host}:{port}"
    path = _without_dots(_escaped(parts.path, "/:@!$&'()*+,;="))
    url = urlunsplit((scheme, place, path or "/", _query(parts), ""))
    return url if len(url) <= MAX_LENGTH else None


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
    return "&".join(pair for pair in pairs if pair and not TRACKING.match(pair.partition("=")[0]))
