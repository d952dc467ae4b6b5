"""The rules of C4 and FineWeb, the language rule and the shares of letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.filters.c4 import C4
from ingest.filters.fineweb import FineWeb
from ingest.filters.language import Language
from ingest.filters.text import Text
from tests.ingest.samples import document

FIVE = "The pump is here.\nIt moves much water.\nWho made it?\nNobody knows that!\nWe use it daily."
GERMAN = "Die Pumpe bewegt Wasser vom Fluss auf die Felder, und niemand weiß mehr, wer sie vor langer Zeit gebaut hat. "


def judged(rule, text):
    verdict = rule(Text(document("u", "T", (0, "", text))))
    return verdict.allowed, verdict.reason.partition(":")[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (FIVE, None),
        (FIVE.replace("\n", " "), None),
        (FIVE.replace("daily.", "daily"), "sentences in full lines"),
        (FIVE.replace("daily.", "daily..."), "sentences in full lines"),
        (FIVE.replace("It moves much", "Much"), "sentences in full lines"),
        (FIVE.replace("daily", "JavaScript"), "sentences in full lines"),
        (FIVE.replace("daily", "in our cookie policy"), "sentences in full lines"),
        (FIVE.replace("daily", "a" * 1001), "sentences in full lines"),
        (FIVE.replace("daily.", "daily.[12]"), None),
        (FIVE + "\nLorem ipsum dolor sit amet.", "lines with lorem ipsum"),
        (FIVE + "\nfor (;;) { stop(); } ends here.", "lines with a curly bracket"),
        (FIVE + "\nfor (;;) { stop(); }", None),
        (FIVE + "\nJavaScript has {} and so on.", None),
    ],
)
def test_c4(text, part):
    assert judged(C4(), text) == (part is None, part or "sentences in full lines")


def test_c4_as_fineweb_uses_it_counts_lines_without_a_mark():
    assert judged(C4(terminal_mark=False), FIVE.replace("daily.", "daily"))[0]
    assert judged(C4(curly_brackets=True), FIVE + "\nfor (;;) { stop(); } ends here.")[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        (FIVE.replace("\n", " "), None),
        ("", "share of lines that end in a terminal mark"),
        ("\n".join(f"Line {n} has no mark at its end" for n in range(9)), "share of lines that end in a terminal mark"),
        (FIVE, "share of short lines"),
        ("\n".join([FIVE.replace("\n", " ")] * 2), "share of characters in repeated lines"),
        ("\n\n".join(f"An item {n} of thirty letters and more." for n in range(9)) + "\n" * 20, "line feeds per word"),
    ],
)
def test_fineweb(text, part):
    assert judged(FineWeb(), text) == (part is None, part or "line feeds per word")


@pytest.mark.parametrize("mark", [".", "。", "؟", "।"])
def test_a_mark_of_any_script_ends_a_line(mark):
    text = FIVE.replace("\n", " ")
    assert judged(FineWeb(), text[:-1] + mark)[0]
    assert not judged(FineWeb(), text[:-1] + ";")[0]


def test_language_keeps_what_is_wanted_or_unsure():
    assert judged(Language(keep=("en",)), GERMAN * 3) == (False, "probability of de")
    assert judged(Language(keep=("en", "de")), GERMAN * 3)[0]
    assert judged(Language(), GERMAN * 3)[0]
    assert judged(Language(keep=("en",)), "SELECT * FROM t;")[0]


@given(st.text())
def test_the_share_of_letters_is_as_counted_one_by_one(text):
    doc = document("u", "T", (0, "", text))
    visible = [char for char in doc.text if not char.isspace()]
    assert Text(doc).letter_share == sum(map(str.isalpha, visible)) / max(len(visible), 1)
