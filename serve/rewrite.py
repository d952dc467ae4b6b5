"""A conversation in, its last question out as the language model words it so that it stands alone; or nothing.

The model is asked for a line, with no sampling and within a time limit. What it writes is only taken when that is a
question of sensible length that keeps at least half of the question's own words, and shares one with the conversation.

Known limits: a small model often repeats the question as it is, or answers it; the embedded one of 135M parameters
seldom writes anything of use. The line is written before the answer is begun, in the same queue, and delays it.
Languages written without spaces between words share no words.
"""

import asyncio
import re
from collections.abc import Sequence
from contextlib import aclosing

from serve import citations
from serve.edge import log_failure
from serve.engines.base import Engine, Sampling
from train.chat import Turn

TIMEOUT_S = 10.0
_MAX_TOKENS = 48
_TURNS, _TURN_CHARS = 4, 400
_LONGEST = 300

_TASK = (
    "Rewrite the user's last question so that it can be understood without the conversation: put what it is about in "
    "place of words such as it or that. Keep its meaning and its language. Reply with the question only."
)
_LABEL = re.compile(r"^(?:\S+ ){0,3}question(?: is)?\s*:\s*", re.IGNORECASE)
# Also as Chinese, Japanese, Arabic and Greek write it.
_ASKING = ("?", "\uff1f", "\u061f", ";", "\u037e")


async def rewrite(question: str, history: Sequence[Turn], engine: Engine, timeout_s: float = TIMEOUT_S) -> str | None:
    """The question as the model rewrites it; None when that failed, took too long, or gave nothing of use."""
    said = [f"{turn['role']}: {' '.join(turn['content'].split())[:_TURN_CHARS]}" for turn in history[-_TURNS:]]
    conversation = "\n".join(said)
    asked = f"{_TASK}\n\n{conversation}\n\nThe user's last question: {question}"
    messages = [Turn(role="user", content=asked)]
    try:
        if await asyncio.to_thread(engine.count_tokens, messages) + _MAX_TOKENS > engine.max_context:
            return None
        written = await asyncio.wait_for(_generated(messages, engine), timeout_s)
    except TimeoutError:
        return None
    # Words of the conversation do then; if the model is broken, its answer will say so.
    except Exception as error:  # noqa: BLE001
        log_failure("rewrite_failed", error)
        return None
    return _usable(written, question, conversation)


async def _generated(messages: Sequence[Turn], engine: Engine) -> str:
    text = ""
    async with aclosing(engine.generate(messages, Sampling(max_tokens=_MAX_TOKENS))) as pieces:
        async for piece in pieces:
            text += piece.text
            if "\n" in text.strip():
                break
    return text


def _usable(written: str, question: str, conversation: str) -> str | None:
    line = next(iter(written.strip().splitlines()), "")
    line = _LABEL.sub("", line.strip()).strip("\"'` ")
    words, own = citations.content_words(line), citations.content_words(question)
    asks = line.endswith(_ASKING) or not question.rstrip().endswith(_ASKING)
    keeps = 2 * len(words & own) >= len(own) and bool(words & (own | citations.content_words(conversation)))
    return line if asks and keeps and len(line) <= _LONGEST and not citations.cited_numbers(line) else None
