"""The words of a text as arrays, split as spaCy splits English.

In: what stands between white space. Out: length, kind and hash of every word in order, so that rules count with numpy
instead of looping. spaCy's tokenizer looks at no more than what stands between white space, so the words of each such
chunk are worked out once a process and looked up afterwards; that is what makes it fast (`bench/filters.py`).

Known limits: other languages are split by the English rules, and Chinese, Japanese and Thai not at all within a phrase;
a chunk of more than `LONGEST` characters counts as one word; emoticons and abbreviations written with spaces inside
are not joined.
"""

import hashlib
import re
import sys
import threading
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Kinds of a word, as bits.
HAS_LETTER, IS_SIGN, IS_PUNCTUATION, ENDS_SENTENCE = 1, 2, 4, 8
# Longer ones are data; spaCy would spend seconds on a megabyte without white space.
LONGEST = 1000
# Chunks remembered, about 500 bytes each; beyond this all are forgotten, which changes no result.
REMEMBERED = 250_000

# The characters with the property Sentence_Terminal in the Unicode Character Database 16.0 (PropList.txt).
_TERMINALS = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d5 "
    "1803 1809 1944-1945 1aa8-1aab 1b4e-1b4f 1b5a-1b5b 1b5e-1b5f 1b7d-1b7f 1c3b-1c3c 1c7e-1c7f 2024 203c-203d "
    "2047-2049 2cf9-2cfb 2e2e 2e3c 2e53-2e54 2e60-2e61 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f "
    "a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb fe12 fe15-fe16 fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 "
    "10f86-10f89 11047-11048 110be-110c1 11141-11143 111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 "
    "113d4-113d5 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c "
    "11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 16b37-16b38 16b44 16d6e-16d6f 16e98 1bc9f 1da88"
)


def _characters(ranges: str) -> Iterable[str]:
    for entry in ranges.split():
        first, _, last = entry.partition("-")
        yield from map(chr, range(int(first, 16), int(last or first, 16) + 1))


TERMINALS = frozenset(_characters(_TERMINALS))


# A word of letters or a number; or one of three letters and more with a bracket, quotation mark or point beside it.
_PLAIN = re.compile(
    r"""(?x) ([("'\[](?=[^\W\d_]{3}))?
    (?P<word> [^\W\d_]+ (?:_[^\W\d_]+)* | [0-9]+ )
    (?: (?<=[^\W\d_]{3}) ([)"'\]])? ( (?<![)"'\]]) [,;:!?] | (?<=[)"'\]]) [,;!?.] | (?<=[a-z]) \. )? )?"""
)


class Words(NamedTuple):
    """The words of a text in order: three arrays of the same length.

    Attributes:
        lengths: characters of each, int64.
        kinds: bits of `HAS_LETTER`, ..., uint8.
        hashes: the same for the same word, in every process, uint64.
    """

    lengths: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    hashes: NDArray[np.uint64]

    def are(self, kind: int) -> NDArray[np.bool_]:
        """Which words are of a kind."""
        return (self.kinds & kind).astype(np.bool_)


def word_hash(word: str) -> int:
    """64 bits that depend on the word alone."""
    encoded = word.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), sys.byteorder)


def words_of(chunks: Sequence[str]) -> Words:
    """The words of chunks as `str.split()` gives them."""
    return _vocabulary().words(chunks)


def sentences(words: Words) -> int:
    """How many sentences: one ends with a terminal, and the next begins with the first word that is no punctuation."""
    ends = words.are(ENDS_SENTENCE)
    counted = ends | ~words.are(IS_PUNCTUATION)
    ends = ends[counted]
    return int(bool(words.kinds.size)) + int(np.count_nonzero(ends[:-1] & ~ends[1:]))


class _Vocabulary:
    """Chunks seen so far, and the words of each. Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forget()

    def words(self, chunks: Sequence[str]) -> Words:
        """See `words_of`."""
        with self._lock:
            if len(self._places) > REMEMBERED:
                self._forget()
            missing = [chunk for chunk in set(chunks) if chunk not in self._places]
            if missing:
                self._learn(sorted(missing))
            places = np.fromiter(map(self._places.__getitem__, chunks), np.int64, len(chunks))
            counts = self._counts.values[places]
            # Where a text's n-th word is kept: its chunk's first, and on from there.
            before = np.cumsum(counts) - counts
            at = np.repeat(self._firsts.values[places] - before, counts) + np.arange(counts.sum())
            words = self._split_into.values[at]
            return Words(self._lengths.values[words], self._kinds.values[words], self._hashes.values[words])

    def _forget(self) -> None:
        self._tokenizer = _tokenizer()
        # Chunk -> number; its words are those from `_firsts` on, `_counts` of them, in `_split_into`.
        self._places: dict[str, int] = {}
        self._firsts, self._counts, self._split_into = _Column(np.int32), _Column(np.int32), _Column(np.int32)
        # Word -> number in the columns after it.
        self._numbers: dict[str, int] = {}
        self._lengths, self._kinds, self._hashes = _Column(np.int64), _Column(np.uint8), _Column(np.uint64)

    def _learn(self, chunks: Sequence[str]) -> None:
        split = self._split(chunks)
        words = [word for parts in split for word in parts]
        new = [word for word in dict.fromkeys(words) if word not in self._numbers]
        self._numbers.update(zip(new, range(self._lengths.size, self._lengths.size + len(new)), strict=True))
        for column, describe in ((self._lengths, len), (self._kinds, _kind), (self._hashes, word_hash)):
            column.extend(list(map(describe, new)))
        counts = np.array(list(map(len, split)))
        self._places.update(zip(chunks, range(self._counts.size, self._counts.size + len(chunks)), strict=True))
        self._firsts.extend(self._split_into.size + np.cumsum(counts) - counts)
        self._counts.extend(counts)
        self._split_into.extend([self._numbers[word] for word in words])

    def _split(self, chunks: Sequence[str]) -> list[Sequence[str]]:
        """The words of each chunk."""
        found: list[Sequence[str]] = [self._plain(chunk) for chunk in chunks]
        hard = [number for number, words in enumerate(found) if not words]
        # One call for all: spaCy spends most of a short text on making its record of it.
        tokens = iter(self._tokenizer(" ".join(chunks[number] for number in hard)))
        for number in hard:
            words = []
            for token in tokens:
                words.append(token.text)
                if token.whitespace_:
                    break
            found[number] = words
        return found

    def _plain(self, chunk: str) -> Sequence[str]:
        """The words of a chunk that no rule of the tokenizer can split otherwise; empty for any other."""
        if len(chunk) > LONGEST:
            return (chunk,)
        special = self._tokenizer.rules
        match = None if chunk in special else _PLAIN.fullmatch(chunk)
        if match is None or match["word"] in special or match["word"] + "." in special:
            return ()
        return [part for part in match.groups() if part]


class _Column:
    """A numpy array that grows at its end."""

    def __init__(self, kind: type[np.generic]) -> None:
        self.values: NDArray[Any] = np.empty(1024, kind)
        self.size = 0

    def extend(self, values: ArrayLike) -> None:
        """Add values at the end; `values` of this column has room beyond `size`."""
        added = np.asarray(values, self.values.dtype)
        end = self.size + added.size
        if end > self.values.size:
            self.values = np.resize(self.values, 2 * end)
        self.values[self.size : end] = added
        self.size = end


def _kind(word: str) -> int:
    if word.isalpha():
        return HAS_LETTER
    if word.isalnum():
        return HAS_LETTER * any(map(str.isalpha, word))
    categories = set(map(unicodedata.category, word))
    kind = HAS_LETTER * any(category[0] == "L" for category in categories)
    kind |= IS_SIGN * all(category[0] in "PS" or category == "Cc" for category in categories)
    kind |= IS_PUNCTUATION * all(category[0] == "P" for category in categories)
    return kind | ENDS_SENTENCE * (word in TERMINALS)


@cache
def _vocabulary() -> _Vocabulary:
    return _Vocabulary()


@cache
def _english() -> Any:
    from spacy.lang.en import English

    return English().tokenizer


def _tokenizer() -> Any:
    # Compiled, without type information.
    from spacy.tokenizer import Tokenizer  # type: ignore[import-not-found]
    from spacy.vocab import Vocab

    made = _english()
    # A vocabulary of its own without the attributes of words, which take longer to work out than the words to split.
    return Tokenizer(
        Vocab(),
        rules=made.rules,
        prefix_search=made.prefix_search,
        suffix_search=made.suffix_search,
        infix_finditer=made.infix_finditer,
        token_match=made.token_match,
        url_match=made.url_match,
    )
