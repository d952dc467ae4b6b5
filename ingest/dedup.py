"""Exact duplicates: the same text under two addresses is kept once.

Two texts are the same when they agree after Unicode normalisation (NFKC), case folding and collapsing of white space.
"""

import hashlib
import unicodedata

from ingest.records import Document


class ExactDedup:
    """Remembers what it has seen; feed documents in an order that does not change between runs."""

    def __init__(self) -> None:
        self._url_of_text: dict[bytes, str] = {}

    def duplicate_of(self, document: Document) -> str | None:
        """The address of the earlier document that this one repeats, or None, in which case it is remembered."""
        earlier = self._url_of_text.setdefault(_fingerprint(document.text), document.url)
        return earlier if earlier != document.url else None


def _fingerprint(text: str) -> bytes:
    normal = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(normal.encode("utf-8", "surrogatepass")).digest()
