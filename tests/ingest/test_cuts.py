"""Texts are cut where a reader would cut them."""

import pytest

from ingest.cuts import LEVELS, Span, blocks, items, lines, portions, sentences


def cut(by, text):
    return [text[start:end] for start, end in by(text, Span(0, len(text)))]


@pytest.mark.parametrize(
    "text",
    [
        "Use a tool, e.g. Make or Ninja, to build it.",
        "It needs v1.2. or later of the client.",
        "The ratio is 3.14 at most.",
        "As J. Smith and Dr. Brown showed, it holds.",
        "See Fig. 3 and sec. 4.2 of the manual.",
        "Companies (Example Inc. and others) use it.",
        "1. Install the package.",
        "Wait... then go on.",
        "The U.S. office is closed.",
        "The file .bashrc is read.",
    ],
)
def test_a_sentence_is_not_cut_at_a_full_stop_within_it(text):
    assert cut(sentences, text) == [text]


@pytest.mark.parametrize(
    "parts",
    [
        ["Stop it!", "Why?", "It fails."],
        ["He said “no.”", "She left."],
        ["数据库会回收空间。", "然后重建索引\uff01", "完成了吗\uff1f", "完成。"],
        ["これは「例です。」", "次の文です。"],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
        ["هل هذا سؤال؟", "نعم."],
    ],
)
def test_sentences_end_where_they_end_in_many_languages(parts):
    between = "" if parts[0].endswith(("。", "」")) else " "
    assert cut(sentences, between.join(parts)) == parts


def test_a_version_ends_a_sentence_before_a_capital_letter():
    assert cut(sentences, "Install v1.2. Then restart.") == ["Install v1.2.", "Then restart."]


def test_code_keeps_its_blank_lines():
    code = 'import mlrun\n\ndef handler(context):\n    return "x"\n\n\nmlrun.run(handler)'
    text = f"Write this first.\n\n{code}\n\nThen it runs by itself.\n\nAnd that is all there is."
    assert cut(blocks, text) == [
        "Write this first.",
        code,
        "Then it runs by itself.",
        "And that is all there is.",
    ]


@pytest.mark.parametrize(
    "code",
    [
        "$ pip install x\n\n$ x --version",
        "CREATE TABLE t (\n    a int\n);\n\nINSERT INTO t VALUES (1);",
        "apiVersion: v1\nkind: Pod\n\nmetadata:\n  name: x",
        "# comment\nx = 1\n\ny = x + 1",
    ],
)
def test_code_of_many_languages_is_known(code):
    assert cut(blocks, f"Some prose stands here, and then.\n\n{code}") == ["Some prose stands here, and then.", code]


def test_prose_lists_and_tables_are_no_code():
    parts = [
        "A paragraph.",
        "Another one: it says more.",
        "- one\n- two",
        "| a | b |\n| --- | --- |",
        "Note (see below).",
    ]
    assert cut(blocks, "\n\n".join(parts)) == parts


def test_items_keep_the_lines_that_continue_them():
    assert cut(items, "- one\n  more of one\n- two\n\n  - nested\n1. first\n2. second") == [
        "- one\n  more of one",
        "- two",
        "  - nested",
        "1. first",
        "2. second",
    ]


def test_lines_keep_their_indentation():
    assert cut(lines, "a:\n    b\n\n  c") == ["a:", "    b", "  c"]


def test_portions_are_cut_between_words_or_anywhere():
    assert cut(lambda text, span: portions(text, span, 2), "aaa bbb ccc ddd") == ["aaa bbb", "ccc ddd"]
    assert cut(lambda text, span: portions(text, span, 2), "数据库回收、空间重建索引") == [
        "数据库回收、",
        "空间重建索引",
    ]
    assert cut(lambda text, span: portions(text, span, 3), "x" * 9) == ["xxx", "xxx", "xxx"]


def test_portions_leave_accents_with_their_letters():
    assert cut(lambda text, span: portions(text, span, 2), "aaae\u0301ee") in (
        ["aaae\u0301", "ee"],
        ["aaa", "e\u0301ee"],
    )


LONG = 200_000


@pytest.mark.parametrize(
    "run", [".", "!?", "\u2026.", "?\u061f", "\u0964", ".)", '."', "...\u200b", "\n", " \n", "\t", ") "]
)
@pytest.mark.parametrize("end", ["", "x", " X"])
def test_long_runs_of_marks_take_time_that_grows_with_their_length(run, end):
    # Were each place of a run looked through to its end, this would take twenty thousand million steps, and not end.
    text = "Stop" + run * (LONG // len(run)) + end
    for by in LEVELS:
        assert "".join("".join(cut(by, text)).split()) == "".join(text.split())


@pytest.mark.parametrize("marks", ["...", "?!", "!!!", ".)", '!"', "\u2026", "?!?!"])
def test_a_run_of_marks_ends_one_sentence(marks):
    assert cut(sentences, f"Well{marks} Then go on{marks} All right.") == [
        f"Well{marks}",
        f"Then go on{marks}",
        "All right.",
    ]


def test_a_text_of_accents_is_cut_all_the_same():
    text = "e" + "\u0301" * LONG
    parts = cut(lambda whole, span: portions(whole, span, 400), text)
    assert "".join(parts) == text
    assert len(parts) > 200
