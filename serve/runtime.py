"""What a running server holds: the model, the documents, the guards and the store, loaded from the settings.

In: a `Config`. Out: a `Runtime` that is warm, that is, whose first question is not slower than its second.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

from configs.artifacts import Workspace
from configs.errors import ConfigError
from configs.schema import Config
from feedback.store import Store
from guards.detectors.canary import new_canary
from guards.policy import ANSWERING, LivePolicy, check_policy
from guards.rules import Resources
from ingest.embed import Embedder, Remembering, Vectors
from ingest.index import Index
from ingest.index_stage import open_index
from serve.answer import Assistant
from serve.engines.base import Engine, Sampling
from serve.live_index import LiveIndex
from serve.recorder import Recorder
from serve.retrieve import Retriever, Searchable
from serve.wire import ModelCard
from train.chat import Framing
from train.registry import Registry

logger = logging.getLogger(__name__)

BASE = "base"
WARM_UP = "Is everything loaded?"
# No tokenizer makes fewer tokens of prose; a section that is longer than the context in these is not even tried.
MOST_CHARS_PER_TOKEN = 8


@dataclass(frozen=True)
class Runtime:
    """Everything that answering needs.

    Attributes:
        card: the model, as `GET /v1/models` shows it.
        names: what a request may call the model.
        defaults: generation parameters of a request that sets none; `max_tokens` is also the upper limit.
        live: follows the index; None where that does not change.
    """

    assistant: Assistant
    recorder: Recorder
    store: Store
    engine: Engine
    card: ModelCard
    names: frozenset[str]
    defaults: Sampling
    live: LiveIndex[Searchable] | None = None

    @property
    def index_version(self) -> str:
        """Version id of the index in use."""
        return self.assistant.retriever.version

    @property
    def index_note(self) -> str:
        """Why a newer index is not in use; empty when there is none."""
        refused = self.live.refused if self.live else None
        return f"index {refused[0]} is not used: {refused[1]}" if refused else ""

    async def close(self) -> None:
        """Stop generating, write what is waiting, and close the store."""
        if self.live:
            self.live.close()
        await self.engine.close()
        self.recorder.close()
        self.store.close()


def load_runtime(config: Config, progress: Callable[[str], None] = lambda _what: None) -> Runtime:
    """Load and warm everything; what is missing fails before what is slow is loaded.

    Args:
        progress: called with what is being loaded.

    Raises:
        ArtifactError: there is no index, it does not fit the embedder, or the store cannot be written.
        ModelError: the model or the embedder cannot be loaded.
    """
    Workspace(config.root).current("index")
    card, trained = _which_model(config)
    store = Store(config.database_url)
    # A mistake in it is told before anything large is loaded.
    check_policy(config.guards.policy)
    progress("embedder and index")
    # A search multiplies small matrices: threads would wait for each other longer than they work.
    threadpool_limits(1, "blas")
    live = LiveIndex(config.root, Opener(config), config.serve.index_poll_s)
    progress("guards")
    canary = new_canary()
    policy = LivePolicy(config.guards.policy, guard_resources(live, canary))
    policy.policy.warm_up(*ANSWERING)
    progress("model")
    engine = _load_engine(config, trained)
    recorder = Recorder(store, policy, f"{card.id}:{card.version}")
    live.follow()
    return Runtime(
        assistant=Assistant(
            engine,
            _retriever(config, live, engine),
            policy,
            recorder,
            Framing(config.model.spotlight, canary=canary),
            config.retrieve.condense,
        ),
        recorder=recorder,
        store=store,
        engine=engine,
        card=card,
        names=frozenset({card.id, card.version, config.serve.alias} | ({card.base} if trained is None else set())),
        defaults=Sampling(
            max_tokens=config.serve.max_new_tokens,
            temperature=config.serve.temperature,
            repetition_penalty=config.serve.repetition_penalty,
        ),
        live=live,
    )


class Opener:
    """Opens index versions, one after another; what embeds the questions is loaded anew only where one needs that."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._embedder: Embedder | None = None

    def __call__(self, folder: Path) -> Index:
        """Open and warm a version.

        Raises:
            ArtifactError: it is damaged, or was made with other settings.
            ModelError: its embedder or the reranker cannot be loaded.
        """
        index = open_index(self._config, folder, self._embedder)
        index.search(WARM_UP, 1)
        self._embedder = index.embedder
        return index


def guard_resources(live: LiveIndex[Index], canary: str) -> Resources:
    """What guards need. Texts are compared with topics of the same embedder, which so stays that of the start."""
    embedder = live.current.embedder

    def topics() -> Vectors:
        index = live.current
        if index.embedder.identity != embedder.identity:
            raise ConfigError(
                f"the index {index.version} was made with another embedder than the server started with",
                "Start the server again, so that the guards know its topics",
            )
        return index.topics()

    # The guard of grounding embeds the same passages at every stretch of an answer.
    return Resources(embed=Remembering(embedder.encode), topics=topics, canary=canary)


def _retriever(config: Config, live: LiveIndex[Index], engine: Engine) -> Retriever:
    settings = config.retrieve
    return Retriever(
        lambda: live.current,
        settings.passages,
        settings.min_answerable,
        settings.context,
        max_section_chars=engine.max_context * MOST_CHARS_PER_TOKEN,
    )


def _which_model(config: Config) -> tuple[ModelCard, Path | None]:
    """The registered model that the alias names, or the base model while nothing is registered."""
    found = Registry(config.root).resolve(config.serve.alias)
    base = config.model.name
    if found is None:
        logger.info("nothing is registered as %s: serving the base model %s", config.serve.alias, base)
        return ModelCard(id=BASE, created=0, version=base, base=base), None
    created = int(found.version.manifest.created.timestamp())
    # What it was trained from, whatever is configured now.
    base = found.version.manifest.settings["model"]
    return ModelCard(id=config.serve.alias, created=created, version=found.id, base=base), found.path


def _load_engine(config: Config, trained: Path | None) -> Engine:
    # torch takes seconds to import; a mistake in the index or the store is told before that.
    from serve.engines.local import LocalEngine
    from train.model import load_model, load_trained

    device, dtype = config.model.device, config.model.dtype
    loaded = load_trained(trained, device, dtype) if trained else load_model(config.model.name, device, dtype)
    engine = LocalEngine(loaded, max_context=config.model.max_context, threads=config.serve.threads)
    engine.warm_up(WARM_UP)
    return engine
