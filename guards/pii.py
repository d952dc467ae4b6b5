"""Personal data found by pattern: e-mail addresses, phone numbers, cards, IBANs, US social security numbers, IPs.

Text in, spans out. What has a checksum is checked (Luhn for cards, ISO 7064 mod 97 for IBANs), and phone numbers are
parsed by the phonenumbers library, so that version numbers and dates stay.

Known limits: names and street addresses are not found; that needs a model. National phone numbers are only recognised
in US form; others need their +country code.
"""

import ipaddress
import re
from collections.abc import Iterator

import phonenumbers

from guards.base import Action, Span, Verdict

VERSION = "1"

# Every pattern is linear: quantifiers are bounded or act on disjoint character classes.
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}\b")
CARD = re.compile(r"(?<![\d.-])\d(?:[ -]?\d){12,18}(?![\d-])")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
SSN = re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])")
IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])")
ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


class PiiGuard:
    """Finds personal data; allows, or answers with `action` and the spans.

    Args:
        action: `Action.REDACT` or `Action.BLOCK`.
    """

    name = "pii"

    def __init__(self, action: Action = Action.REDACT) -> None:
        self._action = action

    def check(self, text: str) -> Verdict:
        spans = find_pii(text)
        kinds = sorted({span.category.replace("_", " ") for span in spans})
        return Verdict(
            action=self._action if spans else Action.ALLOW,
            category="pii",
            score=float(len(spans)),
            threshold=1.0,
            reason=f"It contains personal data ({', '.join(kinds)})." if spans else "No personal data found.",
            detector="pii-patterns",
            version=VERSION,
            spans=spans,
        )


def find_pii(text: str) -> tuple[Span, ...]:
    """Spans of personal data in order; where two overlap, the one that starts first, then the longer, stays."""
    found = sorted(_candidates(text), key=lambda span: (span.start, -span.end))
    kept: list[Span] = []
    for span in found:
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return tuple(kept)


def _candidates(text: str) -> Iterator[Span]:
    yield from (Span(*match.span(), "email") for match in EMAIL.finditer(text))
    yield from (Span(*match.span(), "us_ssn") for match in SSN.finditer(text))
    yield from (Span(*match.span(), "iban") for match in IBAN.finditer(text) if _iban_is_valid(match.group()))
    yield from (Span(*match.span(), "credit_card") for match in CARD.finditer(text) if luhn_is_valid(match.group()))
    yield from (Span(*match.span(), "ip_address") for match in IPV4.finditer(text) if _is_public_ip(match.group()))
    for match in phonenumbers.PhoneNumberMatcher(text, "US", leniency=phonenumbers.Leniency.STRICT_GROUPING):
        # Ten bare digits are more often an identifier than a phone number, and the library reads dates as numbers.
        if not match.raw_string.isdigit() and not ISO_DATE.search(match.raw_string):
            yield Span(match.start, match.end, "phone")


def luhn_is_valid(number: str) -> bool:
    """The checksum of payment cards (ISO/IEC 7812-1, annex B); spaces and dashes are ignored."""
    digits = [int(char) for char in number if char.isdigit()]
    if len(set(digits)) == 1:
        return False
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def _iban_is_valid(text: str) -> bool:
    """ISO 13616: mod 97 of the rearranged number is 1."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


def _is_public_ip(text: str) -> bool:
    # 127.0.0.1 and 192.168.0.1 identify nobody, and manuals are full of them.
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
