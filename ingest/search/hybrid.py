"""Questions in, the passages that fit them best out: searched by meaning and by words, fused, and put in order.

    question --> vectors, nearest ----+                +--> RM3: more words --+
             --> BM25, most shared ---+--> candidates -+                      +--> fused again --> smoothed --> spread
                                           fused       +--> cosines, headings-+

Both searches bring candidates; every candidate is then scored both ways, whichever search has brought it, and gains
where its title and headings are like the question (`ingest.search.headings`). The scores are fused
(`ingest.search.fuse.by_score`), the best candidates lend the question words (`ingest.search.feedback`), which all
candidates are scored by anew, and near candidates are made to agree (`ingest.search.fuse.smoothed`). Feedback and
smoothing are for questions that describe a subject: the more a heading is like the question, the less there is of
them. Further passages of a document lose a little (`ingest.search.fuse.spread`). Then passages that repeat a better
one are left out, and a cross-encoder, where there is one, reads the first ones again.

Known limits: what neither search brings among its candidates cannot be found; a question without a letter or a figure
finds nothing.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ingest.passages import Passages, embedding_text
from ingest.records import Chunk
from ingest.search.base import Hit, Mask, Ranking, Retrieved, Rows, Scores
from ingest.search.feedback import ORIGINAL, PASSAGES, expanded
from ingest.search.fuse import by_rank, by_score, ordered, smoothed, spread
from ingest.search.lexical import Lexical, Query, best
from ingest.vectors.base import NOTHING, VectorIndex, Vectors

# Comparing each candidate with each costs their square; beyond these, few more are ever asked for.
MOST_SMOOTHED = 500

Mode = Literal["hybrid", "dense", "lexical"]
Fusion = Literal["scores", "rrf"]
Encode = Callable[[Sequence[str]], Vectors]
Collapse = Callable[[Sequence[str]], Sequence[int]]
Rerank = Callable[[str, Sequence[str]], Scores]


@dataclass(frozen=True)
class Ranker:
    """How candidates are put in order.

    Attributes:
        mode: `dense` searches by meaning only, `lexical` by words only.
        fusion: `scores` as in the module; `rrf` by reciprocal rank, without what follows it.
        candidates: passages that each search brings.
        weight: of meaning against words, 0 to 1.
        feedback: passages that lend the question words; 0 takes none.
        smoothing: share of a candidate's score that its neighbours decide.
        headings: what a title and headings that say just what the question says are worth, in standard deviations of
            a search's scores.
        spread: what each better passage of the same document costs, in the same measure.
    """

    mode: Mode = "hybrid"
    fusion: Fusion = "scores"
    candidates: int = 100
    weight: float = 0.55
    feedback: int = PASSAGES
    smoothing: float = 0.4
    headings: float = 0.75
    spread: float = 0.4


class Searcher:
    """Searches passages. Safe to use from several threads.

    Args:
        encode_queries: vectors of questions, float32 [n, dimensions], of length 1.
        ranker: how candidates are put in order.
        collapse: gives for each of some texts the place of the first that it repeats, its own where it repeats none.
        rerank: how well each text answers the question, float32 [n].
        reranked: how many passages `rerank` reads.
    """

    def __init__(
        self,
        passages: Passages,
        vectors: VectorIndex,
        lexical: Lexical,
        encode_queries: Encode,
        ranker: Ranker | None = None,
        *,
        collapse: Collapse | None = None,
        rerank: Rerank | None = None,
        reranked: int = 20,
    ) -> None:
        self._passages, self._vectors, self._lexical, self._encode = passages, vectors, lexical, encode_queries
        self.ranker = ranker or Ranker()
        self._collapse, self._rerank, self._reranked = collapse, rerank, reranked

    def search(self, query: str, k: int, allowed: Mask | None = None) -> Retrieved:
        """The k best passages for a question; fewer where there are fewer.

        Args:
            allowed: bool [rows]; only these passages are to be found.
        """
        return self.search_many([query], k, allowed)[0]

    def search_many(self, queries: Sequence[str], k: int, allowed: Mask | None = None) -> list[Retrieved]:
        """`search` for several questions, whose vectors are worked out at once."""
        asked = [query for query in dict.fromkeys(queries) if any(map(str.isalnum, query))]
        if not asked or k < 1 or not len(self._passages) or (allowed is not None and not allowed.any()):
            return [Retrieved(query) for query in queries]
        vectors = self._encode(asked)
        near = self._nearest(vectors, self._candidates(k), allowed)
        found = {
            query: self._answer(query, vector, dense, k, allowed)
            for query, vector, dense in zip(asked, vectors, near, strict=True)
        }
        return [found.get(query) or Retrieved(query) for query in queries]

    def _nearest(self, vectors: Vectors, count: int, allowed: Mask | None) -> list[Ranking]:
        if self.ranker.mode == "lexical":
            return [Ranking() for _ in vectors]
        numbers = None if allowed is None else self._passages.numbers[allowed]
        scores, ids = self._vectors.search(vectors, count, numbers)
        rows = self._passages.rows_of(ids.ravel()).reshape(ids.shape)
        # An index may hold passages that are in no document any more.
        there = (ids != NOTHING) & (rows >= 0)
        return [Ranking(row[here], score[here]) for row, score, here in zip(rows, scores, there, strict=True)]

    def _answer(self, query: str, vector: Vectors, dense: Ranking, k: int, allowed: Mask | None) -> Retrieved:
        words, lexical = self._lexical.query(query), Ranking()
        if self.ranker.mode != "dense":
            lexical = best(self._lexical.scores(words, allowed), self._candidates(k))
        rows = np.union1d(dense.rows, lexical.rows)
        if not len(rows):
            return Retrieved(query)
        vectors = self._vectors.get(self._passages.numbers[rows])
        cosines = np.clip(vectors @ vector, -1, 1)
        ranking = {"dense": dense, "lexical": lexical}.get(self.ranker.mode)
        if ranking is None and self.ranker.fusion == "rrf":
            ranking = by_rank([dense, lexical])
        if ranking is None:
            ranking = _fused(self.ranker, self._lexical, words, rows, vectors, cosines)
            ranking = spread(ranking, self._passages.documents[ranking.rows], self.ranker.spread)
        hits = self._hits(query, ranking, dict(zip(rows.tolist(), cosines.tolist(), strict=True)), k)
        return Retrieved(query, tuple(hits.values()), tuple(hits), dense, lexical)

    def _hits(self, query: str, ranking: Ranking, cosines: dict[int, float], k: int) -> dict[int, Hit]:
        """The first k by row, best first, after leaving out what repeats a better one and reading the first again."""
        wanted = max(k, self._reranked) if self._rerank else k
        rows, chunks, repeats = self._different(ranking.rows, wanted)
        scores = dict(zip(ranking.rows.tolist(), ranking.scores.tolist(), strict=True))
        if self._rerank:
            read = rows[: self._reranked]
            again = self._rerank(query, [embedding_text(chunks[row]) for row in read])
            scores |= dict(zip(read, np.asarray(again).tolist(), strict=True))
            rows = sorted(read, key=lambda row: -scores[row]) + rows[self._reranked :]
        return {row: Hit(chunks[row], cosines[row], scores[row], repeats[row]) for row in rows[:k]}

    def _different(self, ranked: Rows, wanted: int) -> tuple[list[int], dict[int, Chunk], dict[int, int]]:
        """The first rows that repeat no better one, their passages, and how often each is repeated."""
        looked = wanted
        while True:
            rows = ranked[:looked].tolist()
            chunks = dict(zip(rows, self._passages.take(rows), strict=True))
            firsts = self._collapse([chunk.text for chunk in chunks.values()]) if self._collapse else range(len(rows))
            repeats = Counter(rows[first] for first in firsts)
            if len(repeats) >= wanted or looked >= len(ranked):
                kept = [row for row in rows if row in repeats][:wanted]
                return kept, chunks, {row: repeats[row] - 1 for row in kept}
            looked *= 4

    def _candidates(self, k: int) -> int:
        return min(max(self.ranker.candidates, k), len(self._passages))


def _fused(ranker: Ranker, lexical: Lexical, words: Query, rows: Rows, vectors: Vectors, cosines: Scores) -> Ranking:
    """Candidates in order: fused, fed back, fused again, and smoothed."""
    held = lexical.terms_of(rows)
    alike = lexical.likeness(words, rows)
    # A question that names a heading looks for that page or section, not for more of the kind.
    describing = 1 - float(alike.max())
    named = np.float32(ranker.headings) * alike
    scores = by_score(cosines, lexical.scores_of(words, rows, held), ranker.weight) + named
    if ranker.feedback:
        first = ordered(rows, scores).rows[: ranker.feedback]
        fuller = expanded(lexical, words, first, original=1 - (1 - ORIGINAL) * describing)
        scores = by_score(cosines, lexical.scores_of(fuller, rows, held), ranker.weight) + named
    order = np.argsort(-scores, kind="stable")
    head, tail = order[:MOST_SMOOTHED], order[MOST_SMOOTHED:]
    agreed = ordered(rows[head], smoothed(scores[head], vectors[head], ranker.smoothing * describing))
    return Ranking(np.concatenate([agreed.rows, rows[tail]]), np.concatenate([agreed.scores, scores[tail]]))
