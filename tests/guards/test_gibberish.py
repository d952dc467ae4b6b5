"""Noise is told from text, code, tables and other languages."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guards.base import Action, Context
from guards.detectors.gibberish import ALPHABETS, GibberishGuard, misread, random_letters, repetition, triples

GUARD = GibberishGuard()
RUSSIAN = "Сервер записывает журнал, и база данных восстанавливается после сбоя."


def some(length: int, alphabet: str) -> str:
    return "".join(random.Random(5).choices(alphabet, k=length))


@pytest.mark.parametrize(
    "text",
    [
        some(60, string.ascii_lowercase + "    "),
        some(60, ALPHABETS["cyrillic"][1:33] + "    "),
        some(300, string.ascii_letters + string.digits + string.punctuation + "  "),
        "asdfjkl sdfjkl asdkjfh lkjasdf hjkl qwpoeiru zxmcnvb",
        "a" * 80,
        RUSSIAN.encode().decode("cp1252", "replace"),
        "Ünïcödé für Größe".encode().decode("latin-1"),
        "I will not do that again. " * 30,
        "??? ????????? ???? ????? ????????",
    ],
)
def test_noise_is_found(text):
    verdict = GUARD.check(text)
    assert verdict.action is Action.FLAG
    assert verdict.score >= verdict.threshold
    assert [(span.start, span.end) for span in verdict.spans] == [(0, len(text))]


@pytest.mark.parametrize(
    "text",
    [
        "The server writes a log, from which the database is restored after a crash.",
        RUSSIAN,
        "Αυτός διακομιστής γράφει ένα αρχείο καταγραφής.",
        "Větší šneci žijí v křoví; příště přijdeš čtvrtek.",
        "Rwy'n ysgrifennu llythyr at fy nghyfaill yng Nghymru bob wythnos.",
        "サーバーはログを書き込みます。 服务器写日志。",
        "كيف يمكنني استعادة قاعدة البيانات بعد تعطل الخادم؟",
        "Voilà\u00a0! «\u00a0C'est ça\u00a0», dit-elle.",
        "def _split(rows: list[str], *, n: int = 3) -> dict[str, int]:\n    return {row[:n]: len(row) for row in rows}",
        "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON a.atttypid = t.oid;",
        "| id | name | qty |\n|----|------|-----|\n| 1 | bolt | 4000 |\n| 2 | nut | 1250 |\n| 3 | cog | 17 |",
        "sha256 9abddd4af4e3720b8efc7716c8d1f22c6e76354e d41d8cd98f00b204e9800998ecf8427e",
        "=" * 200,
        "ok",
        "asdf",
        "",
    ],
)
def test_text_code_and_tables_pass(text):
    assert GUARD.check(text).action is Action.ALLOW


def test_only_the_noisy_part_of_a_long_text_is_marked():
    prose = "The server writes a log, from which the database is restored. " * 3 + "Nothing is lost by that. "
    prose = "".join(prose.replace("log", word) for word in "journal diary record book list note file page".split())
    noise = some(3000, string.ascii_lowercase + "    ")
    spans = GUARD.check(prose + noise + prose).spans
    assert spans
    assert all(span.start > len(prose) - 1000 and span.end < len(prose + noise) + 1000 for span in spans)


def test_words_are_read_by_script_and_without_figures():
    found = triples("Ab éß x1yz путь")
    assert set(found) == {"latin", "cyrillic"}
    first, second, third = found["latin"]
    assert third.tolist() == [1, 2, 0, 5, 19, 0]
    assert (first.tolist()[:3], second.tolist()[:3]) == ([0, 0, 1], [0, 1, 2])


def test_each_measure_has_its_own_figure():
    assert random_letters("the database is restored after a crash") < 0 < random_letters("qzx vkj wqpf xzv jqk gzpq")
    assert misread("Café Müller") == 0.0 < misread("CafÃ© MÃ¼ller")
    assert repetition("word " * 100) > 0.9 > repetition("no word of this is said more than once, or nearly so, I think")


def test_the_deadline_is_kept():
    with pytest.raises(TimeoutError):
        GUARD.check("text " * 1000, Context(deadline=0.0))


def test_one_word_of_a_megabyte_ends():
    assert GUARD.check("x" * 1_000_000).action is Action.FLAG


@settings(max_examples=50)
@given(st.text(max_size=1500))
def test_spans_are_in_order_and_inside_the_text(text):
    position = 0
    for span in GUARD.check(text).spans:
        assert position <= span.start < span.end <= len(text)
        position = span.end
