"""The offline stages of this room, each from the settings to one version:

    run_ingest     site or folder -> pages -> extracted -> cleaned -> documents -> chunks
    run_index      chunks -> index
    run_examples   index -> examples

Only these functions read the settings tree; what they call takes plain values.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError, ConfigError, SourceError
from configs.schema import Config
from configs.source import SourceSettings
from guards.policy import load_policy
from ingest.corpus import DOCUMENTS, REJECTS, make_corpus
from ingest.crawl import crawl
from ingest.embed import Embedder, load_embedder
from ingest.examples import make_examples
from ingest.executor import Executor, executor_of
from ingest.folder import read_folder
from ingest.index import CHUNKS, Index, build_index
from ingest.parts import GROUP_ROWS, Step, forget_parts, run_parts
from ingest.records import Chunk, Example, Outcome, read_table, write_table
from ingest.steps import OUTCOMES, Clean, CutUp, Extract, write_cuts

__all__ = ["DOCUMENTS", "REJECTS", "questions", "run_examples", "run_index", "run_ingest"]

PAGES, EXAMPLES = "pages.parquet", "examples.parquet"

Progress = Callable[[str, int, int | None], None]

logger = logging.getLogger(__name__)


def run_ingest(config: Config, progress: Progress) -> Version:
    """Read the configured source into chunks.

    Raises:
        ConfigError: no source is set, or the policy is wrong.
        SourceError: the source cannot be read, or nothing of it is worth keeping.
    """
    workspace = Workspace(config.root)
    # A mistake in it is told before anything is read.
    policy = load_policy(config.guards.policy, only=["document"])
    executor = executor_of(config.work.executor, config.work.workers)
    pages = _read_source(workspace, config.source, progress)
    extracted = _outcomes(workspace, "extracted", Extract(), pages, PAGES, {}, executor, progress)
    settings = {**config.clean.model_dump(mode="json"), "policy": policy.version}
    clean = Clean(config.clean.min_words, config.clean.min_letter_share, config.guards.policy)
    cleaned = _outcomes(workspace, "cleaned", clean, extracted, OUTCOMES, settings, executor, progress)
    documents = _documents(workspace, cleaned, progress)
    if not documents.manifest.counts["documents"]:
        reasons = ", ".join(f"{name} {count}" for name, count in _reject_counts(documents).items())
        raise SourceError(
            f"none of the {pages.manifest.counts['pages']} pages read was kept ({reasons})",
            "`wellread data rejects` says why; the limits are under clean, and pages that scripts fill are empty",
        )
    return _chunks(workspace, documents, config, executor, progress)


def run_index(config: Config, progress: Progress) -> Version:
    """Embed the current chunks into an index.

    Raises:
        ArtifactError: there are no chunks, or they were cut for another embedder.
    """
    workspace = Workspace(config.root)
    chunks = workspace.current("chunks")
    cut_for = chunks.manifest.settings["embedder"]
    if cut_for != config.embed.model:
        raise ArtifactError(
            f"the passages were cut for the embedder {cut_for}, and embed.model is {config.embed.model}",
            "Run `wellread ingest` again: each embedder has its own longest text",
        )

    def make(folder: Path) -> Made:
        total = chunks.manifest.counts["chunks"]
        rows = read_table(chunks.path / CHUNKS, Chunk)
        count = build_index(rows, _embedder(config), folder, lambda done: progress("embedding", done, total))
        return Made(counts={"chunks": count})

    return workspace.build("index", make, inputs={"chunks": chunks.id}, settings={"embedder": config.embed.model})


def run_examples(config: Config, progress: Progress) -> Version:
    """Make training and evaluation examples from the current index."""
    workspace = Workspace(config.root)
    index = workspace.current("index")

    def make(folder: Path) -> Made:
        chunks = list(read_table(index.path / CHUNKS, Chunk))
        examples = make_examples(
            chunks,
            Index.load(index.path, _embedder(config)),
            **config.examples.model_dump(),
            seed=config.seed,
            progress=lambda done: progress("writing examples", done, None),
        )
        write_table(folder / EXAMPLES, examples, Example)
        split = Counter(example.split for example in examples)
        unanswerable = sum(not example.answerable for example in examples)
        return Made(counts={"train": split["train"], "holdout": split["holdout"], "unanswerable": unanswerable})

    settings = {**config.examples.model_dump(mode="json"), "seed": config.seed}
    return workspace.build("examples", make, inputs={"index": index.id}, settings=settings)


def questions(config: Config, limit: int) -> list[str]:
    """Questions that the documents answer and the model was not trained on; empty before there are examples."""
    try:
        version = Workspace(config.root).current("examples")
    except ArtifactError:
        return []
    rows = read_table(version.path / EXAMPLES, Example)
    held_out = (row.question for row in rows if row.split == "holdout" and row.answerable)
    return sorted(islice(held_out, 10 * limit), key=len)[:limit]


def _read_source(workspace: Workspace, source: SourceSettings, progress: Progress) -> Version:
    """A snapshot of the site or folder, named by what decides which pages are read; delays only decide how fast."""
    limits = {"max_pages": source.max_pages, "max_page_mb": source.max_page_mb}
    if source.folder is not None:
        make = partial(_read_folder, source.folder, source, progress)
        settings = {"folder": str(source.folder.resolve()), **limits}
    elif source.site is not None:
        make = partial(_crawl, source.site, source, progress)
        settings = {"site": source.site, **limits, **source.model_dump(include={"max_depth", "robots", "user_agent"})}
    else:
        raise ConfigError(
            "there is nothing to read: neither source.site nor source.folder is set",
            "Add --set source.site=https://example.org/docs/ or --set source.folder=path/",
        )
    return workspace.build("pages", make, inputs={}, settings=settings, snapshot=True, resumable=True)


def _crawl(site: str, source: SourceSettings, progress: Progress, out: Path) -> Made:
    return crawl(
        site,
        out,
        max_pages=source.max_pages,
        max_depth=source.max_depth,
        max_page_bytes=int(source.max_page_mb * 1e6),
        delay_s=source.delay_s,
        concurrency=source.concurrency,
        timeout_s=source.timeout_s,
        retries=source.retries,
        robots=source.robots,
        user_agent=source.user_agent,
        allow_private=source.allow_private,
        progress=progress,
    )


def _read_folder(folder: Path, source: SourceSettings, progress: Progress, out: Path) -> Made:
    max_page_bytes = int(source.max_page_mb * 1e6)
    return read_folder(folder, out, max_pages=source.max_pages, max_page_bytes=max_page_bytes, progress=progress)


def _outcomes(
    workspace: Workspace,
    stage: str,
    step: Step[Any, Outcome],
    source: Version,
    table: str,
    settings: Mapping[str, Any],
    executor: Executor,
    progress: Progress,
) -> Version:
    """One stage that goes row by row; what has not changed since the previous version is taken over from it."""
    previous = workspace.previous(stage, settings, logic=step.logic)

    def make(folder: Path) -> Made:
        results = run_parts(
            step,
            source.path / table,
            folder,
            previous=previous.path if previous else None,
            executor=executor,
            progress=partial(progress, f"{stage.removesuffix('ed')}ing"),
        )
        counts = Counter(documents=0, rejected=0)

        def counting() -> Iterator[Outcome]:
            for outcome in results:
                counts.update(documents=len(outcome.documents), rejected=len(outcome.rejects))
                yield outcome

        write_table(folder / OUTCOMES, counting(), Outcome, batch=GROUP_ROWS)
        forget_parts(folder)
        return Made(counts=counts)

    inputs = {source.manifest.stage: source.id}
    return workspace.build(stage, make, inputs=inputs, settings=settings, logic=step.logic, resumable=True)


def _documents(workspace: Workspace, cleaned: Version, progress: Progress) -> Version:
    total = cleaned.manifest.counts["documents"]

    def make(folder: Path) -> Made:
        return make_corpus(cleaned.path, folder, progress=lambda done: progress("comparing", done, total))

    return workspace.build("documents", make, inputs={"cleaned": cleaned.id}, settings={})


def _chunks(
    workspace: Workspace, documents: Version, config: Config, executor: Executor, progress: Progress
) -> Version:
    settings = {**config.chunk.model_dump(mode="json"), "embedder": config.embed.model}
    previous = workspace.previous("chunks", settings, logic=CutUp.logic)
    step = CutUp(config.embed.model, config.chunk.max_tokens, config.chunk.min_tokens)

    def make(folder: Path) -> Made:
        cuts = run_parts(
            step,
            documents.path / DOCUMENTS,
            folder,
            previous=previous.path if previous else None,
            executor=executor,
            progress=partial(progress, "chunking"),
        )
        made = write_cuts(folder, cuts)
        forget_parts(folder)
        return made

    inputs = {"documents": documents.id}
    return workspace.build("chunks", make, inputs=inputs, settings=settings, logic=CutUp.logic, resumable=True)


def _embedder(config: Config) -> Embedder:
    return load_embedder(config.embed.model, config.embed.device, config.embed.batch_size)


def _reject_counts(version: Version) -> dict[str, int]:
    prefix = "rejected_"
    return {name.removeprefix(prefix): n for name, n in version.manifest.counts.items() if name.startswith(prefix)}
