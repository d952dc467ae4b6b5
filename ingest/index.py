"""The index: a question in, the passages nearest to it out, and whether the documents seem to hold its answer.

A version's folder holds

    passages.arrow       the passages (`ingest.passages`)
    vectors/             one unit vector a passage (`ingest.vectors`), or where a server keeps them
    lexical/             BM25 over the same rows (`ingest.search.lexical`)
    answerability.json   when a question counts as answered by the documents (`ingest.search.answerable`)
    index.json           what all of it was made with, written last

Opening it with another embedder, or one whose files have changed, is refused: vectors of two models are not comparable,
and the search would answer nonsense without any error.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError
from ingest.embed import Embedder, Remembering, Vectors
from ingest.passages import Passages
from ingest.records import Chunk
from ingest.search.answerable import Answerability
from ingest.search.base import Mask, Retrieved
from ingest.search.calibrate import Known, calibrate, off_topic_questions, questions_of, write
from ingest.search.collapse import groups
from ingest.search.filters import Filter, Masks
from ingest.search.hybrid import Ranker, Rerank, Searcher
from ingest.search.lexical import Lexical
from ingest.vectors.base import Stats, VectorIndex
from ingest.vectors.store import FILES, Store

INDEX, VECTORS, LEXICAL = "index.json", "vectors", "lexical"
FORMAT = 1
# Passages that topics are looked for in, at most.
TOPICS_FROM = 20_000
# Questions whose vectors are kept: the same one is asked again, with other filters or by other people.
REMEMBERED = 1000
# Passages that calibration looks at for each question.
LOOKED_AT = 10


class IndexManifest(BaseModel):
    """`index.json`.

    Attributes:
        format: of the folder; another one is refused.
        embedder: `Embedder.identity`.
        retriever: version of the fine-tuned embedder; empty where it is the embedder as it came.
        chunker: the settings that the passages were cut with.
        corpus: version of the passages.
        counts: how many of what.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    embedder: dict[str, Any]
    retriever: str = ""
    chunker: dict[str, Any]
    corpus: str
    counts: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> "IndexManifest":
        """The manifest of an index folder.

        Raises:
            ArtifactError: it is missing or damaged, or the folder has another format.
        """
        try:
            found = json.loads((folder / INDEX).read_text())
            if isinstance(found, dict) and found.get("format") != FORMAT:
                raise ArtifactError(
                    f"{folder} was made by another version of wellread", "Run `wellread index` to make it again"
                )
            return cls.model_validate(found)
        except (OSError, ValueError, ValidationError) as error:
            raise ArtifactError(
                f"{folder} is not a complete index: {str(error).splitlines()[0]}",
                "Delete that folder and run `wellread index`",
            ) from None

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        write_text_atomic(folder / INDEX, self.model_dump_json(indent=2) + "\n")


RANKER = Ranker()


@dataclass(frozen=True)
class SearchOptions:
    """How an index is searched; see `configs.retrieval.RetrieveSettings`.

    Attributes:
        ranker: how candidates are put in order.
        collapse: of passages more alike than this only the best is shown; 1 shows all.
        rerank: scores texts against a question; None keeps the order.
        reranked: how many passages `rerank` reads.
    """

    ranker: Ranker = RANKER
    collapse: float = 0.9
    rerank: Rerank | None = None
    reranked: int = 20


class Index:
    """A loaded index. Searching is safe from several threads.

    Attributes:
        version: id of the version, the folder's name.
        passages, manifest: see the module.
        embedder: embeds the questions.
    """

    def __init__(
        self,
        folder: Path,
        manifest: IndexManifest,
        passages: Passages,
        vectors: VectorIndex,
        lexical: Lexical,
        embedder: Embedder,
        options: SearchOptions,
    ) -> None:
        self.version = folder.name
        self.manifest, self.passages = manifest, passages
        self._vectors, self._lexical = vectors, lexical
        self._masks = Masks(passages)
        self._folder, self.embedder = folder, embedder
        self._answerability = Answerability.load(folder)
        self._encode = _remembering(embedder)
        self._searcher = Searcher(
            passages,
            vectors,
            lexical,
            self._encode,
            options.ranker,
            collapse=partial(groups, threshold=options.collapse) if options.collapse < 1 else None,
            rerank=options.rerank,
            reranked=options.reranked,
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        embedder: Embedder,
        options: SearchOptions = SearchOptions(),
        store: Store = FILES,
    ) -> "Index":
        """Open an index version.

        Raises:
            ArtifactError: files are missing or damaged, the vectors' server cannot be reached, or the index was made
                with another embedder.
        """
        manifest = IndexManifest.read(folder)
        _check_embedder(manifest.embedder, embedder)
        passages = Passages.load(folder)
        vectors = store.load(folder / VECTORS)
        lexical = Lexical.load(folder / LEXICAL)
        if not len(passages) == len(vectors) == len(lexical):
            raise ArtifactError(
                f"{folder} is damaged: {len(vectors)} vectors and {len(lexical)} texts for {len(passages)} passages",
                "Delete that folder and run `wellread index`",
            )
        return cls(folder, manifest, passages, vectors, lexical, embedder, options)

    def __len__(self) -> int:
        return len(self.passages)

    @property
    def threshold(self) -> float:
        """The probability, 0 to 1, from which a question counts as answered by the documents."""
        return self._answerability.threshold

    def search(self, query: str, k: int, wanted: Filter | None = None, /) -> Retrieved:
        """The k passages that answer the query best, of those that the filter asks for."""
        return self._searcher.search(query, k, self._masks(wanted) if wanted else None)

    def search_many(self, queries: Sequence[str], k: int, allowed: Mask | None = None) -> list[Retrieved]:
        """As `search`, for several queries at once.

        Args:
            allowed: the rows that may be found, bool [rows]; None allows all.
        """
        return self._searcher.search_many(queries, k, allowed)

    def answerability(self, retrieved: Retrieved, /) -> float:
        """The probability that the documents hold the answer to what was searched for, 0 to 1."""
        return self._answerability.probability(retrieved, self._lexical)

    def calibrate(self, items: Sequence[Known], made_with: Mapping[str, Any]) -> None:
        """Fit `answerability` and `threshold` to this index, and write them into its folder.

        Args:
            items: pages and what they are known to answer.
            made_with: kept with the result, for people.
        """
        asked = [question for question, _ in questions_of(items)]
        # All at once: one by one they take several times as long.
        self._encode([*asked, *off_topic_questions()])
        self.take_calibration(calibrate(items, self.passages, self._find, self._lexical, made_with))

    def take_calibration(self, fitted: Answerability) -> None:
        """Use what was fitted, and write it into the index's folder."""
        self._answerability = fitted
        write(self._folder, fitted)

    def stats(self) -> Stats:
        """What the vector index says about itself."""
        return self._vectors.stats()

    def _find(self, question: str, allowed: Mask | None) -> Retrieved:
        return self._searcher.search(question, LOOKED_AT, allowed)

    def section(self, row: int, /) -> Chunk:
        """The whole section around the passage of a row, under the passage's id."""
        return self.passages.section(row)

    def topics(self, count: int = 16) -> Vectors:
        """Unit vectors in the middle of the documents' topics, float32 [at most count, dimensions].

        Raises:
            ArtifactError: there are no passages.
        """
        from guards.detectors.topic import centroids

        vectors = self.vectors(TOPICS_FROM)
        if not len(vectors):
            raise ArtifactError("the index holds no passages, so there are no topics", "Run `wellread ingest` first")
        return centroids(vectors, min(count, len(vectors)))

    def vectors(self, most: int | None = None) -> Vectors:
        """The passages' vectors by row, float32 [rows, dimensions]; only `most` rows, evenly spread, of more."""
        numbers = self.passages.numbers
        if most is not None and len(numbers) > most:
            numbers = numbers[np.linspace(0, len(numbers) - 1, most, dtype=np.int64)]
        return self._vectors.get(numbers)


@lru_cache(maxsize=2)
def _remembering(embedder: Embedder) -> Remembering:
    """Shared by all indexes of an embedder: a server changes over to the next one without forgetting."""
    return Remembering(embedder.encode_queries, REMEMBERED)


def _check_embedder(made_with: Mapping[str, Any], embedder: Embedder) -> None:
    ours = embedder.identity
    if made_with == ours:
        return
    names = (_named(made_with), _named(ours))
    if names[0] != names[1]:
        raise ArtifactError(
            f"the index was made with {names[0]}, but embed.model is {names[1]}",
            f"Run `wellread index` again, or set embed.model={made_with.get('name')}",
        )
    differing = ", ".join(sorted(key for key in {*made_with, *ours} if made_with.get(key) != ours.get(key)))
    raise ArtifactError(
        f"the index was made with another state of {names[0]}: {differing} differs", "Run `wellread index` again"
    )


def _named(identity: Mapping[str, Any]) -> str:
    return f"{identity.get('name')} ({identity.get('dimensions')} dimensions)"
