"""Conversations with several answers: every answer is learnt, each with the token that ends its turn.

In: messages of a conversation. Out: one `Encoded` with a run for each answer; or one row for each answer, where the
template shows earlier turns otherwise than it showed them when they were the last (reasoning models drop old thoughts,
others trim).

An answer starts where the prompt ends that the model is served, so training and serving see the same tokens. Where the
template marks what the assistant generates (`{% generation %}`), these marks must say the same.

Known limit: messages hold text alone, no tools and no images.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from jinja2 import TemplateError

from train.chat import (
    Encoded,
    Learnt,
    Turn,
    conversation_text,
    defused,
    encode,
    end_of_turn,
    prompt_ids,
    tokens_of,
)

_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


def encode_conversation(tokenizer: Any, stops: Collection[int], messages: Sequence[Turn]) -> Encoded | None:
    """A conversation up to its last answer, with every answer learnt.

    Args:
        stops: token ids at which generation stops.

    Returns:
        None where some answer does not follow the very tokens of the prompt that the model would be served for it.

    Raises:
        ModelError: the template refuses or drops a message, or ends a turn with no stopping token.
    """
    turns = upto_last_answer(messages)
    ids = tokens_of(tokenizer, conversation_text(tokenizer, turns))
    places = [place for place, turn in enumerate(turns) if turn["role"] == "assistant"]
    starts = [_start(tokenizer, ids, turns[:place]) for place in places]
    if None in starts or (has_marks(tokenizer) and marked_starts(tokenizer, turns) != starts):
        return None
    runs = [
        Learnt(start, end_of_turn(tokenizer, stops, ids, start), defused(tokenizer, turns[place]["content"]))
        for place, start in zip(places, starts, strict=True)
        if start is not None
    ]
    return Encoded(tuple(ids[: runs[-1].end]), tuple(runs))


def encode_answers(tokenizer: Any, stops: Collection[int], messages: Sequence[Turn]) -> list[Encoded]:
    """A conversation as one row, or as one row for each answer where the template does not allow one.

    Raises:
        ModelError: as `train.chat.encode`.
    """
    whole = encode_conversation(tokenizer, stops, messages)
    if whole is not None:
        return [whole]
    answers = [(place, turn["content"]) for place, turn in enumerate(messages) if turn["role"] == "assistant"]
    return [encode(tokenizer, stops, messages[:place], answer) for place, answer in answers]


def upto_last_answer(messages: Sequence[Turn]) -> Sequence[Turn]:
    """The messages without those behind the last answer, which nothing could be learnt from."""
    last = max(place for place, turn in enumerate(messages) if turn["role"] == "assistant")
    return messages[: last + 1]


def has_marks(tokenizer: Any) -> bool:
    """Whether the chat template marks what the assistant generates."""
    return bool(_GENERATION.search(tokenizer.get_chat_template()))


def marked_starts(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """Where, in tokens, the runs start that the template marks as generated."""
    shown = [Turn(role=turn["role"], content=defused(tokenizer, turn["content"])) for turn in turns]
    try:
        rendered = tokenizer.apply_chat_template(
            shown, return_dict=True, return_assistant_tokens_mask=True, enable_thinking=False
        )
    except TemplateError:
        # No system role, for example: `train.chat` puts its text elsewhere, and one row for each answer is as good.
        return []
    mask = rendered["assistant_masks"]
    return [place for place, marked in enumerate(mask) if marked and (place == 0 or not mask[place - 1])]


def _start(tokenizer: Any, ids: Sequence[int], before: Sequence[Turn]) -> int | None:
    """Where the answer to these messages starts; None where `ids` do not begin with what is served for them."""
    served = prompt_ids(tokenizer, before)
    return len(served) if list(ids[: len(served)]) == served else None
