"""The rule `gopher_repetition`: Gopher's repetition removal (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1,
Table A1).

Paragraphs stand between blank lines. An n-gram is n words in a row; the characters of repeated n-grams are counted
once where they overlap. Counting sorts hashes of 64 bits instead of keeping strings.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guards.base import Verdict
from ingest.filters.text import Text, duplicate_share
from ingest.filters.verdicts import Limit, at_most, judge

_PARAGRAPH_GAP, _LINE_GAP = re.compile(r"\n{2,}"), re.compile(r"\n+")
# Odd and without pattern, so that words in another order hash otherwise (Knuth, TAOCP 3.3.4, for mod 2^64).
_MULTIPLIER = np.uint64(6364136223846793005)
_FIRST_TOP, _FIRST_REPEATED = 2, 5

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]


@dataclass(frozen=True)
class GopherRepetition:
    """Refuses what repeats itself; the defaults are the paper's.

    Attributes:
        max_duplicate_lines, max_duplicate_paragraphs: share of those that occurred before.
        max_duplicate_line_characters, max_duplicate_paragraph_characters: their share of all characters.
        max_top_ngram: share of the characters that the most frequent n-gram covers, for n = 2, 3, 4, ...
        max_repeated_ngrams: share of the characters in n-grams that occurred before, for n = 5, 6, 7, ...
    """

    max_duplicate_lines: float = 0.30
    max_duplicate_paragraphs: float = 0.30
    max_duplicate_line_characters: float = 0.20
    max_duplicate_paragraph_characters: float = 0.20
    max_top_ngram: Sequence[float] = (0.20, 0.18, 0.16)
    max_repeated_ngrams: Sequence[float] = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)

    def __call__(self, text: Text) -> Verdict:
        return judge("gopher_repetition", self._limits(text))

    def _limits(self, text: Text) -> Iterator[Limit]:
        size = max(len(text.text), 1)
        paragraphs = _PARAGRAPH_GAP.split(text.text.strip())
        number, characters = duplicate_share(paragraphs)
        yield at_most("share of repeated paragraphs", number / len(paragraphs), self.max_duplicate_paragraphs)
        what = "share of characters in repeated paragraphs"
        yield at_most(what, characters / size, self.max_duplicate_paragraph_characters)
        lines = _LINE_GAP.split(text.text)
        number, characters = duplicate_share(lines)
        yield at_most("share of repeated lines", number / len(lines), self.max_duplicate_lines)
        yield at_most("share of characters in repeated lines", characters / size, self.max_duplicate_line_characters)
        yield from self._ngram_limits(text, size)

    def _ngram_limits(self, text: Text, size: int) -> Iterator[Limit]:
        grams = _NGrams(text.words.hashes, text.starts)
        longest = _FIRST_REPEATED + len(self.max_repeated_ngrams)
        for n in range(_FIRST_TOP, longest):
            grams.lengthen(n)
            if n - _FIRST_TOP < len(self.max_top_ngram):
                what = f"share of characters in the most frequent {n}-gram"
                yield at_most(what, grams.top() / size, self.max_top_ngram[n - _FIRST_TOP])
            if n >= _FIRST_REPEATED:
                what = f"share of characters in repeated {n}-grams"
                yield at_most(what, grams.repeated() / size, self.max_repeated_ngrams[n - _FIRST_REPEATED])


class _NGrams:
    """The n-grams of a text that occur more than once, for growing n.

    One word more can only make an n-gram rarer, so only the places where the shorter one repeats are looked at again.
    """

    def __init__(self, words: Hashes, starts: Places) -> None:
        self._words, self._starts = words, starts
        self._n = 1
        self._at: Places = np.arange(words.size)
        self._hashes: Hashes = words
        self._counts: Places = np.empty(0, np.int64)

    def lengthen(self, n: int) -> None:
        """Go on from n - 1 to n words."""
        fits = self._at + n <= self._words.size
        at = self._at[fits]
        hashes = self._hashes[fits] * _MULTIPLIER + self._words[at + n - 1]
        self._n = n
        _, which, counts = np.unique(hashes, return_inverse=True, return_counts=True)
        counts = counts[which]
        repeats = counts > 1
        self._at, self._hashes, self._counts = at[repeats], hashes[repeats], counts[repeats]

    def top(self) -> int:
        """Characters of all occurrences of the most frequent one, blanks between words included."""
        if self._words.size < self._n:
            return 0
        if not self._at.size:
            return self._length(0) + self._n - 1
        first = int(np.argmax(self._counts))
        return int(self._counts[first]) * (self._length(int(self._at[first])) + self._n - 1)

    def repeated(self) -> int:
        """Characters of those that occurred before; after each the search goes on behind it."""
        seen: set[int] = set()
        characters = free = 0
        for at, value in zip(self._at.tolist(), self._hashes.tolist(), strict=True):
            if at < free:
                continue
            if value in seen:
                characters += self._length(at)
                free = at + self._n
            seen.add(value)
        return characters

    def _length(self, at: int) -> int:
        return int(self._starts[at + self._n] - self._starts[at])
