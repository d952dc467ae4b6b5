"""robots.txt (RFC 9309): which paths a site asks readers to leave alone, how slowly to go, and where its sitemaps are.

In: the file's bytes and our user agent. Out: `Rules` that answer `allows(url)`, and name the crawl delay and the
sitemaps.

Known limit: `Crawl-delay` and `Sitemap` are no part of the RFC, but are widely written and are honoured.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ingest.web.patterns import matches, spelled

MAX_BYTES = 500 * 1024
MAX_SITEMAPS = 1000


@dataclass(frozen=True)
class Rules:
    """What one site asks of one reader.

    Attributes:
        patterns: (path pattern, allowed) pairs.
        crawl_delay: seconds between requests; 0 when none is asked for.
        sitemaps: addresses as written, whichever group they stand in.
    """

    patterns: tuple[tuple[str, bool], ...] = ()
    crawl_delay: float = 0.0
    sitemaps: tuple[str, ...] = ()

    def allows(self, url: str) -> bool:
        """Whether the address may be fetched: the longest matching pattern decides, and allow wins a tie."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if path == "/robots.txt":
            return True
        matching = [(len(pattern), allowed) for pattern, allowed in self.patterns if _fits(pattern, path)]
        return max(matching)[1] if matching else True


ALLOW_ALL = Rules()


def parse(body: bytes, user_agent: str) -> Rules:
    """The rules for us: those of the groups that name our product, else those of the `*` groups.

    Args:
        body: the file; what lies beyond `MAX_BYTES` is ignored.
        user_agent: as sent; its first word up to the slash is the product.
    """
    groups: dict[str, tuple[list[tuple[str, bool]], list[float]]] = {}
    sitemaps: list[str] = []
    agents: list[str] = []
    in_rules = False
    for key, value in _lines(body):
        if key == "user-agent":
            if in_rules:
                agents, in_rules = [], False
            agents.append(_product(value))
            groups.setdefault(agents[-1], ([], []))
        elif key in ("allow", "disallow", "crawl-delay"):
            in_rules = True
            for agent in agents:
                _add(groups[agent], key, value)
        elif key == "sitemap" and value and len(sitemaps) < MAX_SITEMAPS:
            sitemaps.append(value)
    patterns, delays = groups.get(product_of(user_agent)) or groups.get("*") or ([], [])
    return Rules(tuple(patterns), max(delays, default=0.0), tuple(dict.fromkeys(sitemaps)))


def product_of(user_agent: str) -> str:
    """The name that robots.txt and robots tags call a reader by: `wellread` of `wellread/0.1 (...)`."""
    return user_agent.split("/")[0].split()[0].lower() if user_agent.split("/")[0].strip() else ""


def _lines(body: bytes) -> Iterator[tuple[str, str]]:
    for line in re.split(r"\r\n?|\n", body[:MAX_BYTES].decode("utf-8-sig", "replace")):
        key, colon, value = line.split("#", 1)[0].partition(":")
        if colon:
            yield key.strip().lower(), value.strip()


def _product(value: str) -> str:
    return value.split("/")[0].strip().lower()


def _add(group: tuple[list[tuple[str, bool]], list[float]], key: str, value: str) -> None:
    patterns, delays = group
    if key == "crawl-delay":
        if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value):
            delays.append(float(value))
    elif value:
        patterns.append((_pattern(value), key == "allow"))


def _pattern(value: str) -> str:
    """The pattern in the spelling that addresses are normalised to. The final dollar keeps its meaning."""
    end = "$" if value.endswith("$") else ""
    value = value.removesuffix("$")
    return spelled(value if value.startswith(("/", "*")) else "/" + value) + end


def _fits(pattern: str, path: str) -> bool:
    return matches(pattern.removesuffix("$"), path, whole=pattern.endswith("$"))
