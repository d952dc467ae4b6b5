import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.prompt import PromptTooLongError, fit_prompt, widened
from tests.serve.conftest import DOCUMENTS, passage
from train.chat import Turn, build_messages

PARTS = (
    passage("guide", "Start", "It opens.", start=0),
    passage("other", "Stop", "It closes."),
    passage("guide", "Start", "It waits a while.", start=20),
)
SECTION = passage("guide", "Start", "It opens.\n\n\n\n\n\n\n\n\n\n\nIt waits a while.")


def around(*places):
    """The section around some of the parts, as an index gives it: under the part's own id."""
    return {PARTS[place].id: type(SECTION)(**{**vars(SECTION), "id": PARTS[place].id}) for place in places}


def count(messages):
    return sum(len(turn["content"].split()) for turn in messages)


def turns(*texts):
    return [Turn(role="user" if place % 2 == 0 else "assistant", content=text) for place, text in enumerate(texts)]


def test_everything_is_shown_when_it_fits():
    history = turns("first", "second")
    messages, shown = fit_prompt("What?", DOCUMENTS, history, count, 1000)
    assert (messages, shown) == (build_messages("What?", DOCUMENTS, history), list(DOCUMENTS))


def test_the_last_passages_go_first_and_history_stays():
    history = turns("first", "second")
    room = count(build_messages("What?", DOCUMENTS[:2], history))
    messages, shown = fit_prompt("What?", DOCUMENTS, history, count, room)
    assert (messages, shown) == (build_messages("What?", DOCUMENTS[:2], history), list(DOCUMENTS[:2]))


def test_then_the_oldest_turns_go():
    history = turns("old " * 50, "older answer", "newer question", "newer answer")
    room = count(build_messages("What?", DOCUMENTS[:1], history[2:]))
    messages, shown = fit_prompt("What?", DOCUMENTS, history, count, room)
    assert (messages, shown) == (build_messages("What?", DOCUMENTS[:1], history[2:]), list(DOCUMENTS[:1]))


def test_a_question_that_does_not_fit_is_refused_with_both_lengths():
    with pytest.raises(PromptTooLongError, match=r"needs \d+ tokens, and there is room for 60"):
        fit_prompt("word " * 100, DOCUMENTS, [], count, 60)


def test_a_section_takes_its_passages_places_once():
    whole = around(0, 2)
    messages, shown = fit_prompt("What?", PARTS, [], count, 1000, sections=whole)
    assert shown == [whole[PARTS[0].id], PARTS[1]]
    assert messages == build_messages("What?", shown)
    assert messages[-1]["content"].count("It waits a while.") == 1


def test_a_section_that_does_not_fit_leaves_its_passage_and_pushes_none_out():
    room = count(build_messages("What?", PARTS[:2])) + 1
    assert count(build_messages("What?", list(around(0).values()))) < room
    _, shown = fit_prompt("What?", PARTS[:2], [], count, room, sections=around(0))
    assert shown == list(PARTS[:2])


def test_the_best_ranked_passage_is_widened_first():
    more = around(0) | {PARTS[1].id: passage("other", "Stop", "It closes. " * 30)}

    def fits(shown):
        return sum(len(chunk.text.split()) for chunk in shown) < 20

    assert [chunk.text for chunk in widened(PARTS, more, fits)] == [SECTION.text, "It closes."]


@given(st.lists(st.text("ab ", max_size=200), max_size=9), st.integers(60, 300), st.booleans())
def test_what_is_kept_is_whole_and_fits(texts, room, with_passages):
    history = turns(*texts)
    passages = [*DOCUMENTS, *PARTS] if with_passages else []
    try:
        messages, shown = fit_prompt("What?", passages, history, count, room, sections=around(0, 2))
    except PromptTooLongError:
        return
    assert count(messages) <= room
    kept = messages[1:-1]
    assert kept == history[len(history) - len(kept) :]
    assert not kept or kept[0]["role"] == "user"
    assert messages[-1] == build_messages("What?", shown)[-1]
    assert {chunk.text for chunk in shown} <= {chunk.text for chunk in passages} | {SECTION.text}
