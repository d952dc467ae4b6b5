"""The contract of export formats: how one is written, and how the written model is asked.

A format's file has a `Format`: `write` puts the model into a folder, `reopen` loads it from there again, in the engine
that people will run it in. `train/export/parity.py` asks that engine what it asks the trained model.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from train.chat import Turn


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        version: folder of the `models` version.
        merged: folder with base and adapter as one model, float32, which transformers loads.
        name: of the model, for people.
        context: tokens that the engine must have room for, when it is asked.
        stops: token ids at which generation stops.
    """

    version: Path
    merged: Path
    name: str
    context: int
    stops: frozenset[int]


class Engine(Protocol):
    """A loaded model, whatever runs it; all token ids are those of the model's own vocabulary."""

    def tokens(self, text: str) -> list[int]:
        """The engine's own tokens of a text that may hold special tokens; none is added."""
        ...

    def prompt(self, messages: Sequence[Turn]) -> str:
        """The prompt that the engine's own copy of the chat template makes."""
        ...

    def greedy(self, prompt: Sequence[int], most: int) -> list[int]:
        """At most `most` greedy tokens after a prompt; the stop token is the last one where it came."""
        ...

    def logprobs(self, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
        """Log-probability (nats) of each answer token after the prompt and those before it."""
        ...


@dataclass(frozen=True)
class Format:
    """One export format.

    Attributes:
        write: source, folder, quantisation -> files in that folder.
        reopen: source, folder -> the written model, loaded.
        quantizations: what it can be written as; the first is the default.
        check: refuses what is known to fail before any weight is read: a source whose `merged` holds only configuration
            and tokenizer.
    """

    write: Callable[[Source, Path, str], None]
    reopen: Callable[[Source, Path], Engine]
    quantizations: tuple[str, ...]
    check: Callable[[Source], None] = lambda _: None


# Weights as they were trained; every other form has rounded them, or its engine rounds what it computes with.
EXACT = "f32"
