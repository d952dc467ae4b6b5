"""Examples as the model is trained on them, with the trained tokens marked.

In: rows of token ids. Out: their text in segments, each trained or not. As plain text the trained ones stand between
« and »; what prints them on a terminal is `app/train_check.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from train.chat import IGNORED
from train.rows import Row

COUNT = 3


@dataclass(frozen=True)
class Segment:
    """A run of tokens as text."""

    text: str
    trained: bool


@dataclass(frozen=True)
class Shown:
    """One example.

    Attributes:
        id: of the example, or of the line of a file.
        tokens, trained_tokens: how many it has.
    """

    id: str
    tokens: int
    trained_tokens: int
    segments: tuple[Segment, ...]

    def plain(self) -> str:
        """The text, with « and » around what is trained."""
        return "".join(f"«{one.text}»" if one.trained else one.text for one in self.segments)


def choose_shown(tokenizer: Any, rows: Sequence[Row], count: int = COUNT) -> list[Shown]:
    """A short, a middling and a long example; all where there are no more."""
    by_length = sorted(rows, key=lambda row: (len(row.encoded.input_ids), row.id))
    places = sorted({len(rows) * (2 * number + 1) // (2 * count) for number in range(count)})
    return [shown(tokenizer, by_length[place]) for place in places if place < len(rows)]


def shown(tokenizer: Any, row: Row) -> Shown:
    """One row as text."""
    ids, labels = row.encoded.input_ids, row.encoded.labels
    trained = [label != IGNORED for label in labels]
    borders = [place for place in range(1, len(ids)) if trained[place] != trained[place - 1]]
    spans = zip([0, *borders], [*borders, len(ids)], strict=True)
    segments = tuple(Segment(_text(tokenizer, ids[start:end]), trained[start]) for start, end in spans)
    return Shown(row.id, len(ids), sum(trained), segments)


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
