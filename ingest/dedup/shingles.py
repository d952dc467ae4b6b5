"""Texts as sets of word shingles, and the hash by which a text equals another.

In: texts. Out: 64-bit hashes of their shingles, `WORDS` words in a row each; and a 128-bit hash of the whole text.

Both see the text after Unicode normalisation (NFKC), case folding and collapsing of white space. Words are runs of
letters, digits and underscores; of scripts that are written without spaces, each character is a word. A text of fewer
words than a shingle has is one shingle.

All of it works on the bytes of many texts at once, in numpy: a loop over words in Python took ten times as long. A
word's hash is a polynomial of its bytes modulo 2^64, had from one running sum over all bytes; a shingle's hash is a
polynomial of its words' hashes.

Known limits: shingles are compared by hash. Two different ones agree with a probability of about 2^-64, so a
similarity is exact but for that.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

# Of 1 to 7, three words found the versions of a page best on documentation without taking other pages for them.
WORDS = 3
# Bytes whose running sum is taken at once, however long a text is; a word is told apart by so many.
SLICE = 1 << 18

# Of ASCII, `_ASCII_WORD` knows which are none.
_NO_WORD = re.compile(r"[^\w\x00-\x7f]+")
# Thai, Lao, Khmer and Burmese, kana and Han are written without spaces. Hangul is not.
_UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff])")
_ASCII_WORD = np.array([chr(byte).isalnum() or byte == ord("_") or byte > 127 for byte in range(256)])
# Odd numbers have an inverse modulo 2^64; these are of the golden ratio, of PCG, and of SplitMix64.
_BYTE_STEP, _WORD_STEP = 0x9E3779B97F4A7C15, np.uint64(0x5851F42D4C957F2D)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Shingles:
    """The shingles of some texts, in order and with repetitions.

    Attributes:
        hashes: of all texts, one after the other.
        offsets: of n texts, n + 1 places in `hashes` where one begins and the one before it ends.
    """

    hashes: Hashes
    offsets: Offsets

    def set_of(self, number: int) -> Hashes:
        """The distinct shingles of one text, in ascending order."""
        hashes = np.sort(self.hashes[self.offsets[number] : self.offsets[number + 1]])
        return hashes[np.concatenate([[True], hashes[1:] != hashes[:-1]])] if len(hashes) else hashes


def normal(text: str) -> str:
    """The text as it is compared."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    return " ".join(text.casefold().split())


def exact_hash(normal_text: str) -> bytes:
    """Sixteen bytes that are the same for the same normal text."""
    return hashlib.blake2b(normal_text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def shingle(normal_texts: Sequence[str], *, words: int = WORDS) -> Shingles:
    """The shingles of some normal texts; one without words has none."""
    word_hashes, counts = _words(normal_texts)
    padded = np.where(counts == 0, 0, np.maximum(counts, words))
    if (padded != counts).any():
        word_hashes = _pad(word_hashes, counts, padded)
    ends = np.cumsum(padded)
    windows = max(len(word_hashes) - words + 1, 0)
    hashes = np.zeros(windows, np.uint64)
    for place in range(words):
        hashes *= _WORD_STEP
        hashes += word_hashes[place : place + windows]
    # A window that runs over the end of its text is no shingle.
    inside = np.ones(windows, bool)
    for place in range(1, words):
        last = ends - place
        inside[last[(last >= 0) & (last < windows) & (padded > 0)]] = False
    shingles = np.where(padded == 0, 0, padded - words + 1)
    return Shingles(mix(hashes[inside]), np.concatenate([[0], np.cumsum(shingles)]))


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014): every bit of a value changes half of the result's."""
    values = values ^ (values >> np.uint64(30))
    values *= _MIX_1
    values ^= values >> np.uint64(27)
    values *= _MIX_2
    values ^= values >> np.uint64(31)
    return values


def _words(texts: Sequence[str]) -> tuple[Hashes, Offsets]:
    """The hashes of all words, and how many each text has."""
    encoded = [(text if text.isascii() else _spaced(text)).encode("utf-8", "surrogatepass") for text in texts]
    # Text and line feed, so that a word ends where its text does.
    ends = np.cumsum([len(text) + 1 for text in encoded])
    data = np.frombuffer(b"\n" + b"\n".join(encoded) + b"\n", np.uint8)
    is_word = _ASCII_WORD[data]
    edges = np.flatnonzero(is_word[1:] != is_word[:-1])
    starts, stops = edges[::2], edges[1::2]
    through = np.searchsorted(starts, ends)
    return _polynomials(data, starts, stops), np.diff(through, prepend=0)


def _polynomials(data: NDArray[np.uint8], starts: Offsets, stops: Offsets) -> Hashes:
    """The hash of each stretch `data[start + 1 : stop + 1]`; of one longer than `SLICE`, of as much."""
    powers, inverses = _powers()
    stops = np.minimum(stops, starts + SLICE)
    hashes = np.empty(len(starts), np.uint64)
    first = 0
    while first < len(starts):
        begin = starts[first]
        last = int(np.searchsorted(stops, begin + SLICE, side="right"))
        sums = np.cumsum(_byte_values()[data[begin : stops[last - 1] + 1]] * powers[: stops[last - 1] + 1 - begin])
        inside = slice(first, last)
        hashes[inside] = (sums[stops[inside] - begin] - sums[starts[inside] - begin]) * inverses[starts[inside] - begin]
        first = last
    return mix(hashes)


def _spaced(text: str) -> str:
    text = _NO_WORD.sub(" ", text)
    # Looked for first: to put in spaces takes five times as long, and most texts have nowhere to.
    return _UNSPACED.sub(r" \1 ", text) if _UNSPACED.search(text) else text


def _pad(word_hashes: Hashes, counts: Offsets, padded: Offsets) -> Hashes:
    filled = np.zeros(int(padded.sum()), np.uint64)
    shift = np.cumsum(padded) - padded - (np.cumsum(counts) - counts)
    filled[np.arange(len(word_hashes)) + np.repeat(shift, counts)] = word_hashes
    return filled


@cache
def _byte_values() -> Hashes:
    return mix(np.arange(1, 257, dtype=np.uint64) * np.uint64(_BYTE_STEP))


@cache
def _powers() -> tuple[Hashes, Hashes]:
    """The powers of `_BYTE_STEP` modulo 2^64, and of its inverse."""
    return _series(_BYTE_STEP), _series(pow(_BYTE_STEP, -1, 1 << 64))


def _series(base: int) -> Hashes:
    factors = np.full(SLICE + 1, base, np.uint64)
    factors[0] = 1
    return np.cumprod(factors)
