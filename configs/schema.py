"""The one settings tree. Every field's docstring is its documentation and its help text.

Unknown keys are refused everywhere. Library functions take plain values, never this tree: only the command line and
the start-up code of a stage read it. `configs/load.py` fills it from YAML, `--set` and the environment.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from configs.clean import CleanSettings
from configs.dedup import DedupSettings
from configs.evaluation import EvaluateSettings
from configs.examples import ExampleSettings
from configs.export import ExportSettings
from configs.retrieval import EmbedSettings, IndexSettings, RetrieverSettings, RetrieveSettings
from configs.section import Positive, Section
from configs.source import SourceSettings
from configs.sweep import SweepSettings
from configs.training import ModelSettings, TrainSettings


class WorkSettings(Section):
    """How the stages of ingest use the machine, or several."""

    executor: Literal["local", "ray"] = "local"
    """`local`: processes on this machine. `ray`: tasks of Ray Data, on the cluster that RAY_ADDRESS names or a local
    one; needs the extra `ray`, and `root` on storage that all its machines see."""
    workers: Annotated[int, Field(ge=0)] = 0
    """Processes at once; 0 takes as many as there are cores."""


class ChunkSettings(Section):
    """How documents are cut into passages."""

    max_tokens: Annotated[int, Field(ge=32)] = 200
    """Longest passage, in the embedder's own tokens, heading path included; the embedder's limit caps it."""
    min_tokens: Annotated[int, Field(ge=1)] = 24
    """Shorter pieces of a section join a neighbour of the same section where both fit."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_tokens >= self.max_tokens:
            raise ValueError(f"min_tokens ({self.min_tokens}) must be smaller than max_tokens ({self.max_tokens})")
        return self


class GuardSettings(Section):
    """Checks on documents, questions, passages and answers."""

    policy: str = "balanced"
    """A preset (`strict`, `balanced`, `off`) or a YAML file that says which guards run at which stage, and what each
    does. A running server reads the file again when it changes."""

    @field_validator("policy", mode="before")
    @classmethod
    def _off_names_a_policy(cls, value: object) -> object:
        # YAML reads a bare `off` as false.
        return "off" if value is False else value


class ServeSettings(Section):
    """The HTTP server and its default generation parameters."""

    host: str = "127.0.0.1"
    """Address to listen on; loopback by default, so that nothing is exposed by accident."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port of the API and the chat page; 0 picks a free one."""
    alias: str = "champion"
    """Registry alias of the model to serve; while nothing is registered, the base model is served."""
    max_new_tokens: Positive = 128
    """Default and largest answer length in tokens."""
    temperature: Annotated[float, Field(ge=0.0, le=2.0)] = 0.0
    """Default sampling temperature; 0 is greedy."""
    repetition_penalty: Annotated[float, Field(ge=1.0, le=2.0)] = 1.1
    """Default penalty on repeated tokens (Keskar et al. 2019); 1 is off."""
    threads: Annotated[int, Field(ge=0)] = 0
    """CPU threads for the model; 0 leaves it to torch."""
    max_request_kb: Positive = 256
    """Larger request bodies are refused with 413."""
    index_poll_s: Annotated[float, Field(gt=0)] = 2.0
    """Seconds between two looks at whether another index has become current, which is then taken without a pause."""


class FeedbackSettings(Section):
    """The store of interactions, votes and corrections."""

    database: str | None = None
    """SQLAlchemy URL; by default a SQLite file in `root`. Put a URL with a password into the environment:
    WELLREAD_FEEDBACK__DATABASE."""


class Config(Section):
    """The whole tree."""

    root: Path = Path(".wellread")
    """Folder that holds everything wellread makes: data versions, indexes, runs, the store."""
    seed: int = 17
    """Seed of every random choice."""
    source: SourceSettings = SourceSettings()
    """Where the documents come from."""
    clean: CleanSettings = CleanSettings()
    """Which documents are kept."""
    dedup: DedupSettings = DedupSettings()
    """Which documents repeat others."""
    work: WorkSettings = WorkSettings()
    """How the stages of ingest use the machine, or several."""
    chunk: ChunkSettings = ChunkSettings()
    """How documents are cut into passages."""
    embed: EmbedSettings = EmbedSettings()
    """The sentence embedder."""
    index: IndexSettings = IndexSettings()
    """Where vectors are kept, and how they are searched."""
    examples: ExampleSettings = ExampleSettings()
    """Training and evaluation examples."""
    model: ModelSettings = ModelSettings()
    """The language model."""
    train: TrainSettings = TrainSettings()
    """Fine-tuning of the language model."""
    retriever: RetrieverSettings = RetrieverSettings()
    """Fine-tuning of the embedder."""
    sweep: SweepSettings = SweepSettings()
    """Search for hyperparameters of the fine-tuning."""
    evaluate: EvaluateSettings = EvaluateSettings()
    """Evaluation and gate."""
    export: ExportSettings = ExportSettings()
    """Exported models."""
    retrieve: RetrieveSettings = RetrieveSettings()
    """Search at answering time."""
    guards: GuardSettings = GuardSettings()
    """Checks before and after the model."""
    serve: ServeSettings = ServeSettings()
    """The HTTP server."""
    feedback: FeedbackSettings = FeedbackSettings()
    """The store of interactions and votes."""

    @model_validator(mode="after")
    def _prompt_fits(self) -> Self:
        prompt = self.retrieve.passages * self.chunk.max_tokens
        if prompt + self.serve.max_new_tokens > self.model.max_context:
            raise ValueError(
                f"retrieve.passages ({self.retrieve.passages}) x chunk.max_tokens ({self.chunk.max_tokens}) + "
                f"serve.max_new_tokens ({self.serve.max_new_tokens}) exceeds model.max_context "
                f"({self.model.max_context}): lower one of the first three or raise the last"
            )
        return self

    @property
    def database_url(self) -> str:
        """The feedback store's SQLAlchemy URL, with the default filled in."""
        return self.feedback.database or f"sqlite:///{(self.root / 'feedback.db').resolve()}"
