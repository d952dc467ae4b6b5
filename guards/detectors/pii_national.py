"""National identity, tax and health numbers: what they look like, and the checksum that tells them from other figures.

In: a run of digits, or a word of letters and digits. Out: the names of the numbers that it can be. The formats and
checksums are public: the authorities' own descriptions, and the literature on check digits (Luhn 1960, Verhoeff 1969,
ISO 7064).

Known limits: a checksum of one digit lets one number of ten pass by chance, so `Kind.words` says which words must stand
near a number that is nothing but digits.
"""

import calendar
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Kind(NamedTuple):
    """One national number.

    Attributes:
        name: category of its spans.
        pattern: of the whole number, blanks, dots and dashes included.
        valid: whether the checksum holds, given the number without those.
        words: what stands near such a number, in lower case.
        alone: the number is so particular that it needs no such word.
    """

    name: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool]
    words: tuple[str, ...]
    alone: bool = False


def luhn(number: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (int(char) * (1 + place % 2) for place, char in enumerate(reversed(number)))
    return sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def weighted(number: str, weights: Sequence[int], modulus: int) -> int:
    """The weighted sum of the digits, modulo `modulus`; weights beyond the number are ignored, and the reverse."""
    return sum(int(char) * weight for char, weight in zip(number, weights, strict=False)) % modulus


def verhoeff(number: str) -> bool:
    """Verhoeff's check over the dihedral group of the pentagon."""
    state = 0
    for place, char in enumerate(reversed(number)):
        state = _dihedral(state, _permuted(int(char), place))
    return state == 0


def _dihedral(left: int, right: int) -> int:
    if left < 5:
        return (left + right) % 5 if right < 5 else 5 + (left + right - 5) % 5
    return 5 + (left - 5 - right) % 5 if right < 5 else (left - right) % 5


def _permuted(digit: int, times: int) -> int:
    for _ in range(times % 8):
        digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
    return digit


def mod_11_10(number: str) -> bool:
    """ISO 7064, hybrid system MOD 11,10."""
    product = 10
    for char in number[:-1]:
        product = 2 * ((product + int(char)) % 10 or 10) % 11
    return (11 - product) % 10 == int(number[-1])


def is_day(year: str, month: str, day: str) -> bool:
    """Whether there is such a day in a year of two or four digits."""
    if not 1 <= int(month) <= 12:
        return False
    # The century of a two-digit year is open, so 29 February passes in any.
    last = 29 if int(month) == 2 else calendar.monthrange(2000 + int(year) % 100, int(month))[1]
    return 1 <= int(day) <= last


def _steuer_id(number: str) -> bool:
    counts = sorted(number[:10].count(char) for char in set(number[:10]))
    return number[0] != "0" and counts[-1] in (2, 3) and mod_11_10(number)


def _dni(number: str) -> bool:
    first = {"X": "0", "Y": "1", "Z": "2"}.get(number[0], number[0])
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(first + number[1:8]) % 23] == number[8]


def _nir(number: str) -> bool:
    # Corsica's departments count as 19 and 18.
    digits = number.replace("2A", "19", 1).replace("2B", "18", 1)
    return digits.isdigit() and 97 - int(digits[:13]) % 97 == int(digits[13:])


_ODD = dict(
    zip(
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21) * 2 + (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
        strict=True,
    )
)


def _codice_fiscale(number: str) -> bool:
    even = sum(int(char) if char.isdigit() else ord(char) - 65 for char in number[1:15:2])
    return (even + sum(_ODD[char] for char in number[0:15:2])) % 26 == ord(number[15]) - 65


def _cpf(number: str) -> bool:
    first = weighted(number[:9], range(10, 1, -1), 11)
    second = weighted(number[:10], range(11, 1, -1), 11)
    return len(set(number)) > 1 and [(11 - rest) % 11 % 10 for rest in (first, second)] == [
        int(char) for char in number[9:]
    ]


def _nhs(number: str) -> bool:
    return len(set(number)) > 1 and weighted(number, range(10, 0, -1), 11) == 0


def _bsn(number: str) -> bool:
    return int(number) > 0 and weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1), 11) == 0


def _pesel(number: str) -> bool:
    # The month carries the century in its tens: 20 for 2000, 80 for 1800.
    day = is_day(number[:2], str(int(number[2:4]) % 20), number[4:6])
    return day and weighted(number, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1), 10) == 0


def _personnummer(number: str) -> bool:
    short = number[-10:]
    # A coordination number adds 60 to the day.
    return is_day(short[:2], short[2:4], str(int(short[4:6]) % 60)) and luhn(short)


def _hetu(number: str) -> bool:
    day = is_day(number[4:6], number[2:4], number[:2])
    return day and "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(number[:6] + number[-4:-1]) % 31] == number[-1]


def _abn(number: str) -> bool:
    return (
        weighted(str(int(number[0]) - 1).zfill(1) + number[1:], (10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19), 89) == 0
        if number[0] != "0"
        else False
    )


def _tfn(number: str) -> bool:
    return int(number) > 0 and weighted(number, (1, 4, 3, 7, 5, 8, 6, 9, 10), 11) == 0


def _nif(number: str) -> bool:
    rest = weighted(number[:8], range(9, 1, -1), 11)
    return int(number[8]) == (0 if rest < 2 else 11 - rest)


def _tckn(number: str) -> bool:
    digits = [int(char) for char in number]
    tenth = (7 * sum(digits[0:9:2]) - sum(digits[1:8:2])) % 10
    return digits[0] > 0 and tenth == digits[9] and sum(digits[:10]) % 10 == digits[10]


def _niss(number: str) -> bool:
    first, check = number[:9], int(number[9:])
    return check in (97 - int(first) % 97, 97 - int("2" + first) % 97)


def _ahv(number: str) -> bool:
    return weighted(number, (1, 3) * 6 + (1,), 10) == 0


def _ssn(number: str) -> bool:
    return number[:3] not in ("000", "666") and number[0] != "9" and number[3:5] != "00" and number[5:] != "0000"


def _fodselsnummer(number: str) -> bool:
    checks = ((3, 7, 6, 1, 8, 9, 4, 5, 2, 1), (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1))
    return is_day(number[4:6], number[2:4], str(int(number[:2]) % 40)) and not any(
        weighted(number, weights, 11) for weights in checks
    )


def _za_id(number: str) -> bool:
    return is_day(number[:2], number[2:4], number[4:6]) and luhn(number)


def _cpr(number: str) -> bool:
    # The checksum was given up in 2007; the date stays.
    return is_day(number[4:6], number[2:4], number[:2])


def _any(number: str) -> bool:
    return any(char.isdigit() for char in number)


def _kind(name: str, pattern: str, valid: Callable[[str], bool], words: str, *, alone: bool = False) -> Kind:
    return Kind(name, re.compile(pattern), valid, tuple(words.split(",")), alone)


_TAX = "tax,steuer,tin,tfn,fiscal"
# Made of digits and separators alone.
DIGITS = (
    _kind("us_ssn", r"\d{3}-\d{2}-\d{4}", _ssn, "ssn,social security", alone=True),
    _kind("us_ssn", r"\d{3}[ .]?\d{2}[ .]?\d{4}", _ssn, "ssn,social security"),
    _kind("us_itin", r"9\d{2}-(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])-\d{4}", _any, "itin,taxpayer", alone=True),
    _kind("br_cpf", r"\d{3}\.\d{3}\.\d{3}-\d{2}", _cpf, "cpf", alone=True),
    _kind("br_cpf", r"\d{11}", _cpf, "cpf"),
    _kind("ch_ahv", r"756\.\d{4}\.\d{4}\.\d{2}", _ahv, "ahv,avs", alone=True),
    _kind("ch_ahv", r"756\d{10}", _ahv, "ahv,avs"),
    _kind("be_niss", r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}", _niss, "niss,national register", alone=True),
    _kind("be_niss", r"\d{11}", _niss, "niss,rijksregister,registre national,national register"),
    _kind("se_personnummer", r"(?:19|20)?\d{6}[-+]\d{4}", _personnummer, "personnummer,personal identity", alone=True),
    _kind("se_personnummer", r"(?:19|20)?\d{10}", _personnummer, "personnummer,personal identity"),
    _kind(
        "fr_nir",
        r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d{2} ?\d{3} ?\d{3} ?\d{2}",
        _nir,
        "nir,sécu,secu",
        alone=True,
    ),
    _kind("in_aadhaar", r"[2-9]\d{3}([ -]?)\d{4}\1\d{4}", verhoeff, "aadhaar,aadhar,uidai,uid"),
    _kind("de_tax_id", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", _steuer_id, f"{_TAX},idnr"),
    _kind("pl_pesel", r"\d{11}", _pesel, "pesel"),
    _kind("no_fodselsnummer", r"\d{6} ?\d{5}", _fodselsnummer, "fødselsnummer,fodselsnummer,national identity"),
    _kind("tr_tckn", r"\d{11}", _tckn, "tc kimlik,tckn,kimlik"),
    _kind("au_abn", r"\d{2} ?\d{3} ?\d{3} ?\d{3}", _abn, "abn,business number"),
    _kind("au_tfn", r"\d{3} ?\d{3} ?\d{3}", _tfn, "tfn,tax file"),
    _kind("ca_sin", r"\d{3}([ -]?)\d{3}\1\d{3}", luhn, "sin,social insurance"),
    _kind("nl_bsn", r"\d{4}\.?\d{2}\.?\d{3}", _bsn, "bsn,burgerservice,sofi"),
    _kind("pt_nif", r"\d{3} ?\d{3} ?\d{3}", _nif, "nif,contribuinte"),
    _kind("uk_nhs", r"\d{3}([ -]?)\d{3}\1\d{4}", _nhs, "nhs,national health"),
    _kind("dk_cpr", r"\d{6}-?\d{4}", _cpr, "cpr,personnummer"),
    _kind("za_id", r"\d{13}", _za_id, "south african id,id number,identity number"),
)
# With letters.
LETTERS = (
    _kind(
        "it_fiscal_code",
        r"[A-Z]{6}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z]",
        _codice_fiscale,
        "codice fiscale",
        alone=True,
    ),
    _kind("es_dni", r"\d{8}-?[A-Z]", _dni, "dni,nif", alone=True),
    _kind("es_nie", r"[XYZ]-?\d{7}-?[A-Z]", _dni, "nie", alone=True),
    _kind(
        "uk_nino",
        r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]",
        _any,
        "national insurance,nino",
        alone=True,
    ),
    _kind("fi_hetu", r"\d{6}[-+A-FU-Y]\d{3}[0-9A-FHJ-NPR-Y]", _hetu, "hetu,henkilötunnus", alone=True),
    _kind("fr_nir", r"[12]\d{4}2[AB]\d{8}", _nir, "nir", alone=True),
    _kind("in_pan", r"[A-Z]{3}[ABCFGHLJPT][A-Z]\d{4}[A-Z]", _any, "pan,permanent account,income tax"),
    _kind("driver_license", r"[A-Z]{1,3}[ -]?\d{5,14}", _any, "driver,driving,licence,license"),
    _kind("passport", r"[A-Z]{1,2}\d{6,8}", _any, "passport"),
)
_SEPARATORS = str.maketrans("", "", " .-+")


def kinds(value: str, candidates: Sequence[Kind]) -> list[Kind]:
    """Which of the candidates the value can be, by form and checksum."""
    plain = value.translate(_SEPARATORS)
    return [kind for kind in candidates if kind.pattern.fullmatch(value) and kind.valid(plain)]
