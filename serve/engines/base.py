"""The contract of every engine: messages in, pieces of text out.

Cancelling is closing: when the iterator that `generate` returned is closed (`aclose`), or the task that waits for its
next piece is cancelled, the engine stops generating. Nothing else has to be told.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from train.chat import Turn


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        max_tokens: longest answer.
        temperature: 0 takes the likeliest token; then `top_p`, `top_k` and `seed` have no effect.
        top_p: sample from the smallest set of tokens with this probability (Holtzman et al. 2020); 1 is off.
        top_k: sample from this many likeliest tokens; 0 is off.
        repetition_penalty: divides the score of tokens already in the answer (Keskar et al. 2019); 1 is off.
        seed: the same seed gives the same text on the same machine; None takes a new one each time.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int | None = None


@dataclass(frozen=True)
class Piece:
    """Some more text of an answer; never half a character.

    Attributes:
        finish_reason: None but on the last piece: `stop` (the model ended) or `length` (`max_tokens` reached).
        prompt_tokens: tokens of the prompt.
        completion_tokens: tokens generated so far.
    """

    text: str = ""
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Engine(Protocol):
    """A loaded model.

    Attributes:
        name: what is loaded, for logs.
        max_context: tokens of prompt and answer together.
    """

    name: str
    max_context: int

    def count_tokens(self, messages: Sequence[Turn]) -> int:
        """Tokens of the prompt that these messages make, chat template included. Safe from any thread."""

    def generate(self, messages: Sequence[Turn], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """The answer, piece by piece. May be called again before an earlier answer has ended."""

    async def close(self) -> None:
        """Stop what is running and free the model."""
