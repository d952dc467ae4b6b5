"""BM25: passages' texts in, an index of their terms out, and the passages that share most with a query.

What each term adds to a passage's score is worked out when the index is built (`ingest.search.postings`), so that a
search only adds up. Stop words are kept, to be found when a query holds nothing else, but neither count in a passage's
length nor are they searched for otherwise.

A passage's terms are kept too, by which feedback (`ingest.search.feedback`) takes words from passages that were found,
and those of its title and headings, which count twice (`indexed_text`) and are compared with a question by themselves
(`ingest.search.headings`).
Files are mapped, not read, except once when they are opened, to see that they are whole.

Why not bm25s, which scores alike: most of a question's time goes into sorting all scores (`bench/retrieval.py`), it has
no weights for a question's terms, and keeps no passage's terms, both of which feedback needs.

Known limits: an index is made anew rather than changed; queries are cut up in the `MOST_LANGUAGES` commonest
languages of the passages; all scores of a search are in memory, 4 bytes a passage.
"""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from configs.errors import ArtifactError
from ingest.records import Chunk
from ingest.search import headings
from ingest.search.base import Mask, Ranking, Rows, Scores
from ingest.search.postings import K1, Array, B, blocks_of, idfs_of, norms_of, postings
from ingest.search.terms import DEFAULT, analyser

META, VOCABULARY = "lexical.json", "terms.txt"
ARRAYS = ("rows", "impacts", "starts", "terms", "counts", "bounds", "lengths", *headings.ARRAYS)
VERSION = 2
MOST_TERMS, MOST_LANGUAGES = 64, 5

Held = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Scores]


@dataclass(frozen=True)
class Query:
    """What is searched for: ids of terms, each once, and how much each counts; both [n]."""

    terms: npt.NDArray[np.int64]
    weights: Scores

    def __len__(self) -> int:
        return len(self.terms)


def indexed_text(chunk: Chunk) -> str:
    """What is indexed for a passage: title and headings count twice (as fields do in Robertson et al. 2004)."""
    return "\n".join([*[chunk.title, *chunk.headings] * 2, chunk.text])


class Lexical:
    """The lexical index of some passages. Safe to search from several threads.

    Args:
        vocabulary: the terms, in the order of their ids.
        arrays: `rows` and `impacts` of each term's postings, which begin at `starts`; `terms` and `counts` of each
            passage, which begin at `bounds`; `lengths` of the passages in terms that are no stop words; and those of
            `ingest.search.headings`.
        languages: of the passages, commonest first.
    """

    def __init__(self, vocabulary: list[str], arrays: dict[str, Array], languages: list[str]) -> None:
        self._vocabulary, self._arrays, self.languages = vocabulary, arrays, languages
        self._ids = {term: number for number, term in enumerate(vocabulary)}
        self._rows, self._impacts, self._starts = (arrays[name] for name in ("rows", "impacts", "starts"))
        self._norms = norms_of(arrays["lengths"])

    def __len__(self) -> int:
        return len(self._arrays["lengths"])

    @classmethod
    def of(cls, passages: Sequence[Chunk]) -> "Lexical":
        """Index passages with their titles and headings, in the order of their rows."""
        texts = ((indexed_text(one), one.language) for one in passages)
        return cls._made(texts, ((one.title, one.heading_path, one.language) for one in passages))

    @classmethod
    def build(cls, texts: Iterable[str], languages: Iterable[str] | None = None) -> "Lexical":
        """Index texts that have no headings.

        Args:
            texts: of the passages, in the order of their rows.
            languages: ISO 639-1 code of each, empty where it is not known; None knows none.

        Raises:
            ValueError: there are more or fewer languages than texts.
        """
        pairs = zip(texts, repeat("")) if languages is None else zip(texts, languages, strict=True)
        return cls._made(pairs, repeat(("", "", "")))

    @classmethod
    def _made(cls, texts: Iterable[tuple[str, str]], paths: Iterable[tuple[str, str, str]]) -> "Lexical":
        vocabulary: defaultdict[str, int] = defaultdict()
        vocabulary.default_factory = vocabulary.__len__
        spoken: Counter[str] = Counter()
        blocks = list(blocks_of(texts, vocabulary, spoken))
        ranked = [code for code, _ in spoken.most_common(MOST_LANGUAGES)] or [DEFAULT]
        words = {word for code in ranked for word in analyser(code).stop_words}
        stop = np.array([vocabulary[word] for word in words if word in vocabulary], np.int64)
        arrays = postings(blocks, len(vocabulary), stop)
        of_headings = headings.arrays_of(islice(paths, spoken.total()), vocabulary, stop)
        return cls(list(vocabulary), arrays | of_headings, ranked)

    def save(self, folder: Path) -> None:
        """Write the index into a folder, what makes it valid last.

        Raises:
            OSError: it cannot be written.
        """
        folder.mkdir(parents=True, exist_ok=True)
        (folder / META).unlink(missing_ok=True)
        (folder / VOCABULARY).write_bytes("\n".join(self._vocabulary).encode())
        for name, values in self._arrays.items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        sums = {name: _checksum(folder / name) for name in _FILES}
        meta = {"version": VERSION, "k1": K1, "b": B, "languages": self.languages, "checksums": sums}
        (folder / META).write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> "Lexical":
        """Open an index.

        Raises:
            ArtifactError: it is missing, damaged or cut short, or of another version.
        """
        try:
            meta = json.loads((folder / META).read_text())
            if (meta["version"], meta["k1"], meta["b"]) != (VERSION, K1, B):
                raise ArtifactError(f"{folder / META} is of another version of the lexical index", _REMEDY)
            for name in _FILES:
                if meta["checksums"][name] != _checksum(folder / name):
                    raise ArtifactError(f"{folder / name} is damaged", _REMEDY)
            mapped = (np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS)
            # As plain arrays, which are mapped all the same: taking parts of a `memmap` is slow.
            arrays = dict(zip(ARRAYS, map(np.asarray, mapped), strict=True))
            words = (folder / VOCABULARY).read_bytes().decode()
            return cls(words.split("\n") if words else [], arrays, meta["languages"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(f"cannot read {folder}: {type(error).__name__}: {error}", _REMEDY) from None

    def query(self, text: str) -> Query:
        """The known terms of a text, each weighted by how often it comes; the `MOST_TERMS` that tell most."""
        counts = {self._ids[term]: count for term, count in self._count(text).items() if term in self._ids}
        ids, weights = np.array([*counts], np.int64), np.array([*counts.values()], np.float32)
        most = np.argsort(-weights * self.idfs[ids], kind="stable")[:MOST_TERMS]
        return Query(ids[most], weights[most])

    def scores(self, query: Query, mask: Mask | None = None) -> Scores:
        """The score of every passage, float32 [rows]; 0 for those that share no term or that the mask leaves out."""
        scores = np.zeros(len(self), np.float32)
        for term, weight in zip(query.terms.tolist(), query.weights.tolist(), strict=True):
            here = slice(self._starts[term], self._starts[term + 1])
            # Adding at an index array counts a place once only; a term has no more than one posting for a row.
            scores[self._rows[here]] += self._impacts[here] * np.float32(weight)
        if mask is not None:
            scores *= mask
        return scores

    def search(self, query: str, k: int, mask: Mask | None = None) -> Ranking:
        """The k passages with the highest scores; fewer where fewer share a term with the query.

        Args:
            mask: bool [rows]; only these are to be found.
        """
        return best(self.scores(self.query(query), mask), k)

    def scores_of(self, query: Query, rows: Rows, held: Held | None = None) -> Scores:
        """The score of these passages, float32 [n]; takes as long as they are, however many there are besides.

        Args:
            held: `terms_of` these passages, where it is known already.
        """
        place, terms, counts = held or self.terms_of(rows)
        # Of all terms, most of them 0: looking twelve thousand up one by one takes many times as long.
        weights = np.zeros(len(self._vocabulary), np.float32)
        weights[query.terms] = query.weights * self.idfs[query.terms]
        impacts = weights[terms] * counts / (counts + self._norms[rows][place])
        return np.bincount(place, impacts, len(rows)).astype(np.float32)

    def likeness(self, query: Query, rows: Rows) -> Scores:
        """How alike the query and these passages' titles and headings are, 0 to 1, float32 [n]."""
        return headings.likeness(self._arrays, query.terms, self.idfs, rows)

    def terms_of(self, rows: Rows) -> Held:
        """The terms of some passages, stop words left out: the place in `rows`, the term, how often it is there."""
        bounds = self._arrays["bounds"]
        sizes = bounds[rows + 1] - bounds[rows]
        place = np.repeat(np.arange(len(rows)), sizes)
        at = np.arange(len(place)) + np.repeat(bounds[rows] - np.cumsum(sizes) + sizes, sizes)
        return place, self._arrays["terms"][at].astype(np.int64), self._arrays["counts"][at].astype(np.float32)

    def idf(self, term: str) -> float:
        """How much a term tells, as in the module; a term that no passage holds has the largest value."""
        number = self._ids.get(term)
        return float(idfs_of(len(self), np.zeros(1))[0] if number is None else self.idfs[number])

    def weights(self, query: str) -> dict[str, float]:
        """The terms of a query and the `idf` of each."""
        return {term: self.idf(term) for term in self._count(query)}

    @cached_property
    def idfs(self) -> Scores:
        """`idf` of every term, by id."""
        return idfs_of(len(self), np.diff(self._starts))

    def _count(self, text: str) -> Counter[str]:
        """Terms as every language of the passages cuts them; stop words only where there is nothing else."""
        telling, every = Counter[str](), Counter[str]()
        for code in self.languages:
            one = analyser(code)
            counts = Counter(one.terms(text))
            every |= counts
            telling |= Counter({term: count for term, count in counts.items() if term not in one.stop_words})
        return telling or every


_REMEDY = "Delete that folder and run `wellread index`"
_FILES = (VOCABULARY, *(f"{name}.npy" for name in ARRAYS))


def best(scores: Scores, k: int) -> Ranking:
    """The k rows with the highest scores above 0; of equal ones the first."""
    # Sorting out a sample first leaves so few that this takes a tenth of the time of `argpartition`.
    sample = scores[:: max(len(scores) // 4096, 1)]
    expected = min(2 * k * len(sample) // max(len(scores), 1) + 8, len(sample))
    bar = max(float(np.partition(sample, -expected)[-expected]), 0.0) if expected else 0.0
    rows = np.flatnonzero(scores > bar)
    if len(rows) < k:
        rows = np.flatnonzero(scores > 0)
    if len(rows) > k > 0:
        rows = rows[scores[rows] >= np.partition(scores[rows], -k)[-k]]
    rows = rows[np.argsort(-scores[rows], kind="stable")[:k]]
    return Ranking(rows.astype(np.int64), scores[rows])


def _checksum(path: Path) -> int:
    total = 0
    with path.open("rb") as file:
        while part := file.read(1 << 22):
            total = zlib.crc32(part, total)
    return total
