"""The rule `gopher_quality`: Gopher's quality filtering (Rae et al. 2021, arXiv 2112.11446, appendix A.1.1).

Where the paper leaves a choice open, it is made as in datatrove: signs alone count neither as words nor in the mean
length, stop words are looked for as written, and an ellipsis is `...` or its own character.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from guards.base import Verdict
from ingest.filters.text import Text
from ingest.filters.verdicts import Limit, at_least, at_most, judge
from ingest.filters.words import HAS_LETTER, IS_SIGN, Words, word_hash

_ELLIPSES = ("...", "…")


@dataclass(frozen=True)
class GopherQuality:
    """Refuses what is not like prose; the defaults are the paper's.

    Attributes:
        min_words, max_words: of the document.
        min_mean_length, max_mean_length: of a word, in characters.
        max_symbols_per_word: hash signs, and ellipses, each for itself.
        max_bullet_lines, max_ellipsis_lines: share of lines that begin with the one or end with the other.
        min_words_with_letters: share of all words and signs.
        min_stop_words: how many of `stop_words` have to occur.
    """

    min_words: int = 50
    max_words: int = 100_000
    min_mean_length: float = 3.0
    max_mean_length: float = 10.0
    max_symbols_per_word: float = 0.1
    max_bullet_lines: float = 0.9
    max_ellipsis_lines: float = 0.3
    min_words_with_letters: float = 0.8
    min_stop_words: int = 2
    stop_words: Sequence[str] = ("the", "be", "to", "of", "and", "that", "have", "with")

    def __call__(self, text: Text) -> Verdict:
        return judge("gopher_quality", self._limits(text))

    def _limits(self, text: Text) -> Iterator[Limit]:
        words = text.words
        signs = words.are(IS_SIGN)
        real = int(signs.size - np.count_nonzero(signs))
        yield at_least("words", real, self.min_words)
        yield at_most("words", real, self.max_words)
        mean = float(words.lengths.sum() - words.lengths[signs].sum()) / max(real, 1)
        yield at_least("mean length of words", mean, self.min_mean_length)
        yield at_most("mean length of words", mean, self.max_mean_length)
        total = max(signs.size, 1)
        yield at_most("hash signs per word", text.text.count("#") / total, self.max_symbols_per_word)
        ellipses = sum(map(text.text.count, _ELLIPSES))
        yield at_most("ellipses per word", ellipses / total, self.max_symbols_per_word)
        yield from self._line_limits(text.lines)
        letters = int(np.count_nonzero(words.are(HAS_LETTER)))
        yield at_least("share of words with a letter", letters / total, self.min_words_with_letters)
        yield at_least("different stop words", self._stop_words_in(words), self.min_stop_words)

    def _line_limits(self, lines: list[str]) -> Iterator[Limit]:
        total = max(len(lines), 1)
        bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
        yield at_most("share of lines that begin with a bullet", bullets / total, self.max_bullet_lines)
        ending = sum(line.rstrip().endswith(_ELLIPSES) for line in lines)
        yield at_most("share of lines that end with an ellipsis", ending / total, self.max_ellipsis_lines)

    def _stop_words_in(self, words: Words) -> int:
        """How many different ones there are; it stops at as many as are wanted."""
        found = 0
        for word in self.stop_words:
            found += bool((words.hashes == np.uint64(word_hash(word))).any())
            if found >= self.min_stop_words:
                break
        return found
