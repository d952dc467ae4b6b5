"""A whole small index in memory: passages in a file, cosines of word-hash vectors, and shared words."""

import numpy as np

from ingest.passages import Passages, embedding_text, write_passages
from ingest.search.base import Hit, Ranking, Retrieved
from tests.ingest.samples import WordHashEmbedder


class SmallIndex:
    """Finds passages by the sum of both rankings' scores. `forget` are addresses that it never finds."""

    def __init__(self, folder, chunks, *, embedder=None, forget=()):
        folder.mkdir(parents=True, exist_ok=True)
        write_passages(folder, chunks)
        self.passages = Passages.load(folder)
        self._embedder = embedder or WordHashEmbedder()
        self._texts = [embedding_text(chunk) for chunk in self.passages]
        self._vectors = self._embedder.encode(self._texts)
        self._hidden = np.array([chunk.url in forget for chunk in self.passages], dtype=bool)

    def search_many(self, queries, k):
        return [self._search(query, k) for query in queries]

    def _search(self, query, k):
        cosines = self._vectors @ self._embedder.encode_queries([query])[0]
        words = set(query.lower().split())
        shared = np.array([len(words & set(text.lower().split())) for text in self._texts], dtype=np.float32)
        best = self._ranking(cosines + shared, k)
        hits = [
            Hit(chunk, float(cosines[row])) for chunk, row in zip(self.passages.take(best.rows), best.rows, strict=True)
        ]
        dense, lexical = self._ranking(cosines, k), self._ranking(shared, k)
        return Retrieved(query, tuple(hits), tuple(best.rows.tolist()), dense, lexical)

    def _ranking(self, scores, k):
        scores = np.where(self._hidden, -9, scores).astype(np.float32)
        rows = np.argsort(-scores, kind="stable")[:k]
        rows = rows[scores[rows] > 0]
        return Ranking(rows, scores[rows])
