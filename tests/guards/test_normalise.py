"""Folding undoes what hides words, leaves ordinary text alone, and every offset leads back into the original."""

# ruff: noqa: RUF001  look-alike letters are what this is about

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.normalise import Folded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I h4te w0men", "I hate women"),
        ("sh!t, a$$ and @ss", "shit, ass and ass"),
        ("I h a t e you", "I hate you"),
        ("go f.u.c.k yourself", "go fuck yourself"),
        ("i-d-i-o-t", "idiot"),
        ("fuuuuuck", "fuck"),
        ("f**k, s**t and f*cking", "fuck, shit and fucking"),
        ("ｆｕｃｋ", "fuck"),
        ("ѕtuріd", "stupid"),
        ("f\u200bu\u200dc\u00adk", "fuck"),
        ("h\u0337a\u0338te", "hate"),
        ("𝓱𝓪𝓽𝓮 ⓘⓓⓘⓞⓣ", "hate idiot"),
        ("🅸🅳🅸🅾🆃", "IDIOT"),
        ("&#104;ate &amp; more", "hate & more"),
    ],
)
def test_hidden_words_come_out(text, expected):
    folded = Folded(text)
    assert folded.text == expected
    assert folded.changed


@pytest.mark.parametrize(
    "text",
    [
        "VACUUM FULL rewrites the entire table; see section 25.1.",
        "utf8 sha256sum mp3 k8s x86 h264 python3 2024-10-23 16384",
        "a**b and **bold** cost $5, 100% of it!",
        "Привет, мир",
        "这是一个测试",
        "",
    ],
)
def test_ordinary_text_stays(text):
    folded = Folded(text)
    assert folded.text == text
    assert not folded.changed


def test_a_part_of_the_folded_text_is_found_in_the_original():
    text = "You are an i d i o t, ｒｅａｌｌｙ."
    folded = Folded(text)
    start = folded.text.index("idiot")
    assert text[slice(*folded.original(start, start + 5))] == "i d i o t"
    start = folded.text.index("really")
    assert text[slice(*folded.original(start, start + 6))] == "ｒｅａｌｌｙ"


TRICKY = st.text(alphabet=st.sampled_from("aAsiIhte 04$@!*.-_&;#x3\u200b\u0337ѕаｆ🅵ß\ud800\x00م\n"), max_size=60)


@given(st.one_of(st.text(max_size=80), TRICKY), st.data())
def test_offsets_lead_into_the_original_and_keep_their_order(text, data):
    folded = Folded(text)
    start = data.draw(st.integers(0, len(folded.text)))
    end = data.draw(st.integers(start, len(folded.text)))
    first, last = folded.original(start, end)
    assert 0 <= first <= last <= len(text)
    if end > start:
        assert first < last
    if end < len(folded.text):
        assert folded.original(end, end + 1)[1] >= last
    if start > 0:
        assert folded.original(start - 1, start)[0] <= first


@given(st.one_of(st.text(max_size=80), TRICKY))
def test_all_of_the_original_lies_between_the_first_and_the_last_offset_but_what_was_removed(text):
    folded = Folded(text)
    if folded.text == text:
        assert folded.original(0, len(text)) == (0, len(text))


BAIT = ["a " * 30_000, "a.a" * 20_000, "h4" * 30_000, "f*" * 30_000, "&#" * 30_000, "a" * 100_000, "é\u0301" * 30_000]


@pytest.mark.parametrize("bait", BAIT, ids=lambda bait: bait[:4])
def test_bait_for_backtracking_is_answered(bait):
    assert len(Folded(bait).text) <= len(bait)
