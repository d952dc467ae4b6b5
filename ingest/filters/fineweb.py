"""The rule `fineweb`: FineWeb's own filters (Penedo et al. 2024, arXiv 2406.17557, section 3.6), with the further
limits on short lines and on line feeds of the code that made the corpus.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from guards.base import Verdict
from ingest.filters.text import Text, duplicate_share
from ingest.filters.verdicts import Limit, at_least, at_most, judge
from ingest.filters.words import TERMINALS


@dataclass(frozen=True)
class FineWeb:
    """Refuses lists, menus and repeated lines; the defaults are those of the corpus.

    Attributes:
        min_terminal_lines: share of lines that end in a terminal mark.
        max_short_lines: share of lines of at most `short_line` characters.
        max_duplicate_line_characters: share of the characters that are in lines which occurred before.
        max_line_feeds_per_word: more make a list.
    """

    min_terminal_lines: float = 0.12
    max_short_lines: float = 0.67
    short_line: int = 30
    max_duplicate_line_characters: float = 0.01
    max_line_feeds_per_word: float = 0.3

    def __call__(self, text: Text) -> Verdict:
        return judge("fineweb", self._limits(text))

    def _limits(self, text: Text) -> Iterator[Limit]:
        lines = text.filled_lines
        total = max(len(lines), 1)
        terminal = sum(line[-1] in TERMINALS for line in lines)
        yield at_least("share of lines that end in a terminal mark", terminal / total, self.min_terminal_lines)
        short = sum(len(line) <= self.short_line for line in lines)
        yield at_most("share of short lines", short / total, self.max_short_lines)
        feeds = text.text.count("\n")
        repeated = duplicate_share(lines)[1] / max(len(text.text) - feeds, 1)
        yield at_most("share of characters in repeated lines", repeated, self.max_duplicate_line_characters)
        words = max(text.words.lengths.size, 1)
        yield at_most("line feeds per word", feeds / words, self.max_line_feeds_per_word)
