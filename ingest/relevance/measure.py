"""`wellread eval retrieval`: what is measured, on a test collection or on the user's own documents.

    measure_collection   corpus, queries and judgements in files -> figures of each ranking
    measure_index        the current index, asked for known items -> figures of each kind of item, and what it missed

Only these functions read the settings tree. Indexes that are made for measuring alone are kept below
`<root>/relevance/`, so that measuring again embeds nothing; deleting that folder loses nothing else. One that was
killed while it was made goes on where it was.

Known limit: so that a hundred documents can be found where each is cut into several passages, a test collection is
searched for more passages than `retrieve.candidates` may say, and ranked among those.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from math import ceil
from pathlib import Path
from typing import Any, cast

from configs.artifacts import Made, Version, Workspace
from configs.errors import ArtifactError
from configs.schema import Config
from ingest.chunk import chunk_document
from ingest.embed import Embedder
from ingest.index import Index
from ingest.index_stage import LOGIC, configured_embedder, open_index
from ingest.index_whole import made_whole
from ingest.indexing import build_index
from ingest.pipeline import LOGIC as STAGES
from ingest.records import Chunk, Document, Page, Progress, read_table
from ingest.relevance.anchors import anchors_of
from ingest.relevance.beir import read_collection
from ingest.relevance.evaluate import HITS, Report, Timed, evaluate, passages_as_documents
from ingest.relevance.known_items import Item, anchor_items, heading_items, without_headings
from ingest.relevance.metrics import paired_difference
from ingest.relevance.report import CollectionReport, KnownItemReport, misses_of
from ingest.source import PAGES
from ingest.vectors.store import FILES
from ingest.versions.ancestry import ancestors

# Documents that a ranking is judged by: as many as the longest of the standard metrics counts.
DEPTH = 100
KNOWN_ITEM_METRICS = ("recall@1", "recall@5", "recall@10", "mrr@10")
KNOWN_ITEM_DEPTH = 10


def measure_collection(
    config: Config, corpus: Path, queries: Path, qrels: Path, progress: Progress
) -> CollectionReport:
    """Index a test collection as the settings say, and search it for its queries.

    Raises:
        SourceError: a file cannot be read, or a line of it is wrong.
        ModelError: the embedder cannot be loaded.
    """
    collection = read_collection(corpus, queries, qrels)
    embedder, retriever = configured_embedder(config)
    chunk = config.chunk.model_dump(mode="json")
    key = {"corpus": _digest(corpus), "chunk": chunk, "cut": STAGES["chunks"]}
    documents = collection.as_documents()
    index, timed = _made(config, embedder, retriever, key, _cut(config, embedder, documents), progress)
    per_document = ceil(len(index) / max(len(collection.documents), 1))
    report = evaluate(
        index,
        collection.queries,
        collection.qrels,
        _url,
        k=DEPTH * per_document,
        passages=index.passages,
        embedder=timed,
        progress=progress,
    )
    search = report.scores[HITS].values["ndcg@10"]
    gains = {
        name: paired_difference(scores.values["ndcg@10"], search)
        for name, scores in report.scores.items()
        if name != HITS
    }
    return CollectionReport(collection, {**_settings(config), "chunk": chunk}, report, gains)


def measure_index(config: Config, most: int, hold_out: bool, progress: Progress) -> KnownItemReport:
    """Ask the current index for known items.

    Args:
        most: items of each kind.
        hold_out: search passages that lack the headings that are asked for.

    Raises:
        ArtifactError: there is no index, or nothing in it to ask for.
    """
    workspace = Workspace(config.root)
    version = workspace.current("index")
    index = open_index(config, version.path)
    headings = heading_items(index.passages, most)
    urls = set(index.passages.column("url").unique().to_pylist())
    anchors = anchor_items(_links(workspace, version), urls, most)
    items = {kind: of for kind, of in (("heading", headings), ("anchor", anchors)) if of}
    if not items:
        raise ArtifactError(
            f"nothing in the index {version.id} can be asked for: no heading and no link is a page's own",
            "Measure with --corpus, --queries and --qrels",
        )
    if hold_out:
        key = {"index": version.id, "held_out": hashlib.sha256(repr(headings).encode()).hexdigest()}
        chunks = without_headings(index.passages, headings)
        index, timed = _made(
            config, index.embedder, index.manifest.retriever, key, chunks, progress, previous=version.path
        )
    else:
        index, timed = _timed(config, version.path, index.embedder)
    measured = partial(_known_items, index, timed, progress=progress)
    reports = {kind: measured(of) for kind, of in items.items()}
    found = {name: urls for report in reports.values() for name, urls in report.runs[HITS].items()}
    misses = misses_of(chain.from_iterable(items.values()), found)
    return KnownItemReport(version.id, {**_settings(config), "hold_out": hold_out}, items, reports, misses)


def _known_items(index: Index, embedder: Timed, items: Sequence[Item], progress: Progress) -> Report:
    return evaluate(
        index,
        {item.id: item.question for item in items},
        {item.id: {item.url: 1} for item in items},
        _url,
        k=KNOWN_ITEM_DEPTH,
        metrics=KNOWN_ITEM_METRICS,
        places=passages_as_documents,
        passages=index.passages,
        embedder=embedder,
        progress=progress,
    )


def _made(
    config: Config,
    embedder: Embedder,
    retriever: str,
    key: Mapping[str, Any],
    chunks: Iterable[Chunk],
    progress: Progress,
    *,
    previous: Path | None = None,
) -> tuple[Index, Timed]:
    """An index for measuring, made unless it is there, and the embedder that its searches take.

    Args:
        key: what the passages depend on.
        previous: an index to take vectors over from.
    """

    def make(folder: Path, left: Path | None) -> Made:
        built = build_index(
            chunks,
            embedder,
            folder,
            previous=left or previous,
            retriever=retriever,
            progress=lambda *done: progress("embedding", *done),
        )
        return Made(counts=built.counts)

    settings = {**key, "embedder": embedder.identity, "retriever": retriever}
    workspace = Workspace(config.root / "relevance")

    def build(left: Path | None) -> Version:
        return workspace.build(
            "index", lambda folder: make(folder, left), inputs={}, settings=settings, logic=LOGIC, resumable=True
        )

    version = made_whole(build, FILES)
    # In files, wherever the current index keeps its vectors.
    in_files = config.model_copy(update={"index": config.index.model_copy(update={"store": "faiss"})})
    return _timed(in_files, version.path, embedder)


def _timed(config: Config, folder: Path, embedder: Embedder) -> tuple[Index, Timed]:
    timed = Timed(embedder)
    return open_index(config, folder, cast(Embedder, timed)), timed


def _cut(config: Config, embedder: Embedder, documents: Iterable[Document]) -> Iterator[Chunk]:
    counter, chunk = embedder.counter, config.chunk
    most = min(chunk.max_tokens, counter.max_tokens)
    for document in documents:
        yield from chunk_document(
            document, counter.count, max_tokens=most, min_tokens=chunk.min_tokens, reserved=counter.reserved
        )


def _links(workspace: Workspace, version: Version) -> Iterator[tuple[str, str]]:
    """Links between the pages that the index was made from; none where somebody has deleted those."""
    for ancestor in ancestors(workspace, version):
        if ancestor.manifest.stage == "pages":
            yield from anchors_of(read_table(ancestor.path / PAGES, Page))


def _settings(config: Config) -> dict[str, Any]:
    return {"embedder": config.embed.model, "retrieve": config.retrieve.model_dump(mode="json")}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _url(chunk: Chunk) -> str:
    return chunk.url
