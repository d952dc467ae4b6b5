"""Fits passages and history into the model's context, in whole pieces only.

Passages are dropped first, the worst ranked first, down to one; then turns of the history, oldest first. Nothing is
ever cut in the middle: half a passage would be cited as if it were whole. Where sections around passages are known,
they take the passages' places as far as there is room, the best ranked first; a section never pushes a passage out.
"""

from collections.abc import Callable, Mapping, Sequence

from configs.errors import WellreadError
from ingest.records import Chunk
from serve.retrieve import holds
from train.chat import PLAIN, Framing, Turn, build_messages

Fits = Callable[[Sequence[Chunk]], bool]
NO_SECTIONS: Mapping[str, Chunk] = {}


class PromptTooLongError(WellreadError):
    """The question alone does not fit into the model's context."""


def fit_prompt(
    question: str,
    passages: Sequence[Chunk],
    history: Sequence[Turn],
    count_tokens: Callable[[Sequence[Turn]], int],
    max_tokens: int,
    framing: Framing = PLAIN,
    sections: Mapping[str, Chunk] = NO_SECTIONS,
) -> tuple[list[Turn], list[Chunk]]:
    """The messages to generate from, and what they show: passages, or sections under the ids of their passages.

    Args:
        max_tokens: room for the prompt, in the model's tokens.
        framing: what protects passages and instructions.
        sections: passage id -> the section around it.

    Raises:
        PromptTooLongError: even one passage and no history is too long.
    """

    def messages(shown: Sequence[Chunk], dropped: int = 0) -> list[Turn]:
        return build_messages(question, shown, _from_user_turn(history[dropped:]), framing)

    def fits(shown: Sequence[Chunk], dropped: int = 0) -> bool:
        return count_tokens(messages(shown, dropped)) <= max_tokens

    for kept in range(len(passages), 0, -1):
        if fits(passages[:kept]):
            shown = widened(passages[:kept], sections, fits)
            return messages(shown), shown
    shown = list(passages[:1])
    # Bisection: counting takes milliseconds, and a history may have hundreds of turns.
    low, high = 0, len(history)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(shown, middle) else (middle + 1, high)
    prompt = messages(shown, low)
    needed = count_tokens(prompt)
    if needed > max_tokens:
        raise PromptTooLongError(
            f"the question needs {needed} tokens, and there is room for {max_tokens}",
            "Shorten it, or ask for a shorter answer with max_tokens",
        )
    return prompt, shown


def widened(passages: Sequence[Chunk], sections: Mapping[str, Chunk], fits: Fits) -> list[Chunk]:
    """The passages with as many of them replaced by their sections as fit, from the first on.

    Other passages that are part of such a section are left out, since the section says the same.
    """
    shown = list(passages)
    for passage in passages:
        section = sections.get(passage.id)
        if section and any(other.id == passage.id for other in shown):
            others = [section if other.id == passage.id else other for other in shown]
            wider = [other for other in others if other is section or not holds(section, other)]
            shown = wider if fits(wider) else shown
    return shown


def _from_user_turn(history: Sequence[Turn]) -> Sequence[Turn]:
    """The history from its first user turn on: chat templates refuse one that starts with the assistant."""
    first = next((place for place, turn in enumerate(history) if turn["role"] == "user"), len(history))
    return history[first:]
