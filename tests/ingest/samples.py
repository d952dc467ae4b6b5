"""Small real documents and a word-hash embedder: fast, deterministic, and enough to tell texts apart."""

import hashlib

import numpy as np

from ingest.records import Document, Section, stable_id


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

    def encode(self, texts):
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace("?", " ").replace(".", " ").split():
                vectors[row, int(hashlib.sha256(word.encode()).hexdigest(), 16) % self.dimensions] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)

    def count_tokens(self, text):
        return len(text.split())
