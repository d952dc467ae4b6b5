"""A document's text, analysed once and shared by all rules: each analysis is made when a rule first asks for it."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ingest.filters.words import Words, words_of
from ingest.language import detect
from ingest.records import Document


class Text:
    """A document with what rules ask of its text.

    Attributes:
        document: as it was given.
    """

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def text(self) -> str:
        """The document's text."""
        return self.document.text

    @cached_property
    def chunks(self) -> list[str]:
        """What stands between white space."""
        return self.text.split()

    @cached_property
    def words(self) -> Words:
        """Words and signs apart."""
        return words_of(self.chunks)

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Characters of all words before each word; the last entry is their sum, int64[words + 1]."""
        return np.concatenate(([0], np.cumsum(self.words.lengths)))

    @cached_property
    def lines(self) -> list[str]:
        """All lines, empty ones too."""
        return self.text.splitlines()

    @cached_property
    def filled_lines(self) -> list[str]:
        """The lines between line feeds that hold more than white space."""
        return [line for line in self.text.split("\n") if line and not line.isspace()]

    @cached_property
    def language(self) -> tuple[str, float]:
        """Code and probability; see `ingest.language.detect`."""
        return detect(self.text, self.document.language)

    @cached_property
    def letter_share(self) -> float:
        """Letters among the characters that are not white space, 0 to 1."""
        codes = np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), np.uint32)
        values, counts = np.unique(codes, return_counts=True)
        letters = visible = 0
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            char = chr(value)
            letters += count * char.isalpha()
            visible += count * (not char.isspace())
        return letters / max(visible, 1)


def duplicate_share(parts: list[str]) -> tuple[int, int]:
    """How many of the parts repeat an earlier one, and how many characters those have."""
    seen: set[str] = set()
    if len(set(parts)) == len(parts):
        return 0, 0
    number = characters = 0
    for part in parts:
        if part in seen:
            number += 1
            characters += len(part)
        seen.add(part)
    return number, characters
