"""Patterns over the path and query of an address, as robots.txt and the settings write them.

`*` stands for any run of characters; every other character, `?` included, stands for itself. In: a pattern as a person
wrote it. Out: the same pattern in the spelling that addresses are normalised to, and whether an address matches it.
"""

import re
from urllib.parse import urlsplit

from ingest.web.urls import normalise


def spelled(pattern: str) -> str:
    """The pattern in the spelling of normalised addresses; stars and the first question mark keep their meaning."""
    pattern = re.sub(r"\*+", "*", pattern)
    path, mark, query = pattern.partition("?")
    return "*".join(_piece(piece) for piece in path.split("*")) + mark + query


def _piece(piece: str) -> str:
    # A marker on both sides keeps normalisation from reading a piece's own edge as a dot segment or an empty path.
    url = normalise(f"http://x/-{piece}-")
    return urlsplit(url).path[2:-1] if url else piece


def matches(pattern: str, text: str, *, whole: bool) -> bool:
    """Whether the pattern fits the beginning of the text, or all of it.

    Greedy and linear, where a regular expression could be made to backtrack without end.
    """
    first, *rest = pattern.split("*")
    if not text.startswith(first):
        return False
    if not rest:
        return not whole or text == first
    at = len(first)
    for piece in rest[:-1]:
        found = text.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    last = rest[-1]
    if whole:
        return text.endswith(last) and len(text) - len(last) >= at
    return text.find(last, at) >= 0
