"""A small workspace with versions of every stage, for tests of the commands that look into them."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from configs.artifacts import Made, Version, Workspace, fingerprint_of
from ingest.records import Chunk, Document, Example, Outcome, Page, Reject, Section, stable_id, write_table
from ingest.versions.ancestry import REJECTS, TABLES

SITE = "https://example.org/docs/"
PUMP = "Pump\n\nThe pump moves water from the well into the tank.\n\nCall Ann now.\n\nShare this page"
LATHE = "Lathe\n\nThe lathe turns a piece of wood around its axis."
TEXTS = {"a/pump.html": PUMP, "a/lathe.html": LATHE, "b/copy.html": LATHE, "b/tiny.html": "Tiny"}


def document(url: str, text: str, crawl: int = 1) -> Document:
    title = text.split("\n")[0]
    heading = Section(1, title, len(title), len(text))
    return Document(stable_id(url, text), url, title, text, (heading,), "en", "2026-05-04", crawl)


class Versions:
    """Makes a site's versions from its texts by address; `tiny` pages are too short, `copy` pages repeat the first."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root)

    def make(self, texts: dict[str, str] = TEXTS, *, min_words: int = 3, site: str = SITE) -> Version:
        """pages, extracted, cleaned and documents; the last of them."""
        self.texts = {site + name: text for name, text in sorted(texts.items())}
        pages = self._stage("pages", Page, [self._page(url, text) for url, text in self.texts.items()], {})
        extracted = self._outcomes("extracted", pages, {}, map(self._extract, self.texts))
        settings = {"min_words": min_words}
        cleaned = self._outcomes("cleaned", extracted, settings, map(self._clean, self.texts))
        return self._documents(cleaned)

    def use(self, documents: Version) -> Version:
        """chunks, index and examples of the documents, and a model trained on them."""
        rows = [row for url in self.texts if "copy" not in url for row in self._clean(url).documents]
        chunks = [Chunk(f"c{row.id}", row.id, row.url, row.title, (), row.text, 0, len(row.text)) for row in rows]
        cut = self._stage("chunks", Chunk, chunks, {"documents": documents.id})
        index = self.workspace.build("index", lambda _: Made(), inputs={"chunks": cut.id}, settings={})
        examples = [Example(f"e{one.id}", one.doc_id, "What is it?", (one,), "It.", True, "train") for one in chunks]
        made = self._stage("examples", Example, examples, {"index": index.id})
        return self.workspace.build("models", lambda _: Made(), inputs={"examples": made.id}, settings={})

    def _stage(self, stage, kind, rows, inputs):
        def make(folder):
            count = write_table(folder / TABLES[stage], rows, kind)
            if stage == "pages":
                write_table(folder / REJECTS, [Reject(SITE + "gone.html", "http_404", "Not Found")], Reject)
            return Made(counts={stage: count}, fingerprint=fingerprint_of(folder / TABLES[stage]))

        read = stage == "pages"
        return self.workspace.build(stage, make, inputs=inputs, settings={"site": SITE} if read else {}, snapshot=read)

    def _outcomes(self, stage, source, settings, outcomes):
        rows = list(outcomes)

        def make(folder):
            write_table(folder / TABLES[stage], rows, Outcome)
            counts = Counter(f"rejected_{reject.rule}" for row in rows for reject in row.rejects)
            return Made(counts={"documents": sum(len(row.documents) for row in rows), **counts})

        return self.workspace.build(stage, make, inputs={source.manifest.stage: source.id}, settings=settings)

    def _documents(self, cleaned):
        rows = [row for url in self.texts for row in self._clean(url).documents]
        kept = [row for row in rows if "copy" not in row.url]
        rejects = [reject for url in self.texts for reject in self._clean(url).rejects]
        first = kept[0].url if kept else ""
        figures = ("near_duplicate", f"91% of {first}", 0.91, 0.8, first)
        rejects += [Reject(row.url, *figures, row.text) for row in rows if row not in kept]

        def make(folder):
            write_table(folder / TABLES["documents"], kept, Document)
            write_table(folder / REJECTS, sorted(rejects, key=lambda reject: reject.url), Reject)
            counts = Counter(f"rejected_{reject.rule}" for reject in rejects)
            made = fingerprint_of(folder / TABLES["documents"], folder / REJECTS)
            return Made(counts={"documents": len(kept), **counts, "redacted": 1, "flagged_pii": 1}, fingerprint=made)

        return self.workspace.build("documents", make, inputs={"cleaned": cleaned.id}, settings={})

    def _page(self, url, text):
        return Page(url, "text/html", "utf-8", text.encode(), datetime(2026, 11, 2, tzinfo=UTC), etag='"1"', crawl=2)

    def _extract(self, url):
        return Outcome(url, "k", (document(url, self.texts[url]),), ())

    def _clean(self, url):
        text = self.texts[url]
        if "tiny" in url:
            return Outcome(url, "k", (), (Reject(url, "too_short", "1 words", 1.0, 3.0, "", text),))
        cleaned = replace(document(url, text), text=self._cleaned(text))
        return Outcome(url, "k", (cleaned,), (), ("redacted=1",) if "Ann" in text else ())

    def _cleaned(self, text):
        return text.replace("\n\nShare this page", "").replace("Ann", "<PERSON>")
