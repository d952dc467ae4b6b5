"""Personal data found by form alone: e-mail, phone, payment card, IBAN, crypto address, IP, national numbers.

Text in, spans out, at some ten megabytes a second: one pass stops at every run of digits, one at capitals followed by
digits, and what is rarer is looked for by a character that it must hold. What has a checksum is checked. A number that
could be anything counts only near a word that says what it is (`pii_context`); version numbers, dates, page ranges and
the addresses of private networks stay.

Known limits: names, places and streets need a model (`pii`, mode `full`). A phone number without its +country code is
found in US form, and elsewhere near a word such as `call`.
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import phonenumbers

from guards.base import NO_CONTEXT, Context, Span
from guards.detectors.pii_context import PHONE_WORDS, stands_near
from guards.detectors.pii_national import DIGITS, LETTERS, Kind, kinds, luhn

VERSION = "2"
# Below it, a find is one of several things that the number could be.
SURE, LIKELY, THRESHOLD = 1.0, 0.75, 0.5

# Every pattern is linear: quantifiers are bounded or act on disjoint character classes. Those that are run over the
# whole text begin with a character class, so that the search skips to it.
_NUMBER = re.compile(r"\d(?:[ ().\-/]{0,3}\d){6,}(?:-?[A-Z]\b)?|\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}")
_BLANKS = re.compile(" {1,3}")
# Characters of a run of figures that is tried as a whole, of a number among others, and groups that one may have.
LONGEST_RUN, LONGEST_NUMBER, MOST_GROUPS = 64, 26, 8
_LETTERED = re.compile(r"[A-Z]{1,6}[ -]?\d[A-Z0-9](?:[ -]?[A-Z0-9]){4,32}(?![a-z0-9])")
_IPV4 = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}")
_IPV6_MIDDLE = re.compile(r":[0-9A-Fa-f]{0,4}:")
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])")
_LONG_GROUP = re.compile(r"[0-9A-Fa-f]{3,4}")
_AT = re.compile("@")
_MAILBOX = re.compile(r"(?<![\w.+%'-])[\w.+%'-]{1,64}\Z")
_DOMAIN = re.compile(r"(?:[\w-]{1,63}\.){1,8}[a-zA-Z]{2,24}\b")
_BASE58 = re.compile(r"[13][1-9A-HJ-NP-Za-km-z]{25,34}(?![A-Za-z0-9])")
_BECH32 = re.compile(r"\b(?:bc1|tb1)[02-9ac-hj-np-z]{11,71}\b")
_ETHER = re.compile(r"\b0x[0-9a-fA-F]{40}\b")
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
# The first digits that card networks use; grouped as on the card, or not at all.
_CARD = re.compile(r"(?:[3-6]|2[2-7]|1800|2131)\d*|[2-6]\d{3}([ -])(?:\d{4}\1\d{4}\1\d{1,7}|\d{6}\1\d{4,5})")
# Numbers of sections and versions look like addresses.
_SECTION = re.compile(
    r"(?:\b(?:section|chapter|version|release|appendix|table|figure|example)s?|§)\s{0,3}\Z", re.IGNORECASE
)
_HEADING = re.compile(r"\.?(?:[ \t]{1,4}[A-Z]|\u00a0)")
_US_PHONE = re.compile(r"(?:1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}")
_EXTENSION = re.compile(r" ?(?:x|ext\.?) ?\d{1,6}\b")
_LOCAL_PHONE = re.compile(
    r"(?:\(?0\d{0,4}\)?|\(\d{2,4}\)|\d{2,5})(?:[ ./-]{1,2}\(?\d{2,8}\)?){1,5}|0\d{7,11}|[1-9]\d{9}"
)
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}")
_RANGE = re.compile(r"\d{1,4}-\d{1,4}|\d{1,12}\.\d{1,12}")


class Find(NamedTuple):
    """A candidate: its place, what it is, and how sure that is, 0 to 1."""

    start: int
    end: int
    category: str
    score: float


def find_pii(text: str, context: Context = NO_CONTEXT) -> tuple[Span, ...]:
    """Spans of personal data in order; where two overlap, the surer, then the longer, stays.

    Raises:
        TimeoutError: the context's deadline has passed.
    """
    finds = chosen(candidates(text, context), THRESHOLD)
    return tuple(Span(find.start, find.end, find.category) for find in finds)


def chosen(found: Iterable[Find], threshold: float) -> list[Find]:
    """The finds from the threshold on, in order, without overlaps: of two, the surer, then the longer, stays."""
    kept: list[Find] = []
    for find in sorted(found, key=lambda find: (find.start, -find.score, -find.end)):
        if find.score < threshold:
            continue
        while (
            kept
            and find.start < kept[-1].end
            and (find.score, find.end - find.start)
            > (
                kept[-1].score,
                kept[-1].end - kept[-1].start,
            )
        ):
            kept.pop()
        if not kept or find.start >= kept[-1].end:
            kept.append(find)
    return kept


def candidates(text: str, context: Context = NO_CONTEXT) -> Iterator[Find]:
    """Everything that may be personal data, overlaps included."""
    for step in (_emails, _numbers, _lettered, _crypto, _ipv6):
        context.check_deadline()
        yield from step(text, context)


def _timed(matches: Iterable[re.Match[str]], context: Context) -> Iterator[re.Match[str]]:
    """The matches, with a look at the clock now and then."""
    for count, match in enumerate(matches):
        if count % 256 == 255:
            context.check_deadline()
        yield match


def _emails(text: str, context: Context) -> Iterator[Find]:
    for match in _timed(_AT.finditer(text), context):
        at = match.start()
        box = _MAILBOX.search(text, max(0, at - 65), at)
        domain = _DOMAIN.match(text, at + 1)
        if box and domain:
            # A quotation mark or a full stop before the address is not its own.
            start = box.end() - len(box.group().lstrip(".'%-"))
            if start < at:
                yield Find(start, domain.end(), "email", SURE)


def _numbers(text: str, context: Context) -> Iterator[Find]:
    for match in _timed(_NUMBER.finditer(text), context):
        start, end = match.span()
        before = text[start - 1] if start else " "
        # What is glued to a word is part of it (v2.0); what follows after a blank is not.
        if before.isalnum() or before == "_" or (before in ".,-" and start > 1 and text[start - 2].isalnum()):
            start = text.find(" ", start, end) + 1 or end
        if end < len(text) and (text[end].isalpha() or text[end] == "_") and not _EXTENSION.match(text, end):
            end = max(text.rfind(" ", start, end), start)
        if (figures := text[start:end].strip()) and figures[0].isdigit():
            start = text.index(figures, start)
            yield from _number(text, start, start + len(figures))


def _number(text: str, start: int, end: int) -> Iterator[Find]:
    """What the figures are as a whole or, where that is nothing, what those between blanks are, the longest first."""
    whole = list(_meanings(text, start, end)) if end - start <= LONGEST_RUN else []
    if whole or end - start < 12:
        yield from whole
        return
    blanks = [match.span() for match in _BLANKS.finditer(text, start, end)]
    firsts, stops = [start, *(after for _, after in blanks)], [*(before for before, _ in blanks), end]
    group = 0
    while group < len(firsts):
        last = group
        for other in range(min(group + MOST_GROUPS, len(stops)) - 1, group - 1, -1):
            fits = 7 <= stops[other] - firsts[group] <= LONGEST_NUMBER
            if fits and (parts := list(_meanings(text, firsts[group], stops[other]))):
                yield from parts
                last = other
                break
        group = last + 1


def _meanings(text: str, start: int, end: int) -> Iterator[Find]:
    """What text[start:end], figures with separators, can be."""
    value = text[start:end]
    if _IPV4.fullmatch(value):
        if _is_public_ip(value) and not _is_section(text, start, end):
            yield Find(start, end, "ip_address", SURE)
        return
    count = sum(map(str.isdigit, value))
    if value[-1].isalpha():
        yield from _named(text, start, end, LETTERS)
        return
    if count >= 12 and _CARD.fullmatch(value) and luhn_is_valid(value):
        yield Find(start, end, "credit_card", SURE)
    if count <= 15:
        if count >= 9:
            yield from _named(text, start, end, DIGITS)
        yield from _phone(text, start, end, value, count)


def _named(text: str, start: int, end: int, known: tuple[Kind, ...]) -> Iterator[Find]:
    for kind in kinds(text[start:end], known):
        if stands_near(text, start, end, kind.words):
            yield Find(start, end, kind.name, SURE)
        elif kind.alone:
            yield Find(start, end, kind.name, 0.8)


def _phone(text: str, start: int, end: int, value: str, count: int) -> Iterator[Find]:
    if _DATE.match(value) or _RANGE.fullmatch(value):
        return
    opening = start - 1 if start and text[start - 1] == "(" and ")" in value else start
    plus = opening - 1 if opening and text[opening - 1] == "+" else opening
    extension = _EXTENSION.match(text, end)
    stop = extension.end() if extension else end
    if plus < opening or value.startswith("00"):
        if count >= 8 and _is_phone("+" + text[opening:end].removeprefix("00"), None):
            yield Find(plus, stop, "phone", LIKELY)
    elif _US_PHONE.fullmatch(text, opening, end) and _is_phone(value, "US"):
        yield Find(opening, stop, "phone", LIKELY)
    elif _LOCAL_PHONE.fullmatch(text, opening, end) and stands_near(text, start, end, PHONE_WORDS):
        yield Find(opening, stop, "phone", LIKELY if count > 7 else 0.6)


def _is_phone(value: str, region: str | None) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _lettered(text: str, context: Context) -> Iterator[Find]:
    for match in _timed(_LETTERED.finditer(text), context):
        start, end = match.span()
        if start and (text[start - 1].isalnum() or text[start - 1] == "_"):
            continue
        iban = _IBAN.match(text, start)
        if iban and iban_is_valid(iban.group()):
            yield Find(*iban.span(), "iban", SURE)
        else:
            yield from _named(text, start, end, LETTERS)


def _crypto(text: str, context: Context) -> Iterator[Find]:
    for match in _timed(_BASE58.finditer(text), context):
        start = match.start()
        if not (start and text[start - 1].isalnum()) and base58_is_valid(match.group()):
            yield Find(*match.span(), "crypto", SURE)
    if "bc1" in text or "tb1" in text:
        found = _BECH32.finditer(text)
        yield from (Find(*match.span(), "crypto", SURE) for match in found if bech32_is_valid(match.group()))
    if "0x" in text:
        yield from (Find(*match.span(), "crypto", SURE) for match in _ETHER.finditer(text))


def _ipv6(text: str, context: Context) -> Iterator[Find]:
    done = 0
    for match in _timed(_IPV6_MIDDLE.finditer(text), context):
        if match.start() < done:
            continue
        found = _IPV6.search(text, max(done, match.start() - 36), match.end() + 40)
        if found:
            done = found.end()
            # Eight groups of two are a hardware address.
            if _LONG_GROUP.search(found.group()) and _is_public_ip(found.group()):
                yield Find(*found.span(), "ip_address", SURE)


def _is_section(text: str, start: int, end: int) -> bool:
    """Whether what looks like an address follows a word such as `section`, or begins a heading."""
    line = text[max(0, start - 40) : start].rpartition("\n")[2]
    more = text[end : end + 1] == "." and text[end + 1 : end + 2].isdigit()
    return more or bool(_SECTION.search(line) or (not line.strip() and start > 0 and _HEADING.match(text, end)))


def luhn_is_valid(number: str) -> bool:
    """The checksum of payment cards (ISO/IEC 7812-1, annex B); spaces and dashes are ignored."""
    digits = "".join(char for char in number if char.isdigit())
    return len(set(digits)) > 1 and luhn(digits)


def iban_is_valid(text: str) -> bool:
    """ISO 13616: mod 97 of the rearranged number is 1."""
    compact = text.replace(" ", "")
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in compact[4:] + compact[:4])) % 97 == 1


_BASE58_DIGITS = {
    char: place for place, char in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
}
_BECH32_DIGITS = {char: place for place, char in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}


def base58_is_valid(address: str) -> bool:
    """Base58Check of Bitcoin: 21 bytes and the first four of their double SHA-256."""
    number = 0
    for char in address:
        number = number * 58 + _BASE58_DIGITS[char]
    if number >= 1 << 200:
        return False
    raw = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(raw[:21]).digest()).digest()[:4] == raw[21:]


def bech32_is_valid(address: str) -> bool:
    """The BCH code of BIP 173, or its variant of BIP 350."""
    prefix, data = address[:2], address[3:]
    symbols = [ord(char) >> 5 for char in prefix] + [0] + [ord(char) & 31 for char in prefix]
    check = 1
    for symbol in [*symbols, *(_BECH32_DIGITS[char] for char in data)]:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ symbol
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check in (1, 0x2BC830A3)


def _is_public_ip(text: str) -> bool:
    # 127.0.0.1 and 192.168.0.1 identify nobody, and manuals are full of them.
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False
