import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.prompt import PromptTooLongError, fit_prompt
from tests.serve.conftest import DOCUMENTS
from train.chat import Turn, build_messages


def count(messages):
    return sum(len(turn["content"].split()) for turn in messages)


def turns(*texts):
    return [Turn(role="user" if place % 2 == 0 else "assistant", content=text) for place, text in enumerate(texts)]


def test_everything_is_shown_when_it_fits():
    history = turns("first", "second")
    messages, shown = fit_prompt("What?", DOCUMENTS, history, count, 1000)
    assert (messages, shown) == (build_messages("What?", DOCUMENTS, history), 3)


def test_the_last_passages_go_first_and_history_stays():
    history = turns("first", "second")
    room = count(build_messages("What?", DOCUMENTS[:2], history))
    messages, shown = fit_prompt("What?", DOCUMENTS, history, count, room)
    assert (messages, shown) == (build_messages("What?", DOCUMENTS[:2], history), 2)


def test_then_the_oldest_turns_go():
    history = turns("old " * 50, "older answer", "newer question", "newer answer")
    room = count(build_messages("What?", DOCUMENTS[:1], history[2:]))
    messages, shown = fit_prompt("What?", DOCUMENTS, history, count, room)
    assert (messages, shown) == (build_messages("What?", DOCUMENTS[:1], history[2:]), 1)


def test_a_question_that_does_not_fit_is_refused_with_both_lengths():
    with pytest.raises(PromptTooLongError, match=r"needs \d+ tokens, and there is room for 60"):
        fit_prompt("word " * 100, DOCUMENTS, [], count, 60)


@given(st.lists(st.text("ab ", max_size=200), max_size=9), st.integers(60, 300), st.booleans())
def test_what_is_kept_is_whole_and_fits(texts, room, with_passages):
    history = turns(*texts)
    try:
        messages, shown = fit_prompt("What?", DOCUMENTS if with_passages else [], history, count, room)
    except PromptTooLongError:
        return
    assert count(messages) <= room
    kept = messages[1:-1]
    assert kept == history[len(history) - len(kept) :]
    assert not kept or kept[0]["role"] == "user"
    assert messages[-1] == build_messages("What?", DOCUMENTS[:shown])[-1]
