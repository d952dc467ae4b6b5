"""The rule `c4`: the heuristics of C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2) and of its public code.

A line counts when it ends in a terminal mark, has at least three words and names neither JavaScript nor a cookie or
privacy policy; a page needs five sentences in such lines, and no `lorem ipsum` or `{` in any of them.

Known limits: the published filter also takes out the lines that do not count, while here they are only not counted,
because a manual lives by its headings, lists and code. Its list of bad words is left to the guards. Sentences are those
of `ingest.filters.words`, where the paper has a trained splitter.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from guards.base import Verdict
from ingest.filters.text import Text
from ingest.filters.verdicts import Limit, at_least, at_most, judge
from ingest.filters.words import sentences, words_of

_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_TERMINAL = (".", "?", "!", '"', "'")
_POLICY = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")


@dataclass(frozen=True)
class C4:
    """Refuses what has few sentences, filler text or code; the defaults are the paper's and its code's.

    Attributes:
        min_sentences: in the lines that count.
        min_line_words: a line with fewer does not count.
        max_word_length: neither does one with a longer word.
        terminal_mark: only lines that end in one count. FineWeb uses C4 without it.
        curly_brackets: pages with one in a line that counts pass; the paper takes them for code.
    """

    min_sentences: int = 5
    min_line_words: int = 3
    max_word_length: int = 1000
    terminal_mark: bool = True
    curly_brackets: bool = False

    def __call__(self, text: Text) -> Verdict:
        return judge("c4", self._limits(text))

    def _limits(self, text: Text) -> Iterator[Limit]:
        counted: list[str] = []
        fillers = brackets = 0
        for line in self._full_lines(text.lines):
            lower = line.lower()
            fillers += "lorem ipsum" in lower
            names_script = "javascript" in lower
            brackets += "{" in line and not names_script
            if not names_script and not any(phrase in lower for phrase in _POLICY):
                counted.append(line)
        yield at_most("lines with lorem ipsum", fillers, 0)
        if not self.curly_brackets:
            yield at_most("lines with a curly bracket", brackets, 0)
        yield at_least("sentences in full lines", self._sentences(counted), self.min_sentences)

    def _full_lines(self, lines: list[str]) -> Iterator[str]:
        for raw in lines:
            line = raw.strip()
            words = line.split()
            if "[" in line:
                line = _CITATION.sub("", line)
            if self.terminal_mark and (not line.endswith(_TERMINAL) or line.endswith("...")):
                continue
            if len(words) < self.min_line_words:
                continue
            if len(raw) <= self.max_word_length or max(map(len, words)) <= self.max_word_length:
                yield line

    def _sentences(self, lines: list[str]) -> int:
        """How many; lines after the last that is needed are not read, since each holds one at least."""
        if len(lines) >= self.min_sentences:
            return len(lines)
        return sum(sentences(words_of(line.split())) for line in lines)
