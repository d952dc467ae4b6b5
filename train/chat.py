"""The one prompt: what the model is shown when it is trained, evaluated and served.

Training and serving must build the very same text, or the model is asked something that it was never taught. So this
is the only place where passages and a question become chat messages, and messages become text or token ids. The chat
template itself is the model's own.

Conversations with several answers are `train/conversation.py`.

Known limits: the turn is taken to end at the first stopping token after the prompt; what a template puts behind it (a
line break, say) is not trained. Templates of reasoning models are asked for no thought, and answers hold none.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from jinja2 import TemplateError

from configs.errors import ModelError
from guards.detectors.canary import plant
from guards.spotlight import Mode, instructions, mark
from ingest.examples import ABSTENTION, numbered
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
        """A passage as the prompt shows it: with its number after each sentence, so that citing is copying."""
        return f"[{number}] {chunk.heading_path}\n{mark(numbered(chunk.text, number), self.nonce, self.spotlight)}"


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
    # The question stands first as well, since passages are read with what was said before them: without it, a small
    # model that was trained on this overlooked the right passage in the first place 41 times of 100, in the last 3.
    shown = "\n\n".join(framing.passage(number, chunk) for number, chunk in enumerate(passages, 1))
    return [
        Turn(role="system", content=framing.system(SYSTEM)),
        *history,
        Turn(role="user", content=f"Question: {question}\n\nPassages:\n\n{shown}\n\nQuestion: {question}"),
    ]


@dataclass(frozen=True)
class Learnt:
    """A run of tokens that is learnt.

    Attributes:
        start, end: places in `Encoded.input_ids`, the end excluded; the last token inside ends the turn.
        text: what the tokens before that last one must spell; None in a document, which is learnt as it is.
    """

    start: int
    end: int
    text: str | None


@dataclass(frozen=True)
class Encoded:
    """An example as the model is trained on it.

    Attributes:
        input_ids: all turns up to the token that ends the last answer; nothing after it.
        learnt: the answers among them, in order; the loss is over these and nothing else.
    """

    input_ids: tuple[int, ...]
    learnt: tuple[Learnt, ...]

    @property
    def prompt_tokens(self) -> int:
        """Tokens before the first answer."""
        return self.learnt[0].start

    @property
    def answer(self) -> str:
        """The last answer; empty for a document."""
        return self.learnt[-1].text or ""

    @property
    def labels(self) -> list[int]:
        """What each token is trained to be: itself in an answer, nothing elsewhere."""
        labels = [IGNORED] * len(self.input_ids)
        for run in self.learnt:
            labels[run.start : run.end] = self.input_ids[run.start : run.end]
        return labels


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
    return tokens_of(tokenizer, prompt_text(tokenizer, messages))


def conversation_text(tokenizer: Any, messages: Sequence[Turn]) -> str:
    """A conversation that ends with an answer, in the model's own chat template.

    Raises:
        ModelError: the template refuses these messages, or leaves one of them out.
    """
    text = _render(tokenizer, messages, add_generation_prompt=False)
    for turn in messages:
        if defused(tokenizer, turn["content"]).strip() not in text:
            raise ModelError(
                f"the chat template of {tokenizer.name_or_path} leaves out or changes what the {turn['role']} says: "
                f"{turn['content'][:60]!r}",
                "Leave that out of the data, or choose a model whose template shows it",
            )
    return text


def encode(tokenizer: Any, stops: Collection[int], messages: Sequence[Turn], answer: str) -> Encoded:
    """Prompt and answer as token ids, up to and including the first token after the answer that ends the turn.

    Args:
        stops: the ids at which generation stops; the end-of-turn token must be one, or the model never learns to stop.

    Raises:
        ModelError: this template renders the prompt otherwise once an answer follows, or ends the turn with no such id.
    """
    prompt = prompt_text(tokenizer, messages)
    full = conversation_text(tokenizer, [*messages, Turn(role="assistant", content=answer)])
    if not full.startswith(prompt):
        raise ModelError(
            f"the chat template of {tokenizer.name_or_path} renders a prompt otherwise once an answer follows it, as "
            "templates do that open a thought or read one out of the answer",
            "Leave thoughts out of answers, or choose a model whose template only appends the answer",
        )
    shown = tokens_of(tokenizer, prompt)
    whole = tokens_of(tokenizer, full)
    # A token may straddle the border; the model, asked, always sees the prompt's own tokens.
    tail = whole[len(shown) :] if whole[: len(shown)] == shown else tokens_of(tokenizer, full[len(prompt) :])
    end = end_of_turn(tokenizer, stops, tail)
    run = Learnt(len(shown), len(shown) + end, defused(tokenizer, answer))
    return Encoded((*shown, *tail[:end]), (run,))


def end_of_turn(tokenizer: Any, stops: Collection[int], ids: Sequence[int], start: int = 0) -> int:
    """Place behind the first stopping token at or after `start`.

    Raises:
        ModelError: there is none.
    """
    for place in range(start, len(ids)):
        if ids[place] in stops:
            return place + 1
    raise ModelError(
        f"the chat template of {tokenizer.name_or_path} ends an answer with no token at which generation stops",
        "Choose a model whose template closes the assistant's turn",
    )


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


def tokens_of(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that needs no more special tokens."""
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _render(tokenizer: Any, messages: Sequence[Turn], *, add_generation_prompt: bool) -> str:
    turns = [Turn(role=turn["role"], content=defused(tokenizer, turn["content"])) for turn in messages]
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


def defused(tokenizer: Any, text: str) -> str:
    """The text with special tokens in it broken up, so that they are read as text."""
    for token in tokenizer.all_special_tokens:
        if len(token) > 1 and token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
