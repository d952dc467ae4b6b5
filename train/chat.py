"""The one prompt: what the model is shown when it is trained, evaluated and served.

Training and serving must build the very same text, or the model is asked something that it was never taught. So this
is the only place where passages and a question become chat messages, and messages become text or token ids. The chat
template itself is the model's own.

Known limit: the turn is taken to end at the first stopping token after the prompt; what a template puts behind it (a
line break, say) is not trained.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from jinja2 import TemplateError

from configs.errors import ModelError
from guards.detectors.canary import plant
from guards.spotlight import Mode, instructions, mark
from ingest.examples import ABSTENTION
from ingest.records import Chunk, Example

IGNORED = -100  # the label that torch's cross entropy leaves out

SYSTEM = (
    "You answer questions from the numbered passages. Use only what they say. After each sentence, give the number of "
    f"the passage it comes from, like [1]. If the passages do not hold the answer, say: {ABSTENTION}"
)
SYSTEM_WITHOUT_PASSAGES = "You are a helpful assistant."


class Turn(TypedDict):
    """One chat message in the form that chat templates take."""

    role: str
    content: str


@dataclass(frozen=True)
class Framing:
    """What is put around passages and instructions to protect them; nothing by default.

    Attributes:
        spotlight: how passages are marked as quotations, see `guards.spotlight`.
        nonce: of this request, for the marks.
        canary: a word that betrays a leak of the system message, see `guards.detectors.canary`; empty for none.
    """

    spotlight: Mode = "off"
    nonce: str = ""
    canary: str = ""

    def system(self, text: str) -> str:
        """The system message, with what the marks mean."""
        told = f"{text} {instructions(self.nonce, self.spotlight)}".rstrip()
        return plant(told, self.canary) if self.canary else told

    def passage(self, number: int, chunk: Chunk) -> str:
        """A passage as the prompt shows it."""
        return f"[{number}] {chunk.heading_path}\n{mark(chunk.text, self.nonce, self.spotlight)}"


PLAIN = Framing()


def build_messages(
    question: str, passages: Sequence[Chunk], history: Sequence[Turn] = (), framing: Framing = PLAIN
) -> list[Turn]:
    """The messages that precede the answer.

    Args:
        question: the user's last message.
        passages: numbered from 1 in this order; none asks the model without documents.
        history: earlier turns, oldest first, without the system message.
        framing: what protects passages and instructions.
    """
    if not passages:
        system = Turn(role="system", content=Framing(canary=framing.canary).system(SYSTEM_WITHOUT_PASSAGES))
        return [system, *history, Turn(role="user", content=question)]
    shown = "\n\n".join(framing.passage(number, chunk) for number, chunk in enumerate(passages, 1))
    return [
        Turn(role="system", content=framing.system(SYSTEM)),
        *history,
        Turn(role="user", content=f"Passages:\n\n{shown}\n\nQuestion: {question}"),
    ]


@dataclass(frozen=True)
class Encoded:
    """An example as the model is trained on it.

    Attributes:
        input_ids: prompt, answer and the token that ends the turn; nothing after it.
        prompt_tokens: how many of them are the prompt; the loss is over the others.
        answer: the text that those others must spell.
    """

    input_ids: tuple[int, ...]
    prompt_tokens: int
    answer: str

    @property
    def labels(self) -> list[int]:
        """`input_ids` with -100, which the loss ignores, in place of the prompt."""
        return [IGNORED] * self.prompt_tokens + list(self.input_ids[self.prompt_tokens :])


def prompt_text(tokenizer: Any, messages: Sequence[Turn]) -> str:
    """The text that the model continues, through the model's own chat template. Tokenize it without special tokens.

    Special tokens that occur in the messages (a page may be about them) are broken up, so that no document or user
    can end a turn or open one in another's name.

    Raises:
        ModelError: the template refuses these messages.
    """
    return _render(tokenizer, messages, add_generation_prompt=True)


def prompt_ids(tokenizer: Any, messages: Sequence[Turn]) -> list[int]:
    """`prompt_text` as token ids."""
    return _tokens(tokenizer, prompt_text(tokenizer, messages))


def encode(tokenizer: Any, stops: Collection[int], messages: Sequence[Turn], answer: str) -> Encoded:
    """Prompt and answer as token ids, up to and including the first token after the answer that ends the turn.

    Args:
        stops: the ids at which generation stops; the end-of-turn token must be one, or the model never learns to stop.

    Raises:
        ModelError: this template renders the prompt otherwise once an answer follows, or ends the turn with no such id.
    """
    prompt = prompt_text(tokenizer, messages)
    full = _render(tokenizer, [*messages, Turn(role="assistant", content=answer)], add_generation_prompt=False)
    if not full.startswith(prompt):
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} renders a prompt otherwise once an answer follows it",
            "Choose a model whose template only appends the answer",
        )
    shown = _tokens(tokenizer, prompt)
    whole = _tokens(tokenizer, full)
    # A token may straddle the border; the model, asked, always sees the prompt's own tokens.
    tail = whole[len(shown) :] if whole[: len(shown)] == shown else _tokens(tokenizer, full[len(prompt) :])
    end = next((place for place, token in enumerate(tail) if token in stops), None)
    if end is None:
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} ends an answer with no token at which generation stops",
            "Choose a model whose template closes the assistant's turn",
        )
    return Encoded((*shown, *tail[: end + 1]), len(shown), _defused(tokenizer, answer))


def encode_example(tokenizer: Any, stops: Collection[int], example: Example, spotlight: Mode = "off") -> Encoded:
    """`encode` for a record: its question and passages as the prompt, its answer as the completion."""
    # Ids are hashes: each example has marks of its own, and the same in every run.
    framing = Framing(spotlight, nonce=example.id[:8])
    messages = build_messages(example.question, example.passages, framing=framing)
    return encode(tokenizer, stops, messages, example.answer)


def encode_fitting(
    tokenizer: Any, stops: Collection[int], examples: Iterable[Example], max_tokens: int, spotlight: Mode = "off"
) -> tuple[list[tuple[Example, Encoded]], int]:
    """Encode examples; returns those of at most `max_tokens` tokens, and how many were longer. None is ever cut."""
    pairs = [(example, encode_example(tokenizer, stops, example, spotlight)) for example in examples]
    fitting = [pair for pair in pairs if len(pair[1].input_ids) <= max_tokens]
    return fitting, len(pairs) - len(fitting)


def _tokens(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _render(tokenizer: Any, messages: Sequence[Turn], *, add_generation_prompt: bool) -> str:
    turns = [Turn(role=turn["role"], content=_defused(tokenizer, turn["content"])) for turn in messages]
    try:
        # Reasoning models otherwise open a thought that no answer of ours contains; other templates ignore the name.
        return str(
            tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=add_generation_prompt, enable_thinking=False
            )
        )
    except TemplateError as error:
        if turns[0]["role"] == "system" and len(turns) > 1:
            return _render(tokenizer, _without_system(turns), add_generation_prompt=add_generation_prompt)
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} refuses these messages: {error}",
            "Choose another instruct or chat model in model.name",
        ) from None


def _without_system(turns: Sequence[Turn]) -> list[Turn]:
    """Some templates know no system role; its text then opens the first user's turn."""
    merged = f"{turns[0]['content']}\n\n{turns[1]['content']}"
    return [Turn(role=turns[1]["role"], content=merged), *turns[2:]]


def _defused(tokenizer: Any, text: str) -> str:
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
