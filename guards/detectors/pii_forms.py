"""Personal data of looser form, looked for beside the model: web addresses, handles, births, ages, forms of address,
US streets and post boxes.

Text in, `Find`s out. They would be too frequent in documentation to be looked for by themselves: a manual is full of
links and dates, so the mode `patterns` leaves them out.

Known limits: English words; streets in US order.
"""

import ipaddress
import re
from collections.abc import Iterator

from guards.detectors.pii_context import BIRTH_WORDS, HANDLE_WORDS, stands_near
from guards.detectors.pii_patterns import SURE, Find

URL = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"'`|\\^{}\x00-\x1f]{3,2000}", re.IGNORECASE)
_HANDLE = re.compile(r"(?<![\w@./])@[A-Za-z_][\w.]{1,29}\b")
_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.?"
_DAY = re.compile(
    r"\b(?:\d{4}-\d{1,2}-\d{1,2}|\d{1,2}[/.-]\d{1,2}[/.-](?:\d{4}|\d{2})|"
    rf"(?:\d{{1,2}}(?:st|nd|rd|th)? )?{_MONTH} (?:\d{{1,2}}(?:st|nd|rd|th)?,? )?\d{{4}})\b"
)
_AGE = re.compile(
    r"\b\d{1,3}(?=[ -]years?[ -]old\b|[ -]y/?o\b)|(?<=\baged )\d{1,3}\b|(?<=\bAge: )\d{1,3}\b", re.IGNORECASE
)
_HONORIFIC = re.compile(
    r"\b(?:(?:Mr|Mrs|Ms|Mx|Dr|Prof)\.?|Miss|Madam|Sir|Herr|Frau|Señora?|Madame|Monsieur)(?= [A-Z\u00c0-\u00de])"
)
_WAY = (
    "Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Highway|Hwy"
    "|Parkway|Pkwy|Way|Circle"
)
_STREET = re.compile(
    rf"\b\d{{1,6}}[A-Za-z]? (?:[NSEW]\.? )?(?:[A-Z][\w'-]{{1,24}} ){{1,4}}(?:{_WAY})\b\.?"
    r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Floor|#)\.? ?\w{1,6})?"
)
_BOX = re.compile(r"\bP\.? ?O\.? ?Box \d{1,7}\b|\bPSC \d{1,5}, Box \d{1,5}|\b[ADF]PO A[AEP] \d{5}\b", re.IGNORECASE)
# Reserved for examples (RFC 2606) or the reader's own machine.
_NOBODY = re.compile(
    r"(?:[\w-]{1,63}\.){0,8}(?:localhost|example\.(?:com|org|net)|[\w-]{1,63}\.(?:example|test|invalid|local))"
)
_SCHEME = re.compile(r"\w{3,5}://")


def loose(text: str) -> Iterator[Find]:
    """Finds in no particular order."""
    for match in URL.finditer(text):
        end = match.start() + len(match.group().rstrip(".,;:!?)]'*"))
        if not _is_nobody(host(text[match.start() : end])):
            yield Find(match.start(), end, "url", SURE)
    yield from _near(text, _HANDLE, "handle", HANDLE_WORDS)
    yield from _near(text, _DAY, "date_of_birth", BIRTH_WORDS)
    for pattern, category in ((_AGE, "age"), (_HONORIFIC, "title"), (_STREET, "address"), (_BOX, "address")):
        yield from (Find(*match.span(), category, 0.7) for match in pattern.finditer(text))


def _near(text: str, pattern: re.Pattern[str], category: str, words: tuple[str, ...]) -> Iterator[Find]:
    for match in pattern.finditer(text):
        if stands_near(text, *match.span(), words):
            yield Find(*match.span(), category, 0.9)


def _is_nobody(name: str) -> bool:
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return bool(_NOBODY.fullmatch(name))


def host(url: str) -> str:
    """The host of a web address or of an e-mail address, in lower case."""
    rest = _SCHEME.sub("", url, count=1).rpartition("@")[2]
    return re.split(r"[/:?#]", rest, maxsplit=1)[0].lower()
