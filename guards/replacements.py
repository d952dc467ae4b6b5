"""What stands in the place of a redacted span: its type, stars, a keyed hash, or a name that can be turned back.

In: the text, the spans found in it, and the context. Out: the same spans with their `replacement` set.

Known limits: a hash is the same for the same value under one key, so it links texts; keep the key secret, or leave
`WELLREAD_HASH_KEY` unset and get a new key with each process. `mask` tells how long the value was.
"""

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Literal

from guards.base import Context, Span

RedactAs = Literal["tag", "mask", "hash", "pseudonym"]
KEY_VARIABLE = "WELLREAD_HASH_KEY"

# Payment slips show the last four digits of a card, and people know theirs by them.
_LAST_FOUR_STAY = {"credit_card"}


def replace_spans(text: str, spans: Sequence[Span], how: RedactAs, context: Context) -> tuple[Span, ...]:
    """The spans with what `guards.spans.redact` shall put there.

    Args:
        text: the text that the spans refer to.
        how: `tag` writes `<EMAIL>`; `mask` stars, as many as there were characters, with the last four digits of a card
            left; `hash` `<EMAIL:1a2b3c4d>`, the same for the same value; `pseudonym` `<EMAIL_1>`, which the context's
            pseudonyms turn back, and a tag where the context has none.
    """
    if how == "tag" or (how == "pseudonym" and context.pseudonyms is None):
        return tuple(spans)
    write = _writer(how, context)
    return tuple(replace(span, replacement=write(span.category, text[span.start : span.end])) for span in spans)


def _writer(how: RedactAs, context: Context) -> Callable[[str, str], str]:
    if how == "mask":
        return mask
    if how == "pseudonym" and context.pseudonyms is not None:
        return context.pseudonyms.name
    return keyed_hash


def mask(category: str, value: str) -> str:
    """Stars of the same length; line breaks stay, and so do the last four digits of a card."""
    stars = "".join(char if char in "\r\n" else "*" for char in value)
    if category not in _LAST_FOUR_STAY:
        return stars
    digits = [place for place, char in enumerate(value) if char.isdigit()]
    shown = set(digits[-4:]) if len(digits) > 8 else set()
    return "".join(
        char if place in shown else star for place, (char, star) in enumerate(zip(value, stars, strict=True))
    )


def keyed_hash(category: str, value: str) -> str:
    """`<EMAIL:1a2b3c4d>`: the first 32 bits of the HMAC-SHA256 of type and value."""
    message = f"{category}\0{value}".encode("utf-8", "surrogatepass")
    return f"<{category.upper()}:{hmac.new(_key(), message, hashlib.sha256).hexdigest()[:8]}>"


def _key() -> bytes:
    return os.environ.get(KEY_VARIABLE, "").encode("utf-8", "surrogateescape") or _random_key()


@cache
def _random_key() -> bytes:
    return secrets.token_bytes(32)
