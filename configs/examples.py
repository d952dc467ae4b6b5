"""Settings of the training and evaluation examples."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from configs.section import Fraction, Positive, Section


class TeacherSettings(Section):
    """A larger model that writes questions and answers about passages, behind any OpenAI-compatible endpoint. Its key,
    if it needs one, comes from the environment: WELLREAD_TEACHER_API_KEY."""

    url: str | None = None
    """Address up to and including /v1, for example http://127.0.0.1:8000/v1, of this machine or any other; none: no
    teacher is asked."""
    model: str = ""
    """Name of the model, as the endpoint knows it."""
    max_passages: Positive = 200
    """Passages that it is asked about, one request each: the bound of what it costs."""
    pairs: Annotated[int, Field(ge=1, le=10)] = 2
    """Questions asked for, for each passage."""
    min_support: Fraction = 0.8
    """Share of the content words of an answer that must stand in the passage for the answer to be kept; its numbers
    must all."""
    support_run: Annotated[int, Field(ge=1, le=5)] = 1
    """Content words in a row that are compared for that share: 1 leaves their order free, 2 or 3 ask for quotations."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Sampling temperature."""
    max_tokens: Positive = 600
    """Longest reply in tokens."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests under way at once."""
    timeout_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds that one request may take as a whole."""
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    """Further tries after a timeout, a network error, 429 or 5xx, with exponential back-off or as Retry-After says."""

    @field_validator("url")
    @classmethod
    def _is_http_url_without_password(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give a full address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ValueError("put the key into WELLREAD_TEACHER_API_KEY, not into the address")
        return value

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.url and not self.model:
            raise ValueError("url needs model, the name under which the endpoint knows the teacher")
        return self


class ExampleSettings(Section):
    """Training and evaluation examples made from the documents."""

    max_examples: Positive = 2000
    """Upper limit over all documents, answerable and unanswerable together."""
    passages: Annotated[int, Field(ge=1, le=10)] = 3
    """Passages shown in an example's prompt: the right one (if any) and distractors from the index."""
    unanswerable_share: Fraction = 0.15
    """Share of examples whose passages do not hold the answer, and whose answer says so."""
    holdout_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of documents (never single rows) kept for evaluation."""
    completions: bool = False
    """Also write the sections as plain text, for continued pretraining."""
    evaluation_sets: tuple[Path, ...] = ()
    """Files of evaluation sets in use; training examples that share 13 words in a row with one are left out."""
    teacher: TeacherSettings = TeacherSettings()
    """A larger model that writes questions."""
