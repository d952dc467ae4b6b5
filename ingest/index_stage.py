"""The stage of the index: from the current passages to a version that may be searched, and that version opened.

    run_index             chunks -> index; compared with the current index before it takes its place
    open_index            a version's folder -> Index
    configured_embedder   the embedder that the next index is made with

Only these functions read the settings tree; what they call takes plain values.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from threadpoolctl import threadpool_limits

from configs.artifacts import Made, Version, Workspace, locked, write_text_atomic
from configs.errors import ArtifactError, WellreadError
from configs.schema import Config
from ingest.embed import Embedder, load_embedder
from ingest.embed_source import revision_of
from ingest.index import VECTORS, Index, IndexManifest, SearchOptions
from ingest.index_swap import admit, note_swap
from ingest.index_whole import made_whole
from ingest.indexing import build_index
from ingest.records import Chunk, Progress, read_table
from ingest.relevance.known_items import heading_items
from ingest.retriever_in_use import model_of, used_retriever
from ingest.search.answerable import Answerability
from ingest.search.hybrid import Ranker
from ingest.search.lexical import VERSION
from ingest.search.rerank import Reranker
from ingest.steps import CHUNKS
from ingest.vectors.kinds import Params
from ingest.vectors.store import Store
from ingest.versions.profile import profile_vectors

__all__ = ["configured_embedder", "open_index", "run_index"]

STAGE = "index"
# The settings that vectors depend on.
EMBEDDING = ("embedder", "revision", "retriever", "prefixes")
# To be raised when the same passages give another index.
LOGIC = 2
# Questions that answerability is fitted to, at most.
CALIBRATED_ON = 200
# Share of the passages that may change before it is fitted again.
REFITTED_AT = 0.1
# Vectors that the profile is made from, at most.
PROFILED = 50_000

log = logging.getLogger(__name__)


def run_index(config: Config, progress: Progress, *, force: bool = False) -> Version:
    """Make the index of the current passages, and make it the current one if it finds no less than that did.

    Args:
        force: take it although it finds less; `swaps.jsonl` says so.

    Raises:
        ArtifactError: there are no passages, they were cut for another embedder, the store fails, or another process is
            making an index.
        GateRefused: it finds too few of the pages that are known to answer. It is kept, and not made again.
    """
    workspace = Workspace(config.root)
    home = config.root / STAGE
    workspace.current("chunks")
    home.mkdir(parents=True, exist_ok=True)
    # One after the other, whatever the passages: of two runs at once, that of the older passages might end last.
    with locked(home / ".lock", f"already at work on the stage {STAGE}"):
        retriever = _used_retriever(config)
        # Loaded once, by the first that needs it: where nothing is to be done, nothing does.
        embedder = cache(partial(_load_embedder, config, _embedder_settings(config, retriever)))
        made = _make(config, workspace, retriever, embedder, progress)
        before = _current_version(workspace)
        if before is None or before.id != made.id:
            swap = _compared(config, made, before, embedder, progress, force=force) if before else {}
            workspace.publish(STAGE, made.id)
            note_swap(home, before.id if before else None, made.id, swap)
        _forget(config, workspace)
        return made


def _make(
    config: Config, workspace: Workspace, retriever: str, embedder: Callable[[], Embedder], progress: Progress
) -> Version:
    """The version of the current passages, which nobody searches yet."""
    chunks = workspace.current("chunks")
    _check_cut(config, chunks)
    store = _store(config)
    settings = _settings(config, retriever)
    previous = workspace.previous(STAGE, settings, logic=LOGIC) or _same_embedder(workspace, settings)

    def make(folder: Path, left: Path | None) -> Made:
        manifest = build_index(
            read_table(chunks.path / CHUNKS, Chunk),
            embedder(),
            folder,
            store=store,
            previous=left or (previous.path if previous else None),
            retriever=retriever,
            corpus=chunks.id,
            chunker=chunks.manifest.settings,
            progress=partial(progress, "embedding"),
        )
        index = Index.load(folder, embedder(), _options(config), store)
        _calibrate(config, index, previous, progress)
        profile_vectors(index.vectors(PROFILED), config.embed.model).write(folder)
        recall = index.stats().recall
        return Made(counts=manifest.counts, figures={} if recall is None else {"vector_recall_at_10": recall})

    def build(left: Path | None) -> Version:
        return workspace.build(
            STAGE,
            lambda folder: make(folder, left),
            inputs={"chunks": chunks.id},
            settings=settings,
            logic=LOGIC,
            resumable=True,
            publish=False,
        )

    return made_whole(build, store)


def _calibrate(config: Config, index: Index, previous: Version | None, progress: Progress) -> None:
    """Fit when questions count as answered; taken over where hardly anything has changed since it was fitted."""
    progress("checking", 0, None)
    made_with = {"embedder": config.embed.model, "search": [config.retrieve.mode, config.retrieve.fusion]}
    counts = index.manifest.counts
    if previous and (before := _fitted_before(previous)) and before.fitted:
        changed = int(before.made_with.get("changed_since", 0)) + max(counts["embedded"], counts["removed"])
        if made_with.items() <= before.made_with.items() and changed <= REFITTED_AT * len(index):
            index.take_calibration(before.fitted_to(before.fitted, {**before.made_with, "changed_since": changed}))
            return
    # Searches multiply small matrices, over which threads spend more time waiting than working.
    with threadpool_limits(1, "blas"):
        index.calibrate(heading_items(index.passages, CALIBRATED_ON), made_with)


def _fitted_before(previous: Version) -> Answerability | None:
    try:
        return Answerability.load(previous.path)
    except ArtifactError:
        return None


def _compared(
    config: Config,
    made: Version,
    before: Version,
    embedder: Callable[[], Embedder],
    progress: Progress,
    *,
    force: bool,
) -> dict[str, Any]:
    """What the index that was made finds beside the current one.

    Raises:
        GateRefused: it finds too little, and is not forced.
    """
    chosen = config.index
    if not chosen.gate_questions:
        return {}
    progress("comparing", 0, None)
    old = _opened_before(config, before, embedder())
    if old is None:
        return {}
    new = Index.load(made.path, embedder(), _options(config), _store(config))
    # Searches multiply small matrices, over which threads spend more time waiting than working.
    with threadpool_limits(1, "blas"):
        return admit(new, old, chosen.gate_questions, chosen.max_recall_drop, force=force)


def _forget(config: Config, workspace: Workspace) -> None:
    """Have a server drop what no version refers to."""
    store = _store(config)
    try:
        store.forget(version.path / VECTORS for version in workspace.versions(STAGE))
    # The index is in use whatever becomes of what is left of older ones.
    except ArtifactError as error:
        log.warning("older vectors stay on the server: %s", error.problem)


def open_index(config: Config, folder: Path | None = None, embedder: Embedder | None = None) -> Index:
    """Open an index version with the embedder that it needs.

    Args:
        folder: of the version; None opens the current one.
        embedder: one that is loaded already, taken where it is the right one.

    Raises:
        ArtifactError: there is none, it is damaged, or was made with other settings.
        ModelError: its embedder or the reranker cannot be loaded.
    """
    folder = folder or Workspace(config.root).current(STAGE).path
    manifest = IndexManifest.read(folder)
    if embedder is None or embedder.identity != manifest.embedder:
        embedder = _load_embedder(config, _embedder_settings(config, manifest.retriever))
    reranker = config.retrieve.reranker
    rerank = _reranker(reranker, config.embed.device) if reranker else None
    return Index.load(folder, embedder, replace(_options(config), rerank=rerank), _store(config))


def configured_embedder(config: Config) -> tuple[Embedder, str]:
    """The embedder that the next index is made with, and the version of its fine-tuning; empty where there is none.

    Raises:
        ModelError: it cannot be loaded.
    """
    retriever = _used_retriever(config)
    return _load_embedder(config, _embedder_settings(config, retriever)), retriever


def _current_version(workspace: Workspace) -> Version | None:
    try:
        return workspace.current(STAGE)
    except ArtifactError:
        return None


def _same_embedder(workspace: Workspace, settings: Mapping[str, Any]) -> Version | None:
    """The newest version whose vectors can be taken over, however they are kept and searched."""
    for version in reversed(workspace.versions(STAGE)):
        if all(version.manifest.settings.get(name) == settings[name] for name in EMBEDDING):
            return version
    return None


def _opened_before(config: Config, version: Version, embedder: Embedder) -> Index | None:
    """The index that is searched until now, by the embedder that it was made with, whatever is configured since."""
    try:
        if embedder.identity != IndexManifest.read(version.path).embedder:
            embedder = _load_embedder(config, version.manifest.settings)
        # Without a cross-encoder, which would read thousands of passages to judge what it does not change.
        return Index.load(version.path, embedder, _options(config), _store(config).of(version.path / VECTORS))
    # What cannot be opened does not answer anybody, and there is nothing to lose.
    except WellreadError as error:
        log.warning("the new index is not compared with the current one: %s", error.problem)
        return None


def _check_cut(config: Config, chunks: Version) -> None:
    cut_for = chunks.manifest.settings["embedder"]
    if cut_for != config.embed.model:
        raise ArtifactError(
            f"the passages were cut for the embedder {cut_for}, and embed.model is {config.embed.model}",
            "Run `wellread ingest` again: each embedder has its own longest text",
        )
    if chunks.manifest.settings.get("passage_prefix") != config.embed.passage_prefix:
        raise ArtifactError(
            "the passages were cut for another embed.passage_prefix", "Run `wellread ingest` again: it takes up room"
        )


def _settings(config: Config, retriever: str) -> dict[str, Any]:
    """What an index depends on besides the passages; not what may change while it is searched, nor secrets."""
    embed, chosen = config.embed, config.index
    built = {
        "hnsw": chosen.hnsw.model_dump(exclude={"search"}),
        "ivfpq": chosen.ivfpq.model_dump(include={"lists", "code_bytes"}),
    }
    return {
        **_embedder_settings(config, retriever),
        "revision": revision_of(embed.model),
        "lexical": VERSION,
        # What answerability is fitted to.
        "search": [config.retrieve.mode, config.retrieve.fusion],
        "store": chosen.store,
        "collection": chosen.collection,
        "kind": chosen.kind,
        **built,
    }


def _embedder_settings(config: Config, retriever: str) -> dict[str, Any]:
    """The part of an index version's settings that says which embedder it needs."""
    embed = config.embed
    return {
        "embedder": embed.model,
        "retriever": retriever,
        "prefixes": [embed.query_prefix, embed.passage_prefix],
    }


def _used_retriever(config: Config) -> str:
    """The version of the fine-tuned embedder that is used; empty where it is the embedder as it came."""
    return "" if config.embed.trained == "off" else used_retriever(config.root, config.embed.model)


def _load_embedder(config: Config, made_with: Mapping[str, Any]) -> Embedder:
    """The embedder that the settings of an index version name."""
    name, retriever = made_with["embedder"], made_with.get("retriever")
    files = model_of(config.root, retriever) if retriever else None
    query, passage = made_with.get("prefixes", (None, None))
    return load_embedder(name, config.embed.device, config.embed.batch_size, query, passage, files)


@lru_cache(maxsize=1)
def _reranker(name: str, device: str) -> Reranker:
    """Kept, since a running server opens one version after another."""
    return Reranker(name, device)


def _options(config: Config) -> SearchOptions:
    """How the index is searched, but for the reranker."""
    chosen = config.retrieve
    ranker = Ranker(chosen.mode, chosen.fusion, chosen.candidates)
    return SearchOptions(ranker, collapse=chosen.collapse, reranked=chosen.rerank)


def _store(config: Config) -> Store:
    chosen = config.index
    params = Params(**chosen.hnsw.model_dump(), **chosen.ivfpq.model_dump())
    owner = _owner(config.root) if chosen.store != "faiss" else ""
    return Store(chosen.store, chosen.url, chosen.collection, chosen.kind, params, chosen.compact_at, owner)


def _owner(root: Path) -> str:
    """The id of a workspace, by which a server tells its vectors from those of others; made by the first who asks."""
    path = root / STAGE / "owner"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(path, uuid4().hex + "\n")
    return path.read_text().strip()
