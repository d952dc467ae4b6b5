"""Small real documents and a word-hash embedder: fast, deterministic, and enough to tell texts apart."""

import hashlib
from datetime import UTC, datetime

import numpy as np

from ingest.records import Document, Page, Section, stable_id, write_table


def document(url="https://x.org/a", title="Guide", *parts):
    """A document from (level, heading, text) parts; offsets as `ingest.records.Section` says."""
    text, sections = "", []
    for level, heading, body in parts:
        if heading:
            text += f"{heading}\n\n"
        start = len(text)
        text += f"{body}\n\n"
        sections.append(Section(level, heading, start, start + len(body)))
    return Document(stable_id(url, text), url, title, text, tuple(sections))


class WordHashEmbedder:
    """Counts hashed words: texts that share words are near. Has the attributes of `ingest.embed.Embedder`."""

    def __init__(self, name="word-hash", dimensions=256):
        self.name, self.dimensions, self.max_tokens = name, dimensions, 200

    @property
    def identity(self):
        return {"name": self.name, "revision": "1", "dimensions": self.dimensions}

    def encode_queries(self, texts):
        return self.encode(texts)

    def encode_passages(self, texts):
        return self.encode(texts)

    def encode(self, texts):
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace("?", " ").replace(".", " ").split():
                vectors[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.dimensions] += 1
        # A text without words points somewhere, too.
        vectors[~vectors.any(axis=1), 0] = 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def count_tokens(self, text):
        return len(text.split())


def page_table(path, count, text="Pump {0} moves {0} litres a minute."):
    """Write that many pages, sorted by url. Returns the path."""
    fetched_at = datetime(2026, 1, 1, tzinfo=UTC)
    bodies = (f"<main><h1>Pump {number}</h1><p>{text.format(number)}</p></main>" for number in range(count))
    pages = (
        Page(f"https://x.org/{number:05}", "text/html", "", body.encode(), fetched_at)
        for number, body in enumerate(bodies)
    )
    write_table(path, pages, Page, batch=32)
    return path
