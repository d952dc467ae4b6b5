"""What a running server holds: the model, the documents, the guards and the store, loaded from the settings.

In: a `Config`. Out: a `Runtime` that is warm, that is, whose first question is not slower than its second.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from configs.artifacts import Workspace
from configs.schema import Config
from feedback.store import Store
from guards.detectors.canary import new_canary
from guards.policy import ANSWERING, LivePolicy, check_policy
from guards.rules import Embed, Resources
from ingest.index import Index
from serve.answer import Assistant
from serve.engines.base import Engine, Sampling
from serve.recorder import Recorder
from serve.retrieve import Retriever
from serve.wire import ModelCard
from train.chat import Framing
from train.registry import Registry

logger = logging.getLogger(__name__)

BASE = "base"
WARM_UP = "Is everything loaded?"


@dataclass(frozen=True)
class Runtime:
    """Everything that answering needs.

    Attributes:
        card: the model, as `GET /v1/models` shows it.
        names: what a request may call the model.
        defaults: generation parameters of a request that sets none; `max_tokens` is also the upper limit.
        index_version: version id of the index.
    """

    assistant: Assistant
    recorder: Recorder
    store: Store
    engine: Engine
    card: ModelCard
    names: frozenset[str]
    defaults: Sampling
    index_version: str

    async def close(self) -> None:
        """Stop generating, write what is waiting, and close the store."""
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
    found = Workspace(config.root).current("index")
    card, trained = _which_model(config)
    store = Store(config.database_url)
    # A mistake in it is told before anything large is loaded.
    check_policy(config.guards.policy)
    progress("embedder and index")
    index, embed = _load_index(config, found.path)
    progress("guards")
    canary = new_canary()
    policy = LivePolicy(config.guards.policy, Resources(embed=embed, topics=index.topics, canary=canary))
    policy.policy.warm_up(*ANSWERING)
    progress("model")
    engine = _load_engine(config, trained)
    retriever = Retriever(index, config.retrieve.passages, config.retrieve.min_answerable or 0.3)
    framing = Framing(config.model.spotlight, canary=canary)
    recorder = Recorder(store, policy, f"{card.id}:{card.version}", index.version)
    return Runtime(
        assistant=Assistant(engine, retriever, policy, recorder, framing),
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
        index_version=index.version,
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


def _load_index(config: Config, folder: Path) -> tuple[Index, Embed]:
    from ingest.embed import Remembering, load_embedder

    embedder = load_embedder(config.embed.model, config.embed.device, config.embed.batch_size)
    index = Index.load(folder, embedder)
    index.search(WARM_UP, 1)
    # The guard of grounding embeds the same passages at every stretch of an answer.
    return index, Remembering(embedder.encode)


def _load_engine(config: Config, trained: Path | None) -> Engine:
    # torch takes seconds to import; a mistake in the index or the store is told before that.
    from serve.engines.local import LocalEngine
    from train.model import load_model, load_trained

    device, dtype = config.model.device, config.model.dtype
    loaded = load_trained(trained, device, dtype) if trained else load_model(config.model.name, device, dtype)
    engine = LocalEngine(loaded, max_context=config.model.max_context, threads=config.serve.threads)
    engine.warm_up(WARM_UP)
    return engine
