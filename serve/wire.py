"""What goes over HTTP: the OpenAI chat-completion types, plus wellread's additions.

Additions to a request: `top_k`, `repetition_penalty`, `retrieval`, `top_passages`, `filters`. Additions to an answer:
`citations`, `grounded`, `answerable`, `search_query` and `guard`, in the `message` of a plain response and in the last
chunk of a stream. OpenAI clients ignore unknown response fields, so the additions do not disturb them.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from configs.errors import ConfigError

if TYPE_CHECKING:
    from ingest.search.filters import Filter

MAX_MESSAGES = 200
MAX_MESSAGE_CHARS = 100_000


class TextPart(BaseModel):
    """A part of a message's content. Only text is understood."""

    type: Literal["text"]
    text: str


class Message(BaseModel):
    """One turn. Content may be text, or OpenAI's list of text parts."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, Field(max_length=MAX_MESSAGE_CHARS)] | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)


Condition = Annotated[str, Field(max_length=2000)]


class Filters(BaseModel):
    """Which passages may be found; see `ingest.search.filters.Filter`. What is empty asks for nothing."""

    model_config = ConfigDict(extra="forbid")

    url_prefix: Condition = ""
    since: Condition = ""
    until: Condition = ""
    language: Condition = ""
    tags: Annotated[tuple[Condition, ...], Field(max_length=20)] = ()

    @model_validator(mode="after")
    def _make_sense(self) -> "Filters":
        try:
            self.filter()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def filter(self) -> "Filter":
        """As the search takes it.

        Raises:
            ConfigError: see `Filter`.
        """
        # pyarrow comes with it, which a client that asks without a filter need not wait for.
        from ingest.search.filters import Filter

        return Filter(**self.model_dump())


class ChatRequest(BaseModel):
    """`POST /v1/chat/completions`. OpenAI parameters that wellread does not use are accepted and ignored."""

    model_config = ConfigDict(extra="ignore")

    messages: Annotated[list[Message], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    """0 considers every token."""
    repetition_penalty: Annotated[float, Field(ge=1, le=2)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    seed: int | None = None
    retrieval: bool = True
    """False answers without the documents (and so without citations)."""
    top_passages: Annotated[int, Field(ge=1, le=20)] | None = None
    """Passages to find; by default as many as the server's settings say."""
    filters: Filters | None = None
    user: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> "ChatRequest":
        if self.messages[-1].role != "user" or not self.messages[-1].text.strip():
            raise ValueError("the last message must have the role 'user' and some text")
        return self


class Citation(BaseModel):
    """A place in the documents that the answer rests on (or, when nothing was found, one that is near).

    `number` is what the answer's `[n]` refers to; `quote` is text of the document, `start` and `end` its offsets in
    the document; `score` is the passage's cosine similarity to the question.
    """

    number: int
    url: str
    title: str
    heading: str
    quote: str
    passage: str
    start: int
    end: int
    score: float
    chunk_id: str


GuardedStage = Literal["input", "passage", "output"]


class GuardReport(BaseModel):
    """A guard that acted: on what, what it did, and why in plain words. `failed`: it could not run."""

    stage: GuardedStage
    action: str
    category: str
    reason: str
    failed: bool = False


class AnswerMessage(BaseModel):
    """The assistant's turn, with what it rests on.

    `grounded` is false when the documents do not hold the answer; `citations` are then the nearest sources.
    `answerable` is the probability, 0 to 1, that they hold it, as the search alone has it; null where nothing was
    searched for. `search_query` is what was searched for, where that is not the question itself.
    """

    role: Literal["assistant"] = "assistant"
    content: str
    citations: list[Citation] = []
    grounded: bool = False
    answerable: float | None = None
    search_query: str | None = None
    guard: list[GuardReport] = []


FinishReason = Literal["stop", "length", "content_filter"]


class Choice(BaseModel):
    index: int = 0
    message: AnswerMessage
    finish_reason: FinishReason


class Usage(BaseModel):
    """Tokens."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class ChatResponse(BaseModel):
    """A whole answer. `id` is also the interaction's id, for `POST /v1/feedback`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Delta(BaseModel):
    """What a chunk adds. The last chunk has no content, and carries citations and guard reports."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    citations: list[Citation] | None = None
    grounded: bool | None = None
    answerable: float | None = None
    search_query: str | None = None
    guard: list[GuardReport] | None = None


class ChunkChoice(BaseModel):
    index: int = 0
    delta: Delta
    finish_reason: FinishReason | None = None


class ChatChunk(BaseModel):
    """One server-sent event of a streamed answer; the stream ends with `data: [DONE]`."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    """An entry of `GET /v1/models`: its alias as `id`, the version that it names, and the model it was made from."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "wellread"
    version: str = ""
    base: str = ""


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class FeedbackRequest(BaseModel):
    """`POST /v1/feedback`: a vote, a corrected answer, a comment, or several of them, on one answer."""

    model_config = ConfigDict(extra="forbid")

    interaction_id: Annotated[str, Field(min_length=1, max_length=100)]
    vote: Literal["up", "down"] | None = None
    correction: Annotated[str, Field(max_length=20_000)] | None = None
    comment: Annotated[str, Field(max_length=5_000)] | None = None
    user: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackRequest":
        if self.vote is None and not (self.correction or "").strip() and not (self.comment or "").strip():
            raise ValueError("give at least one of vote, correction, comment")
        return self


class FeedbackResponse(BaseModel):
    id: str
    interaction_id: str


class Health(BaseModel):
    """`GET /healthz` and `GET /readyz`."""

    status: Literal["ok", "starting", "failed"]
    detail: str = ""
    model: str = ""
    index: str = ""


class ErrorBody(BaseModel):
    """Errors have OpenAI's form: `{"error": {"message", "type", "param", "code"}}`."""

    error: dict[str, Any]
