"""Personal data by form: what is found, what is left alone, and that no text breaks it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.base import Context
from guards.detectors.pii_national import luhn, mod_11_10, verhoeff
from guards.detectors.pii_patterns import base58_is_valid, bech32_is_valid, find_pii, iban_is_valid, luhn_is_valid
from guards.spans import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ada.lovelace+x@mail.example.org today.", "Write to <EMAIL> today."),
        ("a@b.co,c@d.org", "<EMAIL>,<EMAIL>"),
        ("'ada@b.co'", "'<EMAIL>'"),
        ("Call +44 20 7946 0958 or (650) 253-0000.", "Call <PHONE> or <PHONE>."),
        ("+1-604-696-5272x565 is hers", "<PHONE> is hers"),
        ("Fax: 06-65334860", "Fax: <PHONE>"),
        ("you can reach me at 0393 1144137", "you can reach me at <PHONE>"),
        ("Card 4111 1111 1111 1111 expires.", "Card <CREDIT_CARD> expires."),
        ("v2.0 4111 1111 1111 1111 8x", "v2.0 <CREDIT_CARD> 8x"),
        ("4111111111111111 12/25", "<CREDIT_CARD> 12/25"),
        ("IBAN DE89 3704 0044 0532 0130 00.", "IBAN <IBAN>."),
        ("GB33BUKB20201555555555", "<IBAN>"),
        ("SSN 078-05-1120 on file", "SSN <US_SSN> on file"),
        ("my social security number is 078051120", "my social security number is <US_SSN>"),
        ("ITIN 900-70-1234", "ITIN <US_ITIN>"),
        ("from 8.8.8.8 port 53", "from <IP_ADDRESS> port 53"),
        ("2001:4860:4860::8888 answers", "<IP_ADDRESS> answers"),
        ("NHS number 943 476 5919", "NHS number <UK_NHS>"),
        ("NI AB 12 34 56 C", "NI <UK_NINO>"),
        ("Steuer-ID 86095742719", "Steuer-ID <DE_TAX_ID>"),
        ("12345678Z y X1234567L", "<ES_DNI> y <ES_NIE>"),
        ("2 55 08 14 168 025 38", "<FR_NIR>"),
        ("RSSMRA85T10A562S", "<IT_FISCAL_CODE>"),
        ("BSN 111222333", "BSN <NL_BSN>"),
        ("PESEL 44051401359", "PESEL <PL_PESEL>"),
        ("811218-9876", "<SE_PERSONNUMMER>"),
        ("131052-308T", "<FI_HETU>"),
        ("CPF 111.444.777-35", "CPF <BR_CPF>"),
        ("Aadhaar 2341 2341 2346", "Aadhaar <IN_AADHAAR>"),
        ("TFN 123 456 782", "TFN <AU_TFN>"),
        ("ABN 51 824 753 556", "ABN <AU_ABN>"),
        ("SIN 046 454 286", "SIN <CA_SIN>"),
        ("756.9217.0769.85", "<CH_AHV>"),
        ("85.07.30-033.28", "<BE_NISS>"),
        ("passport no. AB1234567", "passport no. <PASSPORT>"),
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "<CRYPTO>"),
        ("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "<CRYPTO>"),
        ("0x52908400098527886E0F7030069857D2E4169EE7", "<CRYPTO>"),
    ],
)
def test_personal_data_is_found_and_only_that(text, expected):
    assert redact(text, find_pii(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Version 15.4.2 of 2026-11-21 10:00, pages 100-200, 1,169 files",
        "Listen on 127.0.0.1 or 192.168.1.10; version v1.2.3.4",
        "See Section 24.2.2.4 and version 9.1.2.3",
        "\n    36.7.2.3.\u00a0Passing values\n  36.4.4.3.1. Arrays",
        "4111 1111 1111 1112 fails the checksum",
        "1499414498 67879 4 and 26 00 00 00 00 00 00 00",
        "commit 1234567890 and oid 16384-2048-77",
        "SELECT pg_size_pretty(123456789012);",
        "not@an-address and @handle",
        "000-12-3456 is no number that is ever given out",
        "9434765918 and the NHS",
        "111222333 without a word that says what it is",
        "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb",
        "12:34:56:00:00:00:00:00, ::1, fe80::1, foo::bar, 10:00:00",
        "sha256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "call it at 10:00 on 2026-11-21, or 100-200 times",
    ],
)
def test_figures_of_manuals_are_left_alone(text):
    assert find_pii(text) == ()


@pytest.mark.parametrize(
    ("check", "valid", "wrong"),
    [
        (luhn_is_valid, "79927398713", "79927398710"),
        (luhn_is_valid, "4111-1111-1111-1111", "0000 0000"),
        (luhn, "046454286", "046454287"),
        (verhoeff, "2363", "2364"),
        (mod_11_10, "86095742719", "86095742718"),
        (iban_is_valid, "GB82 WEST 1234 5698 7654 32", "GB83 WEST 1234 5698 7654 32"),
        (base58_is_valid, "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLz"),
        (bech32_is_valid, "bc1p5cyxnuxmeuwuvkwfem96lqzszd02n6xdcjrs20cac6yqjjwudpxqkedrcr", "bc1qqqqqqqqqqqqqqqqqq"),
    ],
)
def test_checksums(check, valid, wrong):
    assert check(valid)
    assert not check(wrong)


@given(st.text(max_size=300) | st.text("0123456789 ()+-./ABXZ@:x", max_size=120))
def test_spans_are_in_order_and_inside_the_text(text):
    position = 0
    for span in find_pii(text):
        assert position <= span.start < span.end <= len(text)
        position = span.end


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40), st.text("\u0301 \u05d0\u200f\x00é", max_size=20))
def test_offsets_refer_to_the_original(before, after):
    text = f"{before} ada@mail.org {after}"
    found = [text[span.start : span.end] for span in find_pii(text) if span.category == "email"]
    assert "ada@mail.org" in found


BAIT = [
    "a" * 50_000 + "@",
    "@" * 20_000,
    "1 " * 50_000,
    "A" * 50_000,
    "1-" * 30_000,
    "a.b" * 20_000 + "@x",
    "A1" * 30_000,
    "+(" * 30_000 + "1",
    ":" * 50_000,
    "a:" * 30_000,
    "1" * 50_000,
    "3" + "z" * 50_000,
    "call 1" + " (1)" * 20_000,
]


@pytest.mark.parametrize("bait", BAIT, ids=lambda bait: bait[:3])
def test_bait_for_backtracking_is_answered(bait):
    assert isinstance(find_pii(bait), tuple)


def test_a_text_past_its_deadline_is_given_up():
    with pytest.raises(TimeoutError):
        find_pii("ada@example.org", Context(deadline=0.0))
