"""Repair: damage goes, what an author wrote stays, and a repaired text needs no further repair."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.repair import repair


@pytest.mark.parametrize(
    ("damaged", "meant"),
    [
        ("schÃ¶n â€” wirklich", "schön — wirklich"),
        ("qu\x92il dit\x85", "qu\u2019il dit…"),
        ("e\u0301te\u0301", "été"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("a\x00b\x08c \x1b[31mred\x1b[0m", "abc red"),
        ("half of a pair \ud83d stands alone", "half of a pair \ufffd stands alone"),
        ("trailing   \nblanks\t\nend\u00a0", "trailing\nblanks\nend"),
        ("one\n\n\n\n\n\ntwo", "one\n\n\ntwo"),
    ],
)
def test_damage_is_repaired(damaged, meant):
    assert repair(damaged) == meant


@pytest.mark.parametrize(
    "text",
    [
        "Write `&lt;b&gt;` and &amp; in “curly” and \u2018single\u2019 quotes.",
        "ﬁnd the ﬂag, \uff21\uff22, naïve café — ½ of 10 °C",
        "if (a <= b):\n    return \"x\\u00e9\"\t# 'why'",
        "Â        A\nÃ        A",
        "日本語のテキスト、中文\uff0c한국어",
        "first\n\n\nsecond",
    ],
)
def test_what_was_meant_stays(text):
    assert repair(text) == text


def test_code_keeps_its_white_space_and_composition():
    code = "print('e\u0301')   \n\n\n\n\nprint(2)\t"
    assert repair(code, verbatim=True) == code
    assert repair("# schÃ¶n  \r\n", verbatim=True) == "# schön  \n"


@given(st.text())
def test_twice_is_as_once(text):
    once = repair(text)
    assert repair(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\r" not in once
    assert "\x00" not in once
    once.encode()


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]) | st.just("\n")))
def test_plain_text_only_loses_white_space(text):
    assert repair(text).split() == text.split()
    assert repair(text, verbatim=True) == text
