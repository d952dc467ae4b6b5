"""robots.txt (RFC 9309): which paths a site asks readers to leave alone, and how slowly to go.

In: the file's bytes and our user agent. Out: `Rules` that answer `allows(url)` and name the crawl delay.

Known limits: `Crawl-delay` is no part of the RFC, but is widely written and is honoured; `Sitemap` is not used.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from ingest.urls import normalise

MAX_BYTES = 500 * 1024


@dataclass(frozen=True)
class Rules:
    """What one site asks of one reader.

    Attributes:
        patterns: (path pattern, allowed) pairs.
        crawl_delay: seconds between requests; 0 when none is asked for.
    """

    patterns: tuple[tuple[str, bool], ...] = ()
    crawl_delay: float = 0.0

    def allows(self, url: str) -> bool:
        """Whether the address may be fetched: the longest matching pattern decides, and allow wins a tie."""
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        if path == "/robots.txt":
            return True
        matching = [(len(pattern), allowed) for pattern, allowed in self.patterns if _matches(pattern, path)]
        return max(matching)[1] if matching else True


ALLOW_ALL = Rules()
ALLOW_NONE = Rules((("/", False),))


def parse(body: bytes, user_agent: str) -> Rules:
    """The rules for us: those of the groups that name our product, else those of the `*` groups.

    Args:
        body: the file; what lies beyond `MAX_BYTES` is ignored.
        user_agent: as sent; its first word up to the slash is the product.
    """
    product = user_agent.split("/")[0].split()[0].lower() if user_agent.strip() else ""
    groups: dict[str, tuple[list[tuple[str, bool]], list[float]]] = {}
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
    patterns, delays = groups.get(product) or groups.get("*") or ([], [])
    return Rules(tuple(patterns), max(delays, default=0.0))


def _lines(body: bytes) -> Iterator[tuple[str, str]]:
    for line in body[:MAX_BYTES].decode("utf-8-sig", "replace").splitlines():
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
    """The pattern in the spelling that addresses are normalised to. Stars and the final dollar keep their meaning."""
    end = "$" if value.endswith("$") else ""
    value = re.sub(r"\*+", "*", value.removesuffix("$"))
    if not value.startswith(("/", "*")):
        value = "/" + value
    path, mark, query = value.partition("?")
    pieces = [_spelling(piece) for piece in path.split("*")]
    return "*".join(pieces) + mark + query + end


def _spelling(piece: str) -> str:
    # A marker on both sides keeps normalisation from reading a piece's own edge as a dot segment or an empty path.
    url = normalise(f"http://x/-{piece}-")
    return urlsplit(url).path[2:-1] if url else piece


def _matches(pattern: str, path: str) -> bool:
    """Greedy matching of `*`; linear, where a regular expression could be made to backtrack without end."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return not anchored or path == first
    at = len(first)
    for piece in rest[:-1]:
        found = path.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    last = rest[-1]
    if anchored:
        return path.endswith(last) and len(path) - len(last) >= at
    return path.find(last, at) >= 0
