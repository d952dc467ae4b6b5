"""The one settings tree. Every field's docstring is its documentation and its help text.

Unknown keys are refused everywhere. Library functions take plain values, never this tree: only the command line and
the start-up code of a stage read it. `configs/load.py` fills it from YAML, `--set` and the environment.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from configs.clean import CleanSettings
from configs.dedup import DedupSettings
from configs.examples import ExampleSettings
from configs.retrieval import EmbedSettings, IndexSettings, RetrieverSettings, RetrieveSettings
from configs.section import Fraction, Positive, Section
from configs.source import SourceSettings


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


class ModelSettings(Section):
    """The language model."""

    name: str = "embedded:SmolLM2-135M-Instruct"
    """`embedded:SmolLM2-135M-Instruct` (ships with the install), or any hub id or folder of a causal LM with a chat
    template."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes a GPU when there is one."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: float32 on a CPU; on a GPU bfloat16, or float16 where it has none."""
    max_context: Annotated[int, Field(ge=256)] = 2048
    """Tokens of prompt and answer together; the model's own limit caps it."""
    spotlight: Literal["off", "delimit", "datamark"] = "off"
    """How the prompt marks passages as quotations, so that the model obeys them less (Hines et al. 2024): a border with
    a secret, or a sign between all words. Train again after a change: the model is taught the same prompt."""


class LoraSettings(Section):
    """Low-rank adaptation (Hu et al. 2021)."""

    rank: Annotated[int, Field(ge=1)] = 16
    """Rank r of the update matrices."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """Scale of the update is alpha / rank."""
    dropout: Fraction = 0.0
    """Dropout on the adapter's input."""
    target: str | list[str] = "all-linear"
    """Module names that get an adapter; `all-linear` is every linear layer but the output head."""


class TrainSettings(Section):
    """Supervised fine-tuning."""

    method: Literal["lora", "full"] = "lora"
    """`lora` trains an adapter, `full` trains every weight."""
    launcher: Literal["none", "torchrun", "deepspeed"] = "none"
    """What starts the training processes; `none` trains in one process."""
    processes: Positive = 1
    """Training processes on this machine."""
    deepspeed: Path | None = None
    """A DeepSpeed configuration file; only with `launcher: deepspeed`. Without it, a ZeRO-2 one is used."""
    max_steps: Annotated[int, Field(ge=-1)] = -1
    """Optimizer steps; -1 means as many as `epochs` gives."""
    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the examples."""
    learning_rate: Annotated[float, Field(gt=0)] = 3e-4
    """Peak learning rate of AdamW."""
    warmup_share: Fraction = 0.1
    """Share of the steps in which the learning rate rises linearly; it then falls as a cosine."""
    batch_size: Positive = 2
    """Examples per process and forward pass."""
    accumulate: Positive = 1
    """Forward passes per optimizer step."""
    max_tokens: Annotated[int, Field(ge=64)] = 768
    """Longest example in tokens; longer ones are left out and counted, never cut."""
    save_steps: Positive = 20
    """Steps between checkpoints; a killed run resumes from the last one."""
    lora: LoraSettings = LoraSettings()
    """Adapter settings, used by `method: lora`."""

    @model_validator(mode="after")
    def _combinations(self) -> Self:
        if self.launcher == "none" and self.processes > 1:
            raise ValueError(f"processes: {self.processes} needs launcher: torchrun or deepspeed (launcher is none)")
        if self.deepspeed and self.launcher != "deepspeed":
            raise ValueError(f"deepspeed: {self.deepspeed} needs launcher: deepspeed (launcher is {self.launcher})")
        if self.max_steps == 0:
            raise ValueError("max_steps: 0 would train nothing; use -1 for whole epochs, or a positive number")
        return self


class EvaluateSettings(Section):
    """Evaluation of a model on the held-out examples, and the gate before it is served."""

    max_examples: Positive = 24
    """Held-out examples that are answered; the loss is taken over the same ones."""
    max_new_tokens: Positive = 64
    """Longest generated answer."""
    batch_size: Positive = 8
    """Answers generated at once."""
    max_f1_drop: Fraction = 0.02
    """The gate refuses a model whose answer F1 is lower than the champion's by more than this."""


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
    evaluate: EvaluateSettings = EvaluateSettings()
    """Evaluation and gate."""
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
