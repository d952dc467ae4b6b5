"""Fits passages and history into the model's context, in whole pieces only.

Passages are dropped first, the worst ranked first, down to one; then turns of the history, oldest first. Nothing is
ever cut in the middle: half a passage would be cited as if it were whole.
"""

from collections.abc import Callable, Sequence

from configs.errors import WellreadError
from ingest.records import Chunk
from train.chat import PLAIN, Framing, Turn, build_messages


class PromptTooLongError(WellreadError):
    """The question alone does not fit into the model's context."""


def fit_prompt(
    question: str,
    passages: Sequence[Chunk],
    history: Sequence[Turn],
    count_tokens: Callable[[Sequence[Turn]], int],
    max_tokens: int,
    framing: Framing = PLAIN,
) -> tuple[list[Turn], int]:
    """The messages to generate from, and how many of the passages they show.

    Args:
        max_tokens: room for the prompt, in the model's tokens.
        framing: what protects passages and instructions.

    Raises:
        PromptTooLongError: even one passage and no history is too long.
    """
    for kept in range(len(passages), 0, -1):
        messages = build_messages(question, passages[:kept], history, framing)
        if count_tokens(messages) <= max_tokens:
            return messages, kept
    kept = min(1, len(passages))

    def after(dropped: int) -> list[Turn]:
        return build_messages(question, passages[:kept], _from_user_turn(history[dropped:]), framing)

    # Bisection: counting takes milliseconds, and a history may have hundreds of turns.
    low, high = 0, len(history)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if count_tokens(after(middle)) <= max_tokens else (middle + 1, high)
    messages = after(low)
    needed = count_tokens(messages)
    if needed > max_tokens:
        raise PromptTooLongError(
            f"the question needs {needed} tokens, and there is room for {max_tokens}",
            "Shorten it, or ask for a shorter answer with max_tokens",
        )
    return messages, kept


def _from_user_turn(history: Sequence[Turn]) -> Sequence[Turn]:
    """The history from its first user turn on: chat templates refuse one that starts with the assistant."""
    first = next((place for place, turn in enumerate(history) if turn["role"] == "user"), len(history))
    return history[first:]
