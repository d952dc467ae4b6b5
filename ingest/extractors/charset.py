"""Bytes to text, for senders that name a wrong charset, or none.

Candidates in order: a byte order mark, the declared charset, the one a `<meta>` or XML declaration names, UTF-8, and
what charset-normalizer makes of a sample. The first that decodes without an error wins; else it is Windows-1252.
"""

import codecs
import re
from collections.abc import Iterator

from charset_normalizer import from_bytes

_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"))
_WIDE_MARKS = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_NAMED = re.compile(rb"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE)
_SAMPLE = 65_536
_NOT_ASCII = bytes(range(128, 256))
# A guess from fewer bytes than these is worse than taking Windows-1252: it answered Arabic for "Größe".
_ENOUGH_TO_GUESS = 40
_DEFAULTS = frozenset(("ascii", "us-ascii", "iso-8859-1", "latin-1", "latin1", "windows-1252", "cp1252"))
# What browsers do (WHATWG Encoding Standard): these labels mean the Windows superset.
_SUPERSETS = {"iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "gb2312": "gb18030", "gbk": "gb18030"}

# Control characters carry nothing to read, and neither do soft hyphens, zero-width spaces and lone surrogates. The
# file, group, record and unit separators are among them, although Python counts those as white space.
_CONTROLS = re.compile("[\\x00-\\x08\\x0b\\x0e-\\x1f\\x7f-\\x84\\x86-\\x9f\\xad\\u200b\\ufeff\\ud800-\\udfff]+")
# The same, in UTF-8: each of the rare ones begins with a byte of its own, and bytes without it are passed over quickly.
_C0 = bytes(byte for byte in range(32) if byte not in b"\t\n\f\r") + b"\x7f"
_RARE_C1 = re.compile(rb"\xc2[\x80-\x84\x86-\x9f\xad]")
_RARE_SURROGATE = re.compile(rb"\xed[\xa0-\xbf]")


def decode(body: bytes, declared: str, *, markup: bool = False) -> str:
    """The text of a body, without control characters and with plain line ends.

    Args:
        declared: the charset that the sender named, or an empty string.
        markup: look for a charset that the text itself names.
    """
    text = next(_readings(body, declared, markup=markup), None)
    if text is None:
        text = body.decode("cp1252", "replace")
    return plain(text)


def plain(text: str) -> str:
    """The text without control characters, and with plain line ends."""
    for end in ("\r\n", "\r", "\f", "\x85"):
        if end in text:
            text = text.replace(end, "\n")
    return _CONTROLS.sub("", text) if _has_controls(text) else text


def _has_controls(text: str) -> bool:
    """Most pages have none, and the pattern, which looks at every character, took a quarter of their time."""
    raw = text.encode("utf-8", "surrogatepass")
    if len(raw.translate(None, _C0)) != len(raw):
        return True
    if len(raw) == len(text):
        return False
    marks = "\u200b".encode() in raw or codecs.BOM_UTF8 in raw
    return marks or _RARE_C1.search(raw) is not None or _RARE_SURROGATE.search(raw) is not None


def _readings(body: bytes, declared: str, *, markup: bool) -> Iterator[str]:
    for name in _candidates(body, declared, markup=markup):
        try:
            codec = codecs.lookup(name).name
            text = body.decode(_SUPERSETS.get(codec, codec))
        except (LookupError, ValueError):
            continue
        # Codecs such as hex and rot13 answer to names, too, but a charset gives text.
        if isinstance(text, str):
            yield text


def _candidates(body: bytes, declared: str, *, markup: bool) -> Iterator[str]:
    yield from (name for mark, name in (*_MARKS, *_WIDE_MARKS) if body.startswith(mark))
    if declared:
        # Servers declare Latin-1 by default for pages that are UTF-8; the reverse mistake does not decode.
        if declared.lower() in _DEFAULTS:
            yield "utf-8"
        yield declared
    if markup and (named := _NAMED.search(body[:2048])):
        yield named[1].decode("ascii")
    yield "utf-8"
    sample = body[:_SAMPLE]
    if len(sample) - len(sample.translate(None, _NOT_ASCII)) >= _ENOUGH_TO_GUESS:
        best = from_bytes(sample).best()
        if best is not None:
            yield best.encoding
