"""Known-item search on a built documentation site: how often the page that a link names is among the first five.

In: a folder with `mlrun_html.tar.xz`, a site as its generator built it, and `known_item.jsonl.gz`, texts of links with
the page that each leads to (`text`, `kind`, `url` below the site). Out: JSON.

The site is read, cut up and indexed by this project's own stages with the settings as they come. Measured are the
search as it is served (`hits`), the searches by meaning (`dense`) and by words (`lexical`) that it is made of, and as a
peer bm25s over the same passages, stemmed by PyStemmer, with the stop words it comes with. `passages` counts the first
k passages, several of which may be of one page, `pages` the first k pages. `missed` are the questions whose page is not
among the first five pages; `unreachable` those whose page is not in the index. `own` is the same for questions made
from the index itself, from its links and its headings.

    python -m bench.known_items --data ../shared/data
"""

import argparse
import gzip
import json
import os
import platform
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import bm25s
import Stemmer

from configs.load import load_config
from configs.schema import Config
from ingest.index import Index
from ingest.index_stage import open_index, run_index
from ingest.passages import embedding_text
from ingest.pipeline import run_ingest
from ingest.records import Chunk, Page, read_table
from ingest.relevance.anchors import anchors_of
from ingest.relevance.evaluate import Places, documents, passages_as_documents, runs_of, search_all
from ingest.relevance.known_items import Item, anchor_items, heading_items
from ingest.relevance.metrics import score
from ingest.source import PAGES

SITE = Path("mlops_sites/dev")
METRICS = ("recall@1", "recall@5", "recall@10", "mrr@10")
# Passages looked at, so that there are ten pages among them.
DEPTH = 100
OWN = 300
PLACES: Mapping[str, Places] = {"passages": passages_as_documents, "pages": documents}


def url_of(chunk: Chunk) -> str:
    """The page of a passage."""
    return chunk.url


def indexed(data: Path, root: Path) -> tuple[Config, Index]:
    """The site, read and indexed with the settings as they come."""
    site = root / "site"
    if not site.exists():
        with tarfile.open(data / SITE / "mlrun_html.tar.xz") as archive:
            archive.extractall(site, filter="data")
    config = load_config(None, [f"root={root / 'wellread'}", f"source.folder={site}", "embed.device=cpu"])
    run_ingest(config, told)
    run_index(config, told, force=True)
    return config, open_index(config)


def told(what: str, done: int, total: int | None) -> None:
    """Progress on stderr, rarely."""
    if done == total:
        print(f"{what}: {done}", file=sys.stderr)


def given_items(data: Path, root: Path) -> list[Item]:
    """The questions that came with the site."""
    with gzip.open(data / SITE / "known_item.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    site = (root / "site").resolve()
    return [Item(row["_id"], row["text"], (site / row["url"]).as_uri(), row["kind"]) for row in rows]


def own_items(config: Config, index: Index) -> list[Item]:
    """Questions made from the index and the pages that it was made from."""
    pages = next((config.root / "pages").glob(f"*/{PAGES}"))
    urls = {chunk.url for chunk in index.passages}
    anchors = anchor_items(anchors_of(read_table(pages, Page)), urls, OWN)
    return [*anchors, *heading_items(index.passages, OWN)]


def by_peer(index: Index, items: Sequence[Item]) -> dict[str, list[Chunk]]:
    """What bm25s finds."""
    stemmer = Stemmer.Stemmer("english")
    texts = [embedding_text(chunk) for chunk in index.passages]
    peer = bm25s.BM25(k1=0.9, b=0.4)
    peer.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)
    asked = bm25s.tokenize([item.question for item in items], stopwords="en", stemmer=stemmer, show_progress=False)
    rows, _ = peer.retrieve(asked, k=min(DEPTH, len(texts)), show_progress=False)
    return {item.id: index.passages.take(found.tolist()) for item, found in zip(items, rows, strict=True)}


def measured(index: Index, items: Sequence[Item]) -> dict[str, Any]:
    """Figures of every ranking on these questions, and what the search missed."""
    queries = {item.id: item.question for item in items}
    qrels = {item.id: {item.url: 1} for item in items}
    searched = search_all(index, queries, DEPTH)
    peer = by_peer(index, items)
    figures: dict[str, Any] = {"questions": len(items)}
    missed: list[str] = []
    for name, places in PLACES.items():
        runs = runs_of(searched.found, url_of, places, index.passages)
        runs["bm25s"] = {query: places(found, url_of) for query, found in peer.items()}
        figures[name] = {ranking: rounded(score(run, qrels, METRICS).means) for ranking, run in runs.items()}
        missed = [item.question for item in items if item.url not in runs["hits"][item.id][:5]]
    return {**figures, "missed": missed}


def rounded(means: Mapping[str, float]) -> dict[str, float]:
    """Means with four digits."""
    return {name: round(value, 4) for name, value in means.items()}


def by_kind(items: Iterable[Item], measure: Callable[[Sequence[Item]], Any]) -> dict[str, Any]:
    """A measure of each kind of question."""
    kinds: dict[str, list[Item]] = {}
    for item in items:
        kinds.setdefault(item.kind, []).append(item)
    return {kind: measure(of) for kind, of in kinds.items()}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--root", type=Path, help="folder to work in, kept; else a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = (options.root or Path(temporary)).resolve()
        config, index = indexed(options.data, root)
        items = given_items(options.data, root)
        urls = {chunk.url for chunk in index.passages}
        figures = {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "versions": {name: version(name) for name in ("bm25s", "faiss-cpu", "sentence-transformers", "torch")},
            "embedder": config.embed.model,
            "pages": len(urls),
            "passages": len(index),
            "unreachable": [item.question for item in items if item.url not in urls],
            "given": by_kind(items, lambda of: measured(index, of)),
            "own": by_kind(own_items(config, index), lambda of: measured(index, of)),
        }
    print(json.dumps(figures, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
