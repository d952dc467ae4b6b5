"""Which training texts repeat an evaluation set: overlap of 13 words in a row.

In: training texts with their ids, and the texts of every evaluation set in use. Out: for each training text that
shares a gram with a set, the name of the set and the first such gram.

The rule is that of Brown et al. 2020 (Language Models are Few-Shot Learners, appendix C): words are lower-cased, split
at white space and freed of punctuation, and 13 of them in a row count as the same text. An evaluation text shorter than
that is compared as a whole: with `SHORTEST` words or more it counts where a training text holds all of it in a row;
with fewer, only where it is the whole training text, since "see the manual" stands in many places by chance.

Known limits: a paraphrase or translation is not found. Scripts without spaces between words are compared by sentence.
A phrase that both sides take from a template (a refusal, an instruction) is an overlap like any other, so callers
leave templates out of both.
"""

import gzip
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from configs.errors import SourceError

WORDS = 13
# The smallest gram that appendix C uses: below it, overlaps are mostly chance.
SHORTEST = 8
TEXT_COLUMNS = (
    "question",
    "answer",
    "answers",
    "text",
    "prompt",
    "completion",
    "instruction",
    "input",
    "output",
    "response",
    "reference",
    "references",
    "context",
    "passage",
    "messages",
)

_PUNCTUATION = re.compile(r"[^\w\s]")
_UNKNOWN = -1
# Odd, so that multiplying by it loses no bits; the first is the golden ratio's, as in Knuth's multiplicative hash.
_MIX, _STEP = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1342543DE82EF95)

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Hit:
    """What a training text shares with an evaluation set.

    Attributes:
        set_name: the evaluation set.
        gram: the shared words, lower-cased and without punctuation.
    """

    set_name: str
    gram: str


class EvaluationGrams:
    """The grams of some evaluation sets, about 25 bytes a word; build it with `from_texts` or `load`."""

    def __init__(self, sets: Mapping[str, Iterable[str]], *, n: int) -> None:
        if n < SHORTEST:
            raise ValueError(f"n is {n}: grams of fewer than {SHORTEST} words overlap by chance")
        self._n = n
        self._vocabulary: dict[str, int] = {}
        self._names = list(sets)
        self._whole: dict[str, int] = {}
        texts: list[Ids] = []
        owners: list[int] = []
        for owner, name in enumerate(self._names):
            for words in map(_words, sets[name]):
                if words:
                    self._whole.setdefault(" ".join(words), owner)
                    texts.append(self._learn(words))
                    owners.append(owner)
        lengths = sorted({min(len(text), n) for text in texts if len(text) >= SHORTEST}, reverse=True)
        self._tables = [_Table(texts, owners, length, exactly=length < n) for length in lengths]

    @classmethod
    def from_texts(cls, sets: Mapping[str, Iterable[str]], *, n: int = WORDS) -> Self:
        """The grams of evaluation sets, given as texts by set name.

        Raises:
            ValueError: `n` is below 8.
        """
        return cls(sets, n=n)

    @classmethod
    def load(cls, paths: Iterable[Path], *, columns: Sequence[str] = TEXT_COLUMNS, n: int = WORDS) -> Self:
        """The grams of evaluation files (JSONL, also gzipped, or Parquet); a set is named by its file.

        Raises:
            SourceError: a file cannot be read, or has none of the columns.
        """
        return cls({path.name: _texts_of(path, columns) for path in paths}, n=n)

    def overlaps(self, text: str) -> Hit | None:
        """The longest kind of gram that `text` shares with a set, the first in the text; None when it shares none."""
        words = _words(text)
        if (owner := self._whole.get(" ".join(words))) is not None:
            return Hit(self._names[owner], " ".join(words[: self._n]))
        ids = np.fromiter((self._vocabulary.get(word, _UNKNOWN) for word in words), np.int32, len(words))
        for table in self._tables:
            if found := table.find(ids):
                start, owner = found
                return Hit(self._names[owner], " ".join(words[start : start + table.length]))
        return None

    def _learn(self, words: Sequence[str]) -> Ids:
        vocabulary = self._vocabulary
        return np.array([vocabulary.setdefault(word, len(vocabulary)) for word in words], np.int32)


class _Table:
    """All grams of one length, sorted by hash, each with where it stands, so that a match is checked word by word."""

    def __init__(self, texts: Sequence[Ids], owners: Sequence[int], length: int, *, exactly: bool) -> None:
        chosen = [n for n, text in enumerate(texts) if (len(text) == length if exactly else len(text) >= length)]
        self.length = length
        self._ids = np.concatenate([texts[n] for n in chosen])
        ends = np.cumsum([len(texts[n]) for n in chosen])
        self._ends, self._owners = ends, [owners[n] for n in chosen]
        hashes = _gram_hashes(self._ids, length)
        starts = np.arange(len(hashes))
        # A window that runs over the end of its text into the next is no gram.
        inside = starts + length <= ends[np.searchsorted(ends, starts, side="right")]
        order = np.argsort(hashes[inside], kind="stable")
        self._hashes, self._starts = hashes[inside][order], starts[inside][order].astype(np.int64)

    def find(self, ids: Ids) -> tuple[int, int] | None:
        """Where the first gram of `ids` that is here begins, and the number of the set it belongs to."""
        if len(ids) < self.length:
            return None
        hashes = _gram_hashes(ids, self.length)
        left = np.searchsorted(self._hashes, hashes, side="left")
        near = np.minimum(left, len(self._hashes) - 1)
        for at in np.flatnonzero(self._hashes[near] == hashes):
            for entry in range(left[at], np.searchsorted(self._hashes, hashes[at], side="right")):
                start = int(self._starts[entry])
                if np.array_equal(self._ids[start : start + self.length], ids[at : at + self.length]):
                    return int(at), self._owners[int(np.searchsorted(self._ends, start, side="right"))]
        return None


def find_contaminated(
    train: Iterable[tuple[str, str]], evaluation: Mapping[str, Iterable[str]], n: int = WORDS
) -> dict[str, Hit]:
    """The training texts that share a gram of `n` words with an evaluation set, by id.

    Args:
        train: id and text; an id may come several times (question, answer), and its first hit is kept.
        evaluation: texts by the name of the set.

    Raises:
        ValueError: `n` is below 8.
    """
    grams = EvaluationGrams.from_texts(evaluation, n=n)
    found: dict[str, Hit] = {}
    for name, text in train:
        if name not in found and (hit := grams.overlaps(text)):
            found[name] = hit
    return found


def _words(text: str) -> list[str]:
    return _PUNCTUATION.sub("", unicodedata.normalize("NFKC", text).lower()).split()


def _gram_hashes(ids: Ids, length: int) -> NDArray[np.uint64]:
    """A polynomial hash of every window of `length` ids, modulo 2^64."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * _MIX
    mixed ^= mixed >> np.uint64(29)
    count = max(len(ids) - length + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for offset in range(length):
        hashes *= _STEP
        hashes += mixed[offset : offset + count]
    return hashes


def _texts_of(path: Path, columns: Sequence[str]) -> Iterator[str]:
    rows = _parquet_rows(path, columns) if path.suffix == ".parquet" else _json_rows(path)
    seen = False
    for row in rows:
        present = [row[name] for name in columns if row.get(name) is not None]
        seen = seen or bool(present)
        yield from _strings(present)
    if not seen:
        raise SourceError(
            f"{path} has none of the columns {', '.join(columns)}",
            "Rename the column that holds the texts to one of them",
        )


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise SourceError(f"line {number} of {path} is no JSON object", "Write one object a line")
                    yield row
    except (OSError, ValueError, EOFError) as error:
        raise SourceError(f"cannot read evaluation set {path}: {error}", "Give a JSONL or Parquet file") from None


def _parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            wanted = [name for name in file.schema_arrow.names if name in columns]
            for batch in file.iter_batches(256, columns=wanted) if wanted else ():
                yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as error:
        raise SourceError(f"cannot read evaluation set {path}: {error}", "Give a JSONL or Parquet file") from None


def _strings(value: Any) -> Iterator[str]:
    """Every string in a value; of a chat message only what it says."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from _strings(value["content"] if "content" in value else list(value.values()))
    elif isinstance(value, Sequence):
        for item in value:
            yield from _strings(item)
