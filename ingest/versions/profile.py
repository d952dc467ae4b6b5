"""What a data set is like, in figures that a later one can be compared with: `profile.json`.

In: documents, one after the other; and, for an index, its vectors. Out: a `DataProfile` (lengths, languages, headings,
dates, places, vocabulary) and a `VectorProfile` (centroid, distances to it). Memory is bounded however many documents
there are, and the same documents in the same order give the same bytes.

Two profiles are made to be compared without their data: the bins of a distribution lie at places that never depend on
the data, so that Kolmogorov-Smirnov, Jensen-Shannon and the population stability index are sums over bins, and words
are counted by a hash that is the same everywhere.

Known limits: those of `ingest/versions/sketch.py`; and runs of Thai or other scripts without spaces count as one word
(Chinese, Japanese and Korean characters count as one each).
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from configs.artifacts import write_text_atomic
from configs.errors import ArtifactError
from ingest.records import Document
from ingest.versions.sketch import Distribution, Frozen, Sketch, TopCounter

PROFILE, VECTOR_PROFILE = "profile.json", "vector_profile.json"
SCHEMA = 1
# Words are counted by hash in this many buckets, and this many are named.
BUCKETS, NAMED_WORDS, NAMED_PLACES = 65_536, 1000, 200
# Bins of cosine distance, 0 to 2.
DISTANCE_BIN = 0.005
VECTORS_AT_ONCE = 4096
UNKNOWN = "und"

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\d_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")
_QUERY = re.compile(r"[?#]")


class Word(Frozen):
    """A frequent word."""

    word: str
    documents: int
    """Documents that it occurs in."""
    occurrences: int


class Vocabulary(Frozen):
    """Words, in lower case, without figures."""

    words: int
    """All occurrences of all words."""
    top: tuple[Word, ...]
    """Those in the most documents, most first; equally frequent ones in alphabetical order."""
    undercounted: int
    """The numbers of `top` may be too low by at most this many documents."""
    buckets: dict[int, int]
    """Bucket (`bucket_of`) to occurrences of the words in it; empty buckets are left out. A word whose bucket is empty
    was not in the data."""


class DataProfile(Frozen):
    """A data set in figures."""

    schema_version: int = SCHEMA
    """Raised when a field changes its meaning; profiles of two versions are not compared."""
    documents: int
    tokens: Distribution
    """Tokens of a document."""
    words: Distribution
    """Words of a document, split at white space."""
    headings: Distribution
    """Headings of a document."""
    heading_levels: dict[int, int]
    """Level of a heading (1 to 6) to how many there are."""
    languages: dict[str, int]
    """ISO 639-1 code to documents; `und` where the language is unknown."""
    years: dict[str, int]
    """Year to documents dated in it; those without a date are not counted."""
    places: dict[str, int]
    """Address without its last part, such as `https://example.org/docs/`, to documents: the most frequent ones."""
    vocabulary: Vocabulary

    def write(self, folder: Path) -> Path:
        """Write `profile.json` into a folder."""
        write_text_atomic(folder / PROFILE, self.model_dump_json(indent=1) + "\n")
        return folder / PROFILE


class VectorProfile(Frozen):
    """The vectors of an index in figures."""

    schema_version: int = SCHEMA
    embedder: str
    """Vectors of two embedders are not comparable."""
    vectors: int
    centroid: list[float]
    """Mean of the vectors, not brought to length 1: its length says how alike they are."""
    distance_mean: float
    """Mean cosine distance (1 - cosine, 0 to 2) of a vector to the centroid."""
    distances: dict[int, int]
    """Bin n holds the distances from n * 0.005 up to (n + 1) * 0.005; to how many vectors."""

    def write(self, folder: Path) -> Path:
        """Write `vector_profile.json` into a folder."""
        write_text_atomic(folder / VECTOR_PROFILE, self.model_dump_json(indent=1) + "\n")
        return folder / VECTOR_PROFILE


def read_profile(folder: Path) -> DataProfile:
    """The profile in a folder.

    Raises:
        ArtifactError: it is missing, damaged, or of another schema.
    """
    path = folder / PROFILE
    try:
        raw = json.loads(path.read_bytes())
        if (schema := raw["schema_version"]) != SCHEMA:
            raise ArtifactError(
                f"{path} has the schema {schema}, and this version of wellread reads {SCHEMA}",
                "Make the data set again with `wellread ingest`",
            )
        return DataProfile.model_validate(raw)
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing", "Run `wellread ingest` again") from None
    except (ValueError, KeyError, TypeError):
        raise ArtifactError(f"{path} is damaged", f"Delete {folder} and run `wellread ingest` again") from None


def words_of(text: str) -> list[str]:
    """The words that a vocabulary counts."""
    return _WORD.findall(text.lower())


def bucket_of(word: str) -> int:
    """The bucket of a word, 0 to `BUCKETS` - 1; the same in every process, on every machine."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


class Profiler:
    """Collects a `DataProfile`, document by document."""

    def __init__(self) -> None:
        self._tokens, self._words, self._headings = Sketch(), Sketch(), Sketch()
        self._levels: Counter[int] = Counter()
        self._languages: Counter[str] = Counter()
        self._years: Counter[str] = Counter()
        self._places = TopCounter()
        self._in_documents = TopCounter()
        self._occurrences: Counter[str] = Counter()
        self._buckets = np.zeros(BUCKETS, dtype=np.int64)

    def add(self, document: Document, tokens: int) -> None:
        """Add a document.

        Args:
            tokens: how many its text has.
        """
        self._tokens.add(tokens)
        self._words.add(len(document.text.split()))
        levels = [section.level for section in document.sections if section.heading]
        self._headings.add(len(levels))
        self._levels.update(levels)
        self._languages[document.language or UNKNOWN] += 1
        if document.date:
            self._years[document.date[:4]] += 1
        self._places.add([place_of(document.url)])
        self._add_words(document.text)

    def done(self) -> DataProfile:
        """The profile of all documents added."""
        return DataProfile(
            documents=self._languages.total(),
            tokens=self._tokens.done(),
            words=self._words.done(),
            headings=self._headings.done(),
            heading_levels=dict(sorted(self._levels.items())),
            languages=dict(sorted(self._languages.items(), key=lambda item: (-item[1], item[0]))),
            years=dict(sorted(self._years.items())),
            places=dict(self._places.top(NAMED_PLACES)),
            vocabulary=self._vocabulary(),
        )

    def _add_words(self, text: str) -> None:
        found = Counter(words_of(text))
        if not found:
            return
        forgotten = self._in_documents.undercounted
        self._in_documents.add(found)
        self._occurrences.update(found)
        if self._in_documents.undercounted > forgotten:
            kept = dict(self._in_documents.top(self._in_documents.capacity))
            self._occurrences = Counter({word: n for word, n in self._occurrences.items() if word in kept})
        numbers = np.fromiter(map(bucket_of, found), dtype=np.int64, count=len(found))
        np.add.at(self._buckets, numbers, np.fromiter(found.values(), dtype=np.int64, count=len(found)))

    def _vocabulary(self) -> Vocabulary:
        top = self._in_documents.top(NAMED_WORDS)
        filled = np.flatnonzero(self._buckets).tolist()
        return Vocabulary(
            words=int(self._buckets.sum()),
            top=tuple(Word(word=word, documents=n, occurrences=self._occurrences[word]) for word, n in top),
            undercounted=self._in_documents.undercounted,
            buckets={number: int(self._buckets[number]) for number in filled},
        )


def profile_documents(documents: Iterable[Document], count_tokens: Callable[[str], int]) -> DataProfile:
    """The profile of documents, for callers that have nothing to count them for themselves."""
    profiler = Profiler()
    for document in documents:
        profiler.add(document, count_tokens(document.text))
    return profiler.done()


def profile_vectors(vectors: np.ndarray, embedder: str) -> VectorProfile:
    """The profile of unit vectors.

    Args:
        vectors: float32 [count, dimensions]; may be mapped from a file, for it is read in blocks.
        embedder: its name.
    """
    starts = range(0, len(vectors), VECTORS_AT_ONCE)
    blocks = [slice(start, start + VECTORS_AT_ONCE) for start in starts]
    count = max(len(vectors), 1)
    centroid = np.zeros(vectors.shape[1])
    for one in blocks:
        centroid += vectors[one].sum(axis=0, dtype=np.float64)
    # The last digits depend on how a machine adds up.
    centroid = np.round(centroid / count, 6)
    length = float(np.linalg.norm(centroid)) or 1.0
    bins = np.zeros(round(2 / DISTANCE_BIN), dtype=np.int64)
    total = 0.0
    for one in blocks:
        distances = np.clip(1.0 - np.round(vectors[one] @ (centroid / length), 6), 0.0, 2.0)
        numbers = np.minimum((distances / DISTANCE_BIN).astype(np.int64), len(bins) - 1)
        bins += np.bincount(numbers, minlength=len(bins))
        total += float(distances.sum())
    return VectorProfile(
        embedder=embedder,
        vectors=len(vectors),
        centroid=centroid.tolist(),
        distance_mean=round(total / count, 6),
        distances={number: int(bins[number]) for number in np.flatnonzero(bins).tolist()},
    )


def place_of(url: str) -> str:
    """The address without what follows its last slash: the part of the site that a page is in."""
    # No parser of addresses: those of a table of documents are whatever somebody wrote into it.
    path = _QUERY.split(url, maxsplit=1)[0]
    folder = path.rpartition("/")[0]
    return f"{path}/" if folder.endswith(":/") else f"{folder}/"
