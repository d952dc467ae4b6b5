"""Generates with transformers in this process.

In: a `LoadedModel`. Out: pieces of text. One answer is generated at a time, in one thread, whose queue is the order in
which the questions came. A cancelled answer stops at its next token; one that still waits is taken out of the queue.

Known limits: no batching, so concurrent questions wait for each other; a prompt that is being read (the first forward
pass) cannot be interrupted.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from serve.engines.base import Piece, Sampling
from train.chat import Turn, prompt_ids
from train.model import LoadedModel, stop_ids

INCOMPLETE = "\ufffd"


class Detokenizer:
    """Turns token ids into text as they come, never half a character.

    A token may hold only some bytes of a character; decoding then ends in U+FFFD, and the text waits for the next one.
    Only the last few tokens are decoded again, as in Hugging Face's text-generation-inference.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._start = 0
        self._done = 0

    def add(self, token: int) -> str:
        """The text that this token completes, possibly none."""
        self._ids.append(token)
        text = self._new_text()
        if not text or text.endswith(INCOMPLETE):
            return ""
        self._start, self._done = self._done, len(self._ids)
        return text

    def flush(self) -> str:
        """What is left at the end, without a character that was never completed."""
        return self._new_text().rstrip(INCOMPLETE)

    def _new_text(self) -> str:
        return self._decode(self._ids[self._start :])[len(self._decode(self._ids[self._start : self._done])) :]

    def _decode(self, ids: list[int]) -> str:
        # Tokenizers that put a space before each word need the tokens before for context; hence the window.
        return str(self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


class LocalEngine:
    """A model in this process; see `Engine`.

    Args:
        max_context: caps the model's own limit.
        threads: CPU threads of the model; 0 leaves it to torch.
    """

    def __init__(self, loaded: LoadedModel, max_context: int = 1 << 20, threads: int = 0) -> None:
        self.name = loaded.name
        self.max_context = min(max_context, loaded.max_context)
        self._loaded = loaded
        self._stops = stop_ids(loaded)
        # Fast tokenizers may not be reconfigured by two threads at once ("Already borrowed").
        self._encoding = threading.Lock()
        # torch keeps the number of threads per calling thread, so it has to be set in the one that generates.
        start = (torch.set_num_threads, (threads,)) if threads else (None, ())
        self._worker = ThreadPoolExecutor(1, "generate", *start)

    def count_tokens(self, messages: Sequence[Turn]) -> int:
        return len(self._encode(messages))

    async def generate(self, messages: Sequence[Turn], sampling: Sampling) -> AsyncGenerator[Piece, None]:
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()
        cancelled = threading.Event()

        def put(piece: Piece | BaseException) -> None:
            if not cancelled.is_set():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        future = self._worker.submit(self._run, messages, sampling, put, cancelled)
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if piece.finish_reason:
                    return
        finally:
            cancelled.set()
            future.cancel()

    def warm_up(self, question: str) -> None:
        """Generate one token and wait for it: the first pass allocates what later ones reuse."""
        failures: list[BaseException] = []

        def keep(piece: Piece | BaseException) -> None:
            failures.extend([piece] if isinstance(piece, BaseException) else [])

        turns = [Turn(role="user", content=question)]
        self._worker.submit(self._run, turns, Sampling(max_tokens=1), keep, threading.Event()).result()
        if failures:
            raise failures[0]

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.shutdown, cancel_futures=True)

    def _encode(self, messages: Sequence[Turn]) -> list[int]:
        with self._encoding:
            return prompt_ids(self._loaded.tokenizer, messages)

    def _run(
        self,
        messages: Sequence[Turn],
        sampling: Sampling,
        put: Callable[[Piece | BaseException], None],
        cancelled: threading.Event,
    ) -> None:
        try:
            prompt = self._encode(messages)
            stream = _Stream(Detokenizer(self._loaded.tokenizer), self._stops, len(prompt), put)
            if sampling.seed is not None:
                torch.manual_seed(sampling.seed)
            ids = torch.tensor([prompt], device=self._loaded.device)
            with torch.inference_mode():
                # Typed as a module's attribute, that is, as a tensor or a module.
                generate: Any = self._loaded.model.generate
                generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=self._settings(sampling),
                    logits_processor=_penalties(sampling, len(prompt)),
                    streamer=stream,
                    stopping_criteria=StoppingCriteriaList([_Cancelled(cancelled)]),
                )
        # Whatever breaks in the worker belongs to the one who waits for the pieces.
        except Exception as error:  # noqa: BLE001
            put(error)

    def _settings(self, sampling: Sampling) -> GenerationConfig:
        # None would be filled in from the model's own defaults, which differ between models.
        if sampling.temperature == 0:
            # transformers warns about sampling parameters of a greedy search unless they have these values.
            choice: dict[str, Any] = {"do_sample": False, "temperature": 1.0, "top_p": 1.0, "top_k": 50}
        else:
            choice = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p}
            choice["top_k"] = sampling.top_k
        return GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=sampling.max_tokens,
            repetition_penalty=1.0,
            eos_token_id=sorted(self._stops),
            pad_token_id=self._loaded.tokenizer.pad_token_id,
            **choice,
        )


def _penalties(sampling: Sampling, prompt_tokens: int) -> LogitsProcessorList:
    """The repetition penalty over the answer alone.

    transformers' own setting also penalises the words of the prompt, that is, of the passages that are to be quoted:
    at 1.1 the 135M model then talks about anything else.
    """
    if sampling.repetition_penalty == 1.0:
        return LogitsProcessorList()
    penalty = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty, prompt_ignore_length=prompt_tokens)
    return LogitsProcessorList([penalty])


class _Stream(BaseStreamer):
    """What transformers calls with each token: passes text on in pieces."""

    def __init__(
        self, detokenizer: Detokenizer, stops: frozenset[int], prompt_tokens: int, put: Callable[[Piece], None]
    ) -> None:
        self._detokenizer = detokenizer
        self._stops = stops
        self._prompt_tokens = prompt_tokens
        self._put = put
        self._tokens = 0
        self._last = -1
        self._saw_prompt = False

    def put(self, value: torch.Tensor) -> None:
        # transformers sends the prompt first.
        if not self._saw_prompt:
            self._saw_prompt = True
            return
        self._last = int(value.reshape(-1)[0])
        self._tokens += 1
        text = "" if self._last in self._stops else self._detokenizer.add(self._last)
        self._put(Piece(text, None, self._prompt_tokens, self._tokens))

    def end(self) -> None:
        reason = "stop" if self._last in self._stops else "length"
        self._put(Piece(self._detokenizer.flush(), reason, self._prompt_tokens, self._tokens))  # type: ignore[arg-type]


class _Cancelled(StoppingCriteria):
    """Stops at the next token once the event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:  # noqa: ARG002
        return torch.full((input_ids.shape[0],), self._event.is_set(), device=input_ids.device, dtype=torch.bool)
