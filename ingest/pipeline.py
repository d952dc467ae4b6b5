"""The offline stages of this room, each from the settings to one version:

    run_ingest     site or folder -> pages -> documents -> chunks
    run_index      chunks -> index
    run_examples   index -> examples

Only these functions read the settings tree; what they call takes plain values.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from configs.artifacts import Made, Version, Workspace
from configs.clean import CleanSettings
from configs.errors import ArtifactError, ConfigError, SourceError
from configs.schema import Config
from configs.source import SourceSettings
from guards.base import Verdict
from guards.policy import load_policy
from guards.stage import Stage
from ingest.chunk import chunk_document
from ingest.crawl import crawl
from ingest.dedup import ExactDedup
from ingest.embed import Embedder, load_embedder
from ingest.examples import make_examples
from ingest.extract import extract
from ingest.filters import build_filters, first_refusal
from ingest.folder import read_folder
from ingest.guard import guard_document
from ingest.index import CHUNKS, Index, build_index
from ingest.records import Chunk, Document, Example, Page, Reject, column, read_table, stable_id, write_table

PAGES, DOCUMENTS, EXAMPLES, REJECTS = "pages.parquet", "documents.parquet", "examples.parquet", "rejects.parquet"

Progress = Callable[[str, int, int | None], None]

logger = logging.getLogger(__name__)


def run_ingest(config: Config, progress: Progress) -> Version:
    """Read the configured source into chunks.

    Raises:
        ConfigError: no source is set.
        SourceError: the source cannot be read, or nothing of it is worth keeping.
    """
    workspace = Workspace(config.root)
    # A mistake in it is told before anything is read.
    policy = load_policy(config.guards.policy, only=["document"])
    pages = _read_source(workspace, config.source, progress)
    documents = workspace.build(
        "documents",
        lambda folder: _make_documents(pages, folder, config.clean, policy.stage("document"), progress),
        inputs={"pages": pages.id},
        settings={**config.clean.model_dump(mode="json"), "policy": policy.version},
    )
    if not documents.manifest.counts["documents"]:
        reasons = ", ".join(f"{name} {count}" for name, count in _reject_counts(documents).items())
        raise SourceError(
            f"none of the {pages.manifest.counts['pages']} pages read was kept ({reasons})",
            "`wellread data rejects` says why; the limits are under clean, and pages that scripts fill are empty",
        )
    embedder = _embedder(config)
    return workspace.build(
        "chunks",
        lambda folder: _make_chunks(documents, folder, embedder, config, progress),
        inputs={"documents": documents.id},
        settings={**config.chunk.model_dump(mode="json"), "embedder": embedder.name},
    )


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


def _make_documents(pages: Version, folder: Path, clean: CleanSettings, stage: Stage, progress: Progress) -> Made:
    rejects: list[Reject] = []
    counts = Counter(redacted=0)

    def keep() -> Iterator[Document]:
        for document in _kept(_extracted(pages, rejects, progress), clean, rejects):
            guarded = guard_document(document, stage)
            counts.update(guarded.counts)
            if guarded.document is not None:
                yield guarded.document
            if guarded.reject is not None:
                rejects.append(guarded.reject)

    kept = write_table(folder / DOCUMENTS, keep(), Document)
    write_table(folder / REJECTS, rejects, Reject)
    reasons = Counter(f"rejected_{reject.rule}" for reject in rejects)
    return Made(counts={"documents": kept, **dict(sorted((counts + reasons).items())), "redacted": counts["redacted"]})


def _extracted(pages: Version, rejects: list[Reject], progress: Progress) -> Iterator[Document]:
    total = pages.manifest.counts["pages"]
    taken = set(column(pages.path / PAGES, "url"))
    for done, page in enumerate(read_table(pages.path / PAGES, Page), 1):
        result = extract(page)
        progress("extracting", done, total)
        if isinstance(result, Reject):
            rejects.append(result)
        else:
            yield _at_own_address(result, page.url, taken)


def _at_own_address(document: Document, url: str, taken: set[str]) -> Document:
    """The document at the canonical address that its page names, unless another page is there or claims it, too:
    sites that name their home page on every page are common, and a citation must lead to the text that it quotes."""
    if document.url == url:
        return document
    if document.url in taken:
        return replace(document, url=url, id=stable_id(url, document.text))
    taken.add(document.url)
    return document


def _kept(documents: Iterable[Document], clean: CleanSettings, rejects: list[Reject]) -> Iterator[Document]:
    filters = build_filters(min_words=clean.min_words, min_letter_share=clean.min_letter_share)
    dedup = ExactDedup()
    for document in documents:
        if refusal := first_refusal(document, filters):
            rejects.append(_reject(document, refusal))
        elif original := dedup.duplicate_of(document):
            rejects.append(Reject(document.url, "duplicate", f"same text as {original}", 1.0, 1.0))
        else:
            yield document


def _reject(document: Document, verdict: Verdict) -> Reject:
    return Reject(document.url, verdict.category, verdict.reason, verdict.score, verdict.threshold)


def _make_chunks(documents: Version, folder: Path, embedder: Embedder, config: Config, progress: Progress) -> Made:
    total = documents.manifest.counts["documents"]
    max_tokens = min(config.chunk.max_tokens, embedder.max_tokens)

    def chunks() -> Iterator[Chunk]:
        for done, document in enumerate(read_table(documents.path / DOCUMENTS, Document), 1):
            yield from chunk_document(
                document, embedder.count_tokens, max_tokens=max_tokens, min_tokens=config.chunk.min_tokens
            )
            progress("chunking", done, total)

    return Made(counts={"documents": total, "chunks": write_table(folder / CHUNKS, chunks(), Chunk)})


def _embedder(config: Config) -> Embedder:
    return load_embedder(config.embed.model, config.embed.device, config.embed.batch_size)


def _reject_counts(version: Version) -> dict[str, int]:
    prefix = "rejected_"
    return {name.removeprefix(prefix): n for name, n in version.manifest.counts.items() if name.startswith(prefix)}
