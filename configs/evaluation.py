"""Settings of the evaluation of language models, and of the gate before one is served."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from configs.section import Positive, Section


class Condition(Section):
    """One condition of the gate; all that are given must hold."""

    figure: str
    """Name of the figure, such as `answer_f1`."""
    max_drop: Annotated[float, Field(ge=0)] | None = None
    """The candidate may be lower than the champion (or the base model while there is none) by this much."""
    max_rise: Annotated[float, Field(ge=0)] | None = None
    """It may be higher by this much."""
    at_least: float | None = None
    """Its own floor."""
    at_most: float | None = None
    """Its own ceiling."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set - {"figure"}:
            raise ValueError(f"{self.figure}: give max_drop, max_rise, at_least or at_most")
        return self


class EvaluateSettings(Section):
    """Evaluation of a model on held-out questions and documents, and the gate before it is served."""

    max_examples: Positive = 24
    """Held-out examples that are answered; the loss is taken over the same ones."""
    max_new_tokens: Positive = 64
    """Longest generated answer."""
    batch_size: Positive = 8
    """Answers generated at once."""
    documents: Annotated[int, Field(ge=0)] = 4
    """Held-out documents whose perplexity is measured; 0 measures none."""
    window: Annotated[int, Field(ge=32)] = 512
    """Tokens that the model sees at once for that perplexity."""
    stride: Annotated[int, Field(ge=1)] = 256
    """Tokens that the window moves on; each token is scored once, with at least window - stride tokens before it."""
    probes: Annotated[int, Field(ge=0)] = 12
    """Prompts, of those that ship with wellread, that try for toxic answers and personal data; 0 asks none."""
    probe_file: Path | None = None
    """JSONL file of your own prompts instead, a `prompt` each."""
    general: Annotated[int, Field(ge=0)] = 12
    """Questions of the small general set that ships with wellread, which tell what training has unlearnt; 0 asks
    none."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Width of the bootstrap intervals."""
    resamples: Annotated[int, Field(ge=100)] = 2000
    """Bootstrap resamples."""
    gate: tuple[Condition, ...] = (
        Condition(figure="answer_f1", max_drop=0.02),
        Condition(figure="citation_precision", max_drop=0.05),
    )
    """Conditions of the gate."""

    @model_validator(mode="after")
    def _window_moves(self) -> Self:
        if self.stride > self.window:
            raise ValueError(f"stride ({self.stride}) must not be larger than window ({self.window})")
        return self
