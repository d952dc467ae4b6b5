"""Whether the model's chat template shows everything that it is given.

In: a tokenizer. Out: nothing, or an error that names the role or message that is missing. A template that drops a
message raises nothing anywhere: training goes well, and the model answers from less than it was asked.

Known limit: templates are probed with a conversation of five messages and one without a system message; that every
message of the data is shown is checked when rows are made (`train.chat.conversation_text`).
"""

from collections.abc import Sequence
from typing import Any

from configs.errors import ModelError
from train.chat import Turn, conversation_text, prompt_text

# Plain words, which no template trims, counts or reads anything into.
PROBES = (
    Turn(role="system", content="Kestrels guard the copper gate."),
    Turn(role="user", content="Which birds guard it?"),
    Turn(role="assistant", content="Kestrels do."),
    Turn(role="user", content="And what is the gate made of?"),
    Turn(role="assistant", content="Copper, as told above."),
)


def check_template(tokenizer: Any) -> None:
    """Whether all roles and messages are shown, in their order, and an answer is asked for.

    Raises:
        ModelError: one is dropped or moved, or the prompt does not end where the answer begins.
    """
    for turns in (PROBES, PROBES[1:]):
        _in_order(tokenizer, turns, conversation_text(tokenizer, turns))
        prompt = prompt_text(tokenizer, turns[:-1])
        _in_order(tokenizer, turns[:-1], prompt)
        without = conversation_text(tokenizer, turns)
        if not without.startswith(prompt):
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path} does not continue the prompt {prompt[-40:]!r} with the "
                "answer, so that training and serving would differ",
                "Choose a model whose template only appends the answer",
            )


def _in_order(tokenizer: Any, turns: Sequence[Turn], text: str) -> None:
    at = 0
    for number, turn in enumerate(turns, 1):
        found = text.find(turn["content"], at)
        if found < 0:
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path} drops or moves message {number} of {len(turns)}, of "
                f"role {turn['role']!r}",
                "Correct its chat_template, or choose another instruct or chat model in model.name",
            )
        at = found + len(turn["content"])
