"""A small model that labels each word of a text: person, place, organisation, address, title, phone and so on.

In: a text of any length. Out: for each word, its place and the probability of each label. The model is
`guards/weights/names.*`, trained by `guards.training.names`: the first layers of MiniLM, which knows no capitals, with
an embedding of each token's spelling added.

Known limits: English sentences with names from anywhere in Latin script; other scripts are unknown words to it.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from guards.base import NO_CONTEXT, Context
from guards.encoder import Encoder, Logits
from guards.spans import windows

WEIGHTS = Path(__file__).parents[1] / "weights" / "names"

# Characters read at once, and how many of them are read twice, so that every word is seen with what surrounds it.
WINDOW, OVERLAP = 500, 120
SHAPES = 30

_WORD = re.compile(r"\w{1,60}")


class Word(NamedTuple):
    """One word or punctuation mark: its place in the text, and the probability of each label."""

    start: int
    end: int
    probabilities: Logits


class Tagger(Encoder):
    """The model, loaded at the first use."""

    def __init__(self, prefix: Path = WEIGHTS, *, threads: int = 1) -> None:
        # A window of unspaced script is one token a character.
        super().__init__(prefix, max_tokens=WINDOW + 2, threads=threads)

    def words(self, text: str, context: Context = NO_CONTEXT) -> Iterator[Word]:
        """The words of the text in order.

        Raises:
            TimeoutError: the context's deadline has passed.
        """
        done = 0
        for offset, piece in windows(text, WINDOW, OVERLAP, context):
            last = offset + len(piece) == len(text)
            # The end of a window is read again at the start of the next.
            limit = len(text) if last else offset + len(piece) - OVERLAP // 2
            for start, end, row in self._words(piece):
                if done <= offset + start and (last or offset + end <= limit):
                    yield Word(offset + start, offset + end, row)
                    done = offset + end

    def _words(self, piece: str) -> Iterator[tuple[int, int, Logits]]:
        encoding = self.encode([piece])[0]
        inside = [place for place, special in enumerate(encoding.special_tokens_mask) if not special]
        offsets = [encoding.offsets[place] for place in inside]
        if not offsets:
            return
        session, _ = self._loaded()
        shapes = np.zeros((1, len(encoding.ids)), dtype=np.int64)
        shapes[0, inside] = shape_ids(piece, offsets)
        logits: Logits = session.run(None, {"ids": np.array([encoding.ids], dtype=np.int64), "shapes": shapes})[0][0]
        yield from merge(piece, offsets, logits[inside])


def merge(text: str, offsets: Sequence[tuple[int, int]], logits: Logits) -> Iterator[tuple[int, int, Logits]]:
    """Pieces of one word put together: start, end, and the softmax of their mean logits."""
    first = 0
    for place in range(1, len(offsets) + 1):
        if place < len(offsets) and _glued(text, offsets[place - 1], offsets[place]):
            continue
        mean = logits[first:place].mean(0)
        grown = np.exp(mean - mean.max())
        yield offsets[first][0], offsets[place - 1][1], grown / grown.sum()
        first = place


def _glued(text: str, left: tuple[int, int], right: tuple[int, int]) -> bool:
    return left[1] >= right[0] and text[left[1] - 1].isalnum() and text[right[0]].isalnum()


def shape_ids(text: str, offsets: Sequence[tuple[int, int]]) -> list[int]:
    """How the word around each token is spelt, and what stands before the token; 0 to `SHAPES` - 1."""
    starts: dict[int, int] = {}
    for match in _WORD.finditer(text):
        kind = _spelling(match.group())
        starts.update(dict.fromkeys(range(*match.span()), kind))
    return [3 * starts.get(start, 9) + _gap(text, start) for start, _ in offsets]


def _spelling(word: str) -> int:
    if word.isdigit():
        return 5 if len(word) <= 2 else 6 if len(word) <= 4 else 7
    if any(char.isdigit() for char in word):
        return 8
    if word.islower():
        return 0
    if word.isupper():
        return 3 if len(word) == 1 else 2
    return 1 if word[0].isupper() and word[1:].islower() else 4


def _gap(text: str, start: int) -> int:
    if start == 0:
        return 2
    before = text[max(0, start - 8) : start]
    if not before[-1].isspace():
        return 0
    return 2 if "\n" in before[len(before.rstrip()) :] else 1
