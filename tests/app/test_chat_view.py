"""What the page writes under an answer about how it was searched for."""

from app.chat_view import Chat, State, Turn, conversation


def shown(state: State, search_query: str) -> str:
    turn = Turn("Does it lock?", answer="Yes.", state=state, interaction_id="a1", search_query=search_query)
    return conversation(Chat([turn]), "", ())


def test_what_was_searched_for_is_told_where_it_is_not_the_question() -> None:
    assert "Searched for: Does it lock? create &lt;b&gt; index" in shown("stop", "Does it lock? create <b> index")
    assert "Searched for" not in shown("stop", "")


def test_of_an_answer_that_was_held_back_only_the_reason_is_told() -> None:
    assert "create" not in shown("content_filter", "Does it lock? create index")
