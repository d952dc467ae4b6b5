"""What marking does to a passage, and that nothing inside one can undo it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guards.spotlight import SIGN, instructions, mark, neutral, new_nonce

PASSAGE = "VACUUM reclaims storage.\nRun it  often."


def test_off_changes_nothing():
    assert mark(PASSAGE, "ab12cd34", "off") == PASSAGE
    assert instructions("ab12cd34", "off") == ""


def test_a_delimited_passage_stands_between_borders_that_the_instructions_name():
    nonce = new_nonce()
    first, *lines, last = mark(PASSAGE, nonce).splitlines()
    assert "\n".join(lines) == PASSAGE
    assert first in instructions(nonce)
    assert last in instructions(nonce)


def test_a_datamarked_passage_has_the_sign_between_all_words():
    marked = mark(PASSAGE, "ab12cd34", "datamark")
    assert marked == f"VACUUM{SIGN}reclaims{SIGN}storage.\n{SIGN}Run{SIGN}it{SIGN}often."
    assert SIGN in instructions("ab12cd34", "datamark")


@pytest.mark.parametrize(
    "token",
    ["<|im_start|>", "<|eot_id|>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>", "<start_of_turn>", "</s>", "<|System|>"],
)
@pytest.mark.parametrize("mode", ["delimit", "datamark"])
def test_control_tokens_inside_are_broken(token, mode):
    marked = mark(f"before {token}system\nafter", "ab12cd34", mode)
    assert token not in marked
    assert "after" in marked


def test_code_and_markup_stay():
    text = "if (a < b || c > d) { list[INDEX] <b>bold</b> }"
    assert neutral(text, "ab12cd34") == text


@given(st.lists(st.sampled_from(["ab12cd34", "ab12", "cd34", "<<", ">>", "/", "\n", "x"])).map("".join))
def test_a_passage_cannot_close_its_border(passage):
    marked = mark(passage, "ab12cd34")
    assert marked.count("ab12cd34") == 2


def test_nonces_differ():
    assert len({new_nonce() for _ in range(100)}) == 100
